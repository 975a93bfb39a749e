"""Values of factorisations of many positive-definite matrices, without derivatives.

Accelerators use their batched kernels. On CPUs jaxlib's batched calls of LAPACK are not safe: jaxlib 0.10's
hand their batch to XLA's threads and wait for them, so that two at once can wait for each other for ever.
Triangular solves are not steady: OpenBLAS hands all but the narrowest to threads of its own, which on a busy
machine wait a time slice of the scheduler for each small matrix. Left are Cholesky factors of one matrix at a
time, which run where they are called. Bordered matrices give the solves too, as further rows of the factor:

    [[P, ·], [V, cI]] = [[L, 0], [V L⁻ᵀ, ·]] [[L, 0], [V L⁻ᵀ, ·]]ᵀ

Small matrices are eliminated by elementwise operations, vectorised over the batch, the smallest without a
loop; large ones are taken block by block, so that no kernel is given more than `KERNEL` rows, where OpenBLAS
would begin to use threads.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._products import matmul, matrix_vector, transpose

UNROLLED = 4
"""Up to this size matrices are eliminated number by number, which the compiler fuses with what is around."""

ELIMINATED = 12
"""Up to this size matrices are eliminated row by row, all of a batch at once."""

KERNEL = 256
"""The most rows that one call of LAPACK is given."""

BLOCK = 64
"""The rows of a block, where matrices are taken block by block."""

CACHED_BYTES = 2**17
"""Of the matrices of a batch that are eliminated together: four times faster than larger arrays, which leave
the processor's cache at every step."""


def factor_and_inverse(matrix: Array) -> tuple[Array, Array]:
    """L and L⁻¹ of matrices P = L Lᵀ, shape (..., K, K)."""
    return lax.platform_dependent(matrix, cpu=_factor_and_inverse, default=_factor_and_inverse_batched)


def inverse_and_log_determinant(matrix: Array) -> tuple[Array, Array]:
    """P⁻¹ and log|P| of matrices P, shape (..., K, K)."""
    if matrix.shape[-1] <= UNROLLED:
        return _sweep_numbers(matrix)
    return lax.platform_dependent(
        matrix, cpu=_inverse, default=lambda matrix: _inverse_of_factors(*_factor_and_inverse_batched(matrix))
    )


def log_determinant_and_product(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """log|P| and vᵀP⁻¹v of matrices P, shape (..., K, K), and vectors, shape (..., K)."""
    if matrix.shape[-1] <= UNROLLED:
        return _eliminate_numbers(matrix, vector)
    return lax.platform_dependent(
        matrix, vector, cpu=_log_determinant_and_product, default=_log_determinant_and_product_batched
    )


def _factor_and_inverse(matrix: Array) -> tuple[Array, Array]:
    if matrix.shape[-1] <= ELIMINATED:
        return _in_parts(_eliminate, matrix)
    if 2 * matrix.shape[-1] <= KERNEL:
        return _factor_and_inverse_by_border(matrix)
    return _factor_and_inverse_by_blocks(matrix)


def _inverse(matrix: Array) -> tuple[Array, Array]:
    if matrix.shape[-1] <= ELIMINATED:
        return _in_parts(_sweep, matrix)
    if 2 * matrix.shape[-1] <= KERNEL:
        return _inverse_by_border(matrix)
    return _inverse_of_factors(*_factor_and_inverse(matrix))


def _log_determinant_and_product(matrix: Array, vector: Array) -> tuple[Array, Array]:
    size = matrix.shape[-1]
    if size <= ELIMINATED:
        return _in_parts(_eliminate_rows, jnp.concatenate([matrix, vector[..., None]], axis=-1))
    if size < KERNEL:
        return _log_determinant_and_product_by_border(matrix, vector)
    factor, inverse = _factor_and_inverse_by_blocks(matrix)
    return _log_determinant(factor), jnp.sum(jnp.square(matrix_vector(inverse, vector)), axis=-1)


def _inverse_of_factors(factor: Array, factor_inverse: Array) -> tuple[Array, Array]:
    return matmul(transpose(factor_inverse), factor_inverse), _log_determinant(factor)


def _log_determinant(factor: Array) -> Array:
    return 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


def _factor_and_inverse_batched(matrix: Array) -> tuple[Array, Array]:
    factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
    identity = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    return factor, lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)


