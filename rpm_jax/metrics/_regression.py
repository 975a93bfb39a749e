"""How well recovered latents agree with true ones, up to what a model cannot identify.

A recognition-parametrised model finds its latents up to an invertible map; for Gaussian latents that are
compared linearly, up to an affine one. So every score here regresses the truth on the recovered latents.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from rpm_jax._arrays import as_floating

TORCHRPM_RIDGE = 0.01


class AlignedLatent(NamedTuple):
    """Recovered latents on the scale of the true one: `mean` = recovered · slope + intercept.

    Attributes:
        mean: The regressed latent, of the true latent's shape, (N, T) or (N, T, D).
        slope: Shape (K,) or (K, D).
        intercept: Shape () or (D,).
    """

    mean: Array
    slope: Array
    intercept: Array

    def apply(self, recovered: ArrayLike) -> Array:
        """The same map of other recovered latents, such as forecasts.

        Args:
            recovered: Shape (..., K).

        Returns:
            Shape (...) or (..., D).
        """
        return _matmul(as_floating("recovered", recovered), self.slope) + self.intercept

    def standard_deviation(self, standard_deviation: ArrayLike) -> Array:
        """Carry posterior standard deviations of independent latents over: √Σ_k slope_k² σ_k².

        Args:
            standard_deviation: σ, shape (N, T, K).

        Returns:
            Of the shape of `mean`.
        """
        return jnp.sqrt(_matmul(as_floating("standard_deviation", standard_deviation) ** 2, self.slope**2))


def align_latent(latent: ArrayLike, recovered: ArrayLike, *, fit_fraction: float = 1.0) -> AlignedLatent:
    """The affine map of the recovered latents that comes closest to the true one in squares.

    Recovered latents that are constant or linear combinations of earlier ones get slope 0.

    Args:
        latent: The truth, shape (N, T) or (N, T, D).
        recovered: Posterior means, shape (N, T, K).
        fit_fraction: The part of the sequences, counted from the first, that determines the map.

    Returns:
        The map, and all N sequences under it.

    Raises:
        ValueError: If the shapes do not match or `fit_fraction` leaves no sequence.
    """
    target, inputs = checked_latents("align_latent", latent, recovered)
    num_fit = num_sequences_to_fit("align_latent", target.shape[0], fit_fraction, num_scored=0)
    aligned = _align(target, inputs, num_fit)
    if jnp.ndim(latent) == 2:
        return AlignedLatent(*(field[..., 0] for field in aligned))
    return aligned


def linear_r2(
    latent: ArrayLike, recovered: ArrayLike, *, fit_fraction: float = 0.5, per_dimension: bool = False
) -> Array:
    """R² of the true latent given the recovered ones, on sequences the regression has not seen.

        R² = 1 − Σ (z − ẑ)² / Σ (z − z̄)²,   ẑ = recovered · slope + intercept

    The affine map is fitted to the first sequences, the sums go over the points and dimensions of the
    others, whose own mean is z̄. Unlike an in-sample R² it can be negative.

    Args:
        latent: The truth, shape (N, T) or (N, T, D).
        recovered: Posterior means, shape (N, T, K).
        fit_fraction: The part of the sequences that is fitted; the rest is scored.
        per_dimension: Whether R² is that of each dimension of the truth, shape (D,), and not of their sums.

    Returns:
        A scalar, or shape (D,); NaN or −∞ if the scored sequences' latent is constant.

    Raises:
        ValueError: If the shapes do not match, or no sequence is left to fit or to score.
    """
    target, inputs = checked_latents("linear_r2", latent, recovered)
    num_fit = num_sequences_to_fit("linear_r2", target.shape[0], fit_fraction, num_scored=1)
    return r2_of(target[num_fit:], _align(target, inputs, num_fit).mean[num_fit:], per_dimension)


def linear_correlation(latent: ArrayLike, recovered: ArrayLike, *, fit_fraction: float = 0.5) -> Array:
    """Correlations of the true latent with the regressed one, on sequences the regression has not seen.

    The affine map is that of `linear_r2`. Unlike R² a correlation forgives errors of scale and offset.

    Args:
        latent: The truth, shape (N, T) or (N, T, D).
        recovered: Posterior means, shape (N, T, K).
        fit_fraction: The part of the sequences that is fitted; the rest is scored.

    Returns:
        Of each dimension, shape () or (D,), from −1 to 1; NaN where one of the two is constant.

    Raises:
        ValueError: As `linear_r2`.
    """
    target, inputs = checked_latents("linear_correlation", latent, recovered)
    num_fit = num_sequences_to_fit("linear_correlation", target.shape[0], fit_fraction, num_scored=1)
    found = correlations(_rows(target[num_fit:]), _rows(_align(target, inputs, num_fit).mean[num_fit:]))
    return found[0] if jnp.ndim(latent) == 2 else found


def correlation(truth: ArrayLike, estimate: ArrayLike) -> Array:
    """Pearson's correlation of every dimension over all points.

    Args:
        truth: Shape (..., D).
        estimate: Of the same shape.

    Returns:
        Shape (D,), from −1 to 1; NaN where one of the two is constant.

    Raises:
        ValueError: If the shapes differ, or are empty.
    """
    name = "correlation"
    true, found = as_floating(f"{name}: truth", truth), as_floating(f"{name}: estimate", estimate)
    if true.shape != found.shape or true.ndim < 2 or not true.size:
        raise ValueError(
            f"{name}: truth and estimate must both have shape (..., D) and not be empty, got "
            f"{true.shape} and {found.shape}"
        )
    return correlations(_rows(true), _rows(found))


def torchrpm_r2(latent: ArrayLike, recovered: ArrayLike) -> Array:
    """The R² that torchRPM reports: a ridge regression without intercept, scored on what it was fitted to.

    The true latent z is centred, each recovered latent centred and divided by its largest magnitude, and

        R² = 1 − Σ (z − Xβ)² / Σ z²,   β = (XᵀX + 0.01 I)⁻¹ Xᵀz

    Args:
        latent: The truth, shape (N, T) or (N, T, 1).
        recovered: Posterior means, shape (N, T, K), none of them constant.

    Returns:
        A scalar; NaN if a recovered latent is constant.

    Raises:
        ValueError: If the shapes do not match, or the true latent has several dimensions.

    References:
        torchRPM, `linear_regression_1D_latent`.
    """
    target, inputs = checked_latents("torchrpm_r2", latent, recovered)
    if target.shape[-1] != 1:
        raise ValueError(
            f"torchrpm_r2: latent must have shape (N, T) or (N, T, 1), got {target.shape}; "
            f"linear_r2 takes several dimensions"
        )
    outputs = _rows(target)
    outputs = outputs - jnp.mean(outputs)
    features = _rows(inputs)
    features = features - jnp.mean(features, axis=0)
    features = features / jnp.max(jnp.abs(features), axis=0)
    num_latents = features.shape[-1]
    penalty = jnp.sqrt(TORCHRPM_RIDGE) * jnp.eye(num_latents, dtype=features.dtype)
    augmented = jnp.concatenate([features, penalty])
    padded = jnp.concatenate([outputs, jnp.zeros((num_latents, 1), outputs.dtype)])
    slope = _least_squares(augmented, padded, jnp.sqrt(jnp.sum(augmented**2, axis=0)))
    return 1.0 - jnp.sum((outputs - _matmul(features, slope)) ** 2) / jnp.sum(outputs**2)


def r2_of(truth: Array, estimate: Array, per_dimension: bool = False) -> Array:
    """1 − Σ (z − ẑ)² / Σ (z − z̄)² over the points of shape (..., D), and over the dimensions unless told."""
    true, axis = _rows(truth), 0 if per_dimension else None
    squares = (true - _rows(estimate)) ** 2
    return 1.0 - jnp.sum(squares, axis=axis) / jnp.sum((true - jnp.mean(true, axis=0)) ** 2, axis=axis)


def correlations(truth: Array, estimate: Array) -> Array:
    """Pearson's correlation of each column of (M, D), shape (D,)."""
    first, second = (values - jnp.mean(values, axis=0) for values in (truth, estimate))
    squares = jnp.sum(first**2, axis=0) * jnp.sum(second**2, axis=0)
    return jnp.sum(first * second, axis=0) / jnp.sqrt(squares)


