"""The Gaussian copula."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr, ndtri

from rpm_jax._checks import is_concrete, require_positive_integer
from rpm_jax._linalg import cholesky_with_inverse, matmul
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.copulas._base import Probabilities, as_correlation, correlation_of, symmetric_quantile


@pytree_dataclass
class Gaussian:
    """The copula of D jointly normal numbers: dependence without any in the extreme tails.

        log c(u) = −½ log|R| − ½ zᵀ (R⁻¹ − I) z,   z_i = Φ⁻¹(u_i)

    Attributes:
        correlation: R, shape (D, D).

    References:
        Nelsen, An Introduction to Copulas, 2006.
    """

    correlation: Array

    def __post_init__(self) -> None:
        """Check the matrix."""
        object.__setattr__(self, "correlation", as_correlation("copulas.Gaussian", self.correlation))

    @property
    def size(self) -> int:
        """D."""
        return self.correlation.shape[0]

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Probabilities:
        """Draw u = Φ(z) with z ~ Normal(0, R), shape `shape` + (D,)."""
        factor, _ = cholesky_with_inverse(self.correlation)
        noise = jax.random.normal(key, (*shape, self.size), self.correlation.dtype)
        z = matmul(noise, factor.T)
        return Probabilities(ndtr(z), ndtr(-z)).inside()

    def log_density(self, probabilities: Probabilities) -> Array:
        """Log c(u), shape (...)."""
        factor, inverse = cholesky_with_inverse(self.correlation)
        z = symmetric_quantile(ndtri, probabilities)
        white = matmul(z, inverse.T)
        return -jnp.sum(jnp.log(jnp.diagonal(factor))) - 0.5 * jnp.sum(white**2 - z**2, axis=-1)

    def total_correlation(self) -> Array:
        """−½ log|R|."""
        factor, _ = cholesky_with_inverse(self.correlation)
        return -jnp.sum(jnp.log(jnp.diagonal(factor)))

    def subset(self, indices: Sequence[int]) -> "Gaussian":
        """The Gaussian copula of some rows and columns of R."""
        return Gaussian(correlation_of(self.correlation, indices))


def equicorrelation(correlation: float | Array, size: int = 2) -> Array:
    """The correlation matrix (D, D) with one number for every pair.

    Args:
        correlation: ρ, with −1/(D − 1) < ρ < 1.
        size: D.
    """
    require_positive_integer("equicorrelation: size", size)
    least = -1.0 / max(size - 1, 1)
    if is_concrete(correlation) and not least < correlation < 1:
        raise ValueError(
            f"equicorrelation: correlation must lie between −1/(D − 1) = {least:.4g} and 1 for D = {size}, "
            f"got {correlation}"
        )
    identity = jnp.eye(size)
    return identity + correlation * (1.0 - identity)
