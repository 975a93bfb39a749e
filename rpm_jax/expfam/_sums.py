"""Log-partitions of the sums of all pairs of two batches, in layouts that suit processors.

Loops over a last axis of two or three latents are not vectorised on CPUs: for each pair they take five times
as long as one latent does. So here the members of the first batch are the last axis, and what belongs to one
member (latents, entries of matrices) comes first.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Entries = list[Any]


def all_at_once(first: Any, second: Any) -> Array:
    """A(η^m + δ^n), batch shapes (M, *sites) and (..., *sites), of shape (..., *sites, M)."""
    return (first.moveaxis(0, -1) + second[..., None]).log_partition()


def by_latent(first: Any, second: Any) -> Array:
    """As `all_at_once`, of families whose members are K independent ones: one latent after the other."""
    rank = next(iter(first.natural_ranks.values()))
    if first.natural_parameters[0].shape[-rank] == 1 or first.shared or jax.default_backend() != "cpu":
        return all_at_once(first, second)
    return _sum_over_latents(_latents_first(first).moveaxis(1, -1), _latents_first(second)[..., None])


def _latents_first(family: Any) -> Any:
    """The distributions of single latents, batch shape (K, ...)."""
    ranks = family.natural_ranks.values()
    return family.replace(
        tuple(
            jnp.expand_dims(jnp.moveaxis(parameter, parameter.ndim - rank, 0), -rank)
            for parameter, rank in zip(family.natural_parameters, ranks, strict=True)
        )
    )


@jax.custom_jvp
def _sum_over_latents(first: Any, second: Any) -> Array:
    """Σ_k A(η_k + δ_k), batch shapes (K, ...)."""
    shape = jnp.broadcast_shapes(first.batch_shape[1:], second.batch_shape[1:])
    zeros = jnp.zeros(shape, jnp.result_type(first.dtype, second.dtype))

    def add(total: Array, latent: tuple[Any, Any]) -> tuple[Array, None]:
        return total + _log_partition_of_sum(*latent), None

    return lax.scan(add, zeros, (first, second))[0]


@_sum_over_latents.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    total = _sum_over_latents(*primals)

    # Linear in the tangents, and evaluated again where it is transposed: nothing of any latent is kept.
    @partial(jax.checkpoint, prevent_cse=False)
    def change(latent: tuple, latent_tangents: tuple) -> Array:
        return jax.jvp(_log_partition_of_sum, latent, latent_tangents)[1]

    def add(sum_of_changes: Array, latent: tuple) -> tuple[Array, None]:
        return sum_of_changes + change(*latent), None

    return total, lax.scan(add, jnp.zeros_like(total), (primals, tangents))[0]


def _log_partition_of_sum(first: Any, second: Any) -> Array:
    return (first + second).log_partition()


def gaussian_by_entry(first: Any, second: Any) -> Array:
    """As `all_at_once`, of Gaussians with small K × K precisions: number by number."""

    def entries(member: Any, member_axis: int | None) -> tuple[Entries, Entries]:
        precision, linear = member.precision, member.eta1
        size = linear.shape[-1]
        upper = jnp.stack([precision[..., i, j] for i in range(size) for j in range(i + 1)])
        linear = jnp.moveaxis(linear, -1, 0)
        if member_axis is not None:
            upper, linear = jnp.moveaxis(upper, 1, -1), jnp.moveaxis(linear, 1, -1)
        else:
            upper, linear = upper[..., None], linear[..., None]
        return _split(upper), _split(linear)

    (first_precision, first_linear), (second_precision, second_linear) = (
        entries(first, 0),
        entries(second, None),
    )
    return _log_partition(
        [a + b for a, b in zip(first_precision, second_precision, strict=True)],
        [a + b for a, b in zip(first_linear, second_linear, strict=True)],
    )


def _split(array: Array) -> Entries:
    """What the first axis holds, whose cotangents are joined, not added up among zeros."""
    return [part[0] for part in lax.split(array, (1,) * array.shape[0])]


@jax.custom_jvp
def _log_partition(precision: Entries, linear: Entries) -> Array:
    """½ηᵀP⁻¹η − ½ log|P|, of P's entries on and below the diagonal."""
    log_determinant, squared, _, _ = _eliminate(precision, linear)
    return 0.5 * (squared - log_determinant)


@_log_partition.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    precision, linear = primals
    log_determinant, squared, factor, half = _eliminate(precision, linear)
    mean, covariance = _moments(factor, half)
    precision_tangents, linear_tangents = tangents
    size = len(linear)
    change = sum(m * dm for m, dm in zip(mean, linear_tangents, strict=True))
    places = [(i, j) for i in range(size) for j in range(i + 1)]
    for (i, j), tangent in zip(places, precision_tangents, strict=True):
        second = covariance[i][j] + mean[i] * mean[j]
        change = change - (0.5 if i == j else 1.0) * second * tangent
    return 0.5 * (squared - log_determinant), change


def _eliminate(precision: Entries, linear: Entries) -> tuple[Array, Array, Entries, Entries]:
    """Log|P|, ηᵀP⁻¹η, and of P = L D Lᵀ the rows of L with D's pivots last, and L⁻¹η."""
    size = len(linear)
    rest = [precision[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(size)]
    factor: Entries = [[] for _ in range(size)]
    half = list(linear)
    log_determinant = squared = jnp.zeros((), linear[0].dtype)
    for i in range(size):
        pivot = jnp.where(rest[i][i] > 0, rest[i][i], jnp.nan)
        log_determinant = log_determinant + jnp.log(pivot)
        squared = squared + jnp.square(half[i]) / pivot
        column = [rest[row][i] / pivot for row in range(i + 1, size)]
        for row, ratio in zip(range(i + 1, size), column, strict=True):
            half[row] = half[row] - ratio * half[i]
            rest[row] = [rest[row][k] - ratio * rest[k][i] if k > i else rest[row][k] for k in range(row + 1)]
            factor[row].append(ratio)
        factor[i].append(pivot)
    return log_determinant, squared, factor, half


def _moments(factor: Entries, half: Entries) -> tuple[Entries, Entries]:
    """P⁻¹η and P⁻¹, on and below the diagonal, from what `_eliminate` gives."""
    size = len(half)
    pivots = [row[-1] for row in factor]
    mean: Entries = [None] * size
    for i in reversed(range(size)):
        mean[i] = half[i] / pivots[i]
        for k in range(i + 1, size):
            mean[i] = mean[i] - factor[k][i] * mean[k]
    inverse: Entries = [[None] * (i + 1) for i in range(size)]
    for i in range(size):
        inverse[i][i] = 1.0
        for j in range(i):
            inverse[i][j] = -sum(factor[i][k] * inverse[k][j] for k in range(j, i))
    scaled = [[entry / pivots[i] for entry in inverse[i]] for i in range(size)]
    covariance = [
        [sum(inverse[k][i] * scaled[k][j] for k in range(i, size)) for j in range(i + 1)] for i in range(size)
    ]
    return mean, covariance
