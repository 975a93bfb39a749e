"""Factorisations of symmetric positive-definite matrices that are safe and steady under `jit` on CPUs.

jaxlib's CPU kernels for Cholesky factors and triangular solves hand their work to thread pools and wait:
two batched calls that run at once can occupy every thread and wait for each other for ever, and on a busy
machine a small matrix waits a whole time slice of the scheduler. On CPUs the factorisation here is
therefore made of matrix products and elementwise operations alone, vectorised over the batch; other
devices use their own batched kernels. Derivatives need no further factorisation: they are linear in the
tangent and made of matrix products, in both modes of differentiation.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

UNBLOCKED = 64
"""Up to this size a matrix is eliminated column by column, larger ones block by block."""

SWEPT = 160
"""Up to this size an inverse is found by sweeps, above from the factors."""

HALVED = 256
"""Up to this size a log-determinant and product are found by elimination, above from the factors."""

BLOCK = 16
"""The size of a block."""

WHOLE = 8
"""Up to this size all rows are eliminated at once."""

CACHED_BYTES = 2**17
"""Of the matrices of a batch that are eliminated together: four times faster than larger arrays, which leave
the processor's cache at every step."""


def transpose(matrix: Array) -> Array:
    """The matrix transpose of the last two axes."""
    return jnp.swapaxes(matrix, -1, -2)


