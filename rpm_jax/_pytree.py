"""Immutable dataclasses that JAX transforms as pytrees."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def static_field(**options: Any) -> Any:
    """A dataclass field that is part of the pytree's structure, not one of its leaves."""
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(static_field, dataclasses.field))
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and register it as a pytree.

    Unlike `jax.tree_util.register_dataclass`, rebuilding an instance from its leaves skips
    `__init__` and `__post_init__`: JAX puts tangents, `None` and sentinels in the place of
    arrays, which a constructor that validates its arguments would refuse.

    Args:
        cls: A class with annotated fields; those made by `static_field` belong to the structure.

    Returns:
        The frozen, registered dataclass.
    """
    cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data_names = tuple(f.name for f in fields if not f.metadata.get("static", False))
    static_names = tuple(f.name for f in fields if f.metadata.get("static", False))
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data_names)

    def flatten(instance: T) -> tuple[tuple, tuple]:
        return (
            tuple(getattr(instance, name) for name in data_names),
            tuple(getattr(instance, name) for name in static_names),
        )

    def flatten_with_keys(instance: T) -> tuple[tuple, tuple]:
        leaves, static = flatten(instance)
        return tuple(zip(keys, leaves, strict=True)), static

    def unflatten(static: tuple, leaves: Any) -> T:
        instance = object.__new__(cls)
        for name, value in zip(data_names, leaves, strict=True):
            object.__setattr__(instance, name, value)
        for name, value in zip(static_names, static, strict=True):
            object.__setattr__(instance, name, value)
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
