"""Algebra of matrices of a few rows, whose entries are arrays: elementwise operations that a compiler fuses.

Vectors are lists of S arrays, matrices lists of their S rows. As arrays they have their entries on the first
axis: vectors (S, ...), matrices (S², ...), and symmetric ones without what is below the diagonal, row by row,
(S (S + 1)/2, ...).
"""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

Vector = list[Any]
Matrix = list[Vector]


def vector(entries: Array) -> Vector:
    """Of an array (S, ...)."""
    return _entries(entries)


def matrix(entries: Array) -> Matrix:
    """Of an array (S², ...)."""
    size = math.isqrt(entries.shape[0])
    flat = _entries(entries)
    return [flat[size * i : size * (i + 1)] for i in range(size)]


def symmetric(entries: Array) -> Matrix:
    """Of an array (S (S + 1)/2, ...)."""
    size = (math.isqrt(8 * entries.shape[0] + 1) - 1) // 2
    first = [i * size - i * (i - 1) // 2 for i in range(size)]
    flat = _entries(entries)
    return [[flat[first[min(i, j)] + abs(i - j)] for j in range(size)] for i in range(size)]


def _entries(entries: Array) -> Vector:
    """By `split`, whose transpose joins them; that of indexing adds up arrays of zeros elsewhere."""
    return [part[0] for part in lax.split(entries, (1,) * entries.shape[0])]


def packed(matrix: Matrix) -> Array:
    """A symmetric matrix as an array (S (S + 1)/2, ...)."""
    return stacked([matrix[i][j] for i in range(len(matrix)) for j in range(i, len(matrix))])


def flat(matrix: Matrix) -> Array:
    """A matrix as an array (S², ...)."""
    return stacked([entry for row in matrix for entry in row])


def stacked(vector: Vector) -> Array:
    """A vector as an array (S, ...)."""
    return jnp.stack(jnp.broadcast_arrays(*vector))


def pack(full: Array) -> Array:
    """Symmetric matrices (..., S, S) as an array (S (S + 1)/2, ...)."""
    return packed([[full[..., i, j] for j in range(full.shape[-1])] for i in range(full.shape[-1])])


def dot(first: Vector, second: Vector) -> Any:
    """Σ_i a_i b_i."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total = total + a * b
    return total


def apply(matrix: Matrix, vector: Vector) -> Vector:
    """A v."""
    return [dot(row, vector) for row in matrix]


def transposed(matrix: Matrix) -> Matrix:
    """Aᵀ."""
    return [list(column) for column in zip(*matrix, strict=True)]


def congruent(matrix: Matrix, inner: Matrix) -> Matrix:
    """A P Aᵀ of a symmetric P."""
    product = [apply(inner, row) for row in matrix]
    size = len(matrix)
    upper = {(i, j): dot(product[i], matrix[j]) for i in range(size) for j in range(i, size)}
    return [[upper[min(i, j), max(i, j)] for j in range(size)] for i in range(size)]


def doubled_product(first: Matrix, inner: Matrix, second: Matrix) -> Matrix:
    """A P Bᵀ + B P Aᵀ of a symmetric P."""
    product = [apply(inner, row) for row in first]
    size = len(first)
    one_side = [[dot(product[i], second[j]) for j in range(size)] for i in range(size)]
    return [[one_side[i][j] + one_side[j][i] for j in range(size)] for i in range(size)]


def cholesky(matrix: Matrix) -> Matrix:
    """L with L Lᵀ = P for a positive semi-definite P; columns of directions that P does not have are zero."""
    size = len(matrix)
    factor: Matrix = [[jnp.zeros_like(matrix[0][0])] * size for _ in range(size)]
    rest = [list(row) for row in matrix]
    for j in range(size):
        exists = rest[j][j] > 0
        root = jnp.sqrt(jnp.where(exists, rest[j][j], 1.0))
        for i in range(j, size):
            factor[i][j] = jnp.where(exists, rest[i][j] / root, 0.0)
        for i in range(j + 1, size):
            for k in range(j + 1, i + 1):
                rest[i][k] = rest[k][i] = rest[i][k] - factor[i][j] * factor[k][j]
    return factor


def outer(vector: Vector, weight: Any) -> Matrix:
    """The matrix v w vᵀ."""
    scaled = [entry * weight for entry in vector]
    return [[a * b for b in vector] for a in scaled]


def add(first: Matrix, second: Matrix) -> Matrix:
    """A + B."""
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)]
