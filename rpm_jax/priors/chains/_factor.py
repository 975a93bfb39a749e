"""Factors L Lᵀ of small matrices that are positive semi-definite, such as precisions of rank one or zero."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._factorise import CACHED_BYTES, UNROLLED
from rpm_jax.priors.chains._products import matrix_vector

TOLERANCE = 4.0
"""The share of a diagonal entry that counts as rounding error, in units of the precision and of K."""


def semidefinite_factor(matrix: Array) -> Array:
    """L, shape (..., K, K), with L Lᵀ = the matrix, by pivoted elimination; without a derivative.

    Pivots are taken in the order of the share of their diagonal entry that is not yet explained, which does
    not depend on the entries' scales, and columns that would be rounding error are zero.

    Args:
        matrix: Symmetric positive semi-definite, shape (..., K, K).

    Returns:
        NaN where a diagonal entry is negative.
    """
    return _eliminate(lax.stop_gradient(matrix), None)[0]


def whiten(precision: Array, linear: Array) -> tuple[Array, Array, Array]:
    """L, y and h' with W = L Lᵀ and h = L y + h', without derivatives.

    A potential exp(hᵀz − ½ zᵀWz) is an observation y of Lᵀz with noise of variance 1, and a linear term h',
    of what of h is not in the range of W: all of it where W is zero.

    Args:
        precision: W, symmetric positive semi-definite, shape (..., K, K).
        linear: h, shape (..., K).

    Returns:
        Shapes (..., K, K), (..., K) and (..., K). NaN where W has a negative diagonal.
    """
    precision, linear = lax.stop_gradient(precision), lax.stop_gradient(linear)
    batch = jnp.broadcast_shapes(precision.shape[:-2], linear.shape[:-1])
    size = linear.shape[-1]
    number, together = math.prod(batch), max(1, CACHED_BYTES // (linear.dtype.itemsize * size**2))
    if size == 1 or number <= 2 * together:
        factor, target = _eliminate(precision, linear)
        return factor, target, linear - matrix_vector(factor, target)
    matrices = jnp.broadcast_to(precision, (*batch, size, size)).reshape(number, size, size)
    vectors = jnp.broadcast_to(linear, (*batch, size)).reshape(number, size)
    factor, target = lax.platform_dependent(
        matrices,
        vectors,
        cpu=lambda *arrays: lax.map(lambda pair: _eliminate(*pair), arrays, batch_size=together),
        default=_eliminate,
    )
    factor, target = factor.reshape(*batch, size, size), target.reshape(*batch, size)
    return factor, target, linear - matrix_vector(factor, target)


def _eliminate(matrix: Array, right: Array | None) -> tuple[Array, Array]:
    """L, and y that solves L y = right where right is in the range."""
    size = matrix.shape[-1]
    if right is None:
        right = jnp.zeros(matrix.shape[:-1], matrix.dtype)
    right = jnp.broadcast_to(right, jnp.broadcast_shapes(right.shape, matrix.shape[:-1]))
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    scale = jnp.sqrt(diagonal)
    has_scale = diagonal > 0
    inverse = jnp.where(has_scale, 1.0 / jnp.where(has_scale, scale, 1.0), 0.0)
    if size == 1:
        return scale[..., None], inverse * right
    least = TOLERANCE * size * float(jnp.finfo(matrix.dtype).eps)
    places = jnp.arange(size)

    def step(number: Array | int, carry: tuple) -> tuple:
        rest, factor, solved, left = carry
        share = jnp.diagonal(rest, axis1=-2, axis2=-1)
        pivot = jnp.max(share, axis=-1, keepdims=True)
        chosen = places == jnp.argmax(share, axis=-1, keepdims=True)
        known = pivot > least
        root = jnp.where(known, lax.rsqrt(jnp.where(known, pivot, 1.0)), 0.0)
        column = jnp.sum(jnp.where(chosen[..., None, :], rest, 0.0), axis=-1) * root
        value = jnp.sum(jnp.where(chosen, left, 0.0), axis=-1, keepdims=True) * root
        taken = chosen[..., :, None] | chosen[..., None, :]
        rest = jnp.where(taken, 0.0, rest - column[..., :, None] * column[..., None, :])
        return (
            rest,
            jnp.where(places == number, column[..., :, None], factor),
            jnp.where(places == number, value, solved),
            left - column * value,
        )

    scaled = matrix * inverse[..., :, None] * inverse[..., None, :]
    carry = (scaled, jnp.zeros_like(matrix), jnp.zeros_like(right), inverse * right)
    if size <= UNROLLED:
        for number in range(size):
            carry = step(number, carry)
    else:
        carry = jax.lax.fori_loop(0, size, step, carry)
    return scale[..., :, None] * carry[1], carry[2]
