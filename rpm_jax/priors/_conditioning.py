"""Conditioning a Gaussian on independent Gaussian evidence without inverting its covariance.

With evidence W ≥ 0 and d at every coordinate, W^½ = r and

    B = I + r K r,   M = (K + W⁻¹)⁻¹ = r B⁻¹ r,   R = (I + K W)⁻¹ = I − K M,   S = (K⁻¹ + W)⁻¹ = R K

(Rasmussen & Williams 2006, section 3.4.3), the conditioned covariance is S and the shift of the mean S d.
Neither K nor W needs an inverse: K may be singular and W zero.

K is known to its rounding error only. Where W is large, S is smaller than K by orders of magnitude, and sums
with K that cancel down to S lose it. But r S r = I − B⁻¹ has entries of its own size:

    S d = r⁻¹ (r⁻¹d − B⁻¹ r⁻¹d),   S_ts = (δ_ts − B⁻¹_ts)/(r_t r_s),   R_ts = B⁻¹_ts r_s/r_t.

These are taken at coordinates that are *observed*, W_t K_tt > 1, where nothing cancels in them; the sums with
K at the others. What is left for means is about what the rounding of K itself costs. Covariances lose more, a
fraction of S_tt of about the rounding error times the condition of B (with a diagonal of ones): where that is
too much, S = F Fᵀ by the factor of `_covariance_factor`, which costs as much again, and R = I − S W,
M = W − W S W.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._if_needed import exact_unless
from rpm_jax._linalg import cholesky_with_inverse, matmul, matrix_vector, transpose
from rpm_jax._split_products import matrix_vector_of_split
from rpm_jax.priors._covariance_factor import factor_conditioned, factor_covariance

ROUNDING = 0.5
"""The negative eigenvalue of a rounded B, in units of the rounding error of its largest row sum."""

LOST = 2.0**-8
"""The relative error of variances above which they are computed by the factor of S."""


class Factor(NamedTuple):
    """The factor of B, without derivatives; `condition` and others take it, so that B is factorised once.

    Where rounding may outweigh B's identity, at row sums of r K r of some 10⁷ in float32, B is that of W/κ.
    Directions of which K has nothing are the same in both; what the others lose is returned by `condition`.

    Attributes:
        inverse: L⁻¹ where L Lᵀ = I + r K r/κ, shape (..., T, T).
        scale: κ ≥ 1, shape (...).
        log_determinant: log|I + r K r|, shape (...).
        graded: Whether S would lose too much and is taken from `covariance_factor`, shape (...).
        covariance_factor: F with F Fᵀ = S, shape (..., T, T), computed only if any is graded.
    """

    inverse: Array
    scale: Array
    log_determinant: Array
    graded: Array
    covariance_factor: Array

    def solve(self, vector: Array) -> Array:
        """B⁻¹ applied to vectors (..., T)."""
        return matrix_vector(transpose(self.inverse), matrix_vector(self.inverse, vector))


class Conditioned(NamedTuple):
    """A Gaussian N(0, K) given evidence.

    Attributes:
        shift: S d, shape (..., T).
        weights: a = (I + W K)⁻¹ d, shape (..., T), by which S d = K a.
        variance: The diagonal of S, shape (..., T).
        log_normalizer: log E exp Σ_t d_t z_t − ½ W_t z_t² = ½ dᵀ S d − ½ log|B|, shape (...).
    """

    shift: Array
    weights: Array
    variance: Array
    log_normalizer: Array


def factorise(covariance: Array, evidence: Array) -> Factor:
    """The factor of B.

    Args:
        covariance: K, symmetric positive semi-definite, shape (..., T, T).
        evidence: W, not negative, shape (..., T); batch axes broadcast.

    Returns:
        The factor, NaN where W is negative.
    """
    covariance, evidence = lax.stop_gradient((covariance, evidence))
    size = covariance.shape[-1]
    root = jnp.sqrt(evidence)
    row_sums = root * matrix_vector(jnp.abs(covariance), root)
    rounding = ROUNDING * float(jnp.finfo(root.dtype).eps) * jnp.max(row_sums, axis=-1)
    scale = jnp.maximum(1.0, rounding)
    scaled = root / jnp.sqrt(scale)[..., None]
    identity = jnp.eye(size, dtype=root.dtype)
    inner = scaled[..., :, None] * covariance * scaled[..., None, :]
    factor, inverse = cholesky_with_inverse(identity + inner)
    log_determinant = 2.0 * jnp.sum(jnp.log(_diagonal(factor)), axis=-1)
    # B has κ times the eigenvalues of what was factorised, but for those of 1.
    determined = size - jnp.sum(jnp.square(inverse), axis=(-2, -1))
    # Of B with a diagonal of ones: the largest row sum, and what its inverse has on the diagonal.
    whole = 1.0 + scaled * scaled * _diagonal(covariance)
    row_sum = jnp.max((1.0 + row_sums / scale[..., None]) / whole, axis=-1)
    growth = jnp.max(jnp.sum(jnp.square(inverse), axis=-2) * whole, axis=-1)
    graded = float(jnp.finfo(root.dtype).eps) * row_sum * growth > LOST
    covariance_factor = exact_unless(
        ~jnp.any(graded), jnp.zeros_like(inverse), _factor_of_conditioned, covariance, evidence
    )
    log_determinant = log_determinant + jnp.log(scale) * determined
    return Factor(inverse, scale, log_determinant, graded, covariance_factor)


def _factor_of_conditioned(covariance: Array, evidence: Array) -> Array:
    return factor_conditioned(factor_covariance(covariance).factor, evidence).factor


@jax.custom_jvp
def condition(factor: Factor, covariance: Array, evidence: Array, linear: Array) -> Conditioned:
    """Condition N(0, K) on evidence W and d, exp Σ_t d_t z_t − ½ W_t z_t².

    The derivatives, of all orders and finite at W = 0 too, need no further factorisation:

        dS_tt = (R dK Rᵀ)_tt − Σ_s S_ts² dW_s,   d(S d) = R dK a + S (dd − dW S d),
        da = Rᵀ(dd − dW S d) − M dK a,   d log_normalizer = Σ_t s_t dd_t − ½ (s_t² + S_tt) dW_t
                                                           + ½ aᵀ dK a − ½ tr(M dK),   s = S d.

    Args:
        factor: Of `factorise(covariance, evidence)`.
        covariance: K, shape (..., T, T).
        evidence: W, shape (..., T); batch axes broadcast.
        linear: d, shape (..., T).

    Returns:
        Numbers of the broadcast batch shape. NaN where W is negative.
    """
    root = jnp.sqrt(evidence)
    prior = _diagonal(covariance)
    observed = _is_observed(covariance, evidence)
    has_evidence = root > 0
    safe = jnp.where(has_evidence, root, 1.0)
    scaled = jnp.where(has_evidence, linear / safe, 0.0)
    rest = jnp.where(has_evidence, 0.0, linear)
    # a = d' + r b, where d' is d without evidence and d = d' + r v: b = B⁻¹(v − r K d').
    solved = factor.solve(scaled - root * matrix_vector(covariance, rest))
    weights = rest + root * solved
    # One step of refinement restores what factor and sums lost. In float32 its residual needs a sum with K
    # that is right relative to itself, where |K| |a| is larger by up to sqrt(T W K).
    product = matrix_vector if covariance.dtype == jnp.float64 else matrix_vector_of_split
    summed = product(covariance, weights)
    correction = factor.solve(scaled - solved - root * summed) / factor.scale[..., None]
    summed = summed + matrix_vector(covariance, root * correction)
    solved = solved + correction
    weights = rest + root * solved
    shift = jnp.where(observed, (scaled - solved) / safe, summed)

    inner = jnp.sum(jnp.square(factor.inverse), axis=-2)
    explained = jnp.sum(jnp.square(_explained(factor, covariance, root)), axis=-1)
    least = prior / (1.0 + jnp.sum(evidence * prior, axis=-1, keepdims=True))
    variance = jnp.where(observed, (1.0 - inner) / jnp.square(safe), prior - explained)
    by_factor = jnp.sum(jnp.square(factor.covariance_factor), axis=-1)
    variance = jnp.where(factor.graded[..., None], by_factor, variance)
    # 1/S_tt lies between 1/K_tt and (1 + tr WK)/K_tt, which holds whatever rounding does.
    variance = jnp.where(variance >= least, jnp.minimum(variance, prior), least + 0.0 * inner)
    log_normalizer = 0.5 * (jnp.sum(linear * shift, axis=-1) - factor.log_determinant)
    return Conditioned(shift, weights, variance, log_normalizer)


@condition.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Conditioned, Conditioned]:
    factor, covariance, evidence, _ = primals
    _, covariance_dot, evidence_dot, linear_dot = tangents
    conditioned = condition(*primals)
    shift, weights, variance, _ = conditioned
    joint, reduction, remainder = smoother(factor, covariance, evidence)
    moved = matrix_vector(covariance_dot, weights)
    push = linear_dot - evidence_dot * shift
    shift_dot = matrix_vector(remainder, moved) + matrix_vector(joint, push)
    weights_dot = matrix_vector(transpose(remainder), push) - matrix_vector(reduction, moved)
    variance_dot = jnp.sum(matmul(remainder, covariance_dot) * remainder, axis=-1)
    variance_dot = variance_dot - matrix_vector(jnp.square(joint), evidence_dot)
    log_normalizer_dot = (
        jnp.sum(shift * linear_dot - 0.5 * (jnp.square(shift) + variance) * evidence_dot, axis=-1)
        + 0.5 * jnp.sum(weights * moved, axis=-1)
        - 0.5 * jnp.sum(reduction * covariance_dot, axis=(-2, -1))
    )
    return conditioned, Conditioned(shift_dot, weights_dot, variance_dot, log_normalizer_dot)


@jax.custom_jvp
def smoother(factor: Factor, covariance: Array, evidence: Array) -> tuple[Array, Array, Array]:
    """The conditioned covariance S, M and R, each (..., T, T); arguments as for `condition`.

    dS = R dK Rᵀ − S dW S,   dM = −M dK M + Rᵀ dW R,   dR = −R dK M − S dW R
    """
    root = jnp.sqrt(evidence)
    observed = _is_observed(covariance, evidence)
    identity = jnp.eye(covariance.shape[-1], dtype=root.dtype)
    inverse = matmul(transpose(factor.inverse), factor.inverse)
    scaled = inverse * root[..., None, :]
    reduction = root[..., :, None] * scaled / factor.scale[..., None, None]
    safe = jnp.where(observed, root, 1.0)
    remainder = jnp.where(
        observed[..., :, None], scaled / safe[..., :, None], identity - matmul(covariance, reduction)
    )
    explained = _explained(factor, covariance, root)
    summed = covariance - matmul(explained, transpose(explained))
    divided = (identity - remainder) / jnp.square(safe)[..., None, :]
    joint = jnp.where(
        observed[..., None, :],
        divided,
        jnp.where(observed[..., :, None], transpose(divided), summed),
    )
    joint = 0.5 * (joint + transpose(joint))
    parts = joint, reduction, remainder
    return exact_unless(~jnp.any(factor.graded), parts, _smoother_by_factor, factor, evidence, parts)


def _smoother_by_factor(
    factor: Factor, evidence: Array, otherwise: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    """S = F Fᵀ, M = W − W S W and R = I − S W where they are graded."""
    joint = matmul(factor.covariance_factor, transpose(factor.covariance_factor))
    weighted = joint * evidence[..., None, :]
    identity = jnp.eye(evidence.shape[-1], dtype=joint.dtype)
    reduction = identity * evidence[..., None, :] - evidence[..., :, None] * weighted
    graded = factor.graded[..., None, None]
    parts = zip((joint, reduction, identity - weighted), otherwise, strict=True)
    joint, reduction, remainder = (jnp.where(graded, part, other) for part, other in parts)
    return joint, reduction, remainder


@smoother.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    _, covariance_dot, evidence_dot = tangents
    joint, reduction, remainder = smoother(*primals)
    weights = evidence_dot[..., :, None]
    moved = matmul(remainder, covariance_dot)
    lowered = matmul(joint, weights * remainder)
    joint_dot = matmul(moved, transpose(remainder)) - matmul(joint, weights * joint)
    reduction_dot = matmul(transpose(remainder), weights * remainder) - matmul(
        reduction, covariance_dot, reduction
    )
    remainder_dot = -matmul(moved, reduction) - lowered
    return (joint, reduction, remainder), (joint_dot, reduction_dot, remainder_dot)


def _explained(factor: Factor, covariance: Array, root: Array) -> Array:
    """E with K − S = E Eᵀ."""
    scaled = root / jnp.sqrt(factor.scale)[..., None]
    return matmul(covariance, scaled[..., :, None] * transpose(factor.inverse))


def _diagonal(matrix: Array) -> Array:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def _is_observed(covariance: Array, evidence: Array) -> Array:
    """Where W_t K_tt > 1, shape (..., T)."""
    return evidence * _diagonal(covariance) > 1.0
