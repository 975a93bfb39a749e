"""What an option is: its default, its help, the values it may have, and the groups that options come in."""

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

try:
    import tyro
except ImportError as error:
    raise SystemExit('The experiments need some more packages: pip install -e ".[experiments]"') from error

NOT_IN_FILES = ("output", "config", "quiet")
"""Options of which a run's config.json keeps no value to be taken over by the next run."""

Group = TypeVar("Group", bound=type)
Data = TypeVar("Data")
Model = TypeVar("Model")
Training = TypeVar("Training")


class OptionError(ValueError):
    """An option, or an entry of a configuration file, that does not fit."""


@dataclasses.dataclass(frozen=True)
class _Option:
    """What a field's metadata keep of an option.

    Attributes:
        help: Its help.
        shown: What its help says of the default, if that is None.
        metavar: What its value is called, if not by its type.
        alias: Another name of it.
        least: The smallest integer it may be, or have as an item.
        positive: Whether it, or every item, has to be a positive number.
        library: What the library does where it is None, if the library decides then.
    """

    help: str
    shown: str | None
    metavar: str | None
    alias: str | None
    least: int | None
    positive: bool
    library: Any = None


def option(
    default: Any,
    help: str,
    *,
    shown: str | None = None,
    metavar: str | None = None,
    alias: str | None = None,
    least: int | None = None,
    positive: bool = False,
) -> Any:
    """An option as a field of a `group`.

    Args:
        default: Its value where it is not given.
        help: A sentence or two.
        shown: What stands for a default of None.
        metavar: What the value is called; None: by its type.
        alias: A short name, such as "-N".
        least: The smallest integer allowed, of a tuple for every item.
        positive: Whether only positive numbers are allowed, in a tuple too.
    """
    return dataclasses.field(
        default=default, metadata={"option": _Option(help, shown, metavar, alias, least, positive)}
    )


def library(value: Any, help: str, **more: Any) -> Any:
    """An option that is passed to the library only when given.

    Args:
        value: What the library does else, for help and config.json.
        help: A sentence or two.
        **more: Of `option`.
    """
    words = " ".join(map(str, value)) if isinstance(value, tuple) else value
    made = option(None, help, shown=f"the library's, {words}", **more)
    kept = dataclasses.replace(made.metadata["option"], library=value)
    return dataclasses.field(default=None, metadata={"option": kept})


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def group(kind: Group) -> Group:
    """A frozen dataclass of options, or of groups of them, whose docstring heads their help."""
    annotations = inspect.get_annotations(kind)
    for name, hint in annotations.items():
        found = _option_of(kind.__dict__.get(name))
        if found is not None:
            shown = None if found.shown is None else f"(default: {found.shown})"
            names = None if found.alias is None else [found.alias]
            # tyro tells what is not given by its absence.
            words = {"metavar": found.metavar, "help_behavior_hint": shown, "aliases": names}
            argument = tyro.conf.arg(help=found.help, **given(**words))
            annotations[name] = Annotated[hint, argument]
    kind.__annotations__ = annotations
    return typing.cast(Group, dataclasses.dataclass(frozen=True, kw_only=True)(kind))


def _option_of(field: Any) -> _Option | None:
    return field.metadata.get("option") if isinstance(field, dataclasses.Field) else None


def given(**values: Any) -> dict[str, Any]:
    """Those values that are not None, to be passed to the library."""
    return {name: value for name, value in values.items() if value is not None}


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The default values of a library function's arguments."""
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


@group
class Run:
    """Files."""

    output: Path | None = option(None, "Folder for all results.", shown="outputs/EXPERIMENT", metavar="DIR")
    config: Path | None = option(
        None,
        "config.json of an earlier run, or any JSON file with some of these options; options on the command "
        "line override it.",
        shown="none",
        metavar="FILE",
    )
    figures: bool = option(True, "Draw figures.")
    quiet: bool = option(False, "Show no progress bar.")


class AllOptions(Generic[Data, Model, Training]):
    """All options, a `group` of groups; no two groups have an option of one name.

    A subclass names the groups of data, model and training, has others for fields, and gets `run`, the last;
    each can be made without arguments.
    """

    data: Data
    model: Model
    training: Training
    run: Run

    def __init_subclass__(cls) -> None:
        (base,) = cls.__dict__.get("__orig_bases__", (None,))
        if typing.get_origin(base) is AllOptions:
            named = dict(zip(("data", "model", "training"), typing.get_args(base), strict=True))
            cls.__annotations__ = {**named, **inspect.get_annotations(cls), "run": Run}
            for name, kind in (*named.items(), ("run", Run)):
                setattr(cls, name, kind())

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
        values = {name: value for name, value in self.flat().items() if name not in NOT_IN_FILES}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def library_defaults(self) -> dict[str, Any]:
        """What the library does for those of its options that are not given."""
        values = self.flat()
        return {
            name: found.library
            for name, found in self._declared()
            if found.library is not None and values[name] is None
        }

    def check(self) -> None:
        """Raise `OptionError` for a value that its option does not allow by itself."""
        values = self.flat()
        for name, found in self._declared():
            value = values[name]
            for item in () if value is None else value if isinstance(value, tuple) else (value,):
                if found.least is not None and not found.least <= item < 2**31:
                    raise OptionError(
                        f"{option_name(name)} must be an integer of at least {found.least}, got {item}"
                    )
                if found.positive and not (math.isfinite(item) and item > 0):
                    raise OptionError(f"{option_name(name)} must be a positive number, got {item}")

    def _declared(self) -> Iterator[tuple[str, _Option]]:
        for each in self.groups().values():
            for field in dataclasses.fields(each):
                found = _option_of(field)
                if found is not None:
                    yield field.name, found


# What does not fit together.


def option_name(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def refuse(condition: bool, option: str, other: str, reason: str) -> None:
    """Raise `OptionError` under this condition: the option does not go together with the other."""
    if condition:
        raise OptionError(f"{option} does not go together with {other}, {reason}")


def require_different(name: str, values: tuple[Any, ...] | None) -> None:
    """Raise `OptionError` for a given list that is empty, or has a value twice."""
    if values is not None and len(set(values)) < max(1, len(values)):
        raise OptionError(
            f"{option_name(name)} must be at least one value, and none twice, got "
            f"{' '.join(map(str, values)) or 'none'}"
        )
