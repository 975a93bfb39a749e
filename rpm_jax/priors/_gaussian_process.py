"""A Gaussian process prior over the sites, with a dense covariance."""

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._checks import is_concrete, require_finite
from rpm_jax._jit import jit
from rpm_jax._linalg import inverse_and_log_determinant, matmul, matrix_vector, transpose
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors._base import check_potentials
from rpm_jax.priors._conditioning import Factor, condition, factorise
from rpm_jax.priors._covariance_factor import factor_conditioned, factor_covariance


@pytree_dataclass
class GaussianProcess:
    """K independent Gaussian processes, each over T sites: p(Z) = ∏_k N(z_1k..z_Tk; m_k, C_k).

    Sites are `DiagonalGaussian`s of K latents. Build it with `from_covariance` or `from_precision`;
    neither adds jitter, and a singular covariance is fine.

    Attributes:
        mean: m, shape (K, T).
        covariance: C, shape (K, T, T).
    """

    mean: Array
    covariance: Array

    @classmethod
    def from_covariance(cls, mean: Array, covariance: Array) -> Self:
        """The process with this mean and covariance.

        Args:
            mean: Shape (T,), or (K, T) for K independent latents.
            covariance: Symmetric positive semi-definite, shape (T, T) or (K, T, T).

        Raises:
            ValueError: For shapes that do not fit, NaN or infinity.
        """
        mean, covariance = _check_moments("covariance", mean, covariance)
        return cls(mean, covariance)

    @classmethod
    def from_precision(cls, mean: Array, precision: Array) -> Self:
        """The process with this mean and precision (inverse covariance).

        Args:
            mean: Shape (T,), or (K, T) for K independent latents.
            precision: Symmetric positive definite, shape (T, T) or (K, T, T).

        Raises:
            ValueError: For shapes that do not fit, NaN or infinity.
        """
        mean, precision = _check_moments("precision", mean, precision)
        covariance, _ = inverse_and_log_determinant(precision)
        require_finite("the inverse of precision", covariance, "The precision must be positive definite.")
        return cls(mean, covariance)

    def sites(self) -> DiagonalGaussian:
        """The marginals N(z_tk; m_tk, C_k,tt), batch shape (T,), K latents each."""
        variance = jnp.diagonal(self.covariance, axis1=-2, axis2=-1)
        return DiagonalGaussian.from_mean_and_variance(transpose(self.mean), transpose(variance))

    def condition(self, potentials: DiagonalGaussian) -> "GaussianProcessPosterior":
        """Condition on potentials (λ1, λ2) at every site, λ2 ≤ 0, W = −2λ2.

            E_q[z] = m + S d,   Cov_q[z] = S = (C⁻¹ + W)⁻¹,   d = λ1 − W m,
            log_normalizer = Σ λ1 m − ½ m W m + ½ dᵀ S d − ½ log|I + C W|

        Args:
            potentials: Batch shape (..., T), K latents.

        Returns:
            The posterior, batch shape (...). NaN where λ2 is positive.
        """
        check_potentials("GaussianProcess", potentials, self.sites())
        linear = transpose(potentials.eta1)
        evidence = -2.0 * transpose(potentials.eta2)
        factor = factorise(self.covariance, evidence)
        residual = linear - evidence * self.mean
        conditioned = condition(factor, self.covariance, evidence, residual)
        offset = jnp.sum(self.mean * (linear - 0.5 * evidence * self.mean), axis=-1)
        return GaussianProcessPosterior(
            jnp.sum(offset + conditioned.log_normalizer, axis=-1),
            self.mean + conditioned.shift,
            conditioned.variance,
            self.covariance,
            evidence,
            factor,
        )

    def filter(self, potentials: DiagonalGaussian) -> DiagonalGaussian:
        """The marginals given the potentials up to each site, batch shape (..., T), in O(T³) for all.

        Sites are taken in their order. The covariance of all sites is kept as G Gᵀ, C = G Gᵀ at first: with v
        the row of a site, s = vᵀv its variance and D = 1/(1 + W s),

            m ← m + G v D (λ1 − W m_t),   G ← G − G v vᵀ W D/(1 + √D)

        in which nothing cancels (J. E. Potter's square-root filter).
        """
        check_potentials("GaussianProcess", potentials, self.sites())
        return DiagonalGaussian.from_mean_and_variance(*_filter(self, potentials))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories from the prior, shape `shape` + (T, K): m + Rε with R Rᵀ = C.

        Of a singular C, R has no more directions than C, so that draws are as smooth as C is.
        """
        return _sample_prior(self, key, shape)


@pytree_dataclass
class GaussianProcessPosterior:
    """A Gaussian process conditioned on potentials.

    Attributes:
        log_normalizer: Shape (...).
        joint_mean: Shape (..., K, T).
        joint_variance: The marginal variances, shape (..., K, T).
        prior_covariance: C, shape (K, T, T).
        evidence: W, shape (..., K, T).
        factor: That of I + W^½ C W^½, of batch shape (..., K).
        exact: True.
    """

    log_normalizer: Array
    joint_mean: Array
    joint_variance: Array
    prior_covariance: Array
    evidence: Array
    factor: Factor
    exact: bool = static_field(default=True)

    @property
    def mean(self) -> Array:
        """E[z_t], shape (..., T, K)."""
        return transpose(self.joint_mean)

    @property
    def variance(self) -> Array:
        """Var[z_t], shape (..., T, K)."""
        return transpose(self.joint_variance)

    @property
    def standard_deviation(self) -> Array:
        """The marginal standard deviations, shape (..., T, K)."""
        return jnp.sqrt(self.variance)

    @property
    def joint_covariance(self) -> Array:
        """The covariance over the sites, for each latent, shape (..., K, T, T); computed when asked for."""
        return _joint_covariance(self)

    @property
    def covariance(self) -> Array:
        """The same as `joint_covariance`."""
        return self.joint_covariance

    @property
    def sites(self) -> DiagonalGaussian:
        """The marginals q(z_t), batch shape (..., T), K latents each."""
        return DiagonalGaussian.from_mean_and_variance(self.mean, self.variance)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories, shape `shape` + (..., T, K), differentiable in the parameters.

        With R Rᵀ = C, of as many columns as C has directions in floating point,

            z = E_q[z] + R M⁻ᵀ ε,   M Mᵀ = I + Rᵀ W R,   ε standard normal,

        whose covariance is S relative to itself, also where it is smaller than C's rounding errors.
        """
        return _sample_posterior(self, key, shape)

    @property
    def aligned_covariance(self) -> Array:
        """C with an axis for each of the batch, of size 1 but where `vmap` made a batch."""
        missing = self.evidence.ndim + 1 - self.prior_covariance.ndim
        *batch, latents, rows, columns = self.prior_covariance.shape
        return self.prior_covariance.reshape(*batch, *(1,) * missing, latents, rows, columns)


