"""Gaussian chains of states, a step at a time."""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import DiagonalGaussian, Gaussian
from rpm_jax.priors.chains import absorb_potential, predict, semidefinite_factor
from rpm_jax.priors.chains._products import matmul, matrix_vector, transpose


@pytree_dataclass
class GaussianBelief:
    """A state x ~ N(m, P) of S numbers that gives latents z = c + H x.

    Independent latents have a state each, with an axis of K before S, and H of shape (K, 1, S); their sites
    are `DiagonalGaussian`. Others share one state, and have `Gaussian` sites.

    Attributes:
        mean: m, shape (..., S).
        covariance: P, shape (..., S, S).
        offset: c, shape (K,), or (K, 1).
        emission: H, shape (K, S), or (K, 1, S).
        independent: Whether latents are.
    """

    mean: Array
    covariance: Array
    offset: Array
    emission: Array
    independent: bool = static_field(default=False)

    def absorb(self, potential: Gaussian | DiagonalGaussian) -> "GaussianBelief":
        """The product with exp(λ1ᵀz + zᵀλ2 z), nothing being inverted but what that needs."""
        linear, precision = potential.eta1, -2.0 * potential.eta2
        if self.independent:
            linear, precision = linear[..., None], precision[..., None, None]
        linear = linear - matrix_vector(precision, self.offset)
        mean, covariance = absorb_potential(self.mean, self.covariance, linear, precision, self.emission)
        return self._with(mean, covariance)

    def moved(self, transition: Array, bias: Array, noise: Array) -> "GaussianBelief":
        """Of A x + b + N(0, Q)."""
        return self._with(*predict(self.mean, self.covariance, transition, bias, noise))

    @property
    def sites(self) -> Gaussian | DiagonalGaussian:
        """The marginal of the latents, batch shape (...)."""
        mean = self.latents(self.mean)
        covariance = matmul(self.emission, self.covariance, transpose(self.emission))
        if self.independent:
            return DiagonalGaussian.from_mean_and_variance(mean, covariance[..., 0, 0])
        return Gaussian.from_mean_and_covariance(mean, covariance)

    def draw(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """States, shape `shape` + (..., S)."""
        noise = jax.random.normal(key, shape + self.mean.shape, self.mean.dtype)
        return self.mean + matrix_vector(semidefinite_factor(self.covariance), noise)

    def given(self, state: Array) -> "GaussianBelief":
        """The belief in one state, without variance."""
        size = self.mean.shape[-1]
        return self._with(state, jnp.zeros((size, size), state.dtype))

    def latents(self, state: Array) -> Array:
        """The latents c + H x, shape (..., K)."""
        latents = self.offset + matrix_vector(self.emission, state)
        return latents[..., 0] if self.independent else latents

    def repeated(self, size: int) -> "GaussianBelief":
        """The same n times."""
        mean, covariance = (jnp.broadcast_to(x, (size, *x.shape)) for x in (self.mean, self.covariance))
        return self._with(mean, covariance)

    def _with(self, mean: Array, covariance: Array) -> "GaussianBelief":
        return GaussianBelief(mean, covariance, self.offset, self.emission, self.independent)
