"""A linear-Gaussian chain, and its marginals."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._jit import jit
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.priors.chains._products import matmul, matrix_vector, transpose


@pytree_dataclass
class GaussianChain:
    """z_1 ~ N(m, P), z_t+1 = A_t z_t + b_t + noise of covariance Q_t; states of S numbers.

    Batch axes broadcast. The time axis of A, b and Q has T − 1 steps, or one that is every step's.

    Attributes:
        initial_mean: m, shape (..., S).
        initial_covariance: P, symmetric positive semi-definite, shape (..., S, S).
        transition: A, shape (..., T − 1 or 1, S, S).
        bias: b, shape (..., T − 1 or 1, S).
        noise: Q, symmetric positive semi-definite, shape (..., T − 1 or 1, S, S).
    """

    initial_mean: Array
    initial_covariance: Array
    transition: Array
    bias: Array
    noise: Array

    @property
    def state_size(self) -> int:
        """S."""
        return self.initial_mean.shape[-1]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The axes before those of time and state."""
        return jnp.broadcast_shapes(
            self.initial_mean.shape[:-1],
            self.initial_covariance.shape[:-2],
            self.transition.shape[:-3],
            self.bias.shape[:-2],
            self.noise.shape[:-3],
        )


def symmetric(matrix: Array) -> Array:
    """The symmetric part of matrices (..., K, K)."""
    return 0.5 * (matrix + transpose(matrix))


class Steps(NamedTuple):
    """A, b and Q of every step: those that differ by step, time first, and those that are every step's.

    Attributes:
        varying: A, b and Q, or None in the place of each that does not vary.
        shared: A, b and Q, or None in the place of each that varies.
        number: T − 1.
    """

    varying: tuple[Array | None, ...]
    shared: tuple[Array | None, ...]
    number: int

    def at(self, own: tuple[Array | None, ...]) -> tuple[Any, ...]:
        """A, b and Q of one step, given its part of `varying`."""
        return tuple(mine if ours is None else ours for mine, ours in zip(own, self.shared, strict=True))

    def transition(self, own: Array | None) -> Any:
        """A of one step, given its part of `varying`."""
        return self.shared[0] if own is None else own


def steps_of(chain: GaussianChain, num_sites: int, *, symmetrise: bool = True) -> Steps:
    """The steps of a chain of T sites, whose Q is made symmetric unless it holds something else."""
    noise = symmetric(chain.noise) if symmetrise else chain.noise
    number = num_sites - 1
    varying: list[Array | None] = []
    shared: list[Array | None] = []
    for array, axis in ((chain.transition, -3), (chain.bias, -2), (noise, -3)):
        varies = array.shape[axis] == number
        varying.append(jnp.moveaxis(array, axis, 0) if varies else None)
        shared.append(None if varies else jnp.squeeze(array, axis))
    return Steps(tuple(varying), tuple(shared), number)


def predict(
    mean: Array, covariance: Array, transition: Array, bias: Array, noise: Array
) -> tuple[Array, Array]:
    """The moments of A z + b + ε, those of z given."""
    moved = matmul(transition, covariance, transpose(transition))
    return matrix_vector(transition, mean) + bias, symmetric(moved + noise)


@jit
def marginals(chain: GaussianChain, num_sites: int) -> tuple[Array, Array]:
    """The moments of every z_t.

    Args:
        chain: The chain.
        num_sites: T.

    Returns:
        The means (..., T, S) and covariances (..., T, S, S).
    """
    steps = steps_of(chain, num_sites)
    size = chain.state_size
    mean = jnp.broadcast_to(chain.initial_mean, (*chain.batch_shape, size))
    covariance = jnp.broadcast_to(symmetric(chain.initial_covariance), (*chain.batch_shape, size, size))

    def step(moments: tuple[Array, Array], own: tuple) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        moments = predict(*moments, *steps.at(own))
        return moments, moments

    _, later = lax.scan(step, (mean, covariance), steps.varying, steps.number)
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), (mean, covariance), later)
    return jnp.moveaxis(joined[0], 0, -2), jnp.moveaxis(joined[1], 0, -3)