def matmul(*matrices: Array) -> Array:
    """The product of matrices in full precision, which accelerators otherwise round to fewer bits."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = jnp.matmul(product, matrix, precision=lax.Precision.HIGHEST)
    return product


def _factorise_by_kernel(matrix: Array) -> tuple[Array, Array]:
    factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
    identity = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    return factor, lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)


def _eliminate(matrix: Array) -> tuple[Array, Array]:
    """L and L⁻¹ by symmetric Gaussian elimination, which turns [A | I] into [Lᵀ | L⁻¹]."""
    size = matrix.shape[-1]
    rows = jnp.arange(size)[:, None]
    identity = jnp.broadcast_to(jnp.eye(size, dtype=matrix.dtype), matrix.shape)

    def step(i: Array, augmented: Array) -> Array:
        pivot_row = lax.dynamic_index_in_dim(augmented, i, axis=-2)
        column = lax.dynamic_index_in_dim(augmented, i, axis=-1)
        scale = lax.rsqrt(lax.dynamic_index_in_dim(pivot_row, i, axis=-1))
        pivot_row = pivot_row * scale
        below = jnp.where(rows > i, column * scale, 0.0)
        return jnp.where(rows == i, pivot_row, augmented - below * pivot_row)

    augmented = lax.fori_loop(0, size, step, jnp.concatenate([matrix, identity], axis=-1))
    return jnp.tril(transpose(augmented[..., :size])), augmented[..., size:]


def _in_parts(function: Callable[..., tuple[Array, Array]], *arrays: Array) -> tuple[Array, Array]:
    """A function of batches of matrices, evaluated for as many at a time as fit the cache."""
    batch = arrays[0].shape[:-2]
    number = math.prod(batch)
    bytes_each = arrays[0].dtype.itemsize * arrays[0].shape[-2] * arrays[0].shape[-1]
    together = max(1, CACHED_BYTES // max(1, bytes_each))
    if number <= 2 * together:
        return function(*arrays)
    flat = [array.reshape(number, *array.shape[-2:]) for array in arrays]
    whole = number // together * together
    parts = [array[:whole].reshape(-1, together, *array.shape[1:]) for array in flat]
    results = lax.map(lambda part: function(*part), tuple(parts))
    joined = [result.reshape(whole, *result.shape[2:]) for result in results]
    if whole < number:
        rest = function(*(array[whole:] for array in flat))
        joined = [jnp.concatenate(pair) for pair in zip(joined, rest, strict=True)]
    first, second = (result.reshape(*batch, *result.shape[1:]) for result in joined)
    return first, second


def _factorise_by_blocks(matrix: Array) -> tuple[Array, Array]:
    """L and L⁻¹, right-looking, one block of columns of L and of rows of L⁻¹ at a time."""
    size = matrix.shape[-1]
    if size <= UNBLOCKED:
        return _in_parts(_eliminate, matrix)
    num_blocks = -(-size // BLOCK)
    padding = num_blocks * BLOCK - size
    flat = matrix.reshape(-1, size, size)
    flat = jnp.pad(flat, [(0, 0), (0, padding), (0, padding)])
    rows = jnp.arange(num_blocks * BLOCK)
    flat = flat + jnp.diag((rows >= size).astype(matrix.dtype))

    def step(block: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rest, factor, inverse = carry
        start = block * BLOCK
        panel = lax.dynamic_slice_in_dim(rest, start, BLOCK, axis=2)
        _, corner_inverse = _eliminate(lax.dynamic_slice_in_dim(panel, start, BLOCK, axis=1))
        panel = jnp.where((rows >= start)[:, None], matmul(panel, transpose(corner_inverse)), 0.0)
        rest = rest - matmul(panel, transpose(panel))
        identity = (rows[None, :] == start + jnp.arange(BLOCK)[:, None]).astype(matrix.dtype)
        left = lax.dynamic_slice_in_dim(factor, start, BLOCK, axis=1)
        inverse_rows = matmul(corner_inverse, identity - matmul(left, inverse))
        factor = lax.dynamic_update_slice_in_dim(factor, panel, start, axis=2)
        inverse = lax.dynamic_update_slice_in_dim(inverse, inverse_rows, start, axis=1)
        return rest, factor, inverse

    zeros = jnp.zeros_like(flat)
    _, factor, inverse = lax.fori_loop(0, num_blocks, step, (flat, zeros, zeros))
    factor, inverse = factor[:, :size, :size], inverse[:, :size, :size]
    return factor.reshape(matrix.shape), inverse.reshape(matrix.shape)


def _cholesky_with_inverse(matrix: Array) -> tuple[Array, Array]:
    return lax.platform_dependent(matrix, cpu=_factorise_by_blocks, default=_factorise_by_kernel)


@jax.custom_jvp
def cholesky_with_inverse(matrix: Array) -> tuple[Array, Array]:
    """The Cholesky factor of a positive-definite matrix, and the factor's inverse.

    Args:
        matrix: Symmetric positive-definite, shape (..., K, K). Elsewhere the result is NaN.

    Returns:
        L lower triangular with L Lᵀ = matrix, and L⁻¹; both of shape (..., K, K).
    """
    return _cholesky_with_inverse(matrix)


@cholesky_with_inverse.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    factor, inverse = cholesky_with_inverse(*primals)
    (tangent,) = tangents
    symmetric = 0.5 * (tangent + transpose(tangent))
    inner = jnp.tril(matmul(inverse, symmetric, transpose(inverse)))
    diagonal = jnp.diagonal(inner, axis1=-2, axis2=-1)
    inner = inner - 0.5 * jnp.eye(inner.shape[-1], dtype=inner.dtype) * diagonal[..., None]
    return (factor, inverse), (matmul(factor, inner), -matmul(inner, inverse))


def _inverse_of_factors(factor: Array, factor_inverse: Array) -> tuple[Array, Array]:
    return matmul(transpose(factor_inverse), factor_inverse), _log_determinant(factor)


def _inverse_by_kernel(matrix: Array) -> tuple[Array, Array]:
    return _inverse_of_factors(*_factorise_by_kernel(matrix))


def _inverse_by_sweeps(matrix: Array) -> tuple[Array, Array]:
    """Gauss-Jordan elimination in place, which for positive-definite matrices needs no pivoting."""
    if matrix.shape[-1] > SWEPT:
        return _inverse_of_factors(*_factorise_by_blocks(matrix))
    return _in_parts(_sweep, matrix)


def _sweep(matrix: Array) -> tuple[Array, Array]:
    size = matrix.shape[-1]
    place = jnp.arange(size)

    def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        swept, log_determinant = carry
        row = lax.dynamic_index_in_dim(swept, i, axis=-2)
        column = lax.dynamic_index_in_dim(swept, i, axis=-1)
        pivot = lax.dynamic_index_in_dim(row, i, axis=-1)
        pivot = jnp.where(pivot > 0, pivot, jnp.nan)
        is_row, is_column = (place == i)[:, None], (place == i)[None, :]
        left = jnp.where(is_row, -1.0, column) / pivot
        right = jnp.where(is_column, -1.0, row)
        rest = jnp.where(is_row | is_column, 0.0, swept)
        return rest - left * right, log_determinant + jnp.log(pivot[..., 0, 0])

    start = (matrix, jnp.zeros(matrix.shape[:-2], matrix.dtype))
    swept, log_determinant = lax.fori_loop(0, size, step, start)
    return -0.5 * (swept + transpose(swept)), log_determinant


@jax.custom_jvp
def inverse_and_log_determinant(matrix: Array) -> tuple[Array, Array]:
    """The inverse and the log-determinant of a positive-definite matrix, from one factorisation.

    The derivatives are d log|P| = tr(P⁻¹ dP) and dP⁻¹ = −P⁻¹ dP P⁻¹.

    Args:
        matrix: Symmetric positive-definite P, shape (..., K, K). Elsewhere the result is NaN.

    Returns:
        P⁻¹ of shape (..., K, K) and log|P| of shape (...).
    """
    return lax.platform_dependent(matrix, cpu=_inverse_by_sweeps, default=_inverse_by_kernel)


@inverse_and_log_determinant.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    inverse, log_determinant = inverse_and_log_determinant(*primals)
    (tangent,) = tangents
    return (inverse, log_determinant), (
        -matmul(inverse, tangent, inverse),
        jnp.sum(transpose(inverse) * tangent, axis=(-2, -1)),
    )


def _log_determinant_and_product_by_elimination(matrix: Array, vector: Array) -> tuple[Array, Array]:
    if matrix.shape[-1] > HALVED:
        factor, inverse = _factorise_by_blocks(matrix)
        return _log_determinant(factor), jnp.sum(jnp.square(matrix_vector(inverse, vector)), axis=-1)
    augmented = jnp.concatenate([matrix, vector[..., None]], axis=-1)
    return _in_parts(_eliminate_by_halves, augmented)


def _eliminate_by_halves(augmented: Array) -> tuple[Array, Array]:
    """log|P| and vᵀP⁻¹v of [P | v], by eliminating one half of the rows, then one half of the rest, ..."""
    log_determinant = product = jnp.zeros(augmented.shape[:-2], augmented.dtype)

    def step(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rest, log_determinant, product = carry
        row = lax.dynamic_index_in_dim(rest, i, axis=-2)
        column = lax.dynamic_index_in_dim(rest, i, axis=-1)
        pivot = lax.dynamic_index_in_dim(row, i, axis=-1)
        scaled = row / jnp.where(pivot > 0, pivot, jnp.nan)
        log_determinant = log_determinant + jnp.log(pivot[..., 0, 0])
        return rest - column * scaled, log_determinant, product + row[..., 0, -1] * scaled[..., 0, -1]

    while augmented.shape[-2] > 0:
        size = augmented.shape[-2]
        number = size if size <= WHOLE else size // 2
        augmented, log_determinant, product = lax.fori_loop(
            0, number, step, (augmented, log_determinant, product)
        )
        augmented = augmented[..., number:, number:]
    return log_determinant, product


def _log_determinant_and_product_by_kernel(matrix: Array, vector: Array) -> tuple[Array, Array]:
    factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
    half = lax.linalg.triangular_solve(factor, vector[..., None], left_side=True, lower=True)
    return _log_determinant(factor), jnp.sum(jnp.square(half), axis=(-2, -1))


def _log_determinant(factor: Array) -> Array:
    return 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


@jax.custom_jvp
def log_determinant_and_product(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """The log-determinant and vᵀP⁻¹v of a positive-definite matrix, without its inverse.

    Args:
        matrix: Symmetric positive-definite P, shape (..., K, K). Elsewhere the result is NaN.
        vector: v, shape (..., K).

    Returns:
        log|P| and vᵀP⁻¹v, both of shape (...).
    """
    return lax.platform_dependent(
        matrix,
        vector,
        cpu=_log_determinant_and_product_by_elimination,
        default=_log_determinant_and_product_by_kernel,
    )


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


def matrix_vector(matrix: Array, vector: Array) -> Array:
    """The product of matrices (..., K, L) with vectors (..., L), of shape (..., K)."""
    return matmul(matrix, vector[..., None])[..., 0]
