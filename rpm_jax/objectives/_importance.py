"""The likelihood by importance sampling from q, with the mixtures evaluated at the samples."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.expfam._base import Statistics
from rpm_jax.normalizers import as_components, log_mixture_at
from rpm_jax.objectives._checks import check_component_shapes, check_shapes, reference_sites
from rpm_jax.objectives._inner_bound import conjugate_potentials, fill_missing
from rpm_jax.priors import Posterior, Prior, sum_over_sites


class ImportanceEstimate(NamedTuple):
    """An estimate of log w(X) from K draws of q.

    Attributes:
        log_likelihood: log 1/K Σ_k w_k, shape (...), in nats. Its expectation grows with K to log w(X).
        standard_error: Of the estimate, by the delta method: sd(w)/(√K mean(w)), shape (...).
        effective_sample_size: (Σ w)²/Σ w², between 1 and K, shape (...). Neither it nor the standard error
            sees mass of the posterior that no draw has met.
    """

    log_likelihood: Array
    standard_error: Array
    effective_sample_size: Array


def importance_weighted_bound(
    prior: Prior,
    factors: Any,
    mixture: Any,
    key: Array,
    *,
    num_samples: int,
    potentials: Any = None,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Array:
    """The importance-weighted bound on log w(X), with the mixtures evaluated at the samples.

        log 1/K Σ_k p(Z_k) ∏_jt [f_jt(z_kt|x_jt)/F_jt(z_kt)] / q(Z_k),   Z_k ~ q,

    whose expectation is at most log w(X), grows with K, and meets it as K → ∞. At K = 1 it is a draw of the
    free energy with E_q[log F] itself where the inner bound has U. Differentiable by reparametrised draws
    where the posterior's `sample` is (Gaussian, Gamma, Beta, Dirichlet; not von Mises or discrete ones).

    Args:
        prior: p(Z), T sites; its conditioning must be exact.
        factors: As in `inner_bound`, as all others below.
        mixture: See there.
        key: A random key.
        num_samples: K.
        potentials: See there.
        log_scale: See there.
        mixture_log_scale: See there.
        log_weights: See there.
        mask: See there.
        mixture_mask: See there.

    Returns:
        In nats, shape (...).

    References:
        Burda, Grosse & Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
    """
    log_ratios = log_importance_weights(
        prior,
        factors,
        mixture,
        key,
        num_samples=num_samples,
        potentials=potentials,
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )
    return jax.nn.logsumexp(log_ratios, axis=0) - math.log(num_samples)


def log_importance_weights(
    prior: Prior,
    factors: Any,
    mixture: Any,
    key: Array,
    *,
    num_samples: int,
    potentials: Any = None,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Array:
    """Log-weights of K draws from q; arguments as for `importance_weighted_bound`.

    The density of a whole trajectory isn't needed: q(Z)/p(Z) = exp(Σ_t ⟨λ_t, t(z_t)⟩ − log_normalizer), so
    that

        log w_k = log_normalizer + Σ_t [Σ_j (log f_jt − log F_jt)(z_kt) − ⟨λ_t, t(z_kt)⟩].

    Returns:
        Shape (K, ...).

    Raises:
        TypeError: For a prior whose conditioning is itself a variational bound.
        ValueError: For shapes that do not fit.
    """
    sites = reference_sites(prior)
    require_positive_integer("num_samples", num_samples)
    check_shapes(sites, factors, mixture, potentials, None, mask)
    check_component_shapes(factors, mixture, log_scale, mixture_log_scale, log_weights, mixture_mask)
    factors = fill_missing(factors, sites, mask)
    if potentials is None:
        potentials = conjugate_potentials(factors, sites)
    posterior = prior.condition(potentials)
    check_exact(prior, posterior)
    return log_importance_weights_at(
        posterior,
        sites,
        potentials,
        factors,
        mixture,
        posterior.sample(key, (num_samples,)),
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )


def log_importance_weights_at(
    posterior: Posterior,
    sites: Any,
    potentials: Any,
    factors: Any,
    mixture: Any,
    latents: Array,
    *,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Array:
    """`log_importance_weights` at given draws of a posterior that has been computed already.

    Args:
        posterior: `prior.condition(potentials)`.
        sites: What factors are relative to, `prior.sites()` or `prior.reference()`, batch shape (T,).
        potentials: λ, batch shape (..., T).
        factors: Batch shape (..., J, T); missing ones must hold valid natural parameters.
        mixture: As in `inner_bound`.
        latents: Draws, shape (K, ..., T) + event.
        log_scale: As in `inner_bound`.
        mixture_log_scale: As in `inner_bound`.
        log_weights: As in `inner_bound`.
        mask: As in `inner_bound`.
        mixture_mask: As in `inner_bound`.

    Returns:
        Shape (K, ...).
    """
    if isinstance(mixture, ExponentialFamily):
        own_sites = sites if mixture.batch_shape[-1] == sites.batch_shape[-1] else sites[:1]
        mixture = fill_missing(mixture, own_sites, mixture_mask)
        if mixture_mask is not None and mixture_log_scale is not None:
            mixture_log_scale = jnp.where(mixture_mask, mixture_log_scale, 0)
    statistics = finite_statistics(sites, latents)
    log_mixtures = log_mixture_at(
        as_components(mixture, mixture_log_scale), statistics, log_weights=log_weights, mask=mixture_mask
    )
    log_scale = -factors.log_partition() if log_scale is None else log_scale
    by_view = tuple(
        jnp.expand_dims(t, -rank - 2)
        for t, rank in zip(statistics, sites.natural_ranks.values(), strict=True)
    )
    terms = factors.dot(by_view) + log_scale - log_mixtures
    if mask is not None:
        terms = jnp.where(mask, terms, 0)
    change = jnp.sum(terms, axis=-2) - potentials.dot(statistics)
    return sum_over_sites(posterior, change)


def estimate_log_likelihood(log_ratios: Array) -> ImportanceEstimate:
    """The estimate of log w(X) from log-weights of draws on the first axis, (K, ...)."""
    size = log_ratios.shape[0]
    first = jax.nn.logsumexp(log_ratios, axis=0)
    second = jax.nn.logsumexp(2.0 * log_ratios, axis=0)
    effective = jnp.exp(2.0 * first - second)
    variance = jnp.maximum(1.0 / effective - 1.0 / size, 0.0) * size / max(1, size - 1)
    return ImportanceEstimate(first - math.log(size), jnp.sqrt(variance), effective)


def finite_statistics(sites: Any, latents: Array) -> Statistics:
    """t(z), its −∞ where a positive number was rounded to 0 replaced by the logarithm of the smallest one."""

    def finite(statistic: Array) -> Array:
        least = math.log(jnp.finfo(statistic.dtype).tiny)
        return jnp.where(jnp.isneginf(statistic), least, statistic)

    return tuple(finite(statistic) for statistic in sites.sufficient_statistics(latents))


def check_exact(prior: Any, posterior: Posterior) -> None:
    """Raise `TypeError` for a posterior whose log-normalizer is only a bound."""
    if not posterior.exact:
        raise TypeError(
            f"prior: {type(prior).__name__}.condition is variational, so that the weights of its draws are "
            "not known; evaluate and rpm_jax.objectives.free_energy give its bound"
        )
