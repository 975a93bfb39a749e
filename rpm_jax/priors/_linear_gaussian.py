"""A linear-Gaussian chain as a prior: the latent process of a linear dynamical system."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._checks import is_concrete, require_finite, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import Gaussian
from rpm_jax.priors import chains
from rpm_jax.priors._base import check_potentials
from rpm_jax.priors._future import Future
from rpm_jax.priors._linear_gaussian_dynamics import LinearGaussianDynamics

MOMENTS = ("initial_mean", "initial_covariance", "transition", "bias", "noise_covariance")


@pytree_dataclass
class LinearGaussian:
    """z_1 ~ N(m, P),   z_t+1 = A z_t + b + ε_t,   ε_t ~ N(0, Q): K latents that drive each other.

    Sites are `Gaussian`s of K latents with full covariance. Nothing is inverted but what conditioning needs
    (`rpm_jax.priors.chains`), so Q and P may be singular where the marginals are not.

    A, b and Q may differ by step, with a leading axis of T − 1. A batch of chains has further leading axes,
    before that of time, which is then of size T − 1 or 1; its batch axes broadcast with the potentials'.

    Attributes:
        initial_mean: m, shape (K,).
        initial_covariance: P, shape (K, K).
        transition: A, shape (K, K) or (T − 1, K, K).
        bias: b, shape (K,) or (T − 1, K).
        noise_covariance: Q, shape (K, K) or (T − 1, K, K).
        num_sites: T.
        parallel: Whether messages are computed by an associative scan over the sites, in O(log T) steps of
            more work, for accelerators; None: there, where sequences are long.
    """

    initial_mean: Array
    initial_covariance: Array
    transition: Array
    bias: Array
    noise_covariance: Array
    num_sites: int = static_field()
    parallel: bool | None = static_field(default=None)

    def __post_init__(self) -> None:
        """Convert to floating point; check shapes and values."""
        require_positive_integer("num_sites", self.num_sites)
        arrays = {name: as_floating(name, getattr(self, name)) for name in MOMENTS}
        dtype = jnp.result_type(*arrays.values(), 0.0)
        arrays = {name: array.astype(dtype) for name, array in arrays.items()}
        _check_shapes(arrays, self.num_sites)
        for name, array in arrays.items():
            require_finite(name, array)
        for name in ("initial_covariance", "noise_covariance"):
            _check_covariance(name, arrays[name])
        _check_growth(arrays["transition"], self.num_sites)
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    @property
    def chain(self) -> chains.GaussianChain:
        """The same with an axis of time."""
        transition, bias, noise = (
            array[None] if array.ndim == rank else array
            for array, rank in ((self.transition, 2), (self.bias, 1), (self.noise_covariance, 2))
        )
        return chains.GaussianChain(self.initial_mean, self.initial_covariance, transition, bias, noise)

    def sites(self) -> Gaussian:
        """The marginals p(z_t), batch shape (..., T)."""
        return Gaussian.from_mean_and_covariance(*chains.marginals(self.chain, self.num_sites))

    def condition(self, potentials: Gaussian) -> "LinearGaussianPosterior":
        """Condition on potentials (λ1, λ2) at every site, −2λ2 positive semi-definite, in O(T).

            log_normalizer = log ∫ p(Z) exp Σ_t [λ1_tᵀ z_t + z_tᵀ λ2_t z_t] dZ

        Args:
            potentials: Batch shape (..., T), K latents. Any may be zero, where nothing was observed.

        Returns:
            The posterior, batch shape (...). NaN where a −2λ2 has a negative diagonal.
        """
        size = self.initial_mean.shape[-1]
        template = Gaussian(
            jnp.zeros((self.num_sites, size), self.initial_mean.dtype),
            jnp.zeros((self.num_sites, size, size), self.initial_mean.dtype),
        )
        check_potentials("LinearGaussian", potentials, template)
        return LinearGaussianPosterior(
            chains.smooth(self.chain, potentials.eta1, potentials.precision, parallel=self.parallel)
        )

    def filter(self, potentials: Gaussian) -> Gaussian:
        """The marginals given the potentials up to each site, batch shape (..., T), in O(T)."""
        check_potentials("LinearGaussian", potentials, self.sites())
        moments = chains.filtered(self.chain, potentials.eta1, potentials.precision, parallel=self.parallel)
        return Gaussian.from_mean_and_covariance(*moments)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories from the prior, shape `shape` + (..., T, K)."""
        return _sample_prior(self, key, shape)

    @property
    def _is_homogeneous(self) -> bool:
        return (self.transition.ndim, self.bias.ndim, self.noise_covariance.ndim) == (2, 1, 2)

    def extended(self, future: Future) -> "LinearGaussian":
        """The chain of T + h sites, where all steps are alike."""
        future.refuse_inputs(self)
        future.refuse_times(self)
        if not self._is_homogeneous:
            raise ValueError(
                "horizon: the steps of this LinearGaussian differ, and what those behind its "
                f"{self.num_sites} sites are is not known; make the prior of all sites, and mask the future"
            )
        return dataclasses.replace(self, num_sites=self.num_sites + future.horizon)

    def dynamics(self) -> LinearGaussianDynamics:
        """The same a step at a time.

        Raises:
            TypeError: For a batch of chains.
        """
        if (
            max(self.initial_mean.ndim, self.initial_covariance.ndim - 1, self.bias.ndim - 1) > 1
            or max(self.transition.ndim, self.noise_covariance.ndim) > 3
        ):
            raise TypeError("the prior is a batch of chains, of which a step at a time takes a single one")
        return LinearGaussianDynamics(self.chain, None if self._is_homogeneous else self.num_sites)


