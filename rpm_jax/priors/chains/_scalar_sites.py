"""Smoothing of chains whose sites are one number of the state: elementwise operations, no factorisation.

A chain x_t+1 = A_t x_t + N(0, Q_t), x_1 ~ N(0, P_1) of S states, whose *first* entry z_t = x_t1 has the
potential exp(d_t z_t − ½ W_t z_t²), W_t ≥ 0. Potentials stay in information form, messages in moment form:
nothing is inverted but 1 + W_t P_t,11, so that W = 0 (missing), Q = 0 and singular P are as good as others.
With the predicted mean m and covariance P, c = P e_1, D = 1/(1 + W c_1), r = d − W m_1, G = I − c e_1ᵀ W D:

    filtered      m + c D r,   U = G P,   whose first row is c D
    predicted     m_t+1 = A G m + A c D d,   P_t+1 = A U Aᵀ + Q
    normaliser    Σ_t  d m_1 − ½ W m_1² + ½ c_1 D r² − ½ log(1 + W c_1)
    backward      n_t−1 = A_t−1ᵀ (Gᵀ n_t + e_1 D r),                 n_T = 0,
                  N_t−1 = A_t−1ᵀ (Gᵀ N_t G + e_1 W D e_1ᵀ) A_t−1,    N_T = 0
    smoothed      E z_t = m_1 + D (c_1 r + cᵀ n_t),   Var z_t = c_1 D − D² cᵀ N_t c

n and N are the slope and minus the curvature of the log-normaliser of what follows in the filtered mean (the
modified Bryson-Frazier smoother), which need no inverse of a predicted covariance. All but the recursion of P
are linear recursions, and the derivative of P is one: derivatives in both modes and of all orders are made of
them, and of operations on all times at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.priors.chains import _linear_recursions as recursions
from rpm_jax.priors.chains import _small as small


class SmoothedScalars(NamedTuple):
    """The posterior of the sites.

    Attributes:
        log_normalizers: What each site adds to log E exp Σ_t d_t z_t − ½ W_t z_t², given those before it,
            shape (T, ...).
        mean: E z_t, shape (T, ...).
        variance: Var z_t, shape (T, ...).
    """

    log_normalizers: Array
    mean: Array
    variance: Array


def smooth_scalars(
    initial: Array, transition: Array, noise: Array, linear: Array, evidence: Array
) -> SmoothedScalars:
    """Condition chains on potentials of the first entry of their states.

    Args:
        initial: P_1, packed (`_small.pack`), shape (S (S + 1)/2, ...).
        transition: A, shape (T − 1, S², ...).
        noise: Q, packed, shape (T − 1, S (S + 1)/2, ...).
        linear: d, shape (T, ...), whose batch axes those of the others broadcast to.
        evidence: W, not negative, shape (T, ...).
    """
    predicted = predict(initial, transition, noise, evidence)
    forward, pushes = _apart(_forward)(transition, predicted[:-1], linear[:-1], evidence[:-1])
    means = recursions.vectors(False, jnp.zeros_like(linear, shape=pushes.shape[1:]), forward, pushes)
    backward, slopes, curvatures = _apart(_backward)(
        transition, predicted[1:], means[1:], linear[1:], evidence[1:]
    )
    slopes = recursions.vectors(True, jnp.zeros_like(slopes, shape=slopes.shape[1:]), backward, slopes)
    curvatures = recursions.congruences(
        True, jnp.zeros_like(curvatures, shape=curvatures.shape[1:]), backward, curvatures
    )
    normalizers, mean, variance = _apart(_site)(predicted, means, linear, evidence, slopes, curvatures)
    return SmoothedScalars(normalizers, mean, variance)


def filter_scalars(
    initial: Array, transition: Array, noise: Array, linear: Array, evidence: Array
) -> tuple[Array, Array]:
    """E z_t and Var z_t given the potentials up to t, shape (T, ...); arguments as for `smooth_scalars`."""
    predicted = predict(initial, transition, noise, evidence)
    forward, pushes = _apart(_forward)(transition, predicted[:-1], linear[:-1], evidence[:-1])
    means = recursions.vectors(False, jnp.zeros_like(linear, shape=pushes.shape[1:]), forward, pushes)

    def site(covariance: Array, mean: Array, linear: Array, evidence: Array) -> tuple[Array, Array]:
        variance = _gain(small.symmetric(covariance), evidence)[0]
        return mean[0] + variance * (linear - evidence * mean[0]), variance

    return jax.vmap(site)(predicted, means, linear, evidence)


def smooth_means(initial: Array, transition: Array, noise: Array, linear: Array, evidence: Array) -> Array:
    """E z_t alone, for which d may have batch axes after those of the others."""
    predicted = predict(initial, transition, noise, evidence)

    def expanded(array: Array) -> Array:
        return array.reshape(*array.shape, *(1,) * (linear.ndim - evidence.ndim))

    predicted, evidence, transition = map(expanded, (predicted, evidence, transition))
    forward, pushes = _apart(_forward)(transition, predicted[:-1], linear[:-1], evidence[:-1])
    means = recursions.vectors(False, jnp.zeros_like(linear, shape=pushes.shape[1:]), forward, pushes)
    backward, slopes, _ = _apart(_backward)(transition, predicted[1:], means[1:], linear[1:], evidence[1:])
    slopes = recursions.vectors(True, jnp.zeros_like(slopes, shape=slopes.shape[1:]), backward, slopes)

    def site(covariance: Array, mean: Array, linear: Array, evidence: Array, slope: Array) -> Array:
        gain = _gain(small.symmetric(covariance), evidence)
        return mean[0] + gain[0] * (linear - evidence * mean[0]) + small.dot(gain, small.vector(slope))

    return jax.vmap(site)(predicted, means, linear, evidence, slopes)


def trajectories(initial: Array, transition: Array, noise: Array, draws: Array) -> Array:
    """The first entries of the states of chains driven by standard normal numbers.

    Args:
        initial: As for `smooth_scalars`, as are `transition` and `noise`.
        transition: A.
        noise: Q.
        draws: Shape (T, S, ...), which may have batch axes after those of the others.

    Returns:
        z, shape (T, ...).
    """

    def expanded(array: Array) -> Array:
        return array.reshape(*array.shape, *(1,) * (draws.ndim - noise.ndim))

    def driven(covariance: Array, draws: Array) -> Array:
        factor = small.cholesky(small.symmetric(covariance))
        return small.stacked(small.apply(factor, small.vector(draws)))

    start = driven(expanded(initial[None])[0], draws[0])
    pushes = jax.vmap(driven)(expanded(noise), draws[1:])
    return recursions.vectors(False, start, expanded(transition), pushes)[:, 0]


@jax.custom_jvp
def predict(initial: Array, transition: Array, noise: Array, evidence: Array) -> Array:
    """The predicted covariances P_t+1 = A U_t Aᵀ + Q, shape (T, S (S + 1)/2, ...).

    dP_t+1 = Φ dP_t Φᵀ + (dQ + dA U Aᵀ + A U dAᵀ − dW (A c D)(A c D)ᵀ),   Φ = A G
    """

    def step(covariance: Array, given: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        transition, noise, evidence = given
        filtered = _filtered(small.symmetric(covariance), evidence)
        new = small.packed(small.congruent(small.matrix(transition), filtered)) + noise
        return new, new

    start = jnp.broadcast_to(initial, (initial.shape[0], *evidence.shape[1:]))
    _, rest = lax.scan(step, start, (transition, noise, evidence[:-1]))
    return jnp.concatenate([start[None], rest])


@predict.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, transition, _, evidence = primals
    initial_dot, transition_dot, noise_dot, evidence_dot = tangents
    predicted = predict(*primals)

    def change(
        covariance: Array, transition: Array, evidence: Array, transition_dot: Array, evidence_dot: Array
    ) -> tuple[Array, Array]:
        predicted, rows = small.symmetric(covariance), small.matrix(transition)
        moved = small.doubled_product(small.matrix(transition_dot), _filtered(predicted, evidence), rows)
        gain = small.apply(rows, _gain(predicted, evidence))
        source = small.add(moved, small.outer(gain, -evidence_dot))
        return small.flat(_closed(rows, predicted, evidence)), small.packed(source)

    closed, sources = jax.vmap(change)(
        predicted[:-1], transition, evidence[:-1], transition_dot, evidence_dot[:-1]
    )
    return predicted, recursions.congruences(False, initial_dot, closed, sources + noise_dot)


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one time for all of them, kept apart from what is around it.

    XLA fuses elementwise operations by computing them again wherever they are used, which across several of
    these functions takes many times what their results cost to keep.
    """

    def apart(*arrays: Array) -> Any:
        return lax.optimization_barrier(jax.vmap(function)(*lax.optimization_barrier(arrays)))

    return apart


