"""Gaussian processes that are mixed linearly into the latents of each site."""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._jit import jit
from rpm_jax._linalg import matmul, matrix_vector, transpose
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import Gaussian
from rpm_jax.priors._base import check_potentials
from rpm_jax.priors.chains import GaussianChain, Smoothed, filtered, sample, sample_chain, smooth


@pytree_dataclass
class MixedGaussianProcess:
    """K latents at each of T sites that are mixtures of R independent Gaussian processes: z_t = m + M f_t.

    The processes are Markov chains, whose states x_t, S of all together, give z_t = m + H x_t: conditioned in
    O(T), with the full covariance of latents at a site, K ≤ R of them.

    Attributes:
        mean: m, shape (K,).
        emission: H, the mixing M times what the processes are of the states, shape (K, S).
        states: P_t, the states' covariances at each time, shape (T, S, S).
        transition: A, shape (T − 1, S, S).
        noise: Q, shape (T − 1, S, S).
        parallel: Whether sites are computed by an associative scan; None: by device.
    """

    mean: Array
    emission: Array
    states: Array
    transition: Array
    noise: Array
    parallel: bool | None = static_field(default=None)

    def sites(self) -> Gaussian:
        """The marginals of z_t, batch shape (T,)."""
        covariance = matmul(self.emission, self.states, transpose(self.emission))
        mean = jnp.broadcast_to(self.mean, covariance.shape[:-1])
        return Gaussian.from_mean_and_covariance(mean, covariance)

    @property
    def chain(self) -> GaussianChain:
        """Of the states, whose means are zero."""
        zero = jnp.zeros((1, self.emission.shape[-1]), self.emission.dtype)
        return GaussianChain(zero[0], self.states[0], self.transition, zero, self.noise)

    def condition(self, potentials: Gaussian) -> "MixedGaussianProcessPosterior":
        """Condition on potentials (λ1, λ2) at every site, W = −2λ2 positive semi-definite.

        Args:
            potentials: Batch shape (..., T), K latents. Any may be zero, where nothing was observed.

        Returns:
            The posterior, batch shape (...).
        """
        check_potentials("MixedGaussianProcess", potentials, self.sites())
        log_normalizers, smoothed = _smooth(self, potentials)
        return MixedGaussianProcessPosterior(log_normalizers, self.mean, self.emission, smoothed)

    def filter(self, potentials: Gaussian) -> Gaussian:
        """The marginals given the potentials up to each site, batch shape (..., T), in O(T)."""
        check_potentials("MixedGaussianProcess", potentials, self.sites())
        return _filter(self, potentials)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories from the prior, shape `shape` + (T, K)."""
        return _sample_prior(self, key, shape)


@pytree_dataclass
class MixedGaussianProcessPosterior:
    """A `MixedGaussianProcess` conditioned on potentials.

    Attributes:
        log_normalizers: What each site adds to `log_normalizer`, given those before it, shape (..., T).
        offset: m, shape (K,).
        emission: H, shape (K, S).
        smoothed: The states' posterior.
        exact: True.
    """

    log_normalizers: Array
    offset: Array
    emission: Array
    smoothed: Smoothed
    exact: bool = static_field(default=True)

    @property
    def log_normalizer(self) -> Array:
        """Shape (...)."""
        return jnp.sum(self.log_normalizers, axis=-1)

    @property
    def mean(self) -> Array:
        """E[z_t], shape (..., T, K)."""
        return _mixed(self.offset, self.emission, self.smoothed.mean)

    @property
    def covariance(self) -> Array:
        """Cov[z_t], shape (..., T, K, K)."""
        emission = _aligned(self.emission, self.smoothed.covariance.ndim)
        return matmul(emission, self.smoothed.covariance, transpose(emission))

    @property
    def variance(self) -> Array:
        """Var[z_t], shape (..., T, K)."""
        return jnp.diagonal(self.covariance, axis1=-2, axis2=-1)

    @property
    def standard_deviation(self) -> Array:
        """The marginal standard deviations, shape (..., T, K)."""
        return jnp.sqrt(self.variance)

    @property
    def sites(self) -> Gaussian:
        """The marginals q(z_t), batch shape (..., T)."""
        return Gaussian.from_mean_and_covariance(self.mean, self.covariance)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories, shape `shape` + (..., T, K)."""
        return _sample_posterior(self, key, shape)


@jax.jit
def _smooth(prior: MixedGaussianProcess, potentials: Gaussian) -> tuple[Array, Smoothed]:
    linear, precision = potentials.eta1, -2.0 * potentials.eta2
    pulled = matrix_vector(precision, prior.mean)
    smoothed = smooth(prior.chain, linear - pulled, precision, prior.emission, parallel=prior.parallel)
    offset = jnp.sum(prior.mean * (linear - 0.5 * pulled), axis=-1)
    return offset + smoothed.log_normalizers, smoothed


@jax.jit
def _filter(prior: MixedGaussianProcess, potentials: Gaussian) -> Gaussian:
    linear, precision = potentials.eta1, -2.0 * potentials.eta2
    residual = linear - matrix_vector(precision, prior.mean)
    mean, covariance = filtered(prior.chain, residual, precision, prior.emission, parallel=prior.parallel)
    mean = _mixed(prior.mean, prior.emission, mean)
    return Gaussian.from_mean_and_covariance(
        mean, matmul(prior.emission, covariance, transpose(prior.emission))
    )


@jit
def _sample_prior(prior: MixedGaussianProcess, key: Array, shape: tuple[int, ...]) -> Array:
    states = sample_chain(prior.chain, key, shape, prior.states.shape[0])
    return _mixed(prior.mean, prior.emission, states)


@jit
def _sample_posterior(posterior: MixedGaussianProcessPosterior, key: Array, shape: tuple[int, ...]) -> Array:
    return _mixed(posterior.offset, posterior.emission, sample(posterior.smoothed, key, shape))


def _mixed(offset: Array, emission: Array, states: Array) -> Array:
    """The latents m + H x of states (..., T, S)."""
    aligned = _aligned(emission, states.ndim + 1) if emission.ndim > 2 else emission
    offset = offset.reshape(*offset.shape[:-1], *(1,) * (states.ndim - offset.ndim), offset.shape[-1])
    return offset + matrix_vector(aligned, states)


def _aligned(emission: Array, ndim: int) -> Array:
    """H with axes of size 1 after those that `vmap` made."""
    return emission.reshape(*emission.shape[:-2], *(1,) * (ndim - emission.ndim), *emission.shape[-2:])
