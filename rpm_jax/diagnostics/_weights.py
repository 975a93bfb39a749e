"""Importance weights of draws from q, with the mixtures F_j evaluated at them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data
from rpm_jax.feeds import Lazy
from rpm_jax.model import Factors, Inferred, Mixture, initial_sites
from rpm_jax.normalizers import as_components
from rpm_jax.objectives import check_exact, estimate_log_likelihood, log_importance_weights_at
from rpm_jax.priors import sum_over_sites

SAMPLED_AT_ONCE = 2**20
"""Terms, of a draw of the latents and a component of a mixture, that are evaluated at once."""


def importance_weighted_bound(
    model: Any, params: Any, batch: Batch, data: Data, key: Array, *, num_samples: int
) -> Array:
    """The importance-weighted bound of a batch, F_j over `data` evaluated at K draws of q.

    An objective in the place of the bound: `rpm_jax.train.ImportanceWeighted`. Differentiable for families
    with reparametrised draws (Gaussian, Gamma, Beta, Dirichlet); see
    `rpm_jax.objectives.importance_weighted_bound`.

    Args:
        model: An `RPM`.
        params: Its parameters.
        batch: B data.
        data: The components of F_j.
        key: A random key.
        num_samples: K.

    Returns:
        In nats, shape (B,).
    """
    mixture = model.mixture(params, Lazy(data))
    own = model.recognise(params, batch)
    inferred = model.infer(params, batch, own, mixture)
    latents = inferred.posterior.sample(key, (num_samples,))
    log_ratios = log_importance_weights(model, params, batch, own, inferred, mixture, latents)
    return estimate_log_likelihood(log_ratios).log_likelihood


def has_differentiable_draws(model: Any) -> bool:
    """Whether draws of q can be differentiated: not those of discrete families, nor of von Mises."""

    def draw(sites: Any, key: Array) -> Array:
        draws, change = jax.jvp(lambda sites: sites.sample(key), (sites,), (sites.zeros(),))
        return draws if change.dtype == draws.dtype else change

    try:
        return jnp.issubdtype(
            jax.eval_shape(draw, initial_sites(model.prior), jax.random.key(0)).dtype, jnp.floating
        )
    except TypeError:
        return False


def sampled_weights(
    model: Any,
    params: Any,
    batch: Batch,
    own: Factors,
    inferred: Inferred,
    mixture: Mixture,
    key: Array,
    num_samples: int,
) -> Array:
    """Log-weights of K draws of q, shape (K, B), a block of draws at a time."""
    length = samples_at_once(own, mixture, num_samples)
    keys = jax.random.split(key, -(-num_samples // length))

    def weights(key: Array) -> Array:
        latents = inferred.posterior.sample(key, (length,))
        return log_importance_weights(model, params, batch, own, inferred, mixture, latents)

    log_ratios = jax.lax.map(weights, keys)
    return log_ratios.reshape(-1, *log_ratios.shape[2:])[:num_samples]


def log_importance_weights(
    model: Any,
    params: Any,
    batch: Batch,
    own: Factors,
    inferred: Inferred,
    mixture: Mixture,
    latents: Array,
) -> Array:
    """Log p(Z) ∏_jt f_jt/F_jt / q(Z) at draws of q, shape (K, B)."""
    prior = model.prior_of(params, batch.inputs)
    check_exact(prior, inferred.posterior)
    if model.is_exact:
        # log F_jt is known at every state: the evidence is linear in the statistics.
        statistics = model.reference(params).sufficient_statistics(latents)
        evidence = model.evidence(own, mixture)
        change = evidence.dot(statistics) - inferred.potentials.dot(statistics)
        return sum_over_sites(inferred.posterior, change)
    components = mixture.components
    assert components is not None
    return log_importance_weights_at(
        inferred.posterior,
        model.reference(params),
        inferred.potentials,
        own.natural,
        components.natural,
        latents,
        log_scale=own.log_scale,
        mixture_log_scale=components.log_scale,
        log_weights=components.log_weights,
        mask=own.mask,
        mixture_mask=components.mask,
    )


def samples_at_once(own: Factors, mixture: Mixture, num_samples: int) -> int:
    """How many draws of a block of data are evaluated at once, such that blocks are about equal."""
    components = mixture.components
    size = 1 if components is None else as_components(components.natural).size
    terms = own.natural.reshape((-1,)).batch_shape[0] * size
    most = min(num_samples, max(1, SAMPLED_AT_ONCE // terms))
    return -(-num_samples // -(-num_samples // most))
