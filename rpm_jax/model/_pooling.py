"""Mixtures that average over the sites as well as over the data."""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.model._records import Components
from rpm_jax.normalizers import log_component_weights, log_sum_exp


def pool_components(components: Components) -> Components:
    """N components at T sites as N·T components at one: batch shape (N·T, J, 1)."""
    natural, log_scale, log_weights, mask = components
    size, num_views, num_sites = natural.batch_shape

    def pool(array: Array | None) -> Array | None:
        if array is None:
            return None
        return jnp.moveaxis(array, 2, 1).reshape(size * num_sites, num_views, 1)

    natural = natural.moveaxis(2, 1).reshape((size * num_sites, num_views, 1))
    if log_weights is not None:
        log_weights = jnp.repeat(log_weights, num_sites) - jnp.log(num_sites)
    return Components(natural, pool(log_scale), log_weights, pool(mask))


def pool_log_mixture(log_values: Array, size: int, log_weights: Array | None, mask: Array | None) -> Array:
    """Average mixtures over their sites, each with the weight of the components that it has.

    Args:
        log_values: log F_jt, shape (J, T, K).
        size: N.
        log_weights: log w, shape (N,), or None.
        mask: Boolean (N, J, T), or None.

    Returns:
        log F_j, shape (J, 1, K).
    """
    num_sites = log_values.shape[1]
    if mask is None:
        return log_sum_exp(log_values, 1)[:, None] - jnp.log(num_sites)
    weights = log_component_weights(size, log_weights, None)
    mass = log_sum_exp(jnp.where(mask, weights, -jnp.inf), 0)
    mass = jnp.where(jnp.any(mask, axis=(0, 2))[:, None], mass, 0.0)
    share = jax.nn.log_softmax(mass, axis=1)
    return log_sum_exp(log_values + share[..., None], 1)[:, None]
