"""Options of an experiment: from the command line, from configuration files, and their checks."""

import contextlib
import dataclasses
import inspect
import json
import math
import re
import shlex
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

try:
    import tyro
except ImportError as error:
    raise SystemExit('The experiments need some more packages: pip install -e ".[experiments]"') from error

NOT_IN_FILES = ("output", "config", "quiet")
"""Options of which a run's config.json keeps no value to be taken over by the next run."""


class OptionError(ValueError):
    """An option, or an entry of a configuration file, that does not fit."""


# What an option is.


def default_of(function: Callable[..., Any], parameter: str) -> Any:
    """The default value of a library function's argument."""
    return inspect.signature(function).parameters[parameter].default


def library(text: str, default: Any, metavar: str) -> Any:
    """Help for an option that is passed to the library only when given; `default` is the library's."""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return tyro.conf.arg(help=text, help_behavior_hint=f"(default: the library's, {shown})", metavar=metavar)


def optional(text: str, hint: str, **options: Any) -> Any:
    """Help for an option that may be None; `hint` says what that means."""
    return tyro.conf.arg(help=text, help_behavior_hint=f"(default: {hint})", **options)


def given(**values: Any) -> dict[str, Any]:
    """Those values that are not None, to be passed to the library."""
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Run:
    """Files."""

    output: Annotated[
        Path | None, optional("Folder for all results.", "outputs/EXPERIMENT", metavar="DIR")
    ] = None
    config: Annotated[
        Path | None,
        optional(
            "config.json of an earlier run, or any JSON file with some of these options; options on the "
            "command line override it.",
            "none",
            metavar="FILE",
        ),
    ] = None
    figures: bool = True
    """Draw figures."""
    quiet: bool = False
    """Show no progress bar."""


class Options:
    """All options, a frozen dataclass of groups; no two groups have an option of one name.

    Each field is a group, a frozen dataclass that can be made without arguments; one is `run`.
    """

    run: Run

    def groups(self) -> dict[str, Any]:
        """The groups by their names."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def flat(self) -> dict[str, Any]:
        """Names and values of all options."""
        return {
            field.name: getattr(group, field.name)
            for group in self.groups().values()
            for field in dataclasses.fields(group)
        }

    def recorded(self) -> dict[str, Any]:
        """What a later run can take over by --config."""
        return {name: value for name, value in self.flat().items() if name not in NOT_IN_FILES}


T = TypeVar("T", bound=Options)


# Where their values come from.

REGISTRY = tyro.constructors.ConstructorRegistry()
"""How tyro reads options that may be None."""


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
        check: Raises `OptionError` for values that do not fit.

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
    if check is not None:
        check(options)
    return options


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


# What does not fit.


def option_name(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def require_integers(options: Options, names: Sequence[str], smallest: int) -> None:
    """Raise `OptionError` for one, or an item of one, that is given and below `smallest` or above 2³¹ − 1."""
    values = options.flat()
    for name in names:
        for value in _items(values[name]):
            if not smallest <= value < 2**31:
                raise OptionError(
                    f"{option_name(name)} must be an integer of at least {smallest}, got {value}"
                )


def require_positive(options: Options, names: Sequence[str]) -> None:
    """Raise `OptionError` for one, or an item of a tuple, that is given and not a positive number."""
    values = options.flat()
    for name in names:
        for value in _items(values[name]):
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{option_name(name)} must be a positive number, got {value}")


def _items(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def refuse(condition: bool, option: str, other: str, reason: str) -> None:
    """Raise `OptionError` under this condition: the option does not go together with the other."""
    if condition:
        raise OptionError(f"{option} does not go together with {other}, {reason}")


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
