"""Distances between locations in units of a length scale, with gradients that are finite everywhere."""

import jax.numpy as jnp
from jax import Array

FAR = 1e15
"""The largest distance, in length scales, that is told from larger ones, so that squares do not overflow."""


def differences(x: Array, y: Array | None) -> Array:
    """Coordinates x − y of all pairs, shape (T, S, D), D = 1 for locations of shape (T,).

    Raises:
        ValueError: For locations of other shapes, or of different numbers of dimensions.
    """
    y = x if y is None else y
    if x.ndim not in (1, 2) or y.ndim not in (1, 2) or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"locations x and y must have shapes (T,) and (S,), or (T, D) and (S, D), got {x.shape} "
            f"and {y.shape}"
        )
    if x.ndim == 1:
        x, y = x[:, None], y[:, None]
    return x[:, None] - y[None]


def differences_in_time(kernel: str, x: Array, y: Array | None) -> Array:
    """Differences x − y of all pairs of times, shape (T, S).

    Raises:
        ValueError: For locations in several dimensions.
    """
    difference = differences(x, y)
    if difference.shape[-1] != 1:
        raise ValueError(
            f"{kernel}: a kernel in time, got locations in {difference.shape[-1]} dimensions; name the one "
            f"of time by kernels.on({kernel}(...), 0)"
        )
    return difference[..., 0]


def scaled_differences(x: Array, y: Array | None, rate: Array) -> Array:
    """|x − y| r by coordinate, shape (T, S, D); r = 1/ℓ a number or shape (D,).

    Raises:
        ValueError: For length scales of another number of dimensions.
    """
    difference = jnp.abs(differences(x, y))
    if rate.shape not in ((), difference.shape[-1:]):
        raise ValueError(
            f"lengthscale must be one number, or one for each of the locations' {difference.shape[-1]} "
            f"dimensions, got {rate.shape[0]}"
        )
    return jnp.minimum(difference * rate, FAR)


def scaled_steps(times: Array, rate: Array) -> Array:
    """(t_i+1 − t_i) r, shape (T − 1,).

    Raises:
        ValueError: For times of another shape than (T,), or several length scales.
    """
    if times.ndim != 1 or rate.shape not in ((), (1,)):
        raise ValueError(
            "a process in Markov form has times of shape (T,) and one length scale, got shapes "
            f"{times.shape} and {rate.shape}"
        )
    return jnp.minimum(jnp.diff(times) * rate, FAR)


def squared_distance(x: Array, y: Array | None, rate: Array) -> Array:
    """Σ_d (x_d − y_d)² r_d², shape (T, S)."""
    return jnp.sum(jnp.square(scaled_differences(x, y, rate)), axis=-1)


def distance(x: Array, y: Array | None, rate: Array) -> Array:
    """Its root, shape (T, S), whose derivative at 0 is 0 here."""
    scaled = scaled_differences(x, y, rate)
    if scaled.shape[-1] == 1:
        return scaled[..., 0]
    squared = jnp.sum(jnp.square(scaled), axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
