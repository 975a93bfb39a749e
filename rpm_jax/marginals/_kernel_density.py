"""Empirical marginals smoothed by a kernel."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr
from jax.scipy.stats import norm

from rpm_jax._arrays import as_floating
from rpm_jax._checks import is_concrete, require_finite
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.marginals._base import invert


@pytree_dataclass
class KernelDensity:
    """p(x) = 1/N Σ_n ∏_d Normal(x_d; x_d^n, b_d²); build it with `kernel_density`.

    Attributes:
        values: The data, numbers (N,) or vectors (N, D).
        bandwidth: b, a number or one for each dimension, (D,).
    """

    values: Array
    bandwidth: Array

    def log_prob(self, x: Array) -> Array:
        """The log-density of numbers, any shape, or of vectors (..., D), shape (...)."""
        x = jnp.asarray(x)
        if self.values.ndim == 1:
            terms = norm.logpdf(x[..., None], self.values, self.bandwidth)
        else:
            self._check_vectors(x)
            terms = jnp.sum(norm.logpdf(x[..., None, :], self.values, self.bandwidth), axis=-1)
        return jax.nn.logsumexp(terms, axis=-1) - jnp.log(len(self.values))

    def cdf(self, x: Array) -> Array:
        """F(x) of numbers."""
        return jnp.mean(ndtr(self._standard(x)), axis=-1)

    def survival_function(self, x: Array) -> Array:
        """S(x) of numbers."""
        return jnp.mean(ndtr(-self._standard(x)), axis=-1)

    def quantile(self, probability: Array) -> Array:
        """F⁻¹(p) of numbers, by bisection."""
        return invert(self.cdf, self.log_prob, self._probability(probability), rising=True)

    def inverse_survival_function(self, probability: Array) -> Array:
        """S⁻¹(p) of numbers, by bisection."""
        return invert(self.survival_function, self.log_prob, self._probability(probability), rising=False)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw data and add the kernel's noise, shape `shape` or `shape` + (D,)."""
        index_key, noise_key = jax.random.split(key)
        values = self.values[jax.random.randint(index_key, shape, 0, len(self.values))]
        return values + self.bandwidth * jax.random.normal(noise_key, values.shape, values.dtype)

    def _probability(self, probability: Array) -> Array:
        return jnp.asarray(probability, self.values.dtype)

    def _standard(self, x: Array) -> Array:
        if self.values.ndim != 1:
            raise TypeError(
                "KernelDensity: distribution functions are of numbers, values of shape (N,), got shape "
                f"{self.values.shape}; make one for each entry, kernel_density(values[:, d])"
            )
        return (jnp.asarray(x)[..., None] - self.values) / self.bandwidth

    def _check_vectors(self, x: Array) -> None:
        size = self.values.shape[1]
        if x.ndim == 0 or x.shape[-1] != size:
            raise ValueError(f"KernelDensity: x must have shape (..., {size}) like the data, got {x.shape}")


def kernel_density(values: Any, bandwidth: Any = None) -> KernelDensity:
    """The Gaussian kernel density of some data: a smooth marginal for plots of p(x) and for score matching.

    Args:
        values: Numbers (N,), for a distribution of one number; or vectors (N, D), such as a view.
        bandwidth: The kernel's standard deviation, a number or one for each dimension. None: Scott's rule,
            the data's standard deviation times N^(−1/(D + 4)).

    References:
        Scott, Multivariate Density Estimation, 1992.

    Raises:
        ValueError: For data of another shape, fewer than two, not finite, or all the same.
    """
    array = as_floating("kernel_density: values", values)
    if array.ndim not in (1, 2) or array.shape[0] < 2:
        raise ValueError(
            f"kernel_density: values must have shape (N,) or (N, D) with N ≥ 2, got {array.shape}; flatten "
            "the entries of views with more axes"
        )
    require_finite("kernel_density: values", array)
    dims = 1 if array.ndim == 1 else array.shape[1]
    if bandwidth is None:
        bandwidth = jnp.std(array, axis=0, ddof=1) * array.shape[0] ** (-1.0 / (dims + 4))
    width = jnp.asarray(bandwidth, array.dtype)
    if width.shape not in ((), array.shape[1:]):
        raise ValueError(
            f"kernel_density: bandwidth must be a number or of shape {array.shape[1:]}, got {width.shape}"
        )
    if is_concrete(width) and not (np.asarray(width) > 0).all():
        raise ValueError(
            f"kernel_density: bandwidth must be positive, got {width}; by default it is proportional to the "
            "data's standard deviation, so give one for data that are all the same"
        )
    return KernelDensity(array, width)
