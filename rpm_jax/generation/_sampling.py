"""A recognition-parametrised model as a generative model over the data it holds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys
from rpm_jax._jit import jit
from rpm_jax.data import Data, as_data
from rpm_jax.generation._joint import check_latents, component_log_joint, draw_prior
from rpm_jax.model import Components, pool_components, recognise_in_blocks, require_ability


class Draw(NamedTuple):
    """Draws from a model.

    Attributes:
        latents: z, shape (..., T) + event.
        indices: For each view and site the datum drawn, integers (..., J, T).
    """

    latents: Array
    indices: Array


def component_log_weights(fitted: Any, latents: Array) -> Array:
    """Log p(x_jt^n | z_t) = log w_n + log f_jt(z_t|x_jt^n) − log Σ_m w_m f_jt(z_t|x_jt^m).

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        latents: z, shape (..., T) + event.

    Returns:
        Shape (..., N, J, T), normalised over N; −inf where missing. (..., N·T, J, T) where the model
        pools the sites, component n·T + t being datum n at site t.
    """
    return jax.nn.log_softmax(_checked_log_joint(fitted, latents), axis=-3)


def mixture_log_density(fitted: Any, latents: Array) -> Array:
    """Log F_jt(z_t), in nats.

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`.
        latents: z, shape (..., T) + event.

    Returns:
        Shape (..., J, T).
    """
    log_density = jax.nn.logsumexp(_checked_log_joint(fitted, latents), axis=-3)
    sites = fitted.model.reference(fitted.params)
    return log_density + sites.log_base_measure(jnp.asarray(latents))[..., None, :]


def sample(fitted: Any, key: Array, shape: tuple[int, ...] = ()) -> Draw:
    """Draw z from the prior, then for each view and site a datum n from p(x_jt^n | z_t).

    Args:
        fitted: A `Fit` or `Fitted` of an `RPM`; its data are all the values that x_j can take.
        key: A random key.
        shape: Of the draws; where the prior depends on inputs, of those for each datum of the fit.

    Returns:
        Latents `shape` + (T,) + event and indices `shape` + (J, T), into the components of
        `component_log_weights`; `shape` + (N, T) + event and `shape` + (N, J, T) with inputs.
    """
    require_ability(fitted.model, "pooled", "sample")
    latent_key, index_key = jax.random.split(as_keys("key", key, 0))
    prior = fitted.model.prior_of(fitted.params, as_data(fitted.data).inputs)
    latents = draw_prior(prior, latent_key, shape)
    log_weights = component_log_weights(fitted, latents)
    return Draw(latents, jax.random.categorical(index_key, log_weights, axis=-3))


def _checked_log_joint(fitted: Any, latents: Any) -> Array:
    require_ability(fitted.model, "pooled", "component_log_weights")
    latents = check_latents(fitted.model.reference(fitted.params), latents)
    return _log_joint(fitted.model, fitted.params, as_data(fitted.data), latents)


@jit
def _log_joint(model: Any, params: Any, data: Data, latents: Array) -> Array:
    """Log w + ⟨η, t(z)⟩ + h, shape (..., N, J, T)."""
    natural, _, log_scale, mask = recognise_in_blocks(model, params, data.all())
    components = Components(natural, log_scale, data.log_weights, mask)
    components = pool_components(components) if model.pooled else components
    return component_log_joint(model.reference(params), components, latents)
