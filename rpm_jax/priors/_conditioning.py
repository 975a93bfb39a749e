"""Conditioning a Gaussian on independent Gaussian evidence without inverting its covariance."""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._linalg import inverse_and_log_determinant, matmul, transpose


@jax.custom_jvp
def condition_covariance(covariance: Array, evidence: Array) -> tuple[Array, Array, Array]:
    """The covariance of N(0, K) given evidence of precision W at each coordinate.

    With B = I + W^½ K W^½, whose eigenvalues are all at least 1:

        M = (K + W⁻¹)⁻¹ = W^½ B⁻¹ W^½,   S = (K⁻¹ + W)⁻¹ = R K Rᵀ + G Gᵀ,   R = I − K M,   G = K W^½ B⁻¹,

    (Rasmussen & Williams 2006, equation 3.26, in the form of Joseph, which stays positive semi-definite
    in float32.) Neither K nor W needs an inverse: K may be singular and W zero. The derivatives

        dS = R dK Rᵀ − S dW S,   dM = −M dK M + Rᵀ dW R,   d log|B| = tr(M dK) + Σ_t S_tt dW_t

    need no further factorisation and are finite at W = 0 too, where that of W^½ is not.

    Args:
        covariance: K, symmetric positive semi-definite, shape (..., T, T).
        evidence: W, not negative, shape (..., T); batch axes broadcast.

    Returns:
        S and M, shape (..., T, T), and log|I + K W|, shape (...). NaN where W is negative.
    """
    root = jnp.sqrt(evidence)
    identity = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)
    inner = identity + root[..., :, None] * covariance * root[..., None, :]
    inverse, log_determinant = inverse_and_log_determinant(inner)
    half = root[..., :, None] * inverse
    reduction = half * root[..., None, :]
    gain = matmul(covariance, half)
    remainder = identity - gain * root[..., None, :]
    conditioned = matmul(remainder, covariance, transpose(remainder)) + matmul(gain, transpose(gain))
    return conditioned, reduction, log_determinant


@condition_covariance.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    covariance, _ = primals
    covariance_dot, evidence_dot = tangents
    conditioned, reduction, log_determinant = condition_covariance(*primals)
    remainder = jnp.eye(covariance.shape[-1], dtype=covariance.dtype) - matmul(covariance, reduction)
    weights = evidence_dot[..., :, None]
    conditioned_dot = matmul(remainder, covariance_dot, transpose(remainder)) - matmul(
        conditioned, weights * conditioned
    )
    reduction_dot = matmul(transpose(remainder), weights * remainder) - matmul(
        reduction, covariance_dot, reduction
    )
    log_determinant_dot = jnp.sum(transpose(reduction) * covariance_dot, axis=(-2, -1)) + jnp.sum(
        jnp.diagonal(conditioned, axis1=-2, axis2=-1) * evidence_dot, axis=-1
    )
    return (conditioned, reduction, log_determinant), (conditioned_dot, reduction_dot, log_determinant_dot)
