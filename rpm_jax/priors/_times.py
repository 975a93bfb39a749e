"""Times of whatever kind as numbers that a kernel can take differences of."""

import datetime
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import require_finite

ROUNDING = 0.01
"""The largest part of a step between times that may be lost to rounding without a warning."""


def as_locations(times: Any) -> Array:
    """Sites' times, or locations in D dimensions, since the first one.

    The first is subtracted before anything is rounded: Unix seconds and Julian dates have no digits left for
    the steps between them in single precision.

    Args:
        times: Shape (T,), strictly increasing: numbers in any unit, or dates or durations (NumPy's, pandas',
            the standard library's), which become seconds. Or locations, shape (T, D), in any order.

    Returns:
        Of floating-point type, single precision or more, the first at 0.

    Raises:
        TypeError: For things that are neither numbers nor dates.
        ValueError: For other shapes, missing or infinite values, times that are not strictly increasing, or
            whose steps are lost in JAX's precision.
    """
    if isinstance(times, jax.core.Tracer):
        _check_shape(times.shape)
        times = times.astype(_floating_type(times.dtype))
        return times - times[0]
    values, dtype = _since_first(times)
    require_finite("times", values)
    if values.ndim == 1:
        _check_increasing(values, times)
    limits = np.finfo(dtype)
    if np.abs(values).max() > limits.max:
        raise ValueError(
            f"times: they range over {np.abs(values).max():.3g} of their units, more than {dtype} can hold; "
            "take a larger unit"
        )
    rounded = values.astype(dtype)
    if values.ndim == 1 and len(values) > 1:
        _check_rounding(np.diff(values), np.diff(rounded), dtype)
    return jnp.asarray(rounded)


def _since_first(times: Any) -> tuple[np.ndarray, Any]:
    """Times since the first in double precision, and the type that they are to be rounded to."""
    if np.ma.is_masked(times):
        raise ValueError("times must all be known, got a masked array with masked entries; drop these sites")
    array = np.asarray(times)
    if array.dtype == object:
        array = _from_objects(array)
    _check_shape(array.shape)
    kind = array.dtype.kind
    if kind in "Mm":
        if np.isnat(array).any():
            where = tuple(int(i) for i in np.argwhere(np.isnat(array))[0])
            raise ValueError(f"times must be finite, got NaT (no time), the first at index {where}")
        return (array - array[0]) / np.timedelta64(1, "s"), _floating_type(float)
    if not jnp.issubdtype(array.dtype, jnp.floating) and kind not in "iu":
        raise TypeError(
            f"times must be numbers, dates or durations, got an array of {array.dtype}; "
            "numpy.asarray(times, 'datetime64[ns]') reads dates in text"
        )
    if kind in "iu" and array.dtype.itemsize == 8:
        # Differences as Python's integers: double precision loses digits beyond 2⁵³.
        return np.asarray(array.astype(object) - array[:1].astype(object), float), _floating_type(float)
    values = array.astype(float)
    # Infinity less infinity is NaN, which would name another entry than the infinite one.
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = np.where(
            np.isfinite(values), values - np.where(np.isfinite(values[0]), values[0], 0.0), values
        )
    return shifted, _floating_type(array.dtype)


def _floating_type(dtype: Any) -> Any:
    """Single or double precision, by the type of the times and what JAX has been set to."""
    dtype = np.dtype(dtype)
    is_low = jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize <= 4
    return np.dtype(np.float32) if is_low else jax.dtypes.canonicalize_dtype(np.float64)


def _from_objects(array: np.ndarray) -> np.ndarray:
    """An array of Python's or pandas' dates, durations or numbers as one of NumPy's types."""
    flat = array.reshape(-1)
    if all(isinstance(value, datetime.date) for value in flat):
        return np.array([_without_zone(value) for value in flat]).reshape(array.shape)
    if all(isinstance(value, datetime.timedelta) for value in flat):
        return np.array([np.timedelta64(value) for value in flat]).reshape(array.shape)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in flat):
        first = array[:1]
        return np.asarray(array - first, float)
    try:
        return array.astype(float)
    except (TypeError, ValueError) as error:
        kinds = sorted({type(value).__name__ for value in flat})
        raise TypeError(f"times must be numbers, dates or durations, got {', '.join(kinds)}") from error


def _without_zone(date: Any) -> np.datetime64:
    """A date as NumPy has it, in universal time where it has a zone."""
    if isinstance(date, datetime.datetime) and date.tzinfo is not None:
        date = date.astimezone(datetime.UTC).replace(tzinfo=None)
    return date.to_datetime64() if hasattr(date, "to_datetime64") else np.datetime64(date)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(
            "times must be a vector of at least one time, or locations of shape (T, D), got shape "
            f"{tuple(shape)}"
        )


def _check_increasing(values: np.ndarray, times: Any) -> None:
    steps = np.diff(values)
    if not (steps > 0).all():
        first = int(np.argmax(~(steps > 0)))
        given = np.asarray(times)
        raise ValueError(
            f"times must be strictly increasing, but times[{first}] = {given[first]} is followed by "
            f"{given[first + 1]}; sort them, and merge or drop equal ones"
        )


def _check_rounding(steps: np.ndarray, rounded: np.ndarray, dtype: Any) -> None:
    """Refuse steps that vanish when times are rounded, and warn where they change much."""
    if not (rounded >= np.finfo(dtype).tiny).all():
        first = int(np.argmax(~(rounded >= np.finfo(dtype).tiny)))
        raise ValueError(
            f"times: the step of {steps[first]:.3g} after times[{first}] is lost in {dtype}, which JAX "
            "computes in; take another unit, or set jax.config.update('jax_enable_x64', True)"
        )
    change = np.abs(rounded.astype(float) / steps - 1.0)
    if change.max() > ROUNDING:
        warnings.warn(
            f"times: the step after times[{int(np.argmax(change))}] changes by {change.max():.1%} when it is "
            f"rounded to {dtype}, which JAX computes in; jax.config.update('jax_enable_x64', True) helps",
            stacklevel=7,
        )
