"""A linear-Gaussian chain, and its marginals."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._linalg import matmul, matrix_vector, transpose
from rpm_jax._pytree import pytree_dataclass


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


def split_steps(array: Array, axis: int, num_steps: int) -> tuple[Array | None, Array | None]:
    """An array that differs by step, time first, or else its one step; the other is None.

    Args:
        array: With `num_steps` or one entry along `axis`.
        axis: That of time, negative.
        num_steps: How many steps there are.
    """
    if array.shape[axis] == num_steps:
        return jnp.moveaxis(array, axis, 0), None
    return None, jnp.squeeze(array, axis)


def predict(
    mean: Array, covariance: Array, transition: Array, bias: Array, noise: Array
) -> tuple[Array, Array]:
    """The moments of A z + b + ε, those of z given."""
    moved = matmul(transition, covariance, transpose(transition))
    return matrix_vector(transition, mean) + bias, symmetric(moved + noise)


def marginals(chain: GaussianChain, num_sites: int) -> tuple[Array, Array]:
    """The moments of every z_t.

    Args:
        chain: The chain.
        num_sites: T.

    Returns:
        The means (..., T, S) and covariances (..., T, S, S).
    """
    fields = ((chain.transition, -3), (chain.bias, -2), (chain.noise, -3))
    varying, shared = zip(*(split_steps(x, axis, num_sites - 1) for x, axis in fields), strict=True)
    size = chain.state_size
    mean = jnp.broadcast_to(chain.initial_mean, (*chain.batch_shape, size))
    covariance = jnp.broadcast_to(symmetric(chain.initial_covariance), (*chain.batch_shape, size, size))

    def step(moments: tuple[Array, Array], own: tuple) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        arguments = [o if s is None else s for o, s in zip(own, shared, strict=True)]
        moments = predict(*moments, *arguments)
        return moments, moments

    _, later = lax.scan(step, (mean, covariance), varying, length=num_sites - 1)
    joined = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), (mean, covariance), later)
    return jnp.moveaxis(joined[0], 0, -2), jnp.moveaxis(joined[1], 0, -3)
