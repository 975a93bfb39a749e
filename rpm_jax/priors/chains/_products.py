"""Products of small matrices that are fast on processors, whichever factor is transposed.

XLA's batched products there are up to six times slower where the first factor is a transpose that was not
written out. The smallest are sums of elementwise products, which are fused with what is around.
"""

import jax.numpy as jnp
from jax import Array, lax

from rpm_jax import _linalg
from rpm_jax._factorise import UNROLLED


def transpose(matrix: Array) -> Array:
    """The matrix transpose of the last two axes."""
    turned = _linalg.transpose(matrix)
    return turned if max(matrix.shape[-2:]) <= UNROLLED else lax.optimization_barrier(turned)


def matmul(*matrices: Array) -> Array:
    """The product of matrices in full precision."""
    product = matrices[0]
    for matrix in matrices[1:]:
        if matrix.shape[-2] <= UNROLLED:
            product = jnp.sum(product[..., :, :, None] * matrix[..., None, :, :], axis=-2)
        else:
            product = _linalg.matmul(product, matrix)
    return product


def matrix_vector(matrix: Array, vector: Array) -> Array:
    """The product of matrices (..., K, L) with vectors (..., L), of shape (..., K)."""
    if vector.shape[-1] <= UNROLLED:
        return jnp.sum(matrix * vector[..., None, :], axis=-1)
    return _linalg.matrix_vector(matrix, vector)