@pytree_dataclass
class LinearGaussianPosterior:
    """A linear-Gaussian chain conditioned on potentials.

    Attributes:
        smoothed: Its messages.
        exact: True.
    """

    smoothed: chains.Smoothed
    exact: bool = static_field(default=True)

    @property
    def log_normalizer(self) -> Array:
        """Shape (...)."""
        return self.smoothed.log_normalizer

    @property
    def log_normalizers(self) -> Array:
        """What each site adds to `log_normalizer` given those before it, shape (..., T)."""
        return self.smoothed.log_normalizers

    @property
    def mean(self) -> Array:
        """E[z_t], shape (..., T, K)."""
        return self.smoothed.mean

    @property
    def covariance(self) -> Array:
        """Cov[z_t], shape (..., T, K, K)."""
        return self.smoothed.covariance

    @property
    def variance(self) -> Array:
        """Var[z_tk], shape (..., T, K)."""
        return jnp.diagonal(self.covariance, axis1=-2, axis2=-1)

    @property
    def standard_deviation(self) -> Array:
        """The marginal standard deviations, shape (..., T, K)."""
        return jnp.sqrt(self.variance)

    @property
    def cross_covariance(self) -> Array:
        """Cov[z_t, z_t+1] of neighbouring sites, shape (..., T − 1, K, K); computed when asked for."""
        return _cross_covariance(self.smoothed)

    @property
    def sites(self) -> Gaussian:
        """The marginals q(z_t), batch shape (..., T)."""
        return Gaussian.from_mean_and_covariance(self.mean, self.covariance)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw whole trajectories, shape `shape` + (..., T, K)."""
        return _sample_posterior(self.smoothed, key, shape)


# What a posterior computes, compiled once for all calls outside of `jit`.


@jit
def _sample_prior(prior: LinearGaussian, key: Array, shape: tuple[int, ...]) -> Array:
    return chains.sample_chain(prior.chain, key, shape, prior.num_sites)


@jit
def _sample_posterior(smoothed: chains.Smoothed, key: Array, shape: tuple[int, ...]) -> Array:
    return chains.sample(smoothed, key, shape)


@jit
def _cross_covariance(smoothed: chains.Smoothed) -> Array:
    return smoothed.cross_covariance


# Input.


def _check_shapes(arrays: dict[str, Array], num_sites: int) -> None:
    """Raise `ValueError` unless all arrays are of one K, with T − 1 steps where they have an axis of time."""
    ranks = {"initial_mean": 1, "bias": 1}
    size = arrays["initial_mean"].shape[-1] if arrays["initial_mean"].ndim else 0
    for name, array in arrays.items():
        rank = ranks.get(name, 2)
        steps = "" if name.startswith("initial") else f" or {(num_sites - 1, *(size,) * rank)} by step"
        if size == 0 or array.shape[-rank:] != (size,) * rank:
            raise ValueError(
                f"LinearGaussian: {name} must have shape {(max(size, 1),) * rank}{steps} for the K = {size} "
                f"latents of initial_mean, got {array.shape}"
            )
        # One step for all is written with an axis of time of size 1 in a batch.
        allowed = (num_sites - 1, 1)
        if not name.startswith("initial") and array.ndim > rank and array.shape[-rank - 1] not in allowed:
            raise ValueError(
                f"LinearGaussian: {name} must have shape {(size,) * rank}{steps} (T = {num_sites} sites), "
                f"got {array.shape}"
            )


def _check_covariance(name: str, covariance: Array) -> None:
    """Raise `ValueError` unless a matrix is symmetric positive semi-definite, but for rounding."""
    if not is_concrete(covariance):
        return
    values = np.asarray(covariance, float)
    scale = np.abs(values).max(initial=0.0)
    asymmetry = np.abs(values - np.swapaxes(values, -1, -2)).max(initial=0.0)
    if asymmetry > 1e-4 * scale:
        raise ValueError(f"{name} must be symmetric, got entries that differ by {asymmetry:.3g}")
    least = np.linalg.eigvalsh(0.5 * (values + np.swapaxes(values, -1, -2))).min(initial=0.0)
    if least < -1e-5 * scale:
        raise ValueError(f"{name} must be positive semi-definite, got an eigenvalue of {least:.3g}")


def _check_growth(transition: Array, num_sites: int) -> None:
    """Raise `ValueError` where a known A that is not stable leads covariances out of the type's range."""
    if not is_concrete(transition):
        return
    radii = np.abs(np.linalg.eigvals(np.asarray(transition, float))).max(axis=-1)
    with np.errstate(divide="ignore"):
        growth = 2 * (num_sites - 1) * np.log(np.atleast_1d(radii)).mean(axis=-1)
    if np.max(growth) > np.log(float(jnp.finfo(transition.dtype).max)):
        raise ValueError(
            f"transition must not lead the covariances of T = {num_sites} sites out of the range of "
            f"{transition.dtype}: its largest eigenvalue has modulus {radii.max():.6g}; take one inside the "
            "unit circle, fewer sites, or priors.linear_gaussian, which is stable by construction"
        )


def require_stable(name: str, transition: Any) -> None:
    """Raise `ValueError` for a known A some of whose eigenvalues are not inside the unit circle."""
    if is_concrete(transition):
        radius = np.abs(np.linalg.eigvals(np.asarray(transition, float))).max()
        if not radius < 1:
            raise ValueError(
                f"{name} must be stable for a stationary chain, that is have eigenvalues of modulus below 1, "
                f"got a largest modulus of {radius:.6g}"
            )
