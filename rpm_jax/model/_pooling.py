"""Mixtures that average over the sites as well as over the data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.model._blocks import DataComponents
from rpm_jax.model._records import Components
from rpm_jax.normalizers import Block, log_component_weights, log_sum_exp


class PooledComponents(NamedTuple):
    """N data at T sites as N·T components at one, made when a block of whole data is asked for.

    Attributes:
        source: The components at T sites.
        row_length: T.
    """

    source: DataComponents
    row_length: int

    @property
    def size(self) -> int:
        """N·T."""
        return self.source.size * self.row_length

    @property
    def block_size(self) -> int:
        """How many to ask for at a time."""
        return self.source.block_size * self.row_length

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1, both multiples of T; batch shape (length, J, 1)."""
        block = self.source.block(start // self.row_length, length // self.row_length)
        pooled = pool_components(Components(block.natural, block.log_scale, None, None))
        return Block(pooled.natural, pooled.log_scale)


def pool_components(components: Components, *, are_final: bool = False) -> Components:
    """N components at T sites as N·T components at one: batch shape (N·T, J, 1).

    Args:
        components: At T sites.
        are_final: As for `pool_weights`.
    """
    natural, log_scale, log_weights, mask = components
    size, num_views, num_sites = natural.batch_shape
    natural = natural.moveaxis(2, 1).reshape((size * num_sites, num_views, 1))
    log_scale = None if log_scale is None else _pool(log_scale)
    return Components(natural, log_scale, *pool_weights(log_weights, mask, num_sites, are_final=are_final))


def pool_weights(
    log_weights: Array | None, mask: Array | None, num_sites: int, *, are_final: bool = False
) -> tuple[Array | None, Array | None]:
    """Log-weights (N,) or log-masses (N, J, T) and mask (N, J, T) of data as those of N·T components.

    Args:
        log_weights: Or None.
        mask: Or None.
        num_sites: T.
        are_final: Whether log-masses (N, J, T) are log-weights among the components of all devices.
    """
    if log_weights is not None and log_weights.ndim == 3:
        log_weights = _pool(log_weights) if are_final else jax.nn.log_softmax(_pool(log_weights), axis=0)
    elif log_weights is not None:
        log_weights = jnp.repeat(log_weights, num_sites) - jnp.log(num_sites)
    return log_weights, None if mask is None else _pool(mask)


def weights_among_all(
    log_weights: Array | None, mask: Array | None, num_sites: int, *, pooled: bool
) -> Array | None:
    """Log-weights among all components, missing ones −∞, for components that are spread over devices.

    Args:
        log_weights: Log w, shape (N,), or None.
        mask: Boolean (N, J, T), or None.
        num_sites: T.
        pooled: Whether mixtures average over the sites too.

    Returns:
        None for uniform ones, (N,), or (N, J, T) where some are missing.
    """
    if mask is None:
        return log_weights
    if not pooled:
        return log_component_weights(mask.shape[0], log_weights, mask)
    pooled_weights, pooled_mask = pool_weights(log_weights, mask, num_sites)
    pooled_size = mask.shape[0] * num_sites
    weights = log_component_weights(pooled_size, pooled_weights, pooled_mask)
    return jnp.moveaxis(weights.reshape(mask.shape[0], num_sites, mask.shape[1]), 2, 1)


def _pool(array: Array) -> Array:
    size, num_views, num_sites = array.shape
    return jnp.moveaxis(array, 2, 1).reshape(size * num_sites, num_views, 1)


def pool_log_mixture(
    log_values: Array, size: int, log_weights: Array | None, mask: Array | None, *, are_final: bool = False
) -> Array:
    """Average mixtures over their sites, each with the weight of the components that it has.

    Args:
        log_values: log F_jt, shape (J, T, K).
        size: N.
        log_weights: log w, shape (N,), log-masses (N, J, T), or None.
        mask: Boolean (N, J, T), or None.
        are_final: As for `pool_weights`.

    Returns:
        log F_j, shape (J, 1, K).
    """
    num_sites = log_values.shape[1]
    if log_weights is not None and log_weights.ndim == 3:
        if are_final:
            return log_sum_exp(log_values, 1)[:, None]
        share = jax.nn.log_softmax(log_sum_exp(log_weights, 0), axis=1)
        return log_sum_exp(log_values + share[..., None], 1)[:, None]
    if mask is None:
        return log_sum_exp(log_values, 1)[:, None] - jnp.log(num_sites)
    weights = log_component_weights(size, log_weights, None)
    mass = log_sum_exp(jnp.where(mask, weights, -jnp.inf), 0)
    mass = jnp.where(jnp.any(mask, axis=(0, 2))[:, None], mass, 0.0)
    share = jax.nn.log_softmax(mass, axis=1)
    return log_sum_exp(log_values + share[..., None], 1)[:, None]
