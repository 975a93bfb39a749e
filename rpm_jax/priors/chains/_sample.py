"""Joint draws of whole trajectories, from a chain and from a conditioned one."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.priors.chains._chain import GaussianChain, steps_of, symmetric
from rpm_jax.priors.chains._factor import semidefinite_factor
from rpm_jax.priors.chains._products import matmul, matrix_vector, transpose
from rpm_jax.priors.chains._smooth import Smoothed


def sample_chain(chain: GaussianChain, key: Array, shape: tuple[int, ...], num_sites: int) -> Array:
    """Draw whole trajectories of a chain, shape `shape` + batch + (T, S).

    Args:
        chain: The chain.
        key: A random key.
        shape: Of the draws.
        num_sites: T.
    """
    size = chain.state_size
    noise = jax.random.normal(key, (num_sites, *shape, *chain.batch_shape, size), chain.initial_mean.dtype)
    first = chain.initial_mean + matrix_vector(
        semidefinite_factor(symmetric(chain.initial_covariance)), noise[0]
    )
    factor = semidefinite_factor(symmetric(chain.noise))
    steps = steps_of(dataclasses.replace(chain, noise=factor), num_sites, symmetrise=False)

    def step(state: Array, inputs: tuple) -> tuple[Array, Array]:
        own, own_noise = inputs
        transition, bias, own_factor = steps.at(own)
        state = matrix_vector(transition, state) + bias + matrix_vector(own_factor, own_noise)
        return state, state

    _, later = lax.scan(step, first, (steps.varying, noise[1:]), steps.number)
    return jnp.moveaxis(jnp.concatenate([first[None], later]), 0, -2)


def sample(smoothed: Smoothed, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Draw whole trajectories of a conditioned chain, shape `shape` + (..., T, S).

    A draw Z̃ of the chain is moved by the mean that the potentials give to what it leaves of them,

        z = z̃ + E[z − z̃ | h − W H z̃ − L ε],   W = L Lᵀ,   ε standard normal,

    whose covariance is q's, though no conditional distribution is ever inverted for.

    Args:
        smoothed: From `smooth`.
        key: A random key.
        shape: Of the draws.
    """
    chain, emission = smoothed.chain, smoothed.emission
    batch, num_sites = smoothed.mean.shape[:-2], smoothed.mean.shape[-2]
    prior_key, noise_key = jax.random.split(key)
    # Every member of the batch has a draw of its own, also where the chain is shared.
    mean = jnp.broadcast_to(chain.initial_mean, (*batch, chain.state_size))
    draw = sample_chain(dataclasses.replace(chain, initial_mean=mean), prior_key, shape, num_sites)
    noise = jax.random.normal(noise_key, (*shape, *batch, *smoothed.linear.shape[-2:]), draw.dtype)
    projected = draw if emission is None else matrix_vector(emission, draw)
    left = smoothed.linear - matrix_vector(smoothed.precision, projected)
    left = left - matrix_vector(semidefinite_factor(smoothed.precision), noise)
    return draw + _mean_of_centred(smoothed, left)


def _mean_of_centred(smoothed: Smoothed, linear: Array) -> Array:
    """E[z] under the chain of mean zero, given the same precisions and other linear potentials.

    The gradient that goes backward is λ_t = Aᵀλ_t+1 + Hᵀ(h − W H E[z_t]).
    """
    emission, precision = smoothed.emission, smoothed.precision
    if emission is not None:
        linear = matrix_vector(transpose(emission), linear)
        precision = matmul(transpose(emission), precision, emission)
    steps = steps_of(smoothed.chain, linear.shape[-2])
    own = steps.varying[0]
    sites = (
        jnp.moveaxis(linear, -2, 0),
        jnp.moveaxis(precision, -3, 0),
        jnp.moveaxis(smoothed.filtered_covariance, -3, 0),
    )
    start = jnp.zeros(jnp.broadcast_shapes(linear.shape[:-2], precision.shape[:-3]) + linear.shape[-1:])

    def forward(mean: Array, inputs: tuple) -> tuple[Array, Array]:
        transition, (force, weight, covariance) = inputs
        predicted = matrix_vector(steps.transition(transition), mean)
        mean = predicted + matrix_vector(covariance, force - matrix_vector(weight, predicted))
        return mean, mean

    def backward(gradient: Array, inputs: tuple) -> tuple[Array, Array]:
        mean, (force, weight, covariance) = inputs
        mean = mean + matrix_vector(covariance, gradient)
        return gradient + force - matrix_vector(weight, mean), mean

    def backward_step(gradient: Array, inputs: tuple) -> tuple[Array, Array]:
        transition, rest = inputs
        transition = steps.transition(transition)
        return backward(matrix_vector(transpose(transition), gradient), rest)

    at_first, at_later = tuple(x[0] for x in sites), tuple(x[1:] for x in sites)
    first = matrix_vector(at_first[2], at_first[0]) + start.astype(linear.dtype)
    _, later = lax.scan(forward, first, (own, at_later), steps.number)
    means = jnp.concatenate([first[None], later])
    at_last, before = tuple(x[-1] for x in sites), tuple(x[:-1] for x in sites)
    gradient, last = backward(jnp.zeros_like(first), (means[-1], at_last))
    _, earlier = lax.scan(backward_step, gradient, (own, (means[:-1], before)), steps.number, reverse=True)
    return jnp.moveaxis(jnp.concatenate([earlier, last[None]]), 0, -2)
