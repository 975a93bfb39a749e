"""Exact likelihoods and posteriors where every site has finitely many states."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.normalizers import Block, as_components, log_densities, log_mixture
from rpm_jax.objectives._checks import check_component_shapes, check_shapes, reference_sites
from rpm_jax.objectives._inner_bound import fill_missing
from rpm_jax.priors import Posterior, Prior, sum_over_sites


def exact_log_likelihood(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Array:
    """The log-likelihood of every datum, relative to its empirical marginals, for categorical sites.

        log w(X) = log Σ_Z p(Z) ∏_jt f_jt(z_t|x_jt) / F_jt(z_t),   F_jt(k) = Σ_m w_m f_jt(k|x_jt^m),

    the log-normalizer of the prior conditioned on λ_t = Σ_j (log f_jt − log F_jt). log p(X) is log w(X) plus
    the empirical log-marginals. For one site with K equally probable states log w is at most (J − 1) log K.

    Args:
        prior: p(Z), T sites of a family with one-hot statistics.
        factors: Logits of the recognition factors, a family of batch shape (..., J, T); normalised here
            unless `log_scale` is given.
        mixture: Logits of the N components of F, batch shape (N, J, T), or `normalizers.Components`. J and
            T broadcast: a mixture pooled over sites has shape (N, J, 1).
        log_scale: h of unnormalised factors exp(⟨η, t⟩ + h), shape (..., J, T).
        mixture_log_scale: The same for the components, shape (N, J, T).
        log_weights: Log-weights of the empirical marginals, shape (N,) or (N, J, T), Σ_m w_m = 1. None:
            uniform, so that F is the mean.
        mask: Boolean (..., J, T), False where a view is missing at a site.
        mixture_mask: Boolean (N, J, T), False where a component is missing.

    Returns:
        In nats, shape (...).

    Raises:
        TypeError: For a prior whose conditioning is itself a variational bound.
        ValueError: For shapes that do not fit.

    References:
        Walker, Soulat, Yu & Sahani, AISTATS 2023.
    """
    posterior = exact_posterior(
        prior,
        factors,
        mixture,
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )
    return posterior.log_normalizer


def exact_posterior(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Posterior:
    """The posterior p(Z|X); its log-normalizer is log w(X). Arguments as for `exact_log_likelihood`.

    Returns:
        The prior conditioned on λ_t = Σ_j (log f_jt − log F_jt), batch shape (...).
    """
    evidence = mixture_evidence(
        prior,
        factors,
        mixture,
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )
    posterior = prior.condition(evidence)
    if not posterior.exact:
        raise TypeError(
            f"prior: {type(prior).__name__}.condition is variational, so its log-normalizer is a lower bound "
            "and no exact likelihood; rpm_jax.objectives.free_energy gives that bound"
        )
    return posterior


def free_energy(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    potentials: Any = None,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Array:
    """The free energy of any posterior q(Z) ∝ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩, for categorical sites.

        −KL(q‖p) + Σ_jt E_q[log f_jt − log F_jt] ≤ log w(X)

    E_q[log F] is exact. Equality holds at λ_t = Σ_j (log f_jt − log F_jt) where the prior's conditioning is
    exact.

    Args:
        prior: As in `exact_log_likelihood`; its conditioning may be variational.
        factors: As there.
        mixture: As there.
        potentials: λ, batch shape (..., T). None: the best ones, given above. The posterior under the
            assumption F_j = p has `conjugate_potentials(normalised factors, prior.sites())`.
        log_scale: As there.
        mixture_log_scale: As there.
        log_weights: As there.
        mask: As there.
        mixture_mask: As there.

    Returns:
        In nats, shape (...).
    """
    evidence = mixture_evidence(
        prior,
        factors,
        mixture,
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )
    if potentials is None:
        return prior.condition(evidence).log_normalizer
    check_shapes(reference_sites(prior), factors, mixture, potentials, None, mask)
    return free_energy_at(prior.condition(potentials), potentials, evidence)


def free_energy_at(posterior: Posterior, potentials: Any, evidence: Any, marginals: Any = None) -> Array:
    """The free energy at a posterior that has been computed already.

    Args:
        posterior: `prior.condition(potentials)`.
        potentials: λ, batch shape (..., T).
        evidence: Σ_j (log f_jt − log F_jt), batch shape (..., T).
        marginals: q(z_t) in the place of `posterior.sites`; stopped, together with λ, for an M-step.

    Returns:
        In nats, shape (...).
    """
    mean = (posterior.sites if marginals is None else marginals).mean_parameters()
    return sum_over_sites(posterior, evidence.dot(mean) - potentials.dot(mean))


def mixture_evidence(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Any:
    """The potentials λ_t = Σ_j (log f_jt − log F_jt) of the exact posterior.

    Args:
        prior: As in `exact_log_likelihood`, as all others.
        factors: See there.
        mixture: See there.
        log_scale: See there.
        mixture_log_scale: See there.
        log_weights: See there.
        mask: See there.
        mixture_mask: See there.

    Returns:
        A family of batch shape (..., T).
    """
    ratios = log_ratios(
        prior,
        factors,
        mixture,
        log_scale=log_scale,
        mixture_log_scale=mixture_log_scale,
        log_weights=log_weights,
        mask=mask,
        mixture_mask=mixture_mask,
    )
    return ratios.sum(-2)


def log_ratios(
    prior: Prior,
    factors: Any,
    mixture: Any,
    *,
    log_scale: Array | None = None,
    mixture_log_scale: Array | None = None,
    log_weights: Array | None = None,
    mask: Array | None = None,
    mixture_mask: Array | None = None,
) -> Any:
    """The log-ratios log f_jt − log F_jt = log p(x_jt|z_t)/p0(x_jt) of every view.

    With N data that are also the components they are log N + log softmax_n log f_jt: the categorical
    distribution p(x_jt^n|z) over the data.

    Args:
        prior: As in `exact_log_likelihood`, as all others.
        factors: See there.
        mixture: See there.
        log_scale: See there.
        mixture_log_scale: See there.
        log_weights: See there.
        mask: See there.
        mixture_mask: See there.

    Returns:
        A family of batch shape (..., J, T); 0 where missing, −∞ in states that all components exclude.
    """
    sites = reference_sites(prior)
    if not sites.one_hot:
        raise TypeError(
            f"prior: exact likelihoods need sites with finitely many states, such as Categorical, got "
            f"{type(sites).__name__}; rpm_jax.objectives.inner_bound is for all families"
        )
    check_shapes(sites, factors, mixture, None, None, mask)
    check_component_shapes(factors, mixture, log_scale, mixture_log_scale, log_weights, mixture_mask)
    if isinstance(mixture, type(sites)):
        own_sites = sites if mixture.batch_shape[-1] == sites.batch_shape[-1] else sites[:1]
        mixture = fill_missing(mixture, own_sites, mixture_mask)
        if mixture_log_scale is not None and mixture_mask is not None:
            mixture_log_scale = jnp.where(mixture_mask, mixture_log_scale, 0)
    components = as_components(mixture, mixture_log_scale)
    mixtures = log_mixture(components, log_weights=log_weights, mask=mixture_mask)
    return log_ratios_at(Block(fill_missing(factors, sites, mask), log_scale), mixtures, mask)


def log_ratios_at(block: Block, mixtures: Any, mask: Array | None) -> Any:
    """`log_ratios` for mixtures that have been computed already.

    Args:
        block: The factors, batch shape (..., J, T); missing ones must hold numbers.
        mixtures: log F, batch shape (J, T).
        mask: Boolean (..., J, T), or None.

    Returns:
        A family of batch shape (..., J, T).
    """
    log_factors = log_densities(block)
    (log_mixtures,) = mixtures.natural_parameters
    possible = log_mixtures > -jnp.inf
    ratios = jnp.where(possible, log_factors - jnp.where(possible, log_mixtures, 0.0), -jnp.inf)
    if mask is not None:
        ratios = jnp.where(mask[..., None], ratios, 0.0)
    return block.natural.replace((ratios,))


class ViewPosteriors(NamedTuple):
    """What single views say under the aggregate posterior in the place of the prior.

    Attributes:
        aggregate: p̃(z_t) = 1/N Σ_n p(z_t|X^n), a family of batch shape (T,).
        log_weights: log w̃_jt = log Σ_k p̃(k) f_jt(k|x_jt)/F_jt(k), the log-density of a view relative to its
            empirical marginal, shape (N, J, T).
        posteriors: p̃(z_t|x_jt) = p̃(z_t) f_jt(z_t|x_jt)/(F_jt(z_t) w̃_jt), batch shape (N, J, T).
    """

    aggregate: Any
    log_weights: Array
    posteriors: Any


def view_posteriors(ratios: Any, posterior: Posterior) -> ViewPosteriors:
    """Replace the prior by the aggregate posterior of N data, and look at one view at a time.

    With μ_jt the factor's own state probabilities, the gradient of Σ_n log w^n by the logits η_jt^n is
    p(z_t|X) − w̃_jt p̃(z_t|x_jt) + (w̃_jt − 1) μ_jt.

    Args:
        ratios: `log_ratios` of the N data that are the components too, batch shape (N, J, T).
        posterior: Their posterior, batch shape (N,).

    Returns:
        Aggregate posterior, weights and posteriors of the views.
    """
    (log_probabilities,) = (posterior.sites.natural_parameters[0],)
    log_probabilities = jax.nn.log_softmax(log_probabilities)
    size = log_probabilities.shape[0]
    aggregate = ratios.replace((jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(size),))
    joint = ratios + aggregate
    weights = joint.log_partition()
    return ViewPosteriors(
        aggregate, weights, joint.replace((joint.natural_parameters[0] - weights[..., None],))
    )