def affine_map(target: Array, inputs: Array) -> AlignedLatent:
    """The least-squares map of inputs (N, T, K) to targets (N, T, D)."""
    return _align(target, inputs, target.shape[0])


def _align(target: Array, inputs: Array, num_fit: int) -> AlignedLatent:
    outputs, features = _rows(target[:num_fit]), _rows(inputs[:num_fit])
    centre = jnp.mean(features, axis=0)
    # A second pass removes the rounding error of the first: without it a constant latent seems to vary.
    centre = centre + jnp.mean(features - centre, axis=0)
    offset = jnp.mean(outputs, axis=0)
    scale = jnp.sqrt(jnp.sum(features**2, axis=0))
    slope = _least_squares(features - centre, outputs - offset, scale)
    return AlignedLatent(_matmul(inputs - centre, slope) + offset, slope, offset - _matmul(centre, slope))


def _least_squares(features: Array, outputs: Array, scale: Array) -> Array:
    """Solve min ‖features · slope − outputs‖ by Gram-Schmidt with reorthogonalisation.

    It needs no LAPACK kernel, squares no condition number and drops a column that adds nothing.

    Args:
        features: Shape (M, K).
        outputs: Shape (M, D).
        scale: The magnitude of each column before cancellation, shape (K,): less than 100 machine epsilons
            of it count as nothing.

    Returns:
        The slope, shape (K, D).
    """
    num_columns = features.shape[-1]
    threshold = 100 * jnp.finfo(features.dtype).eps * scale

    def orthonormalise(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, transform = carry
        column, recipe = features[:, k], jnp.eye(num_columns, dtype=features.dtype)[k]
        for _ in range(2):
            overlap = _matmul(column, basis)
            column = column - _matmul(basis, overlap)
            recipe = recipe - _matmul(transform, overlap)
        norm = jnp.sqrt(jnp.sum(column**2))
        dropped = norm <= threshold[k]
        factor = jnp.where(dropped, 0.0, 1.0 / jnp.where(dropped, 1.0, norm))
        return basis.at[:, k].set(factor * column), transform.at[:, k].set(factor * recipe)

    start = jnp.zeros_like(features), jnp.zeros((num_columns, num_columns), features.dtype)
    basis, transform = lax.fori_loop(0, num_columns, orthonormalise, start)
    return _matmul(transform, _matmul(basis.T, outputs))


def _matmul(left: Array, right: Array) -> Array:
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)


