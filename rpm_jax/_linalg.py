"""Factorisations of symmetric positive-definite matrices that are safe, steady and fast under `jit`.

How a batch is factorised is told in `_factorise`. Derivatives need no further factorisation: they are linear
in the tangent and made of matrix products, in both modes of differentiation.
"""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax import _factorise
from rpm_jax._products import matmul, matrix_vector, transpose

__all__ = [
    "cholesky_with_inverse",
    "inverse_and_log_determinant",
    "log_determinant_and_product",
    "matmul",
    "matrix_vector",
    "transpose",
]


@jax.custom_jvp
def cholesky_with_inverse(matrix: Array) -> tuple[Array, Array]:
    """The Cholesky factor of a positive-definite matrix, and the factor's inverse.

    Args:
        matrix: Symmetric positive-definite, shape (..., K, K). Elsewhere the result is NaN.

    Returns:
        L lower triangular with L Lᵀ = matrix, and L⁻¹; both of shape (..., K, K).
    """
    return _factorise.factor_and_inverse(matrix)


@cholesky_with_inverse.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    factor, inverse = cholesky_with_inverse(*primals)
    (tangent,) = tangents
    symmetric = 0.5 * (tangent + transpose(tangent))
    inner = jnp.tril(matmul(inverse, symmetric, transpose(inverse)))
    diagonal = jnp.diagonal(inner, axis1=-2, axis2=-1)
    inner = inner - 0.5 * jnp.eye(inner.shape[-1], dtype=inner.dtype) * diagonal[..., None]
    return (factor, inverse), (matmul(factor, inner), -matmul(inner, inverse))


@jax.custom_jvp
def inverse_and_log_determinant(matrix: Array) -> tuple[Array, Array]:
    """The inverse and the log-determinant of a positive-definite matrix, from one factorisation.

    The derivatives are d log|P| = tr(P⁻¹ dP) and dP⁻¹ = −P⁻¹ dP P⁻¹.

    Args:
        matrix: Symmetric positive-definite P, shape (..., K, K). Elsewhere the result is NaN.

    Returns:
        P⁻¹ of shape (..., K, K) and log|P| of shape (...).
    """
    return _factorise.inverse_and_log_determinant(matrix)


@inverse_and_log_determinant.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    inverse, log_determinant = inverse_and_log_determinant(*primals)
    (tangent,) = tangents
    return (inverse, log_determinant), (
        -matmul(inverse, tangent, inverse),
        jnp.sum(transpose(inverse) * tangent, axis=(-2, -1)),
    )


@jax.custom_jvp
def log_determinant_and_product(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """The log-determinant and vᵀP⁻¹v of a positive-definite matrix, without its inverse.

    Args:
        matrix: Symmetric positive-definite P, shape (..., K, K). Elsewhere the result is NaN.
        vector: v, shape (..., K).

    Returns:
        log|P| and vᵀP⁻¹v, both of shape (...).
    """
    return _factorise.log_determinant_and_product(matrix, vector)


@log_determinant_and_product.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    (matrix, vector), (matrix_change, vector_change) = primals, tangents
    inverse, log_determinant = inverse_and_log_determinant(matrix)
    solution = matrix_vector(inverse, vector)
    change = 2.0 * jnp.sum(solution * vector_change, axis=-1) - jnp.sum(
        solution * matrix_vector(matrix_change, solution), axis=-1
    )
    return (log_determinant, jnp.sum(vector * solution, axis=-1)), (
        jnp.sum(transpose(inverse) * matrix_change, axis=(-2, -1)),
        change,
    )
