"""Arrays from one dtype to another, without a changed number."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EXTENDED = tuple(map(np.dtype, {np.longdouble, np.clongdouble} - {np.float64, np.complex128}))
"""What NumPy has and JAX has not."""


def dtype_of(leaf: Any) -> np.dtype:
    """The dtype of an array, or of what JAX makes of a Python number."""
    return np.dtype(leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf))


def is_held(dtype: np.dtype) -> bool:
    """Whether JAX has arrays of this dtype in this process."""
    return jax.dtypes.canonicalize_dtype(dtype) == dtype


def convert(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The same numbers in another dtype; from one floating-point dtype to another they are rounded.

    Raises:
        ValueError: If one of them would become another number, or infinite.
    """
    if array.dtype == dtype:
        return array
    # NumPy warns of imaginary parts that get lost, and gives no error state for that.
    through = np.real(array) if not jnp.issubdtype(dtype, jnp.complexfloating) else array
    with np.errstate(all="ignore"):
        converted = through.astype(dtype)
        kept = _is_kept(array, through, converted)
    if not np.all(kept):
        raise ValueError(f"{name} holds {array[~kept].flat[0]} of {array.dtype}, which {dtype} does not hold")
    return converted


def _is_kept(array: np.ndarray, through: np.ndarray, converted: np.ndarray) -> Any:
    rounds = all(jnp.issubdtype(x.dtype, jnp.inexact) for x in (array, converted))
    if rounds:
        return (array == through) & (np.isfinite(converted) == np.isfinite(array)) | (array != array)
    # Signs too: an integer that wraps comes back as itself.
    return (converted.astype(array.dtype) == array) & ((converted < 0) == (through < 0))
