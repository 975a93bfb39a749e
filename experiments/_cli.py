"""Values of an experiment's options: from the command line, and from configuration files."""

import contextlib
import dataclasses
import json
import re
import shlex
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from experiments._options import AllOptions, OptionError, option_name, tyro

T = TypeVar("T", bound=AllOptions)

REGISTRY = tyro.constructors.ConstructorRegistry()
"""How tyro reads options that may be None."""


def parse(
    kind: type[T],
    name: str,
    description: str | None,
    arguments: Sequence[str] | None,
    epilogue: str | None = None,
    check: Callable[[T], None] | None = None,
) -> T:
    """Options from the command line, and from the configuration file that it names.

    Args:
        kind: The options' class.
        name: The experiment's.
        description: The first paragraphs of --help.
        arguments: Of the command line; None for those of this process.
        epilogue: The last paragraphs of --help.
        check: Raises `OptionError` for values that do not fit together.

    Raises:
        OptionError: If one does not fit.
        SystemExit: By tyro, for --help (0) and for what cannot be parsed (2).
    """

    def read(default: T) -> T:
        with REGISTRY:
            return tyro.cli(
                kind,
                config=(tyro.conf.OmitArgPrefixes,),
                prog=f"python -m experiments.{name}",
                description=description,
                args=arguments,
                default=default,
            )

    try:
        options = read(kind())
    except SystemExit as leaving:
        if not leaving.code and epilogue is not None:
            print(f"\n{epilogue}")
        raise
    if options.run.config is not None:
        options = read(from_file(kind, name, options.run.config))
    options.check()
    if check is not None:
        check(options)
    return options


@REGISTRY.primitive_rule
def _optional_rule(info: Any) -> Any:
    """Options that may be None: "None", or what is read as the other type, with a message of our own.

    Tyro's own rule has None among the choices, in an order that differs from run to run.
    """
    hints = typing.get_args(info.type)
    if typing.get_origin(info.type) not in (typing.Union, types.UnionType) or type(None) not in hints:
        return None
    (hint,) = (each for each in hints if each is not type(None))
    inner: Any = tyro.constructors.ConstructorRegistry.get_primitive_spec(
        tyro.constructors.PrimitiveTypeInfo.make(hint, info.markers)
    )

    def read(words: list[str]) -> Any:
        if words == ["None"]:
            return None
        try:
            if inner.choices is None or set(words) <= set(inner.choices):
                return inner.instance_from_str(words)
        except ValueError:
            pass
        raise ValueError(f"it must be {_described(hint)}, got {shlex.join(words) or 'nothing'}")

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=inner.nargs,
        metavar=inner.metavar,
        instance_from_str=read,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: ["None"] if value is None else inner.str_from_instance(value),
    )


def from_file(kind: type[T], name: str, path: Path) -> T:
    """The default options, changed by those in a configuration file.

    Raises:
        OptionError: If the file cannot be read, or an entry is unknown or of the wrong type.
    """
    content: Any = None
    try:
        content = json.loads(path.read_text("utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise OptionError(f"--config: cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise OptionError(f"--config: {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise OptionError(
            f"--config: {path} must hold a JSON object of options, got {type(content).__name__}"
        )
    if isinstance(content.get("options"), dict):
        if content.get("experiment", name) != name:
            raise OptionError(
                f"--config: {path} is of the experiment {content['experiment']!r}, not {name!r}"
            )
        content = content["options"]
    groups = kind().groups()
    fields: dict[str, tuple[str, Any]] = {}
    for group_name, group in groups.items():
        hints = typing.get_type_hints(type(group))
        fields |= {option: (group_name, hint) for option, hint in hints.items()}
    for key, value in content.items():
        option = key.replace("-", "_")
        if option not in fields or option == "config":
            valid = ", ".join(sorted(set(fields) - {"config"}))
            raise OptionError(f"--config: {path} has the unknown option {key!r}; the options are: {valid}")
        group_name, hint = fields[option]
        try:
            converted = _converted(value, hint)
        except TypeError:
            raise OptionError(
                f"--config: {path}: {key} must be {_described(hint)}, got {json.dumps(value)}"
            ) from None
        groups[group_name] = dataclasses.replace(groups[group_name], **{option: converted})
    return kind(**groups)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, if its names differ: JSON readers take the last of equal ones without a word."""
    names = [name.replace("-", "_") for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is there {names.count(name)} times")
    return dict(pairs)


def _converted(value: Any, hint: Any) -> Any:
    """A JSON value as a value of this type; a tuple's items are all of its first type.

    Raises:
        TypeError: If it is none.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for argument in arguments:
            with contextlib.suppress(TypeError):
                return _converted(value, argument)
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_converted(item, arguments[0]) for item in value)
    elif hint is Path:
        if isinstance(value, str):
            return Path(value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise TypeError


NAMES = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("true or false", "true or false"),
    Path: ("a path", "paths"),
}


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(json.dumps, arguments))
    if origin is tuple:
        return f"a list of {NAMES[arguments[0]][1]}"
    return NAMES[hint][0] if hint in NAMES else "null"


@contextlib.contextmanager
def naming_options(function: str, renamed: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn a library function's `ValueError` about an argument into an `OptionError` about the option.

    Args:
        function: Name that its messages may begin with.
        renamed: Names of options by those of arguments, where they differ.
    """
    try:
        yield
    except ValueError as error:
        message = re.sub(rf"^{function}: ", "", str(error))
        new = renamed or {}
        message = re.sub(r"^(\w+)", lambda match: option_name(new.get(match[1], match[1])), message)
        raise OptionError(message) from error
