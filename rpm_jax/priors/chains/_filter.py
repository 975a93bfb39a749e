"""Forward: each message absorbs its potential and predicts the next state."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.priors.chains._absorb import Absorbed, Potential, absorb
from rpm_jax.priors.chains._chain import GaussianChain, Steps, predict, symmetric


def filter_in_sequence(
    chain: GaussianChain, steps: Steps, potentials: Potential, batch: tuple[int, ...]
) -> Absorbed:
    """The messages after each potential, time first.

    Args:
        chain: Its first state.
        steps: Its steps.
        potentials: Time first.
        batch: The batch shape of all.
    """
    size = chain.state_size
    mean = jnp.broadcast_to(chain.initial_mean, (*batch, size))
    covariance = jnp.broadcast_to(symmetric(chain.initial_covariance), (*batch, size, size))
    first = absorb(mean, covariance, Potential(*(x[0] for x in potentials)))

    # Checkpointed: what the derivative needs is among the messages.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(state: tuple[Array, Array], inputs: tuple) -> tuple[tuple[Array, Array], Absorbed]:
        own, potential = inputs
        absorbed = absorb(*predict(*state, *steps.at(own)), potential)
        return (absorbed.mean, absorbed.covariance), absorbed

    later_potentials = Potential(*(x[1:] for x in potentials))
    _, later = lax.scan(step, (first.mean, first.covariance), (steps.varying, later_potentials), steps.number)
    return Absorbed(*(jnp.concatenate([x[None], y]) for x, y in zip(first, later, strict=True)))
