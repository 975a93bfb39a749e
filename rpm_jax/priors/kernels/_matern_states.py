"""Matérn kernels of half-integer order as Markov processes."""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.polynomial import polynomial

from rpm_jax.priors.kernels import _erlang
from rpm_jax.priors.kernels._states import MarkovForm, from_entries, stationary

FAR = 1e3
"""Steps in units of 1/λ are taken to be no longer: e^{−FAR} is 0."""


def matern_form(num_states: int, steps: Array) -> MarkovForm:
    """The Matérn process of ν = p + ½, of unit variance: white noise through (d/du + 1)^{p+1}.

    In time u = λt, λ = √(2ν)/ℓ, its states are f and its first p derivatives, and

        A(u) = e^{−u} Σ_k≤p (F + I)^k u^k/k!,   F the companion matrix of (s + 1)^{p+1},
        Q(u) = c ∫_0^u g(v) g(v)ᵀ dv,   g_0(v) = e^{−v} v^p/p!,   g_i+1 = dg_i/dv.

    The integrals of e^{−2v} v^k are k!/2^{k+1} P_k+1(2u), P the distribution function of `_erlang`.

    Args:
        num_states: p + 1.
        steps: u between times, shape (T − 1,).
    """
    powers, integrals, end = _coefficients(num_states)
    steps = jnp.minimum(steps, FAR)
    decay = jnp.exp(-steps)
    shares = _erlang.distributions(2 * num_states - 1, 2.0 * steps)

    def transition(i: int, j: int) -> Array:
        return decay * sum(float(c) * steps**k for k, c in enumerate(powers[:, i, j]))

    def noise(i: int, j: int) -> Array:
        terms = [float(c) * share for c, share in zip(integrals[:, i, j], shares, strict=True) if c]
        return sum(terms, jnp.zeros_like(steps))

    places = range(num_states)
    return stationary(
        jnp.asarray(end, steps.dtype),
        from_entries([[transition(i, j) for j in places] for i in places]),
        from_entries([[noise(min(i, j), max(i, j)) for j in places] for i in places]),
        jnp.asarray(np.eye(num_states)[0], steps.dtype),
    )


@functools.cache
def _coefficients(num_states: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of u^k in e^u A, (p + 1, S, S); of P_k+1(2u) in Q, (2p + 1, S, S); and Q(∞), (S, S)."""
    companion = np.eye(num_states, k=1)
    companion[-1] = [-math.comb(num_states, j) for j in range(num_states)]
    nilpotent = companion + np.eye(num_states)
    powers = [np.linalg.matrix_power(nilpotent, k) / math.factorial(k) for k in range(num_states)]
    response = [np.eye(num_states)[-1] / math.factorial(num_states - 1)]
    for _ in range(num_states - 1):
        derivative = np.append(polynomial.polyder(response[-1]), 0.0)
        response.append(derivative[:num_states] - response[-1])
    integrals = np.zeros((2 * num_states - 1, num_states, num_states))
    for i in range(num_states):
        for j in range(num_states):
            for k, coefficient in enumerate(polynomial.polymul(response[i], response[j])):
                integrals[k, i, j] = coefficient * math.factorial(k) / 2 ** (k + 1)
    integrals /= integrals[:, 0, 0].sum()
    return np.array(powers), integrals, integrals.sum(axis=0)
