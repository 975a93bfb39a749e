"""The normal distribution."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr, ndtri
from jax.scipy.stats import norm

from rpm_jax._checks import is_concrete
from rpm_jax._pytree import pytree_dataclass


@pytree_dataclass
class Normal:
    """The normal distribution with mean m and standard deviation s.

    Attributes:
        location: m.
        scale: s > 0.
    """

    location: Array | float = 0.0
    scale: Array | float = 1.0

    def __post_init__(self) -> None:
        """Check the scale."""
        if is_concrete(self.scale) and not 0 < self.scale < jnp.inf:
            raise ValueError(f"Normal: scale must be positive and finite, got {self.scale}")

    def _standard(self, x: Array) -> Array:
        return (jnp.asarray(x) - self.location) / self.scale

    def log_prob(self, x: Array) -> Array:
        """The log-density."""
        return norm.logpdf(jnp.asarray(x), self.location, self.scale)

    def cdf(self, x: Array) -> Array:
        """Φ((x − m)/s)."""
        return ndtr(self._standard(x))

    def survival_function(self, x: Array) -> Array:
        """Φ((m − x)/s)."""
        return ndtr(-self._standard(x))

    def quantile(self, probability: Array) -> Array:
        """The number m + s Φ⁻¹(p)."""
        return self.location + self.scale * ndtri(jnp.asarray(probability))

    def inverse_survival_function(self, probability: Array) -> Array:
        """The number m − s Φ⁻¹(p)."""
        return self.location - self.scale * ndtri(jnp.asarray(probability))

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw numbers."""
        return self.location + self.scale * jax.random.normal(key, shape)
