"""Smoothing: moments of every state, of neighbouring states, and the log-normaliser."""

import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._linalg import matmul, matrix_vector, transpose
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.priors.chains._absorb import Absorbed, absorb
from rpm_jax.priors.chains._chain import GaussianChain, predict, split_steps, symmetric
from rpm_jax.priors.chains._factor import semidefinite_factor


@pytree_dataclass
class Smoothed:
    """A chain conditioned on potentials.

    Attributes:
        log_normalizers: What each site adds to the log-normaliser given those before it, shape (..., T).
        mean: E[z_t], shape (..., T, S).
        covariance: Cov[z_t], shape (..., T, S, S).
        filtered_covariance: Cov of z_t given the potentials up to t, shape (..., T, S, S).
        information: Λ_t, minus the Hessian of what the potentials from t on say in the mean of z_t that those
            before t predict, shape (..., T, S, S).
        chain: The chain.
        linear: h, shape (..., T, K).
        precision: W, shape (..., T, K, K).
        emission: H, shape (K, S) or (..., T, K, S), or None for the identity.
    """

    log_normalizers: Array
    mean: Array
    covariance: Array
    filtered_covariance: Array
    information: Array
    chain: GaussianChain
    linear: Array
    precision: Array
    emission: Array | None

    @property
    def log_normalizer(self) -> Array:
        """Of all sites: log ∫ p(Z) exp Σ_t [h_tᵀ H_t z_t − ½ z_tᵀ H_tᵀ W_t H_t z_t] dZ, shape (...)."""
        return jnp.sum(self.log_normalizers, axis=-1)

    @property
    def cross_covariance(self) -> Array:
        """Cov[z_t, z_t+1] = P'_t Aᵀ (I − Λ_t+1 P_t+1), shape (..., T − 1, S, S); computed when asked for."""
        filtered = self.filtered_covariance[..., :-1, :, :]
        moved = matmul(filtered, transpose(self.chain.transition))
        predicted = matmul(self.chain.transition, moved) + self.chain.noise
        return moved - matmul(moved, self.information[..., 1:, :, :], predicted)


