"""Gaussian processes as Markov chains of a few states, and the algebra of kernels in that form."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array


class MarkovForm(NamedTuple):
    """A Gaussian process f at times t_1 < … < t_T as a linear image of a Gaussian Markov chain x of S states.

        x_1 ~ N(0, P_1),   x_t+1 = A_t x_t + N(0, Q_t),   f(t_t) = hᵀ x_t

    so that Cov[x_t+1] = P_t+1 = A_t P_t A_tᵀ + Q_t and, for s ≤ t, k(t_s, t_t) = hᵀ A_t−1 ⋯ A_s P_s h.

    Attributes:
        covariance: P, the states' at each time, shape (T, S, S); of a stationary process all alike.
        transition: A, shape (T − 1, S, S).
        noise: Q, shape (T − 1, S, S), symmetric positive semi-definite. To be computed without cancellation:
            the difference P_t+1 − A P_t Aᵀ has no digits left where steps are short.
        observation: h, shape (S,).
    """

    covariance: Array
    transition: Array
    noise: Array
    observation: Array


def num_states(kernel: Any) -> int | None:
    """S of a kernel's Markov form; None where it has none."""
    return getattr(kernel, "num_states", None)


def form_of(kernel: Any, params: Any, times: Array) -> MarkovForm:
    """A kernel's Markov form at times (T,).

    Raises:
        ValueError: Where it has none.
    """
    require_form(kernel)
    return kernel.markov(params, times)


def require_form(kernel: Any) -> None:
    """Raise `ValueError` for a kernel without Markov form."""
    if num_states(kernel) is None:
        raise ValueError(
            f"kernel: {' '.join(repr(kernel).split())} has no Markov form; Matern, Cosine, "
            "DampedOscillation, White, their sums, products and multiples have one; for others take "
            "solver=solvers.dense()"
        )


def combined_num_states(combine: Callable[[int, int], int], kernels: tuple) -> int | None:
    """S of a kernel made of others; None where one of them has no Markov form."""
    numbers = [num_states(kernel) for kernel in kernels]
    known = [number for number in numbers if number is not None]
    return functools.reduce(combine, known) if len(known) == len(numbers) else None


def stationary(covariance: Array, transition: Array, noise: Array, observation: Array) -> MarkovForm:
    """The form of a stationary process.

    Args:
        covariance: P, shape (S, S).
        transition: Shape (T − 1, S, S).
        noise: Shape (T − 1, S, S).
        observation: Shape (S,).
    """
    num_times = transition.shape[0] + 1
    everywhere = jnp.broadcast_to(covariance, (num_times, *covariance.shape))
    return MarkovForm(everywhere, transition, noise, observation)


def scaled(form: MarkovForm, variance: Array) -> MarkovForm:
    """The process times σ: its states have σ² times their covariances."""
    return form._replace(covariance=variance * form.covariance, noise=variance * form.noise)


def added(first: MarkovForm, second: MarkovForm) -> MarkovForm:
    """The sum of two independent processes: the states of both."""
    return MarkovForm(
        _block_diagonal(first.covariance, second.covariance),
        _block_diagonal(first.transition, second.transition),
        _block_diagonal(first.noise, second.noise),
        jnp.concatenate([first.observation, second.observation]),
    )


def multiplied(first: MarkovForm, second: MarkovForm) -> MarkovForm:
    """The process whose covariance is the product of two: the Kronecker product of their states.

        A = A¹ ⊗ A²,   P = P¹ ⊗ P²,   Q_t = Q¹_t ⊗ P²_t+1 + (A¹_t P¹_t A¹_tᵀ) ⊗ Q²_t

    The sum of two positive semi-definite matrices, in which nothing cancels.
    """
    moved = jnp.einsum(
        "tij,tjk,tlk->til", first.transition, first.covariance[:-1], first.transition, precision="highest"
    )
    noise = _kronecker(first.noise, second.covariance[1:]) + _kronecker(moved, second.noise)
    return MarkovForm(
        _kronecker(first.covariance, second.covariance),
        _kronecker(first.transition, second.transition),
        noise,
        jnp.kron(first.observation, second.observation),
    )


def from_entries(entries: list[list[Array]]) -> Array:
    """Matrices (T, S, S) of their entries, each of shape (T,)."""
    return jnp.stack([jnp.stack(row, axis=-1) for row in entries], axis=-2)


def _block_diagonal(first: Array, second: Array) -> Array:
    upper = jnp.pad(first, [(0, 0), (0, 0), (0, second.shape[-1])])
    lower = jnp.pad(second, [(0, 0), (0, 0), (first.shape[-1], 0)])
    return jnp.concatenate([upper, lower], axis=-2)


def _kronecker(first: Array, second: Array) -> Array:
    size = first.shape[-1] * second.shape[-1]
    product = first[:, :, None, :, None] * second[:, None, :, None, :]
    return product.reshape(first.shape[0], size, size)
