"""One Gaussian message and one potential: the product's moments, and what the potential says.

With y = H z, G = H P Hᵀ, r = h − W H m,

    N = (I + W G)⁻¹,   M = N W,   u = N r,   X = P Hᵀ N
    m' = m + P Hᵀ u,   P' = P − P Hᵀ M H P = F P Fᵀ + X W Xᵀ,   F = I − X W H
    log ∫ N(z; m, P) exp(hᵀHz − ½ zᵀHᵀWHz) dz = hᵀHm − ½ mᵀHᵀWHm + ½ rᵀ G u − ½ log|I + W G|

The second form of P' is positive semi-definite whatever rounding does, and an error of X changes it in second
order only.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._linalg import inverse_and_log_determinant, matmul, matrix_vector, transpose
from rpm_jax.priors.chains._chain import symmetric


class Absorbed(NamedTuple):
    """What a message is after a potential; the letters are those of this page.

    Attributes:
        mean: m', shape (..., S).
        covariance: P', shape (..., S, S).
        log_normalizer: Shape (...).
        score: u, shape (..., K), the gradient of the log-normaliser in H m.
        information: M, shape (..., K, K), its negative Hessian.
    """

    mean: Array
    covariance: Array
    log_normalizer: Array
    score: Array
    information: Array


@jax.custom_jvp
def resolve(covariance: Array, precision: Array, factor: Array) -> tuple[Array, Array, Array]:
    """N = (I + W G)⁻¹, M = N W and log|I + W G|.

        dN = −N (dW G + W dG) N,   dM = N dW Nᵀ − M dG M,   d log|I + W G| = tr M dG + tr G N dW

    Args:
        covariance: G, shape (..., K, K).
        precision: W, shape (..., K, K).
        factor: L with W = L Lᵀ, which has no derivative of its own.
    """
    if covariance.shape[-1] == 1:
        product = covariance * precision
        inverse = 1.0 / (1.0 + product)
        return inverse, precision * inverse, jnp.log1p(product)[..., 0, 0]
    identity = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)
    inner = identity + symmetric(matmul(transpose(factor), covariance, factor))
    inner_inverse, log_determinant = inverse_and_log_determinant(inner)
    information = symmetric(matmul(factor, inner_inverse, transpose(factor)))
    inverse = identity - matmul(information, covariance)
    # Where W G is large, the difference loses digits, which one step of Newton's iteration restores.
    residual = identity - inverse - matmul(precision, matmul(covariance, inverse))
    return inverse + matmul(inverse, residual), information, log_determinant


@resolve.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    covariance, *_ = primals
    covariance_dot, precision_dot, _ = tangents
    inverse, information, _ = resolved = resolve(*primals)
    moved = matmul(inverse, precision_dot)
    information_moved = matmul(information, covariance_dot)
    inverse_dot = -matmul(matmul(moved, covariance) + information_moved, inverse)
    information_dot = matmul(moved, transpose(inverse)) - matmul(information_moved, information)
    log_determinant_dot = jnp.trace(information_moved, axis1=-2, axis2=-1) + jnp.sum(
        transpose(moved) * covariance, axis=(-2, -1)
    )
    return resolved, (inverse_dot, information_dot, log_determinant_dot)


def absorb(
    mean: Array,
    covariance: Array,
    linear: Array,
    precision: Array,
    factor: Array,
    emission: Array | None = None,
) -> Absorbed:
    """The product of N(z; m, P) and exp(hᵀHz − ½ zᵀHᵀWHz).

    Args:
        mean: m, shape (..., S).
        covariance: P, shape (..., S, S).
        linear: h, shape (..., K).
        precision: W, shape (..., K, K).
        factor: L with W = L Lᵀ, shape (..., K, K).
        emission: H, shape (..., K, S), or None for the identity.
    """
    if emission is None:
        projected, crossed, inner = mean, covariance, covariance
    else:
        projected = matrix_vector(emission, mean)
        crossed = matmul(covariance, transpose(emission))
        inner = symmetric(matmul(emission, crossed))
    inverse, information, log_determinant = resolve(inner, precision, factor)
    pulled = matrix_vector(precision, projected)
    residual = linear - pulled
    score = matrix_vector(inverse, residual)
    gain = matmul(crossed, inverse)
    weighed = matmul(gain, precision)
    shrink = jnp.eye(mean.shape[-1], dtype=mean.dtype) - (
        weighed if emission is None else matmul(weighed, emission)
    )
    updated = matmul(shrink, covariance, transpose(shrink)) + matmul(weighed, transpose(gain))
    log_normalizer = jnp.sum(projected * (linear - 0.5 * pulled), axis=-1) + 0.5 * (
        jnp.sum(residual * matrix_vector(inner, score), axis=-1) - log_determinant
    )
    return Absorbed(
        mean + matrix_vector(crossed, score), symmetric(updated), log_normalizer, score, information
    )
