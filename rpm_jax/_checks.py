"""Messages for arguments that do not fit: which one, what came, what was expected."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def is_concrete(value: Any) -> bool:
    """Whether the value is known now, outside of `jit` and other transformations."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def require_finite(name: str, array: Array | np.ndarray, advice: str = "") -> None:
    """Raise `ValueError` where a known array holds NaN or infinity; traced arrays pass."""
    if not is_concrete(array) or not jnp.issubdtype(array.dtype, jnp.inexact):
        return
    finite = np.isfinite(np.asarray(array))
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{name} must be finite, got {int((~finite).sum())} NaN or infinite numbers of {finite.size}, "
            f"the first at index {where}. {advice}".rstrip()
        )


def caller_level() -> int:
    """The `stacklevel` at which a warning of the function that asks points outside of this package."""
    package = __name__.split(".")[0]
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level


def check_index(index: tuple, shape: tuple[int, ...]) -> None:
    """Raise `IndexError` for a known index that leaves an array; JAX takes the nearest entry in its place.

    Args:
        index: As in `array[index]`.
        shape: Of the array.
    """
    if is_concrete(index):
        known = tuple(np.asarray(item) if isinstance(item, Array) else item for item in index)
        _ = np.broadcast_to(np.zeros((), bool), shape)[known]


def require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def require_positive_integer(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def require_boolean(name: str, value: Any) -> None:
    """Raise `TypeError` unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def require_number(
    name: str, value: Any, *, at_least: float | None = None, above: float | None = None
) -> None:
    """Raise unless `value` is a finite real number in its range.

    Raises:
        TypeError: For anything but a number.
        ValueError: For one that is not finite, or too small.
    """
    if isinstance(value, bool | str | bytes) or (not np.isscalar(value) and np.shape(value) != ()):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if above is not None and not above < number < np.inf:
        kind = "positive" if above == 0 else f"above {above:g}"
        raise ValueError(f"{name} must be {kind} and finite, got {value}")
    if at_least is not None and not at_least <= number < np.inf:
        raise ValueError(f"{name} must be at least {at_least:g} and finite, got {value}")
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value}")


def require_instance(name: str, value: Any) -> None:
    """Raise `TypeError` for a class in the place of an instance."""
    if isinstance(value, type):
        raise TypeError(
            f"{name} must be an instance, got the class {value.__name__}; call it: {value.__name__}(...)"
        )


def as_keys(name: str, key: Any, ndim: int) -> Array:
    """Random keys of the new type, made of those of the old type if need be.

    Raises:
        TypeError: For anything that is not a key, or another number of axes than `ndim`.
    """
    array = key if hasattr(key, "dtype") else None
    if array is not None and array.dtype == jnp.uint32 and array.shape[-1:] == (2,):
        array = jax.random.wrap_key_data(array)
    if array is None or not jnp.issubdtype(array.dtype, jax.dtypes.prng_key) or array.ndim != ndim:
        expected = "a random key such as jax.random.key(0)"
        if ndim == 1:
            expected = "random keys, one per run, such as jax.random.split(jax.random.key(0), 8)"
        raise TypeError(f"{name} must be {expected}, got {key!r}")
    return array
