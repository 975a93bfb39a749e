"""The inner variational bound on the log-likelihood of a recognition-parametrised model."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers import as_components, log_tilted_mixture
from rpm_jax.objectives._checks import check_component_shapes, check_shapes, reference_sites
from rpm_jax.priors import Posterior, Prior, posterior_divergence


def inner_bound(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    potentials: Any = None,
    auxiliary: Any = None,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Array:
    """A lower bound on log w(X) = log ∫ p(Z) ∏_jt f_jt(z_t|x_jt) / F_jt(z_t) dZ for every datum.

    With q(Z) ∝ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩, μ_t = E_q[t(z_t)] and any auxiliary natural parameters ξ,

        bound = log_normalizer − Σ_t ⟨λ_t, μ_t⟩ + Σ_jt [⟨η_jt, μ_t⟩ − A(η_jt) − U_jt],
        U_jt  = logsumexp_m [log w_m + A(η_jt^m − η0_t + ξ_jt) − A(η_jt^m)]
                + ⟨η0_t − ξ_jt + ηq_t, μ_t⟩ − A(ηq_t)  ≥  E_q[log F_jt].

    It is tight in ξ where exp⟨η0 − ξ, t⟩ is proportional to F_jt/q on the mass of q, and tight in λ where q
    is the posterior. Base measures cancel. log p(X) is log w(X) plus the empirical log-marginals.

    Args:
        prior: p(Z), T sites. Where they differ by datum, factors are relative to its `reference()`, sites
            that do not.
        factors: η of the recognition factors, natural parameters of batch shape (..., J, T), η0 included.
        mixture: η^m of the N components of F, batch shape (N, J, T), or `normalizers.Components`. J and
            T broadcast: a mixture pooled over sites has shape (N, J, 1).
        potentials: λ, batch shape (..., T). None: conjugate, Σ_j (η_jt − η0_t).
        auxiliary: ξ, batch shape (..., J, T). None: the posterior's sites ηq.
        log_scale: h in place of −A(η) for unnormalised factors exp(⟨η, t⟩ + h), shape (..., J, T).
        mixture_log_scale: The same for the components, shape (N, J, T).
        log_weights: Log-weights of the empirical marginals, shape (N,) or (N, J, T), Σ_m w_m = 1. None:
            uniform.
        mask: Boolean (..., J, T), False where a view is missing at a site: its term leaves the bound, and
            the conjugate potentials.
        mixture_mask: Boolean (N, J, T), False where a component is missing.

    Returns:
        In nats, shape (...).

    Raises:
        TypeError: For natural parameters of another family than the prior's sites.
        ValueError: For shapes that do not fit.

    References:
        Walker, Soulat, Yu & Sahani, AISTATS 2023, section 3 and supplement.
    """
    sites = reference_sites(prior)
    check_shapes(sites, factors, mixture, potentials, auxiliary, mask)
    check_component_shapes(factors, mixture, log_scale, mixture_log_scale, log_weights, mixture_mask)
    factors = fill_missing(factors, sites, mask)
    if potentials is None:
        potentials = conjugate_potentials(factors, sites)
    posterior = prior.condition(potentials)
    return inner_bound_at(
        posterior,
        sites,
        potentials,
        factors,
        mixture,
        auxiliary=auxiliary,
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )


def inner_bound_at(
    posterior: Posterior,
    sites: Any,
    potentials: Any,
    factors: Any,
    mixture: Any,
    *,
    auxiliary: Any = None,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
    marginals: Any = None,
) -> Array:
    """`inner_bound` at a posterior that has been computed already.

    Args:
        posterior: `prior.condition(potentials)`.
        sites: What factors are relative to, `prior.sites()` or `prior.reference()`, batch shape (T,).
        potentials: λ, batch shape (..., T).
        factors: As in `inner_bound`; missing ones must hold valid natural parameters.
        mixture: As in `inner_bound`.
        auxiliary: As in `inner_bound`.
        log_scale: As in `inner_bound`.
        mixture_log_scale: As in `inner_bound`.
        log_weights: As in `inner_bound`.
        mask: As in `inner_bound`.
        mixture_mask: As in `inner_bound`.
        marginals: q(z_t) to use instead of `posterior.sites`, batch shape (..., T). With `posterior.sites`
            under `stop_gradient` and λ stopped too, the derivative is that of an M-step: ∇ log_normalizer at
            fixed λ is E_q[∇ log p(Z)].

    Returns:
        In nats, shape (...).
    """
    marginals = posterior.sites if marginals is None else marginals
    mean = marginals.mean_parameters()
    negative_divergence = -posterior_divergence(posterior, potentials, mean)
    marginals = marginals[..., None, :]
    mean = tuple(
        jnp.expand_dims(m, -1 - rank - 1) for m, rank in zip(mean, sites.natural_ranks.values(), strict=True)
    )
    tilts = (marginals if auxiliary is None else fill_missing(auxiliary, sites, mask)) - sites
    if isinstance(mixture, ExponentialFamily):
        own_sites = sites if mixture.batch_shape[-1] == sites.batch_shape[-1] else sites[:1]
        mixture = fill_missing(mixture, own_sites, mixture_mask)
        if mixture_mask is not None and mixture_log_scale is not None:
            mixture_log_scale = jnp.where(mixture_mask, mixture_log_scale, 0)
    log_tilted = log_tilted_mixture(
        as_components(mixture, mixture_log_scale), tilts, log_weights=log_weights, mask=mixture_mask
    )
    expected_log_mixture = log_tilted + (marginals - tilts).dot(mean) - marginals.log_partition()
    log_scale = -factors.log_partition() if log_scale is None else log_scale
    terms = factors.dot(mean) + log_scale - expected_log_mixture
    if mask is not None:
        terms = jnp.where(mask, terms, 0)
    return negative_divergence + jnp.sum(terms, axis=(-2, -1))


def conjugate_potentials(factors: Any, sites: Any) -> Any:
    """λ_t = Σ_j (η_jt − η0_t): the posterior's potentials if every F_jt were the prior's marginal.

    Args:
        factors: Batch shape (..., J, T); missing ones equal to `sites`.
        sites: Batch shape (T,).

    Returns:
        Batch shape (..., T).
    """
    return (factors - sites).sum(-2)


def fill_missing(factors: Any, sites: Any, mask: Array | None) -> Any:
    """Put the prior's marginals where `mask` is False, so that no NaN or invalid number remains."""
    if mask is None:
        return factors
    shape = factors.batch_shape
    mask = jnp.broadcast_to(mask, shape)
    return factors.where(mask) + sites.broadcast_to(shape).where(~mask)
