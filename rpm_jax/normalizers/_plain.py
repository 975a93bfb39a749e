"""The tilted mixture integral in its plain form, all components at once."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers._components import Components
from rpm_jax.normalizers._running import log_sum_exp


def log_tilted_mixture_plain(
    components: Components,
    tilts: ExponentialFamily,
    *,
    log_weights: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """`log_tilted_mixture` with all pairs of datum and component in memory at once: the reference.

    Args:
        components: As there.
        tilts: As there.
        log_weights: As there.
        mask: As there.

    Returns:
        Shape (..., J, T).
    """
    natural, log_scale = components.block(0, components.size)
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    log_mass = log_scale + log_component_weights(components.size, log_weights, mask)
    # Components go last: a sum over the contiguous axis is several times faster on CPUs.
    shifted = natural.moveaxis(0, -1) + tilts[..., None]
    return log_sum_exp(shifted.log_partition() + jnp.moveaxis(log_mass, 0, -1), axis=-1)


def log_component_weights(size: int, log_weights: Array | None, mask: Array | None) -> Array:
    """Log w_m, to be added to (N, J, T): uniform by default, missing components −inf."""
    if log_weights is None:
        log_weights = jnp.zeros(()) if mask is not None else jnp.asarray(-math.log(size))
    elif log_weights.ndim == 1:
        log_weights = log_weights[:, None, None]
    if mask is None:
        return log_weights
    present = jnp.where(mask.any(axis=0), mask, True)
    log_weights = jnp.where(present, log_weights, -jnp.inf)
    return log_weights - jax.nn.logsumexp(log_weights, axis=0)
