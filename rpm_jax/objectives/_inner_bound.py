"""The inner variational bound on the log-likelihood of a recognition-parametrised model."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import ExponentialFamily
from rpm_jax.normalizers import Components, as_components, log_tilted_mixture
from rpm_jax.priors import Posterior, Prior


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
        prior: p(Z), T sites.
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
    sites = prior.sites()
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
    hold_posterior: Any = None,
) -> Array:
    """`inner_bound` at a posterior that has been computed already.

    Args:
        posterior: `prior.condition(potentials)`.
        sites: `prior.sites()`, batch shape (T,).
        potentials: λ, batch shape (..., T).
        factors: As in `inner_bound`; missing ones must hold valid natural parameters.
        mixture: As in `inner_bound`.
        auxiliary: As in `inner_bound`.
        log_scale: As in `inner_bound`.
        mixture_log_scale: As in `inner_bound`.
        log_weights: As in `inner_bound`.
        mask: As in `inner_bound`.
        mixture_mask: As in `inner_bound`.
        hold_posterior: Marginals q(z_t) to use instead of `posterior.sites`, batch shape (..., T). With
            `posterior.sites` under `stop_gradient` and λ stopped too, the derivative is that of an M-step:
            ∇ log_normalizer at fixed λ is E_q[∇ log p(Z)].

    Returns:
        In nats, shape (...).
    """
    marginals = posterior.sites if hold_posterior is None else hold_posterior
    mean = marginals.mean_parameters()
    negative_divergence = jnp.sum(-potentials.dot(mean), axis=-1) + posterior.log_normalizer
    marginals = marginals[..., None, :]
    mean = tuple(
        jnp.expand_dims(m, -1 - rank - 1) for m, rank in zip(mean, sites.natural_ranks.values(), strict=True)
    )
    tilts = (marginals if auxiliary is None else auxiliary) - sites
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


def check_shapes(
    sites: ExponentialFamily, factors: Any, mixture: Any, potentials: Any, auxiliary: Any, mask: Array | None
) -> None:
    """Raise where arguments of an objective are of another family than the prior, or do not fit together."""
    arguments = {"factors": factors, "potentials": potentials, "auxiliary": auxiliary}
    if not isinstance(mixture, Components):
        arguments["mixture"] = mixture
    for name, value in arguments.items():
        if value is not None and type(value) is not type(sites):
            raise TypeError(
                f"{name} must be natural parameters of the prior's sites, {type(sites).__name__}, got "
                f"{type(value).__name__}"
            )
    (num_sites,) = sites.batch_shape
    if len(factors.batch_shape) < 2 or factors.batch_shape[-1] != num_sites:
        raise ValueError(
            f"factors must have batch shape (..., J, T) with T = {num_sites} sites as in the prior, got "
            f"{factors.batch_shape}"
        )
    num_views = factors.batch_shape[-2]
    if "mixture" in arguments:
        shape = mixture.batch_shape
        if len(shape) != 3 or shape[1] not in (1, num_views) or shape[2] not in (1, num_sites):
            raise ValueError(
                f"mixture must have batch shape (N, J, T) = (N, {num_views}, {num_sites}), or 1 in place "
                f"of J or T where components are shared, got {shape}"
            )
    batch = factors.batch_shape[:-2]
    expected = {"potentials": (*batch, num_sites), "auxiliary": (*batch, num_views, num_sites)}
    for name, shape in expected.items():
        if arguments[name] is not None and arguments[name].batch_shape != shape:
            raise ValueError(
                f"{name} must have batch shape {shape} to go with factors {factors.batch_shape}, got "
                f"{arguments[name].batch_shape}"
            )
    if mask is not None and mask.shape != factors.batch_shape:
        raise ValueError(f"mask must have the factors' batch shape {factors.batch_shape}, got {mask.shape}")


def check_component_shapes(
    factors: Any,
    mixture: Any,
    log_scale: Array | None,
    mixture_log_scale: Array | None,
    log_weights: Array | None,
    mixture_mask: Array | None,
) -> None:
    """Raise where arrays that go with factors or with mixture components have other shapes than these."""
    if log_scale is not None and log_scale.shape != factors.batch_shape:
        raise ValueError(
            f"log_scale must have the factors' batch shape {factors.batch_shape}, got {log_scale.shape}"
        )
    size = as_components(mixture).size
    if log_weights is not None and (log_weights.ndim not in (1, 3) or log_weights.shape[0] != size):
        raise ValueError(
            f"log_weights must have shape (N,) or (N, J, T) with N = {size} components, got "
            f"{log_weights.shape}"
        )
    if not isinstance(mixture, ExponentialFamily):
        return
    for name, array in (("mixture_log_scale", mixture_log_scale), ("mixture_mask", mixture_mask)):
        if array is not None and array.shape != mixture.batch_shape:
            raise ValueError(
                f"{name} must have the mixture's batch shape {mixture.batch_shape}, got {array.shape}"
            )
