"""Immutable dataclasses that JAX transforms as pytrees."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

from rpm_jax._equality import equal, structural_hash
from rpm_jax._structure import freeze

T = TypeVar("T")


def static_field(**options: Any) -> Any:
    """A dataclass field that is part of the pytree's structure, not one of its leaves."""
    return dataclasses.field(metadata={"static": True}, **options)


class Static:
    """The values of static fields, compared with their types.

    Attributes:
        values: One for each field.
    """

    __slots__ = ("_key", "values")

    def __init__(self, values: tuple) -> None:
        self.values = values
        self._key = freeze(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Static{self.values}"


@dataclass_transform(frozen_default=True, field_specifiers=(static_field, dataclasses.field))
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and register it as a pytree.

    Unlike `jax.tree_util.register_dataclass`, rebuilding an instance from its leaves skips
    `__init__` and `__post_init__`: JAX puts tangents, `None` and sentinels in the place of
    arrays, which a constructor that validates its arguments would refuse.

    Static fields are compared with their types (1 is not 1.0), instances by type, static fields and the
    contents of their arrays.

    Args:
        cls: A class with annotated fields; those made by `static_field` belong to the structure.

    Returns:
        The frozen, registered dataclass.
    """
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    cls.__eq__ = equal  # type: ignore[method-assign]
    cls.__hash__ = structural_hash  # type: ignore[method-assign]
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data_names = tuple(f.name for f in fields if not f.metadata.get("static", False))
    static_names = tuple(f.name for f in fields if f.metadata.get("static", False))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data_names)

    def flatten(instance: T) -> tuple[tuple, Static]:
        return (
            tuple(getattr(instance, name) for name in data_names),
            Static(tuple(getattr(instance, name) for name in static_names)),
        )

    def flatten_with_keys(instance: T) -> tuple[tuple, Static]:
        leaves, static = flatten(instance)
        return tuple(zip(keys, leaves, strict=True)), static

    def unflatten(static: Static, leaves: Any) -> T:
        instance = object.__new__(cls)
        for name, value in zip(data_names, leaves, strict=True):
            object.__setattr__(instance, name, value)
        for name, value in zip(static_names, static.values, strict=True):
            object.__setattr__(instance, name, value)
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
