"""How records are printed."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from rpm_jax._structure import freeze

WIDTH = 88
"""Characters that a line may have before it is broken."""


def describe(value: Any, indent: int = 0) -> str:
    """A record, or what may stand in one, as text that can be read.

    Fields that have their default are left out, arrays are their type and shape, functions their name; what
    does not fit on a line is broken at its fields.

    Args:
        value: Anything.
        indent: Of the line it stands on.
    """
    if hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _group(type(value).__name__ + "(", _fields(value), ")", indent)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = list(zip(value._fields, value, strict=True))
        return _group(type(value).__name__ + "(", parts, ")", indent)
    if isinstance(value, tuple):
        parts = [("", item) for item in value]
        return _group("(", parts, ",)" if len(parts) == 1 else ")", indent)
    if isinstance(value, list):
        return _group("[", [("", item) for item in value], "]", indent)
    if isinstance(value, dict):
        return _group("{", [(f"{key!r}: ", item) for key, item in value.items()], "}", indent)
    if isinstance(value, functools.partial):
        parts = [("", value.func), *(("", item) for item in value.args), *value.keywords.items()]
        return _group("partial(", parts, ")", indent)
    if callable(value) and hasattr(value, "__name__"):
        return _name(value)
    return repr(value)


def _name(function: Callable) -> str:
    owner = getattr(function, "__self__", None)
    if inspect.ismethod(function) and owner is not None:
        return f"{describe(owner)}.{function.__name__}"
    return function.__name__


def _fields(value: Any) -> list[tuple[str, Any]]:
    shown = []
    for field in dataclasses.fields(value):
        if field.repr and field.name not in ("parent",) and hasattr(value, field.name):
            item = getattr(value, field.name)
            if not _is_default(field, item):
                shown.append((field.name, item))
    return shown


def _is_default(field: dataclasses.Field, item: Any) -> bool:
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return item is default or freeze(item) == freeze(default)


def _group(opening: str, parts: list[tuple[str, Any]], closing: str, indent: int) -> str:
    def label(name: str) -> str:
        return name + "=" if name.isidentifier() else name

    line = opening + ", ".join(label(name) + describe(item, indent) for name, item in parts) + closing
    if len(line) + indent <= WIDTH and "\n" not in line:
        return line
    inner = indent + 2
    lines = [" " * inner + label(name) + describe(item, inner) for name, item in parts]
    return opening + "\n" + ",\n".join(lines) + ",\n" + " " * indent + closing.lstrip(",")
