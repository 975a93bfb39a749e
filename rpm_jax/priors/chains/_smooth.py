"""Smoothing: moments of every state, of neighbouring states, and the log-normaliser."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._jit import jit
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.priors.chains._absorb import Absorbed, Potential, as_potential
from rpm_jax.priors.chains._chain import GaussianChain, Steps, steps_of, symmetric
from rpm_jax.priors.chains._filter import filter_in_sequence
from rpm_jax.priors.chains._products import matmul, matrix_vector, transpose
from rpm_jax.priors.chains._scan import filter_in_parallel, smooth_in_parallel

LEAST_PARALLEL = 32
"""The number of sites from which accelerators take the associative scan."""


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

        λ_t = u + Fᵀ Aᵀλ_t+1,   Λ_t = M + Fᵀ AᵀΛ_t+1 A F,
        E[z_t] = m' + P' Aᵀλ_t+1,   Cov[z_t] = P' − P' AᵀΛ_t+1 A P'

    Args:
        chain: Of T − 1 steps; batch axes broadcast with the potentials'.
        linear: h, shape (..., T, K).
        precision: W, symmetric positive semi-definite, shape (..., T, K, K); zero where nothing is known.
        emission: H, shape (K, S) or (..., T, K, S); None for the identity.
        parallel: Whether by an associative scan, in O(log T) steps of several times the work, or in T steps;
            None: in parallel on accelerators where T is at least `LEAST_PARALLEL`.

    Returns:
        Moments of batch shape (...). NaN where a W is negative.
    """
    return _smooth(chain, linear, precision, emission, parallel)


@jit
def _smooth(
    chain: GaussianChain, linear: Array, precision: Array, emission: Array | None, parallel: bool | None
) -> Smoothed:
    num_sites = linear.shape[-2]
    precision = symmetric(precision)
    potentials, batch = _time_first(chain, linear, precision, emission)

    def in_sequence(chain: GaussianChain, potentials: Potential) -> tuple[Absorbed, tuple]:
        steps = steps_of(chain, num_sites)
        messages = filter_in_sequence(chain, steps, potentials, batch)
        return messages, smooth_in_sequence(steps, messages)

    def in_parallel(chain: GaussianChain, potentials: Potential) -> tuple[Absorbed, tuple]:
        steps = steps_of(chain, num_sites)
        messages = filter_in_parallel(chain, steps, potentials, batch)
        return messages, smooth_in_parallel(steps, messages)

    if parallel is None and num_sites >= LEAST_PARALLEL:
        messages, moments = lax.platform_dependent(chain, potentials, cpu=in_sequence, default=in_parallel)
    else:
        messages, moments = (in_parallel if parallel else in_sequence)(chain, potentials)
    mean, covariance, information = moments
    return Smoothed(
        jnp.moveaxis(messages.log_normalizer, 0, -1),
        jnp.moveaxis(mean, 0, -2),
        jnp.moveaxis(covariance, 0, -3),
        jnp.moveaxis(messages.covariance, 0, -3),
        jnp.moveaxis(information, 0, -3),
        chain,
        linear,
        precision,
        emission,
    )


def filtered(
    chain: GaussianChain,
    linear: Array,
    precision: Array,
    emission: Array | None = None,
    *,
    parallel: bool | None = None,
) -> tuple[Array, Array]:
    """The moments of every state given the potentials up to its own: arguments as for `smooth`.

    Returns:
        The means (..., T, S) and covariances (..., T, S, S).
    """
    return _filtered(chain, linear, precision, emission, parallel)


@jit
def _filtered(
    chain: GaussianChain, linear: Array, precision: Array, emission: Array | None, parallel: bool | None
) -> tuple[Array, Array]:
    num_sites = linear.shape[-2]
    potentials, batch = _time_first(chain, linear, symmetric(precision), emission)

    def in_sequence(chain: GaussianChain, potentials: Potential) -> Absorbed:
        return filter_in_sequence(chain, steps_of(chain, num_sites), potentials, batch)

    def in_parallel(chain: GaussianChain, potentials: Potential) -> Absorbed:
        return filter_in_parallel(chain, steps_of(chain, num_sites), potentials, batch)

    if parallel is None and num_sites >= LEAST_PARALLEL:
        messages = lax.platform_dependent(chain, potentials, cpu=in_sequence, default=in_parallel)
    else:
        messages = (in_parallel if parallel else in_sequence)(chain, potentials)
    return jnp.moveaxis(messages.mean, 0, -2), jnp.moveaxis(messages.covariance, 0, -3)


def _time_first(
    chain: GaussianChain, linear: Array, precision: Array, emission: Array | None
) -> tuple[Potential, tuple[int, ...]]:
    """The potentials, and the batch shape of all."""
    batch = jnp.broadcast_shapes(chain.batch_shape, linear.shape[:-2], precision.shape[:-3])
    if emission is not None and emission.ndim > 2:
        batch = jnp.broadcast_shapes(batch, emission.shape[:-3])
    by_site = as_potential(linear, precision, emission)
    ranks = (2, 3, 3, 2, 2)
    return Potential(*(jnp.moveaxis(x, -rank, 0) for x, rank in zip(by_site, ranks, strict=True))), batch


def smooth_in_sequence(steps: Steps, messages: Absorbed) -> tuple[Array, Array, Array]:
    """The moments of every state and Λ, time first, from the messages after each potential."""

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def step(state: tuple[Array, Array], inputs: tuple) -> tuple[tuple[Array, Array], tuple]:
        own, message = inputs
        transition = steps.transition(own)
        turned = transpose(transition)
        gradient, hessian = state
        return at_site(matrix_vector(turned, gradient), matmul(turned, hessian, transition), message)

    last_message = Absorbed(*(x[-1] for x in messages))
    zero = (jnp.zeros_like(last_message.mean), jnp.zeros_like(last_message.covariance))
    state, last = at_site(*zero, last_message)
    before = Absorbed(*(x[:-1] for x in messages))
    _, earlier = lax.scan(step, state, (steps.varying[0], before), steps.number, reverse=True)
    mean, covariance, information = (
        jnp.concatenate([x, y[None]]) for x, y in zip(earlier, last, strict=True)
    )
    return mean, covariance, information


def at_site(
    gradient: Array, hessian: Array, message: Absorbed
) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
    """λ and Λ before a site's potential, and the moments, given those of later ones in the mean m'."""
    shrinkage = message.shrinkage
    mean = message.mean + matrix_vector(message.covariance, gradient)
    covariance = message.covariance - matmul(message.covariance, hessian, message.covariance)
    gradient = message.score + matrix_vector(transpose(shrinkage), gradient)
    hessian = symmetric(message.information + matmul(transpose(shrinkage), hessian, shrinkage))
    return (gradient, hessian), (mean, symmetric(covariance), hessian)
