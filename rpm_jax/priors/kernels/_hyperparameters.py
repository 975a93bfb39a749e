"""Positive hyperparameters: given or taken from the locations, learned as logarithms or fixed."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

SPACINGS = math.sqrt(1 / 0.8)
"""Initial length scale in units of the median spacing of the locations: at 50 times on [0, 1] it makes the
radial basis function's bandwidth 1/(2ℓ²) 960, near the 1000 that is usual for this model."""

Scale = float | tuple[float, ...] | None
"""A positive number, one for each dimension, or None to take it from the locations."""


def check(kernel: str, fixed: tuple[str, ...], **values: Scale) -> None:
    """Check hyperparameters by name, and the names of those that are fixed.

    Raises:
        TypeError: For `fixed` that is no tuple.
        ValueError: For values that are not positive and finite, unknown names in `fixed`, or one in `fixed`
            that has no value.
    """
    if isinstance(fixed, str):
        raise TypeError(f"{kernel}: fixed must be a tuple of names, such as ({fixed!r},), got {fixed!r}")
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if value is not None and not (numbers and all(_is_positive(number) for number in numbers)):
            raise ValueError(f"{kernel}: {name} must be positive and finite, got {value!r}")
    for name in fixed:
        if name not in values:
            raise ValueError(f"{kernel}: fixed must name some of {', '.join(values)}, got {name!r}")
        if values[name] is None:
            raise ValueError(
                f"{kernel}: {name} is to be fixed, so it needs a value: {name}=None takes its initial value "
                "from the locations, which are not known where covariances between others are asked for"
            )


def _is_positive(number: Any) -> bool:
    return isinstance(number, float) and 0 < number < math.inf


def init(
    locations: Array, fixed: tuple[str, ...], defaults: dict[str, Array] | None = None, **values: Scale
) -> dict[str, Array]:
    """Logarithms of the initial values of all hyperparameters but the fixed ones.

    Args:
        locations: Whose type the parameters get.
        fixed: Names that are left out.
        defaults: Values for those that are None.
        values: The hyperparameters.
    """
    dtype = jnp.result_type(locations, 0.0)
    params = {}
    for name, value in values.items():
        if name in fixed:
            continue
        if value is None:
            params[f"log_{name}"] = jnp.log((defaults or {})[name]).astype(dtype)
        else:
            params[f"log_{name}"] = jnp.asarray(_log(value), dtype)
    return params


def _log(value: float | tuple[float, ...]) -> Any:
    return [math.log(number) for number in value] if isinstance(value, tuple) else math.log(value)


def inverse_of(name: str, params: Any, given: Scale, locations: Array) -> Array:
    """Its inverse, whose derivative has no square of it, which may be out of range where the value is not."""
    if f"log_{name}" in params:
        return jnp.exp(-params[f"log_{name}"])
    return 1.0 / jnp.asarray(given, jnp.result_type(locations, 0.0))


def value_of(name: str, params: Any, given: Scale, locations: Array) -> Array:
    """A hyperparameter: learned, or as it was given."""
    if f"log_{name}" in params:
        return jnp.exp(params[f"log_{name}"])
    return jnp.asarray(given, jnp.result_type(locations, 0.0))


def initial_lengthscale(locations: Array, by_dimension: bool = False) -> Array:
    """1.1 median spacings of distinct locations, from each to its nearest neighbour (1-d: to the next).

    Args:
        locations: Shape (T,) or (T, D).
        by_dimension: Whether each dimension gets one of its own, in proportion to the locations' deviation.

    Returns:
        A number, or shape (D,); 1 where there is no other location.
    """
    if locations.ndim == 1 or locations.shape[1] == 1:
        spacing = SPACINGS * _median_of_positive(jnp.diff(jnp.sort(locations.reshape(-1))))
        return jnp.reshape(spacing, (1,)) if by_dimension and locations.ndim == 2 else spacing
    unit = jnp.ones(locations.shape[1], locations.dtype)
    if by_dimension:
        # Centred at the first location and scaled by the range, whose squares may be out of range.
        span = jnp.max(locations, axis=0) - jnp.min(locations, axis=0)
        unit = jnp.where(span > 0, span, 1.0)
        unit = unit * jnp.maximum(jnp.std((locations - locations[0]) / unit, axis=0), 1e-6)
    largest = jnp.max(jnp.abs((locations - locations[0]) / unit))
    largest = jnp.where(largest > 0, largest, 1.0)
    scaled = (locations - locations[0]) / unit / largest
    squared = jnp.sum(jnp.square(scaled[:, None] - scaled), axis=-1)
    nearest = jnp.sqrt(jnp.min(jnp.where(squared > 0, squared, jnp.inf), axis=1, initial=jnp.inf))
    spacing = SPACINGS * _median_of_positive(jnp.where(jnp.isfinite(nearest), nearest, 0.0)) * largest
    return spacing * unit if by_dimension else spacing


def _median_of_positive(values: Array) -> Array:
    """The median of those that are positive; 1/SPACINGS if there are none."""
    if not values.size:
        return jnp.asarray(1 / SPACINGS, values.dtype)
    median = jnp.nanmedian(jnp.where(values > 0, values, jnp.nan))
    return jnp.where(jnp.isnan(median), 1 / SPACINGS, median)