def _shrinkage(covariance: small.Matrix, evidence: Array) -> Array:
    """D."""
    return 1.0 / (1.0 + evidence * covariance[0][0])


def _gain(covariance: small.Matrix, evidence: Array) -> small.Vector:
    """The filtered covariance of the state with the site, c D."""
    shrinkage = _shrinkage(covariance, evidence)
    return [entry * shrinkage for entry in covariance[0]]


def _filtered(covariance: small.Matrix, evidence: Array) -> small.Matrix:
    """U."""
    gain = _gain(covariance, evidence)
    size = len(gain)
    rest = {
        (i, j): covariance[i][j] - covariance[0][i] * (evidence * gain[j])
        for i in range(1, size)
        for j in range(i, size)
    }
    first = {(0, j): gain[j] for j in range(size)}
    return [[(first | rest)[min(i, j), max(i, j)] for j in range(size)] for i in range(size)]


def _closed(transition: small.Matrix, covariance: small.Matrix, evidence: Array) -> small.Matrix:
    """Φ = A G, in whose first column nothing cancels: G e_1 = (D, −c_2 W D, …)."""
    shrinkage = _shrinkage(covariance, evidence)
    column = [shrinkage, *(-evidence * shrinkage * entry for entry in covariance[0][1:])]
    return [[small.dot(row, column), *row[1:]] for row in transition]


