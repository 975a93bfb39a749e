"""Products of matrices in full precision."""

import jax.numpy as jnp
from jax import Array, lax


def transpose(matrix: Array) -> Array:
    """The matrix transpose of the last two axes."""
    return jnp.swapaxes(matrix, -1, -2)


def matmul(*matrices: Array) -> Array:
    """The product of matrices in full precision, which accelerators otherwise round to fewer bits."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = jnp.matmul(product, matrix, precision=lax.Precision.HIGHEST)
    return product


def matrix_vector(matrix: Array, vector: Array) -> Array:
    """The product of matrices (..., K, L) with vectors (..., L), of shape (..., K)."""
    return matmul(matrix, vector[..., None])[..., 0]
