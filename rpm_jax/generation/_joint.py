"""The joint weight of latents and of the data that a recognition-parametrised model holds."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.model import Components
from rpm_jax.normalizers import log_component_weights


def component_log_joint(sites: Any, components: Components, latents: Array) -> Array:
    """Log w + ⟨η, t(z)⟩ + h, shape (..., N, J, T); `sites` say which statistics t has."""
    natural, log_scale, log_weights, mask = components
    statistics = tuple(
        jnp.expand_dims(t, (-rank - 2, -rank - 3))
        for t, rank in zip(sites.sufficient_statistics(latents), natural.natural_ranks.values(), strict=True)
    )
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    return (
        natural.dot(statistics) + log_scale + log_component_weights(natural.batch_shape[0], log_weights, mask)
    )


def check_latents(sites: Any, latents: Any) -> Array:
    """Raise `ValueError` unless latents end in the shape of one draw of all sites."""
    example = jax.eval_shape(sites.sample, jax.random.key(0))
    latents = jnp.asarray(latents)
    if latents.shape[max(0, latents.ndim - example.ndim) :] != example.shape:
        raise ValueError(
            f"latents must end in the shape {example.shape} of one draw of all sites, got {latents.shape}"
        )
    return latents


def draw_prior(prior: Any, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Draw Z from the prior: by its own `sample` if it has one, else conditioned on nothing."""
    if hasattr(prior, "sample"):
        return prior.sample(key, shape)
    return prior.condition(prior.sites().zeros()).sample(key, shape)
