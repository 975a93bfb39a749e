"""How far the mixtures are from the prior."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import require_positive_integer
from rpm_jax.normalizers import (
    ArrayComponents,
    as_components,
    log_component_weights,
    log_mixture,
    log_mixture_at,
)
from rpm_jax.objectives._checks import reference_sites
from rpm_jax.objectives._importance import finite_statistics
from rpm_jax.objectives._inner_bound import fill_missing
from rpm_jax.priors import Prior


class MixtureDivergence(NamedTuple):
    """KL(F_jt‖p) in nats.

    Attributes:
        divergence: Shape (J, T).
        standard_error: Of the Monte Carlo mean, shape (J, T); 0 where it is exact.
    """

    divergence: Array
    standard_error: Array


def mixture_divergence(
    prior: Prior,
    mixture: Any,
    key: Array,
    *,
    num_samples: int = 1000,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mixture_mask: Array | None = None,
) -> MixtureDivergence:
    """The divergence of every mixture from the prior's marginal, 0 where conjugate posteriors are exact.

        KL(F_jt‖p) = E_F [log F_jt(z_t) − log p(z_t)]

    A Monte Carlo mean over draws from the components; exact for one-hot statistics. Mixtures of unnormalised
    factors are normalised first.

    Args:
        prior: p(Z), T sites.
        mixture: Batch shape (N, J, T), (N, J, 1) where pooled, or `normalizers.Components`.
        key: A random key.
        num_samples: Draws for every mixture.
        mixture_log_scale: As in `inner_bound`.
        log_weights: As in `inner_bound`.
        mixture_mask: As in `inner_bound`.

    Returns:
        Divergences and standard errors.
    """
    return mixture_divergence_at(
        reference_sites(prior),
        mixture,
        key,
        num_samples=num_samples,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mixture_mask=mixture_mask,
    )


def mixture_divergence_at(
    sites: Any,
    mixture: Any,
    key: Array,
    *,
    num_samples: int = 1000,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mixture_mask: Array | None = None,
) -> MixtureDivergence:
    """`mixture_divergence` from given sites, batch shape (T,)."""
    require_positive_integer("num_samples", num_samples)
    components = as_components(mixture, mixture_log_scale)
    natural, log_scale = components.block(0, components.size)
    own_sites = sites if natural.batch_shape[2] == sites.batch_shape[0] else sites[:1]
    natural = fill_missing(natural, own_sites, mixture_mask)
    weights = log_component_weights(components.size, log_weights, mixture_mask)
    if sites.one_hot:
        held = ArrayComponents(natural, log_scale)
        mixtures = log_mixture(held, log_weights=log_weights, mask=mixture_mask)
        (log_values,) = mixtures.natural_parameters
        divergence = mixtures.replace((jax.nn.log_softmax(log_values),)).kl_divergence(own_sites)
        return MixtureDivergence(divergence, jnp.zeros_like(divergence))
    log_scale = -natural.log_partition() if log_scale is None else log_scale
    log_mass = jnp.broadcast_to(log_scale + natural.log_partition() + weights, natural.batch_shape)

    def of_view(view: Array) -> tuple[Array, Array]:
        own, scale, mass = natural[:, view], log_scale[:, view], log_mass[:, view]
        index_key, draw_key = jax.random.split(jax.random.fold_in(key, view))
        index = jax.random.categorical(index_key, mass, axis=0, shape=(num_samples, mass.shape[1]))
        latents = own[index, jnp.arange(mass.shape[1])].sample(draw_key)
        statistics = finite_statistics(sites, latents)
        log_values = log_mixture_at(
            ArrayComponents(own[:, None], scale[:, None]),
            statistics,
            log_weights=(mass - own.log_partition() - scale)[:, None],
        )[:, 0]
        log_values = log_values - jax.nn.logsumexp(mass, axis=0)
        ratios = log_values - (own_sites.dot(statistics) - own_sites.log_partition())
        return jnp.mean(ratios, axis=0), jnp.std(ratios, axis=0) / jnp.sqrt(num_samples)

    return MixtureDivergence(*lax.map(of_view, jnp.arange(natural.batch_shape[1])))
