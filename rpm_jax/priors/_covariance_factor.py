"""Factors R Rᵀ of covariances that are singular in floating point, before and after evidence.

Pivoted Cholesky elimination takes the sites in the order of the share of their variance that those before do
not explain, and stops where that is rounding error. Then R has as many columns as there are directions that
the covariance knows, in decreasing order of size, and zeros after them; what is left out, and every error of
R Rᵀ, is some rounding errors of sqrt(C_tt C_ss). Unlike C + jitter, R adds nothing in the directions that
the process doesn't have.

Given evidence W, S = (C⁻¹ + W)⁻¹ = R (I + Rᵀ W R)⁻¹ Rᵀ = F Fᵀ with F = R M⁻ᵀ, I + Rᵀ W R = M Mᵀ. Sums of
squares do not cancel, and since Rᵀ W R is graded as R is, M keeps the digits of every direction: S is right
relative to itself, however much smaller it is than C, for a covariance that is wrong by rounding errors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._linalg import cholesky_with_inverse, matmul, transpose

TOLERANCE = 4.0
"""The share of a site's variance that counts as rounding error, in units of the precision."""

NOISE = 16.0
"""The size of a pivot of I + Rᵀ W R that is known, in units of the rounding error of what it is left of."""


class CovarianceFactor(NamedTuple):
    """A factor of C, eliminated at a choice of pivots.

    Attributes:
        factor: R, shape (..., T, T), with C = R Rᵀ but for rounding.
        inverse: L⁻¹ of the rows L of R at the pivots, shape (..., T, T), zero beyond the rank.
        pivots: One column for each pivot, one at its site and else zero, shape (..., T, T), as is all beyond
            the rank.
    """

    factor: Array
    inverse: Array
    pivots: Array


@jax.custom_jvp
def factor_covariance(covariance: Array) -> CovarianceFactor:
    """R with R Rᵀ = C, by pivoted elimination.

    The derivative is that of C_:p L⁻ᵀ, L Lᵀ = C_pp, at fixed pivots p:

        dR = dC_:p L⁻ᵀ − R Φᵀ,   dL⁻¹ = −Φ L⁻¹,   Φ = the lower half of L⁻¹ dC_pp L⁻ᵀ.

    Args:
        covariance: C, symmetric positive semi-definite, shape (..., T, T).
    """
    flat = covariance.reshape(-1, *covariance.shape[-2:])
    return CovarianceFactor(*(leaf.reshape(covariance.shape) for leaf in jax.vmap(_eliminate)(flat)))


@factor_covariance.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[CovarianceFactor, CovarianceFactor]:
    (tangent,) = tangents
    factor, inverse, pivots = eliminated = factor_covariance(*primals)
    columns = matmul(0.5 * (tangent + transpose(tangent)), pivots)
    lower = _lower_half(matmul(inverse, transpose(pivots), columns, transpose(inverse)))
    factor_dot = matmul(columns, transpose(inverse)) - matmul(factor, transpose(lower))
    return eliminated, CovarianceFactor(factor_dot, -matmul(lower, inverse), jnp.zeros_like(pivots))


