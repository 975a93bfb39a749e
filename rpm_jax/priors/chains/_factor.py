"""Factors L Lᵀ of small matrices that are positive semi-definite, such as precisions of rank one or zero."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._factorise import UNROLLED

TOLERANCE = 4.0
"""The share of a diagonal entry that counts as rounding error, in units of the precision."""


def semidefinite_factor(matrix: Array) -> Array:
    """L, shape (..., K, K), with L Lᵀ = the matrix, by pivoted elimination; without a derivative.

    Pivots are taken in the order of the share of their diagonal entry that is not yet explained, which does
    not depend on the entries' scales, and columns that would be rounding error are zero.

    Args:
        matrix: Symmetric positive semi-definite, shape (..., K, K).

    Returns:
        NaN where a diagonal entry is negative.
    """
    matrix = lax.stop_gradient(matrix)
    size = matrix.shape[-1]
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    if size == 1:
        return jnp.sqrt(matrix)
    scale = jnp.sqrt(diagonal)
    inverse = jnp.where(diagonal > 0, 1.0 / jnp.where(diagonal > 0, scale, 1.0), 0.0)
    least = TOLERANCE * size * float(jnp.finfo(matrix.dtype).eps)
    places = jnp.arange(size)

    def eliminate(step: Array | int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, factor = carry
        share = jnp.diagonal(rest, axis1=-2, axis2=-1)
        pivot = jnp.max(share, axis=-1, keepdims=True)
        chosen = places == jnp.argmax(share, axis=-1, keepdims=True)
        column = jnp.sum(jnp.where(chosen[..., None, :], rest, 0.0), axis=-1)
        known = pivot > least
        column = jnp.where(known, column * lax.rsqrt(jnp.where(known, pivot, 1.0)), 0.0)
        rest = rest - column[..., :, None] * column[..., None, :]
        taken = chosen[..., :, None] | chosen[..., None, :]
        return jnp.where(taken, 0.0, rest), jnp.where(places == step, column[..., :, None], factor)

    carry = (matrix * inverse[..., :, None] * inverse[..., None, :], jnp.zeros_like(matrix))
    if size <= UNROLLED:
        for step in range(size):
            carry = eliminate(step, carry)
    else:
        carry = jax.lax.fori_loop(0, size, eliminate, carry)
    return scale[..., :, None] * carry[1]
