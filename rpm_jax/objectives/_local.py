"""Models with a latent of every view next to the common one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.expfam import Categorical
from rpm_jax.normalizers import log_sum_exp
from rpm_jax.objectives._checks import reference_sites
from rpm_jax.priors import Posterior, Prior


class LocalLatents(NamedTuple):
    """The exact answers of a model with local latents.

    Attributes:
        log_likelihood: log p(X), in nats, shape (...).
        posterior: p(Z|X) of the common latents.
        conditionals: p(z_jt|z_t, x_jt), a Categorical over L local states of batch shape (..., J, T, K).
        local_posteriors: p(z_jt|X), a Categorical over L local states of batch shape (..., J, T).
        potentials: λ of the posterior, batch shape (..., T).
    """

    log_likelihood: Array
    posterior: Posterior
    conditionals: Categorical
    local_posteriors: Categorical
    potentials: Categorical


def local_latents(
    prior: Prior,
    factors: Categorical,
    weights: Categorical,
    local_priors: Categorical,
    mixture: Categorical,
    mixture_weights: Categorical,
) -> LocalLatents:
    """A common latent z and in every view a local one, l, with empirical marginals of its own for every l.

        p(X) = Σ_Z p(Z) ∏_jt Σ_l p_j(l) f_jt(z_t|x_jt, l) α_jt(l|x_jt) / G_jt(l, z_t),
        G_jt(l, z) = Σ_m f_jt(z|x_jt^m, l) α_jt(l|x_jt^m)

    α_jt(l|x_jt^m), normalised over m, are the weights of the data in the empirical marginal that belongs to
    l; they are part of this likelihood. Given Z the local latents are independent, so they are summed out
    view by view, and what remains is the prior conditioned on potentials.

    Args:
        prior: p(Z), T categorical sites of K states; its conditioning must be exact.
        factors: Logits of f over K states for each of L local states, batch shape (..., J, T, L).
        weights: Logits of α over L local states, batch shape (..., J, T).
        local_priors: Logits of p_j over L local states, batch shape (J,) or (J, T).
        mixture: As `factors` for N components, batch shape (N, J, T, L).
        mixture_weights: As `weights` for N components, batch shape (N, J, T).

    Returns:
        Log-likelihood and posteriors.

    Raises:
        ValueError: For shapes that do not fit.
        TypeError: For a prior whose conditioning is variational, or whose sites are not categorical.

    References:
        torchRPM, `discreteRPM_localLatents`.
    """
    sites = reference_sites(prior)
    _check(sites, factors, weights, local_priors, mixture, mixture_weights)
    joint = _log_joint(factors, weights)
    total = log_sum_exp(_log_joint(mixture, mixture_weights), axis=0)
    local = local_priors.log_probabilities
    local = local[:, None] if local.ndim == 2 else local
    possible = total > -jnp.inf
    ratios = jnp.where(possible, joint - jnp.where(possible, total, 0.0), -jnp.inf) + local[..., None]
    by_view = log_sum_exp(ratios, axis=-2)
    potentials = Categorical(jnp.sum(by_view, axis=-3))
    posterior = prior.condition(potentials)
    if not posterior.exact:
        raise TypeError(
            f"prior: local latents need a prior whose conditioning is exact, got {type(prior).__name__}"
        )
    # Under a state of z that the view excludes, the local latent does not matter.
    defined = jnp.where(by_view[..., None, :] > -jnp.inf, ratios, 0.0)
    conditionals = Categorical(jnp.swapaxes(defined, -1, -2))
    common = posterior.sites.log_probabilities[..., None, :, :]
    logits = jax.nn.logsumexp(common[..., None] + conditionals.log_probabilities, axis=-2)
    return LocalLatents(posterior.log_normalizer, posterior, conditionals, Categorical(logits), potentials)


def _log_joint(factors: Categorical, weights: Categorical) -> Array:
    """Log f + log α, shape (..., J, T, L, K)."""
    return factors.log_probabilities + weights.log_probabilities[..., None]


def _check(sites: Any, factors: Any, weights: Any, local_priors: Any, mixture: Any, other: Any) -> None:
    named = {
        "prior's sites": sites,
        "factors": factors,
        "weights": weights,
        "local_priors": local_priors,
        "mixture": mixture,
        "mixture_weights": other,
    }
    for name, value in named.items():
        if not isinstance(value, Categorical):
            raise TypeError(f"{name} must be Categorical, got {type(value).__name__}")
    shape = factors.logits.shape
    num_states, (num_sites,) = sites.logits.shape[-1], sites.batch_shape
    if len(shape) < 4 or shape[-1] != num_states or shape[-3] != num_sites:
        raise ValueError(
            f"factors must have logits of shape (..., J, T, L, K) with T = {num_sites} and K = {num_states} "
            f"as in the prior, got {shape}"
        )
    views, _, local = shape[-4:-1]
    expected = {
        "weights": (weights.logits.shape, (*shape[:-2], local)),
        "mixture": (mixture.logits.shape, (mixture.logits.shape[0], *shape[-4:])),
        "mixture_weights": (other.logits.shape, (mixture.logits.shape[0], *shape[-4:-1])),
    }
    for name, (got, want) in expected.items():
        if got != want:
            raise ValueError(f"{name} must have logits of shape {want} to go with factors {shape}, got {got}")
    if local_priors.logits.shape not in ((views, local), (views, num_sites, local)):
        raise ValueError(
            f"local_priors must have logits of shape (J, L) = ({views}, {local}) or (J, T, L), got "
            f"{local_priors.logits.shape}"
        )
