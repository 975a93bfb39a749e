"""The mixtures F_jt at points, for any family."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.expfam._base import Statistics
from rpm_jax.normalizers._components import Block, Components, row_length
from rpm_jax.normalizers._devices import SpreadComponents
from rpm_jax.normalizers._plain import log_component_weights
from rpm_jax.normalizers._running import RunningLogSum, empty_log_sum, fold, log_sum, log_sum_exp
from rpm_jax.normalizers._states import log_mixture

BLOCK_ELEMENTS = 2**20
"""Terms, of pairs of a point and a component, that one block evaluates by default."""


def log_mixture_at(
    components: Components,
    statistics: Statistics,
    *,
    log_weights: Array | None = None,
    mask: Array | None = None,
    block_size: int | None = None,
) -> Array:
    """The logarithm of every mixture at given values, without the base measure.

        log F_jt(z_t)/χ(z_t) = logsumexp_m [log w_m + ⟨η_jt^m, t(z_t)⟩ + h_jt^m],   h = −A(η) if normalised

    One matrix product and one logsumexp for a block of components after the other; derivatives evaluate each
    block again, so that no pair of point and component is kept.

    Args:
        components: The N components, batch shape (N, J, T). J and T may be 1 (shared, or pooled over sites).
        statistics: t(z_t) of the points, arrays (..., T) + event as from `sufficient_statistics`.
        log_weights: log w, shape (N,) or (N, J, T), with Σ_m w_m = 1; None: w_m = 1/N.
        mask: Boolean (N, J, T): components that are False (missing) leave the mixture, the others'
            weights are made to sum to 1 again.
        block_size: Components per block; None: as many as keep a block's terms few.

    Returns:
        Shape (..., J, T), J that of the components.

    Raises:
        TypeError: For components spread over devices.
    """
    if isinstance(components, SpreadComponents):
        raise TypeError(
            "components: mixtures at points need all components on one device, got SpreadComponents; leave "
            "out mesh"
        )
    size = components.size
    example: Any = jax.eval_shape(lambda: components.block(0, size).natural)
    ranks = tuple(example.natural_ranks.values())
    if example.one_hot:
        values = log_mixture(components, log_weights=log_weights, mask=mask)
        return values.dot(
            tuple(jnp.expand_dims(t, -rank - 2) for t, rank in zip(statistics, ranks, strict=True))
        )
    points = flat_statistics(statistics, ranks)
    shape, num_sites = points.shape[:-2], points.shape[-2]
    points = points.reshape(-1, *points.shape[-2:])
    num_views = example.batch_shape[1]
    weights = log_component_weights(size, log_weights, mask)
    weights = weights if weights.ndim == 3 else jnp.broadcast_to(weights, (size, 1, 1))
    if block_size is None:
        own = getattr(components, "block_size", None) or size
        block_size = min(own, BLOCK_ELEMENTS // max(1, math.prod(shape) * num_views * num_sites))
    row = row_length(components)
    block_size = max(row, block_size // row * row)
    if block_size >= size:
        log_values = log_sum_exp(_terms(components.block(0, size), weights, points), axis=-1)
        return log_values.reshape(*shape, num_views, num_sites)

    @partial(jax.checkpoint, static_argnums=(2,))
    def add(running: RunningLogSum, start: Array | int, length: int) -> RunningLogSum:
        rows = lax.dynamic_slice_in_dim(weights, start, length)
        return fold(running, _terms(components.block(start, length), rows, points), axis=-1)

    num_blocks = size // block_size
    dtype = jnp.result_type(example.dtype, weights.dtype, points.dtype)
    running, _ = lax.scan(
        lambda running, block: (add(running, block * block_size, block_size), None),
        empty_log_sum((points.shape[0], num_views, num_sites), dtype),
        jnp.arange(num_blocks),
    )
    if num_blocks * block_size < size:
        running = add(running, num_blocks * block_size, size - num_blocks * block_size)
    return log_sum(running).reshape(*shape, num_views, num_sites)


def flat_statistics(statistics: Statistics, ranks: tuple[int, ...]) -> Array:
    """Statistics or natural parameters with all their event axes in one: shape (..., D)."""
    parts = [t.reshape(*t.shape[: t.ndim - rank], -1) for t, rank in zip(statistics, ranks, strict=True)]
    return jnp.concatenate(parts, axis=-1)


def _terms(block: Block, weights: Array, points: Array) -> Array:
    """Log w + ⟨η, t(z)⟩ + h, shape (P, J, T, M), for points (P, T, D)."""
    natural, log_scale = block
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    flat = flat_statistics(natural.natural_parameters, tuple(natural.natural_ranks.values()))
    if flat.shape[2] == 1:
        products = jnp.einsum("mjd,ptd->pjtm", flat[:, :, 0], points)
    else:
        products = jnp.einsum("mjtd,ptd->pjtm", flat, points)
    return products + jnp.moveaxis(log_scale + weights, 0, -1)
