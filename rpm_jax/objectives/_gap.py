"""The gap between the inner bound and the likelihood, in two parts."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from rpm_jax.objectives._importance import estimate_log_likelihood
from rpm_jax.objectives._quadrature import Quadrature


class BoundGap(NamedTuple):
    """log w(X) − bound = KL(q‖p(Z|X)) + Σ_jt (U_jt − E_q[log F_jt]), in nats, each of shape (...).

    Attributes:
        log_likelihood: log w(X).
        bound: The inner bound.
        posterior_gap: KL(q‖p(Z|X)): q is not the posterior.
        auxiliary_gap: Σ_jt (U_jt − E_q[log F_jt]): exp⟨η0 − ξ, t⟩ is not proportional to F_jt/q.
        posterior_gap_error: Standard error; 0 by quadrature.
        auxiliary_gap_error: Standard error; 0 by quadrature.
    """

    log_likelihood: Array
    bound: Array
    posterior_gap: Array
    auxiliary_gap: Array
    posterior_gap_error: Array
    auxiliary_gap_error: Array


def gap_from_weights(bound: Array, log_ratios: Array) -> BoundGap:
    """The gap from log-weights of K draws of q.

    With a_k = log w_k: log w(X) by log 1/K Σ exp a_k, the free energy with E_q[log F_jt] itself by 1/K Σ a_k,
    and their difference, the first part, with the standard error of exp(a_k)/w̄ − a_k, which the same draws
    make smaller.

    Args:
        bound: The inner bound, shape (...).
        log_ratios: From `log_importance_weights`, shape (K, ...).

    Returns:
        The gap.
    """
    size = log_ratios.shape[0]
    log_likelihood = estimate_log_likelihood(log_ratios).log_likelihood
    free_energy = jnp.mean(log_ratios, axis=0)
    influence = jnp.exp(log_ratios - log_likelihood) - log_ratios
    root = jnp.sqrt(max(1, size - 1))
    return BoundGap(
        log_likelihood,
        bound,
        log_likelihood - free_energy,
        free_energy - bound,
        jnp.std(influence, axis=0) / root,
        jnp.std(log_ratios, axis=0) / root,
    )


def gap_from_quadrature(bound: Array, integrals: Quadrature) -> BoundGap:
    """The gap from integrals.

    Args:
        bound: The inner bound, shape (...).
        integrals: From `log_likelihood_quadrature`.

    Returns:
        The gap, without standard errors.
    """
    log_likelihood, expected, *_ = integrals
    zeros = jnp.zeros_like(bound)
    return BoundGap(log_likelihood, bound, log_likelihood - expected, expected - bound, zeros, zeros)
