"""One Gaussian message and one potential: the product's moments, and what the potential says.

A potential exp(jᵀz − ½ zᵀJz) is an observation y of R z with unit noise, J = Rᵀ R, and a linear term j':
j = Rᵀ y + j'. With B = I + R P Rᵀ and X = P Rᵀ B⁻¹,

    m' = m₀ + X (y − R m₀), m₀ = m + P j',   F = I − X R = (I + P J)⁻¹,
    P' = (P⁻¹ + J)⁻¹ = F P Fᵀ + X Xᵀ,   u = j' + Rᵀ B⁻¹ (y − R m₀) = j − J m',   M = Rᵀ B⁻¹ R = J F,
    log ∫ N(z; m, P) exp(jᵀz − ½ zᵀJz) dz = jᵀm − ½ mᵀJm + ½ (j − J m)ᵀ (m' − m) − ½ log|B|

Nothing cancels where J is large, and P' is positive semi-definite whatever rounding does; an error of X
changes it in second order only. The derivatives need neither R nor y:

    dm' = F (dm + dP u) + P' (dj − dJ m'),   dP' = F dP Fᵀ − P' dJ P',   dF = −F dP M − P' dJ F,
    du = Fᵀ (dj − dJ m') − M (dm + dP u),   dM = Fᵀ dJ F − M dP M
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._linalg import inverse_and_log_determinant
from rpm_jax.priors.chains._chain import symmetric
from rpm_jax.priors.chains._factor import whiten
from rpm_jax.priors.chains._products import matmul, matrix_vector, transpose


class Potential(NamedTuple):
    """Potentials exp(jᵀz − ½ zᵀJz) of states.

    Attributes:
        linear: j, shape (..., S).
        precision: J, shape (..., S, S).
        root: R, shape (..., K, S), without a derivative, as is what follows.
        target: y, shape (..., K).
        rest: j', shape (..., S).
    """

    linear: Array
    precision: Array
    root: Array
    target: Array
    rest: Array


def as_potential(linear: Array, precision: Array, emission: Array | None = None) -> Potential:
    """The potential exp(hᵀHz − ½ zᵀHᵀWHz).

    Args:
        linear: h, shape (..., K).
        precision: W, symmetric positive semi-definite, shape (..., K, K).
        emission: H, shape (..., K, S), or None for the identity.
    """
    factor, target, rest = whiten(precision, linear)
    if emission is None:
        return Potential(linear, precision, transpose(factor), target, rest)
    turned = transpose(emission)
    held = jax.lax.stop_gradient(turned)
    return Potential(
        matrix_vector(turned, linear),
        matmul(turned, precision, emission),
        transpose(matmul(held, factor)),
        target,
        matrix_vector(held, rest),
    )


class Absorbed(NamedTuple):
    """What a message is after a potential; the letters are those of this page.

    Attributes:
        mean: m', shape (..., S).
        covariance: P', shape (..., S, S).
        log_normalizer: Shape (...).
        score: u, shape (..., S), the gradient of the log-normaliser in m.
        information: M, shape (..., S, S), its negative Hessian.
        shrinkage: F, shape (..., S, S), the derivative of m' in m.
    """

    mean: Array
    covariance: Array
    log_normalizer: Array
    score: Array
    information: Array
    shrinkage: Array


@jax.custom_jvp
def absorb(mean: Array, covariance: Array, potential: Potential) -> Absorbed:
    """The product of N(z; m, P) and a potential.

    Args:
        mean: m, shape (..., S).
        covariance: P, symmetric positive semi-definite, shape (..., S, S).
        potential: Batch axes broadcast.
    """
    linear, precision, root, target, rest = potential
    crossed = matmul(covariance, transpose(root))
    observed = jnp.eye(root.shape[-2], dtype=mean.dtype) + matmul(root, crossed)
    inverse, log_determinant = inverse_and_log_determinant(symmetric(observed))
    start = mean + matrix_vector(covariance, rest)
    innovation = target - matrix_vector(root, start)
    gain = matmul(crossed, inverse)
    shrinkage = jnp.eye(mean.shape[-1], dtype=mean.dtype) - matmul(gain, root)
    updated = start + matrix_vector(gain, innovation)
    posterior = matmul(shrinkage, covariance, transpose(shrinkage)) + matmul(gain, transpose(gain))
    weighed = matmul(inverse, root)
    pulled = matrix_vector(precision, mean)
    log_normalizer = jnp.sum(
        mean * (linear - 0.5 * pulled) + 0.5 * (linear - pulled) * (updated - mean), axis=-1
    )
    return Absorbed(
        updated,
        symmetric(posterior),
        log_normalizer - 0.5 * log_determinant,
        rest + matrix_vector(transpose(weighed), innovation),
        symmetric(matmul(transpose(root), weighed)),
        shrinkage,
    )


@absorb.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Absorbed, Absorbed]:
    mean_dot, covariance_dot, (linear_dot, precision_dot, *_) = tangents
    absorbed = absorb(*primals)
    mean, covariance, _, score, information, shrinkage = absorbed
    moved = mean_dot + matrix_vector(covariance_dot, score)
    pushed = linear_dot - matrix_vector(precision_dot, mean)
    shrunk = matmul(shrinkage, covariance_dot)
    weighed = matmul(covariance, precision_dot)
    turned = transpose(shrinkage)
    log_normalizer_dot = jnp.sum(
        score * 0.5 * (moved + mean_dot) + 0.5 * mean * (pushed + linear_dot), axis=-1
    ) - 0.5 * jnp.sum(information * covariance_dot + covariance * precision_dot, axis=(-2, -1))
    return absorbed, Absorbed(
        matrix_vector(shrinkage, moved) + matrix_vector(covariance, pushed),
        matmul(shrunk, turned) - matmul(weighed, covariance),
        log_normalizer_dot,
        matrix_vector(turned, pushed) - matrix_vector(information, moved),
        matmul(turned, precision_dot, shrinkage) - matmul(information, covariance_dot, information),
        -matmul(shrunk, information) - matmul(weighed, shrinkage),
    )


def absorb_potential(
    mean: Array, covariance: Array, linear: Array, precision: Array, emission: Array
) -> tuple[Array, Array]:
    """The moments of N(z; m, P) exp(hᵀHz − ½ zᵀHᵀWHz), normalised.

    Args:
        mean: m, shape (..., S).
        covariance: P, symmetric positive semi-definite, shape (..., S, S).
        linear: h, shape (..., K).
        precision: W, symmetric positive semi-definite, shape (..., K, K).
        emission: H, shape (..., K, S).
    """
    absorbed = absorb(mean, covariance, as_potential(linear, symmetric(precision), emission))
    return absorbed.mean, absorbed.covariance