def _forward(transition: Array, covariance: Array, linear: Array, evidence: Array) -> tuple[Array, Array]:
    """Φ, and A c D d, by which the predicted mean moves on."""
    rows, predicted = small.matrix(transition), small.symmetric(covariance)
    push = [entry * linear for entry in small.apply(rows, _gain(predicted, evidence))]
    return small.flat(_closed(rows, predicted, evidence)), small.stacked(push)


def _backward(
    transition: Array, covariance: Array, mean: Array, linear: Array, evidence: Array
) -> tuple[Array, Array, Array]:
    """(G_t A_t−1)ᵀ, and what site t adds to n_t−1 and N_t−1."""
    rows, predicted = small.matrix(transition), small.symmetric(covariance)
    shrinkage = _shrinkage(predicted, evidence)
    weight = evidence * shrinkage
    closed = [
        [entry * shrinkage if i == 0 else entry - predicted[0][i] * weight * first for entry, first in pairs]
        for i, pairs in enumerate(zip(row, rows[0], strict=True) for row in rows)
    ]
    surprise = shrinkage * (linear - evidence * mean[0])
    slope = [entry * surprise for entry in rows[0]]
    return (
        small.flat(small.transposed(closed)),
        small.stacked(slope),
        small.packed(small.outer(rows[0], weight)),
    )


def _site(
    covariance: Array, mean: Array, linear: Array, evidence: Array, slope: Array, curvature: Array
) -> tuple[Array, Array, Array]:
    """A site's part of the log-normaliser, its mean and its variance."""
    predicted, following = small.symmetric(covariance), small.symmetric(curvature)
    gain, variance = _gain(predicted, evidence), predicted[0][0]
    residual = linear - evidence * mean[0]
    normalizer = (
        mean[0] * (linear - 0.5 * evidence * mean[0])
        + 0.5 * gain[0] * jnp.square(residual)
        - 0.5 * jnp.log1p(evidence * variance)
    )
    smoothed = mean[0] + gain[0] * residual + small.dot(gain, small.vector(slope))
    reduction = small.dot(gain, small.apply(following, gain))
    return normalizer, smoothed, gain[0] - reduction