def _eliminate(covariance: Array) -> tuple[Array, Array, Array]:
    size, dtype = covariance.shape[-1], covariance.dtype
    sites = jnp.arange(size)
    prior = jnp.diagonal(covariance)
    has_variance = prior > 0
    least = TOLERANCE * float(jnp.finfo(dtype).eps)
    zeros = jnp.zeros_like(covariance)

    def is_unexplained(carry: tuple[Array, ...]) -> Array:
        step, share, *_ = carry
        return (step < size) & (jnp.max(share) > least)

    def eliminate(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        step, share, rank, factor, inverse, pivots = carry
        site = jnp.argmax(share)
        row = factor[site]
        # Of columns already taken nothing is left but rounding errors.
        rest = jnp.where(share < 0, 0.0, covariance[:, site] - jnp.sum(factor * row, axis=-1))
        known = rest[site] > 0.5 * least * prior[site]
        scale = jnp.where(known, lax.rsqrt(jnp.where(known, rest[site], 1.0)), 0.0)
        column = rest * scale
        explained = jnp.where(has_variance, jnp.square(column) / jnp.where(has_variance, prior, 1.0), 0.0)
        share = jnp.where(sites == site, -1.0, share - explained)
        # A site without anything of its own leaves its column to the next.
        solved = scale * ((sites == rank).astype(dtype) - row @ inverse)
        chosen = jnp.where(known, (sites == site).astype(dtype), 0.0)
        return (
            step + 1,
            share,
            rank + known,
            factor.at[:, rank].set(column, mode="drop"),
            inverse.at[rank].set(solved, mode="drop"),
            pivots.at[:, rank].set(chosen, mode="drop"),
        )

    start = jnp.where(has_variance, 1.0, 0.0).astype(dtype)
    zero = jnp.zeros((), jnp.int32)
    carry: tuple[Array, ...] = (zero, start, zero, zeros, zeros, zeros)
    _, _, _, factor, inverse, pivots = lax.while_loop(is_unexplained, eliminate, carry)
    return factor, inverse, pivots


class ConditionedFactor(NamedTuple):
    """A factor of a covariance given evidence.

    Attributes:
        factor: F with F Fᵀ = S, shape (..., T, T).
        inverse: M⁻¹, shape (..., T, T).
        scale: κ ≥ 1, shape (...), by which evidence was divided, 1 but where M would not be known.
    """

    factor: Array
    inverse: Array
    scale: Array


@jax.custom_jvp
def factor_conditioned(factor: Array, evidence: Array) -> ConditionedFactor:
    """F with F Fᵀ = (C⁻¹ + W)⁻¹.

    Where evidence is so strong, and so unlike C's directions, that float32 loses the identity in I + Rᵀ W R
    (some 10⁶ prior precisions, together with sites that have none), S is that of less evidence, W/κ.

        dF = dR M⁻ᵀ − F Φᵀ,   dM⁻¹ = −Φ M⁻¹,   Φ = the lower half of Fᵀ dW F + 2 sym(Fᵀ W dR M⁻ᵀ)

    Args:
        factor: R, shape (..., T, T).
        evidence: W, shape (..., T); batch axes broadcast.

    Returns:
        NaN where W is negative.
    """
    inverse, known, largest = _inner_inverse(factor, evidence)
    negative = jnp.any(evidence < 0, axis=-1)
    known = known & ~negative
    scale = jnp.where(known, 1.0, jnp.maximum(1.0, NOISE * float(jnp.finfo(factor.dtype).eps) * largest))
    scale = jnp.where(negative, jnp.nan, scale)
    inverse = lax.cond(
        jnp.all(known), lambda: inverse, lambda: _inner_inverse(factor, evidence / scale[..., None])[0]
    )
    return ConditionedFactor(matmul(factor, transpose(inverse)), inverse, scale)


@factor_conditioned.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[ConditionedFactor, ConditionedFactor]:
    _, evidence = primals
    factor_dot, evidence_dot = tangents
    factor, inverse, scale = conditioned = factor_conditioned(*primals)
    evidence, evidence_dot = evidence / scale[..., None], evidence_dot / scale[..., None]
    moved = matmul(factor_dot, transpose(inverse))
    half = evidence[..., :, None] * moved + 0.5 * evidence_dot[..., :, None] * factor
    cross = matmul(transpose(factor), half)
    lower = _lower_half(cross + transpose(cross))
    tangent = ConditionedFactor(
        moved - matmul(factor, transpose(lower)), -matmul(lower, inverse), jnp.zeros_like(scale)
    )
    return conditioned, tangent


def _inner_inverse(factor: Array, evidence: Array) -> tuple[Array, Array, Array]:
    """M⁻¹, whether it is known, and the largest diagonal entry of M Mᵀ = I + Rᵀ W R."""
    inner = matmul(transpose(factor), evidence[..., :, None] * factor)
    inner = inner + jnp.eye(factor.shape[-1], dtype=factor.dtype)
    lower, inverse = cholesky_with_inverse(inner)
    whole = jnp.diagonal(inner, axis1=-2, axis2=-1)
    pivots = jnp.square(jnp.diagonal(lower, axis1=-2, axis2=-1))
    # Every pivot is at least 1.
    noise = jnp.maximum(0.5, NOISE * float(jnp.finfo(factor.dtype).eps) * whole)
    return inverse, jnp.all(pivots > noise, axis=-1), jnp.max(whole, axis=-1)


def _lower_half(matrix: Array) -> Array:
    """Φ with Φ + Φᵀ = the matrix."""
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    return jnp.tril(matrix) - 0.5 * jnp.eye(matrix.shape[-1], dtype=matrix.dtype) * diagonal[..., None]
