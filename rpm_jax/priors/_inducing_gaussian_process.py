"""Gaussian processes known by their values at a few inducing locations, in O(T M²)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._linalg import matmul, matrix_vector, transpose
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax._record import record
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors._base import check_potentials
from rpm_jax.priors._covariance_factor import factor_conditioned, factor_covariance
from rpm_jax.priors.kernels import Kernel

ROUNDING = 8.0
"""What is left of a site's variance counts as rounding error below this, in units of the precision: next to
strong evidence it would be most of the posterior's."""


class Basis(NamedTuple):
    """Functions Φ with z = m + Φ ε + r, ε standard normal and r what the inducing values leave open.

    Attributes:
        functions: Φ = C_tu L⁻ᵀ with L Lᵀ = C_uu, shape (K, T, M); zero beyond the directions of C_uu.
        residual: The variances of r, C_tt − Σ_m Φ_tm², shape (K, T).
        weights: What maps inducing values to ε, L⁻¹, shape (K, M, M).
    """

    functions: Array
    residual: Array
    weights: Array


@record
class InducingGaussianProcess:
    """K independent Gaussian processes, conditioned through their values u at M inducing locations.

    The prior is that of the dense process. `condition` is variational: of all q(Z, u) = p(Z|u) q(u) it finds
    the best one, so that its log-normaliser is a lower bound, which equals the dense one's where the inducing
    locations hold all sites' locations.

    Attributes:
        mean: m, shape (K, T).
        kernel: Of all processes.
        params: Its hyperparameters, with an axis of K first.
        times: Shape (T,), or locations (T, D).
        inducing: Shape (M,) or (M, D).

    References:
        Titsias, AISTATS 2009 (the bound); Duncker & Sahani, NeurIPS 2018 (in GPFA).
    """

    mean: Array
    kernel: Kernel
    params: Any
    times: Array
    inducing: Array

    def sites(self) -> DiagonalGaussian:
        """The marginals N(z_tk; m_tk, k(t, t)), batch shape (T,), K latents each."""
        return DiagonalGaussian.from_mean_and_variance(transpose(self.mean), transpose(self._variance()))

    def condition(self, potentials: DiagonalGaussian) -> "InducingPosterior":
        """Condition on potentials (λ1, λ2) at every site, λ2 ≤ 0, W = −2λ2.

        With z = m + Φε + r, d = λ1 − W m and B = I + Φᵀ W Φ, the best q(ε) is N(B⁻¹Φᵀd, B⁻¹), and

            log_normalizer = Σ λ1 m − ½ m W m + ½ dᵀ Φ B⁻¹ Φᵀ d − ½ log|B| − ½ Σ_t W_t Var[r_t]

        Where float32 cannot hold B (some 10⁷ prior precisions next to sites that have none), q is that of
        weaker potentials λ/κ, and the log-normaliser Σ_t ⟨λ_t, μ_t⟩ − KL(q‖p), a lower bound with any q.

        Args:
            potentials: Batch shape (..., T), K latents.

        Returns:
            The posterior, batch shape (...). NaN where λ2 is positive.
        """
        check_potentials("InducingGaussianProcess", potentials, self.sites())
        linear = transpose(potentials.eta1)
        evidence = -2.0 * transpose(potentials.eta2)
        basis = self.basis()
        factor, inverse, scale = factor_conditioned(basis.functions, evidence)
        share = 1.0 / lax.stop_gradient(scale)[..., None]
        projected = matrix_vector(transpose(factor), share * (linear - evidence * self.mean))
        mean = self.mean + matrix_vector(factor, projected)
        variance = basis.residual + jnp.sum(jnp.square(factor), axis=-1)
        log_determinant = -2.0 * jnp.sum(jnp.log(jnp.diagonal(inverse, axis1=-2, axis2=-1)), axis=-1)
        terms = self.mean * (linear - 0.5 * evidence * self.mean) - 0.5 * evidence * basis.residual
        expected = linear * mean - 0.5 * evidence * (jnp.square(mean) + variance)
        log_normalizer = 0.5 * (jnp.sum(jnp.square(projected), axis=-1) - log_determinant) + jnp.sum(
            share * terms + jnp.where(share < 1, (1.0 - share) * expected, 0.0), axis=-1
        )
        return InducingPosterior(
            jnp.sum(log_normalizer, axis=-1),
            mean,
            variance,
            factor,
            matrix_vector(transpose(inverse), projected),
            inverse,
            self,
        )

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories from the prior, shape `shape` + (T, K), in O(T³)."""
        factor = factor_covariance(self.covariance(self.times)).factor
        noise = jax.random.normal(key, shape + self.mean.shape, self.mean.dtype)
        return transpose(self.mean + matrix_vector(factor, noise))

    def covariance(self, x: Array, y: Array | None = None) -> Array:
        """Of all processes at given locations, shape (K, T, S)."""
        of_all = jax.vmap(lambda own: self.kernel.covariance(own, x, y), axis_size=self.mean.shape[0])
        return of_all(self.params)

    def basis(self) -> Basis:
        """What the inducing values say of the process at its sites."""
        factor = factor_covariance(self.covariance(self.inducing))
        weights = matmul(factor.inverse, transpose(factor.pivots))
        functions = matmul(self.covariance(self.times, self.inducing), transpose(weights))
        variance = self._variance()
        left = variance - jnp.sum(jnp.square(functions), axis=-1)
        least = ROUNDING * float(jnp.finfo(variance.dtype).eps) * variance
        return Basis(functions, jnp.where(left > least, left, 0.0), weights)

    def _variance(self) -> Array:
        def of_one(own: Any) -> Array:
            return jax.vmap(lambda x: self.kernel.covariance(own, x[None])[0, 0])(self.times)

        return jax.vmap(of_one, axis_size=self.mean.shape[0])(self.params)


@pytree_dataclass
class InducingPosterior:
    """A Gaussian process conditioned on potentials through its inducing values.

    Attributes:
        log_normalizer: A lower bound, shape (...).
        joint_mean: Shape (..., K, T).
        joint_variance: The marginal variances, shape (..., K, T).
        factor: F with Cov[Φε] = F Fᵀ, shape (..., K, T, M).
        weights_mean: E[ε], shape (..., K, M).
        weights_factor: M⁻¹ with Cov[ε] = M⁻ᵀ M⁻¹, shape (..., K, M, M).
        prior: What was conditioned.
        exact: False.
    """

    log_normalizer: Array
    joint_mean: Array
    joint_variance: Array
    factor: Array
    weights_mean: Array
    weights_factor: Array
    prior: InducingGaussianProcess
    exact: bool = static_field(default=False)

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
    def sites(self) -> DiagonalGaussian:
        """The marginals q(z_t), batch shape (..., T), K latents each."""
        return DiagonalGaussian.from_mean_and_variance(self.mean, self.variance)

    @property
    def joint_covariance(self) -> Array:
        """C − Φ Φᵀ + F Fᵀ over the sites, for each latent, shape (..., K, T, T)."""
        functions = self.prior.basis().functions
        left = self.prior.covariance(self.prior.times) - matmul(functions, transpose(functions))
        return left + matmul(self.factor, transpose(self.factor))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories, shape `shape` + (..., T, K), in O((T + M)³).

        A draw of the prior at the sites and inducing locations, moved by what its inducing values lack to a
        draw of q(u): z_q = z + Φ (ε_q − ε).
        """
        prior, num_sites = self.prior, self.joint_mean.shape[-1]
        basis = prior.basis()
        locations = jnp.concatenate([prior.times, prior.inducing])
        factor = factor_covariance(prior.covariance(locations)).factor
        of_prior, of_posterior = jax.random.split(key)
        batch = shape + self.joint_mean.shape[:-1]
        noise = jax.random.normal(of_prior, (*batch, locations.shape[0]), factor.dtype)
        drawn = matrix_vector(factor, noise)
        weights = matrix_vector(basis.weights, drawn[..., num_sites:])
        noise = jax.random.normal(of_posterior, shape + self.weights_mean.shape, factor.dtype)
        moved = self.weights_mean + matrix_vector(transpose(self.weights_factor), noise) - weights
        return transpose(prior.mean + drawn[..., :num_sites] + matrix_vector(basis.functions, moved))
