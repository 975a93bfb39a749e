"""Whether intervals hold what they say: the share of truths within them."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from rpm_jax._arrays import as_floating
from rpm_jax._checks import is_concrete, require_finite

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Of the intervals, by default."""


def interval_coverage(
    truth: ArrayLike,
    mean: ArrayLike,
    standard_deviation: ArrayLike,
    *,
    levels: Sequence[float] = LEVELS,
    axis: int | tuple[int, ...] | None = None,
) -> Array:
    """The share of truths within central Gaussian intervals, which calibrated ones make equal to the level.

        share of |z − m| ≤ Φ⁻¹((1 + level) / 2) σ

    Args:
        truth: z, of any shape.
        mean: m, of the same shape.
        standard_deviation: σ ≥ 0, of the same shape.
        levels: L levels between 0 and 1.
        axis: Axes that are averaged over, such as (0, 2) of (N, H, K) to keep the horizons; None: all.

    Returns:
        Shape (L, ...) with the axes that are left.

    Raises:
        ValueError: If the shapes differ, for NaN, infinity and negative deviations, where they are known, or
            a level that is not between 0 and 1.
    """
    name = "interval_coverage"
    true, centre, deviation = (
        as_floating(f"{name}: {argument}", value)
        for argument, value in [
            ("truth", truth),
            ("mean", mean),
            ("standard_deviation", standard_deviation),
        ]
    )
    if not true.shape == centre.shape == deviation.shape or not true.size:
        raise ValueError(
            f"{name}: truth, mean and standard_deviation must have one shape and not be empty, got "
            f"{true.shape}, {centre.shape} and {deviation.shape}"
        )
    for argument, array in [("truth", true), ("mean", centre), ("standard_deviation", deviation)]:
        require_finite(f"{name}: {argument}", array)
    if is_concrete(deviation) and bool(jnp.any(deviation < 0)):
        raise ValueError(
            f"{name}: standard_deviation must be at least 0, got {float(jnp.min(deviation)):.3g}"
        )
    widths = ndtri((1 + jnp.asarray(_checked_levels(name, levels), true.dtype)) / 2)
    return jnp.stack(
        [jnp.mean(jnp.abs(true - centre) <= w * deviation, axis=axis, dtype=true.dtype) for w in widths]
    )


def sample_coverage(
    truth: ArrayLike,
    samples: ArrayLike,
    *,
    levels: Sequence[float] = LEVELS,
    axis: int | tuple[int, ...] | None = None,
) -> Array:
    """The share of truths within central intervals of draws, between their quantiles (1 ∓ level) / 2.

    With S draws of the truth's own distribution it is about level · S / (S + 1) or less: take many.

    Args:
        truth: Of any shape.
        samples: S draws for each, shape (S, ...).
        levels: L levels between 0 and 1.
        axis: Axes of `truth` that are averaged over; None: all.

    Returns:
        Shape (L, ...) with the axes that are left.

    Raises:
        ValueError: If the shapes do not match, for NaN and infinity, where they are known, or a level that is
            not between 0 and 1.
    """
    name = "sample_coverage"
    true, draws = as_floating(f"{name}: truth", truth), as_floating(f"{name}: samples", samples)
    if draws.ndim != true.ndim + 1 or draws.shape[1:] != true.shape or not draws.size:
        raise ValueError(
            f"{name}: samples must have shape (S, ...) with the truth's {true.shape} behind S and not be "
            f"empty, got {draws.shape}"
        )
    require_finite(f"{name}: truth", true)
    require_finite(f"{name}: samples", draws)
    tails = jnp.asarray([(1 - level) / 2 for level in _checked_levels(name, levels)], true.dtype)
    low, high = jnp.quantile(draws, tails, axis=0), jnp.quantile(draws, 1 - tails, axis=0)
    inside = (low <= true) & (true <= high)
    axes = range(true.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return jnp.mean(inside, axis=tuple(1 + a % true.ndim for a in axes), dtype=true.dtype)


def _checked_levels(name: str, levels: Sequence[float]) -> list[float]:
    given = [float(level) for level in np.atleast_1d(np.asarray(levels, float))]
    if not given or not all(0 < level < 1 for level in given):
        raise ValueError(f"{name}: levels must lie between 0 and 1, got {levels!r}")
    return given