def _rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def checked_latents(function: str, latent: ArrayLike, recovered: ArrayLike) -> tuple[Array, Array]:
    target = as_floating(f"{function}: latent", latent)
    inputs = as_floating(f"{function}: recovered", recovered)
    if target.ndim not in (2, 3):
        raise ValueError(f"{function}: latent must have shape (N, T) or (N, T, D), got {target.shape}")
    if inputs.ndim != 3:
        hint = "; add a last axis to a single latent" if inputs.ndim == 2 else ""
        raise ValueError(f"{function}: recovered must have shape (N, T, K), got {inputs.shape}{hint}")
    if target.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"{function}: latent and recovered must have the same numbers N of sequences and T of steps, "
            f"got shapes {target.shape} and {inputs.shape}"
        )
    if 0 in inputs.shape or 0 in target.shape:
        raise ValueError(
            f"{function}: latent and recovered must not be empty, "
            f"got shapes {target.shape} and {inputs.shape}"
        )
    dtype = jnp.promote_types(target.dtype, inputs.dtype)
    target = target[..., None] if target.ndim == 2 else target
    return target.astype(dtype), inputs.astype(dtype)


def num_sequences_to_fit(function: str, num_sequences: int, fit_fraction: float, num_scored: int) -> int:
    if not 0 < fit_fraction <= 1:
        raise ValueError(f"{function}: fit_fraction must lie between 0 and 1, got {fit_fraction!r}")
    num_fit = math.floor(num_sequences * fit_fraction + 1e-9)
    if not 1 <= num_fit <= num_sequences - num_scored:
        raise ValueError(
            f"{function}: fit_fraction {fit_fraction!r} of {num_sequences} sequences leaves {num_fit} "
            f"to fit and {num_sequences - num_fit} others; at least 1 and {num_scored} are needed"
        )
    return num_fit
