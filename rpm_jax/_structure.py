"""What two records must have in common to share a compiled program: values and types at every depth."""

import dataclasses
import functools
import sys
import types
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np


class Identity:
    """Something without equality of its own: equal to itself alone, and kept alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return object.__hash__(self.value)


def freeze(value: Any) -> Hashable:
    """A hashable form that is equal for equal values of the same types, at every depth.

    Python's own equality is not enough for what a compiled program depends on: 1 == 1.0 == True, NamedTuples
    of different classes are equal where their items are, −0.0 == 0.0, and NaN differs from itself. Functions,
    and objects that cannot be hashed, are compared by identity; dataclasses by type and fields;
    `functools.partial` and bound methods by their parts.
    """
    kind = type(value)
    if kind in (int, bool, str, bytes, type(None)):
        return (kind, value)
    if isinstance(value, float):
        return (kind, value.hex())
    if isinstance(value, complex):
        return (kind, value.real.hex(), value.imag.hex())
    if isinstance(value, tuple | list):
        return (kind, *map(freeze, value))
    if isinstance(value, Mapping):
        return (kind, *((freeze(key), freeze(item)) for key, item in value.items()))
    if isinstance(value, set | frozenset):
        return (kind, frozenset(map(freeze, value)))
    if isinstance(value, functools.partial):
        return (kind, freeze(value.func), freeze(value.args), freeze(value.keywords))
    if isinstance(value, types.MethodType):
        return (kind, freeze(value.__self__), Identity(value.__func__))
    if isinstance(value, np.dtype):
        return (kind, value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = _compared(value)
        if names is None:
            return (kind, Identity(value))
        return (kind, *((name, freeze(getattr(value, name, None))) for name in names))
    if isinstance(value, types.FunctionType | np.ndarray):
        return (kind, Identity(value))
    try:
        hash(value)
    except TypeError:
        return (kind, Identity(value))
    return (kind, value)


def _compared(value: Any) -> list[str] | None:
    """The fields of a dataclass that say what it is, or None where it holds more than its fields."""
    names = [field.name for field in dataclasses.fields(value)]
    linen = sys.modules.get("flax.linen")
    if linen is not None and isinstance(value, linen.Module):
        return None if value.scope is not None else [name for name in names if name != "parent"]
    own = {name for name in getattr(value, "__dict__", {}) if name not in names and name != MEMORY}
    if any(not isinstance(getattr(type(value), name, None), functools.cached_property) for name in own):
        return None
    return names


MEMORY = "_flattened"
"""The attribute in which a record keeps how it was flattened."""
