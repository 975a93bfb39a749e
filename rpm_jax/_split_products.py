"""Products of matrices with vectors whose sums cancel, right to rounding of the sum rather than of its terms.

Numbers are split into slices of so few bits, on one grid for all of a sum, that products of slices and sums
of them are exact in whatever order they are taken; only the last slices, smaller by all bits of those before,
are rounded. It is all matrix products, and needs no order of operations that a compiler might change.

References:
    Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication by using fast routines
    of matrix multiplication and its applications, Numerical Algorithms 59, 2012.
"""

import math

import jax.numpy as jnp
from jax import Array

from rpm_jax._products import matrix_vector


def matrix_vector_of_split(matrix: Array, vector: Array) -> Array:
    """The product of matrices (..., K, L) with vectors (..., L), shape (..., K), without derivatives.

    Its error is about ε |M v| + ε² 2⁻²ᵇ |M| |v| with b = (24 − log₂ L)/2 bits in float32, for entries of M
    within a row, and of v, that are of one size; it is never larger than that of a plain product.
    """
    digits = jnp.finfo(matrix.dtype).nmant + 1
    bits = (digits - math.ceil(math.log2(max(matrix.shape[-1], 2)))) // 2
    first, second, rest = _split(matrix, bits)
    high, middle, low = _split(vector, bits)
    small = matrix_vector(matrix, low) + matrix_vector(rest, high + middle) + matrix_vector(second, middle)
    small = small + (matrix_vector(first, middle) + matrix_vector(second, high))
    return matrix_vector(first, high) + small


def _split(array: Array, bits: int) -> tuple[Array, Array, Array]:
    """Two slices of integers of some bits, in units of their own for each of the last axis, and the rest."""
    largest = jnp.max(jnp.abs(array), axis=-1, keepdims=True)
    exponent = jnp.frexp(largest)[1]
    slices = []
    for _ in range(2):
        exponent = exponent - bits
        # What is left of a slice must not be smaller than any number: such rows are not split.
        splits = exponent > jnp.finfo(array.dtype).minexp + bits
        unit = jnp.ldexp(jnp.ones_like(largest), jnp.where(splits, exponent, 0))
        slices.append(jnp.where(splits, jnp.round(array / unit) * unit, 0.0))
        array = array - slices[-1]
    return slices[0], slices[1], array