def _log_determinant_and_product_batched(matrix: Array, vector: Array) -> tuple[Array, Array]:
    factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
    half = lax.linalg.triangular_solve(factor, vector[..., None], left_side=True, lower=True)
    return _log_determinant(factor), jnp.sum(jnp.square(half), axis=(-2, -1))


def _one_by_one(function: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
    """A function of one matrix, and of a vector perhaps, for batches of them, also under `vmap`.

    All that is done with a matrix is done while it is in the cache.
    """

    @jax.custom_batching.custom_vmap
    def batched(matrix: Array, *vectors: Array) -> tuple[Array, Array]:
        batch = matrix.shape[:-2]
        flat = (matrix.reshape(-1, *matrix.shape[-2:]), *(v.reshape(-1, v.shape[-1]) for v in vectors))
        first, second = lax.map(lambda one: function(*one), flat)
        return first.reshape(*batch, *first.shape[1:]), second.reshape(*batch, *second.shape[1:])

    @batched.def_vmap
    def _(axis_size: int, in_batched: list[bool], *arrays: Array) -> tuple:
        """Without this rule the loop's body would be given a batch."""
        whole = [
            array if is_batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            for array, is_batched in zip(arrays, in_batched, strict=True)
        ]
        return batched(*whole), (True, True)

    return batched


def _cholesky_of_bordered(matrix: Array, rows: Array) -> tuple[Array, Array]:
    """L and V L⁻ᵀ, with so large a c that the whole is positive definite wherever P is."""
    size, number = matrix.shape[-1], rows.shape[0]
    corner = (jnp.finfo(matrix.dtype).max / 16) * jnp.eye(number, dtype=matrix.dtype)
    upper = jnp.concatenate([matrix, jnp.zeros((size, number), matrix.dtype)], axis=1)
    whole = jnp.concatenate([upper, jnp.concatenate([rows, corner], axis=1)])
    factor = lax.linalg.cholesky(whole, symmetrize_input=False)
    return factor[:size, :size], factor[size:, :size]


@_one_by_one
def _factor_and_inverse_by_border(matrix: Array) -> tuple[Array, Array]:
    factor, solved = _cholesky_of_bordered(matrix, jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return factor, solved.T


@_one_by_one
def _inverse_by_border(matrix: Array) -> tuple[Array, Array]:
    factor, solved = _cholesky_of_bordered(matrix, jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return matmul(solved, solved.T), _log_determinant(factor)


@_one_by_one
def _log_determinant_and_product_by_border(matrix: Array, vector: Array) -> tuple[Array, Array]:
    factor, solved = _cholesky_of_bordered(matrix, vector[None])
    return _log_determinant(factor), jnp.sum(jnp.square(solved))


def _factor_and_inverse_by_blocks(matrix: Array) -> tuple[Array, Array]:
    """Right-looking, one block of columns of L and of rows of L⁻¹ at a time."""
    size = matrix.shape[-1]
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
        corner, corner_inverse = _factor_and_inverse_by_border(
            lax.dynamic_slice_in_dim(panel, start, BLOCK, axis=1)
        )
        solved = matmul(panel, transpose(corner_inverse))
        # Products with an ill-conditioned corner's inverse lose digits, which a refinement restores.
        residual = panel - matmul(solved, transpose(corner))
        solved = solved + matmul(residual, transpose(corner_inverse))
        panel = jnp.where((rows >= start)[:, None], solved, 0.0)
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


def _numbers(matrix: Array) -> list[list[Array]]:
    size = matrix.shape[-1]
    return [[matrix[..., row, column] for column in range(size)] for row in range(size)]


def _positive(pivot: Array) -> Array:
    return jnp.where(pivot > 0, pivot, jnp.nan)


def _sweep_numbers(matrix: Array) -> tuple[Array, Array]:
    """As `_sweep`."""
    size = matrix.shape[-1]
    swept = _numbers(matrix)
    log_determinant = jnp.zeros(matrix.shape[:-2], matrix.dtype)
    for i in range(size):
        pivot = _positive(swept[i][i])
        log_determinant = log_determinant + jnp.log(pivot)
        others = [j for j in range(size) if j != i]
        scaled = {j: swept[i][j] / pivot for j in others}
        for row in others:
            for column in others:
                if column <= row:
                    new = swept[row][column] - swept[row][i] * scaled[column]
                    swept[row][column] = swept[column][row] = new
        for j in others:
            swept[i][j] = swept[j][i] = scaled[j]
        swept[i][i] = -1.0 / pivot
    inverse = jnp.stack([jnp.stack([-number for number in row], axis=-1) for row in swept], axis=-2)
    return inverse, log_determinant


def _eliminate_numbers(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """As `_eliminate_rows`."""
    size = matrix.shape[-1]
    rest, right = _numbers(matrix), [vector[..., row] for row in range(size)]
    log_determinant = product = jnp.zeros(matrix.shape[:-2], matrix.dtype)
    for i in range(size):
        pivot = _positive(rest[i][i])
        log_determinant = log_determinant + jnp.log(pivot)
        product = product + jnp.square(right[i]) / pivot
        for row in range(i + 1, size):
            ratio = rest[row][i] / pivot
            right[row] = right[row] - ratio * right[i]
            for column in range(i + 1, row + 1):
                rest[row][column] = rest[row][column] - ratio * rest[column][i]
    return log_determinant, product


def _in_parts(function: Callable[..., tuple[Array, Array]], array: Array) -> tuple[Array, Array]:
    """A function of a batch of matrices, evaluated for as many at a time as fit the cache."""
    batch, shape = array.shape[:-2], array.shape[-2:]
    number = math.prod(batch)
    together = max(1, CACHED_BYTES // max(1, array.dtype.itemsize * math.prod(shape)))
    if number <= 2 * together:
        return function(array)
    flat = array.reshape(number, *shape)
    whole = number // together * together
    joined = [
        result.reshape(whole, *result.shape[2:])
        for result in lax.map(function, flat[:whole].reshape(-1, together, *shape))
    ]
    if whole < number:
        joined = [jnp.concatenate(pair) for pair in zip(joined, function(flat[whole:]), strict=True)]
    first, second = (result.reshape(*batch, *result.shape[1:]) for result in joined)
    return first, second


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


def _sweep(matrix: Array) -> tuple[Array, Array]:
    """P⁻¹ and log|P| by Gauss-Jordan elimination in place, which for these matrices needs no pivoting."""
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


def _eliminate_rows(augmented: Array) -> tuple[Array, Array]:
    """log|P| and vᵀP⁻¹v of [P | v]."""
    zeros = jnp.zeros(augmented.shape[:-2], augmented.dtype)

    def step(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rest, log_determinant, product = carry
        row = lax.dynamic_index_in_dim(rest, i, axis=-2)
        column = lax.dynamic_index_in_dim(rest, i, axis=-1)
        pivot = lax.dynamic_index_in_dim(row, i, axis=-1)
        scaled = row / jnp.where(pivot > 0, pivot, jnp.nan)
        log_determinant = log_determinant + jnp.log(pivot[..., 0, 0])
        return rest - column * scaled, log_determinant, product + row[..., 0, -1] * scaled[..., 0, -1]

    _, log_determinant, product = lax.fori_loop(0, augmented.shape[-2], step, (augmented, zeros, zeros))
    return log_determinant, product