def smooth(
    chain: GaussianChain,
    linear: Array,
    precision: Array,
    emission: Array | None = None,
    *,
    parallel: bool | None = None,
) -> Smoothed:
    """Condition a chain on potentials exp(hᵀHz − ½ zᵀHᵀWHz) at every site.

    Forward, messages absorb a potential and predict the next state. Backward go the gradient λ and minus the
    Hessian Λ of what later potentials say, in the mean (modified Bryson–Frazier):

        λ_t = Hᵀu + Fᵀ Aᵀλ_t+1,   Λ_t = HᵀMH + Fᵀ AᵀΛ_t+1 A F,
        E[z_t] = m' + P' Aᵀλ_t+1,   Cov[z_t] = P' − P' AᵀΛ_t+1 A P'

    Args:
        chain: Of T − 1 steps; batch axes broadcast with the potentials'.
        linear: h, shape (..., T, K).
        precision: W, symmetric positive semi-definite, shape (..., T, K, K); zero where nothing is known.
        emission: H, shape (K, S) or (..., T, K, S); None for the identity.
        parallel: Not used yet.

    Returns:
        Moments of batch shape (...). NaN where a W is negative.
    """
    del parallel
    num_sites, size = linear.shape[-2], chain.state_size
    batch = jnp.broadcast_shapes(chain.batch_shape, linear.shape[:-2], precision.shape[:-3])
    if emission is not None and emission.ndim > 2:
        batch = jnp.broadcast_shapes(batch, emission.shape[:-3])
    precision = symmetric(precision)
    factor = semidefinite_factor(precision)
    potentials = (
        jnp.moveaxis(linear, -2, 0),
        jnp.moveaxis(precision, -3, 0),
        jnp.moveaxis(factor, -3, 0),
        None if emission is None or emission.ndim == 2 else jnp.moveaxis(emission, -3, 0),
    )
    shared_emission = emission if emission is not None and emission.ndim == 2 else None
    fields = ((chain.transition, -3), (chain.bias, -2), (symmetric(chain.noise), -3))
    varying, shared = zip(*(split_steps(x, axis, num_sites - 1) for x, axis in fields), strict=True)

    def absorb_one(mean: Array, covariance: Array, potential: tuple) -> Absorbed:
        *rest, own_emission = potential
        return absorb(mean, covariance, *rest, shared_emission if own_emission is None else own_emission)

    def forward(state: tuple[Array, Array], inputs: tuple) -> tuple[tuple[Array, Array], Absorbed]:
        own, potential = inputs
        arguments = [o if s is None else s for o, s in zip(own, shared, strict=True)]
        absorbed = absorb_one(*predict(*state, *arguments), potential)
        return (absorbed.mean, absorbed.covariance), absorbed

    first_mean = jnp.broadcast_to(chain.initial_mean, (*batch, size))
    first_covariance = jnp.broadcast_to(symmetric(chain.initial_covariance), (*batch, size, size))
    first = absorb_one(first_mean, first_covariance, _at(potentials, 0))
    _, later = lax.scan(
        forward, (first.mean, first.covariance), (varying, _at(potentials, slice(1, None))), num_sites - 1
    )
    messages = Absorbed(*(jnp.concatenate([x[None], y]) for x, y in zip(first, later, strict=True)))

    def backward(state: tuple[Array, Array], inputs: tuple) -> tuple[tuple[Array, Array], tuple]:
        gradient, hessian = state
        message, (_, own_precision, _, own_emission) = inputs
        observation = shared_emission if own_emission is None else own_emission
        mean = message.mean + matrix_vector(message.covariance, gradient)
        covariance = message.covariance - matmul(message.covariance, hessian, message.covariance)
        if observation is None:
            score, information = message.score, message.information
            pulled = matmul(message.covariance, own_precision)
        else:
            score = matrix_vector(transpose(observation), message.score)
            information = matmul(transpose(observation), message.information, observation)
            pulled = matmul(message.covariance, transpose(observation), own_precision, observation)
        shrink = jnp.eye(size, dtype=mean.dtype) - pulled
        gradient = score + matrix_vector(transpose(shrink), gradient)
        hessian = symmetric(information + matmul(transpose(shrink), hessian, shrink))
        return (gradient, hessian), (mean, symmetric(covariance), hessian)

    def backward_step(state: tuple[Array, Array], inputs: tuple) -> tuple[tuple[Array, Array], tuple]:
        own, rest = inputs
        transition = own if own is not None else shared[0]
        gradient, hessian = state
        gradient = matrix_vector(transpose(transition), gradient)
        hessian = matmul(transpose(transition), hessian, transition)
        return backward((gradient, hessian), rest)

    zero = (jnp.zeros_like(first.mean), jnp.zeros_like(first.covariance))
    last_state, last = backward(zero, (_at(messages, -1), _at(potentials, -1)))
    earlier_inputs = (varying[0], (_at(messages, slice(None, -1)), _at(potentials, slice(None, -1))))
    _, earlier = lax.scan(backward_step, last_state, earlier_inputs, num_sites - 1, reverse=True)
    mean, covariance, hessian = (jnp.concatenate([y, x[None]]) for x, y in zip(last, earlier, strict=True))
    return Smoothed(
        jnp.moveaxis(messages.log_normalizer, 0, -1),
        jnp.moveaxis(mean, 0, -2),
        jnp.moveaxis(covariance, 0, -3),
        jnp.moveaxis(messages.covariance, 0, -3),
        jnp.moveaxis(hessian, 0, -3),
        chain,
        linear,
        precision,
        emission,
    )


def _at(arrays: tuple, index: int | slice) -> tuple:
    parts = [None if array is None else array[index] for array in arrays]
    return type(arrays)(*parts) if hasattr(arrays, "_fields") else tuple(parts)
