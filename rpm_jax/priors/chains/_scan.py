"""Filtering and smoothing by associative scans, in O(log T) steps one after another.

The steps from t to t' and their potentials make, of a state z before them,

    p(z_t' | z, potentials) = N(A z + b, C),   log p(potentials | z) = ηᵀz − ½ zᵀJz + const

and two of these in turn are one: the first's N(b, C) absorbs the second's potential (η, J), which is
`absorb`. So again nothing but I + R C Rᵀ is inverted, and log-normalisers stay out of the scan. Backward the
recursions of λ and Λ are affine, and need no inverse.

References:
    Särkkä and García-Fernández, Temporal parallelization of Bayesian smoothers, IEEE Transactions on
    Automatic Control 66, 2021.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.priors.chains._absorb import Absorbed, Potential, absorb, as_potential
from rpm_jax.priors.chains._chain import GaussianChain, Steps, predict, symmetric
from rpm_jax.priors.chains._products import matmul, matrix_vector, transpose


class Element(NamedTuple):
    """Some steps and their potentials; the letters are those of this page."""

    transition: Array
    mean: Array
    covariance: Array
    linear: Array
    precision: Array


def combine(first: Element, second: Element) -> Element:
    """Two of them in turn."""
    absorbed = absorb(first.mean, first.covariance, as_potential(second.linear, second.precision))
    later, turned = second.transition, transpose(first.transition)
    return Element(
        matmul(later, absorbed.shrinkage, first.transition),
        matrix_vector(later, absorbed.mean) + second.mean,
        symmetric(matmul(later, absorbed.covariance, transpose(later)) + second.covariance),
        matrix_vector(turned, absorbed.score) + first.linear,
        symmetric(matmul(turned, absorbed.information, first.transition) + first.precision),
    )


def filter_in_parallel(
    chain: GaussianChain, steps: Steps, potentials: Potential, batch: tuple[int, ...]
) -> Absorbed:
    """As `filter_in_sequence`."""
    size, number = chain.state_size, steps.number
    shapes = ((size, size), (size,), (size, size))
    transition, bias, noise = (
        jnp.broadcast_to(
            ours if ours is not None else _aligned(mine, len(batch), len(shape)), (number, *batch, *shape)
        )
        for mine, ours, shape in zip(steps.varying, steps.shared, shapes, strict=True)
    )
    ranks = (1, 2, 2, 1, 1)
    potentials = Potential(*(_aligned(x, len(batch), r) for x, r in zip(potentials, ranks, strict=True)))
    first_mean = jnp.broadcast_to(chain.initial_mean, (1, *batch, size))
    first_covariance = jnp.broadcast_to(symmetric(chain.initial_covariance), (1, *batch, size, size))
    own = absorb(jnp.concatenate([first_mean, bias]), jnp.concatenate([first_covariance, noise]), potentials)
    before = jnp.concatenate([jnp.zeros_like(first_covariance), transition])
    elements = Element(
        matmul(own.shrinkage, before),
        own.mean,
        own.covariance,
        matrix_vector(transpose(before), own.score),
        symmetric(matmul(transpose(before), own.information, before)),
    )
    passed = lax.associative_scan(combine, elements)
    mean, covariance = predict(passed.mean[:-1], passed.covariance[:-1], transition, bias, noise)
    return absorb(
        jnp.concatenate([first_mean, mean]), jnp.concatenate([first_covariance, covariance]), potentials
    )


def _aligned(array: Any, num_batch: int, rank: int) -> Any:
    """An array with time first and then all batch axes, of size 1 where it has none."""
    missing = num_batch + rank + 1 - array.ndim
    return array.reshape(array.shape[0], *(1,) * missing, *array.shape[1:])


class Backward(NamedTuple):
    """λ and Λ as functions of later ones: λ ↦ u + Φᵀλ, Λ ↦ M + ΦᵀΛΦ."""

    shrinkage: Array
    score: Array
    information: Array


def _then(later: Backward, earlier: Backward) -> Backward:
    turned = transpose(earlier.shrinkage)
    return Backward(
        matmul(later.shrinkage, earlier.shrinkage),
        earlier.score + matrix_vector(turned, later.score),
        symmetric(earlier.information + matmul(turned, later.information, earlier.shrinkage)),
    )


def smooth_in_parallel(steps: Steps, messages: Absorbed) -> tuple[Array, Array, Array]:
    """As `smooth_in_sequence`."""
    own, shared = steps.varying[0], steps.shared[0]
    num_batch = messages.covariance.ndim - 3
    transition = shared if shared is not None else _aligned(own, num_batch, 2)
    transition = jnp.broadcast_to(transition, messages.covariance[1:].shape)
    last = jnp.zeros_like(messages.covariance[:1])
    shrinkage = jnp.concatenate([matmul(transition, messages.shrinkage[:-1]), last])
    elements = Backward(shrinkage, messages.score, messages.information)
    passed = lax.associative_scan(_then, elements, reverse=True)
    turned = transpose(transition)
    gradient = jnp.concatenate([matrix_vector(turned, passed.score[1:]), last[..., 0]])
    hessian = jnp.concatenate([matmul(turned, passed.information[1:], transition), last])
    mean = messages.mean + matrix_vector(messages.covariance, gradient)
    covariance = messages.covariance - matmul(messages.covariance, hessian, messages.covariance)
    return mean, symmetric(covariance), passed.information
