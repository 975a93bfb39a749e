"""Equality of pytrees by what is in them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpm_jax._structure import freeze

ARRAYS = "biufcV"
"""Kinds of numpy's types that JAX computes with (V: bfloat16 and smaller)."""


def is_array(value: Any) -> bool:
    """Whether `value` is something that JAX computes with: an array, a numpy scalar, a key, a tracer."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in ARRAYS and value.dtype.names is None
    return isinstance(value, jax.Array | jax.ShapeDtypeStruct)


def equal(self: Any, other: object) -> bool:
    """`__eq__` of pytrees: the same class, structure, and contents of arrays.

    Arrays are equal where types, shapes and bits are, so that NaN equals NaN; traced arrays equal only
    themselves.
    """
    if self is other:
        return True
    if type(self) is not type(other):
        return NotImplemented
    own: tuple[list, Any] = jax.tree.flatten(self)
    others: tuple[list, Any] = jax.tree.flatten(other)
    return bool(own[1] == others[1]) and all(map(_same_array, own[0], others[0]))


def _same_array(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if not is_array(first) or not is_array(second):
        return freeze(first) == freeze(second)
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if any(isinstance(array, jax.core.Tracer | jax.ShapeDtypeStruct) for array in (first, second)):
        return isinstance(first, jax.ShapeDtypeStruct) and isinstance(second, jax.ShapeDtypeStruct)
    if jnp.issubdtype(first.dtype, jax.dtypes.prng_key):
        first, second = jax.random.key_data(first), jax.random.key_data(second)
    return np.asarray(first).tobytes() == np.asarray(second).tobytes()


def structural_hash(self: Any) -> int:
    """`__hash__` that goes with `equal`: of the class and the structure, arrays left out."""
    return hash((type(self), jax.tree.structure(self)))