# What a prior or posterior computes, compiled once for all calls outside of `jit`.


@jax.jit
def _filter(prior: GaussianProcess, potentials: DiagonalGaussian) -> tuple[Array, Array]:
    """The filtered means and variances, shape (..., T, K)."""
    evidence = -2.0 * potentials.eta2
    evidence = jnp.where(evidence < 0, jnp.nan, evidence)
    own = factor_covariance(prior.covariance).factor
    batch = jnp.broadcast_shapes(potentials.eta1.shape[:-2], prior.mean.shape[:-2])
    size = prior.mean.shape[-2:]
    mean = jnp.broadcast_to(prior.mean, (*batch, *size))
    factor = jnp.broadcast_to(own, (*batch, *size, own.shape[-1]))

    def step(carry: tuple[Array, Array], given: tuple) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        mean, factor = carry
        site, linear, evidence = given  # (..., K)
        row, before = factor[..., site, :], mean[..., site]
        variance = jnp.sum(jnp.square(row), axis=-1)
        shrinkage = 1.0 / (1.0 + evidence * variance)
        moved = matrix_vector(factor, row)
        residual = linear - evidence * before
        mean = mean + moved * (shrinkage * residual)[..., None]
        weight = evidence * shrinkage / (1.0 + jnp.sqrt(shrinkage))
        factor = factor - (weight[..., None] * moved)[..., None] * row[..., None, :]
        return (mean, factor), (before + variance * shrinkage * residual, variance * shrinkage)

    places = jnp.arange(size[-1])
    given = places, jnp.moveaxis(potentials.eta1, -2, 0), jnp.moveaxis(evidence, -2, 0)
    _, (means, variances) = jax.lax.scan(step, (mean, factor), given)
    return jnp.moveaxis(means, 0, -2), jnp.moveaxis(variances, 0, -2)


@jax.jit
def _joint_covariance(posterior: GaussianProcessPosterior) -> Array:
    factor = _conditioned_factor(posterior)
    return matmul(factor, transpose(factor))


@jit
def _sample_prior(prior: GaussianProcess, key: Array, shape: tuple[int, ...]) -> Array:
    noise = jax.random.normal(key, shape + prior.mean.shape, prior.covariance.dtype)
    return transpose(prior.mean + matrix_vector(factor_covariance(prior.covariance).factor, noise))


@jit
def _sample_posterior(posterior: GaussianProcessPosterior, key: Array, shape: tuple[int, ...]) -> Array:
    factor = _conditioned_factor(posterior)
    noise = jax.random.normal(key, shape + posterior.evidence.shape, factor.dtype)
    return transpose(posterior.joint_mean + matrix_vector(factor, noise))


def _conditioned_factor(posterior: GaussianProcessPosterior) -> Array:
    factor = factor_covariance(posterior.aligned_covariance).factor
    return factor_conditioned(factor, posterior.evidence).factor


def _check_moments(name: str, mean: Array, matrix: Array) -> tuple[Array, Array]:
    mean, matrix = as_floating("mean", mean), as_floating(name, matrix)
    dtype = jnp.result_type(mean, matrix, 0.0)
    mean, matrix = mean.astype(dtype), matrix.astype(dtype)
    fits = (
        mean.ndim in (1, 2) and matrix.ndim == mean.ndim + 1 and matrix.shape == (*mean.shape, mean.shape[-1])
    )
    if not fits:
        raise ValueError(
            f"GaussianProcess.from_{name}: mean and {name} must have shapes (T,) and (T, T), or (K, T) and "
            f"(K, T, T) for K independent latents, got {mean.shape} and {matrix.shape}"
        )
    require_finite("mean", mean)
    require_finite(name, matrix)
    if is_concrete(matrix):
        values = np.asarray(matrix)
        asymmetry = np.abs(values - np.swapaxes(values, -1, -2)).max(initial=0.0)
        if asymmetry > 1e-4 * np.abs(values).max(initial=0.0):
            raise ValueError(f"{name} must be symmetric, got entries that differ by {asymmetry:.3g}")
    return (mean[None], matrix[None]) if mean.ndim == 1 else (mean, matrix)
