"""The exponential distribution."""

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete
from rpm_jax._pytree import pytree_dataclass


@pytree_dataclass
class Exponential:
    """p(x) = r exp(−r x), x ≥ 0.

    Attributes:
        rate: r > 0.
    """

    rate: Array | float = 1.0

    def __post_init__(self) -> None:
        """Check the rate."""
        if is_concrete(self.rate) and not 0 < self.rate < jnp.inf:
            raise ValueError(f"Exponential: rate must be positive and finite, got {self.rate}")

    def log_prob(self, x: Array) -> Array:
        """Log r − r x."""
        x = jnp.asarray(x)
        return jnp.where(x >= 0, jnp.log(self.rate) - self.rate * x, -jnp.inf)

    def cdf(self, x: Array) -> Array:
        """1 − exp(−r x)."""
        return -jnp.expm1(-self.rate * jnp.maximum(x, 0.0))

    def survival_function(self, x: Array) -> Array:
        """The upper tail exp(−r x)."""
        return jnp.exp(-self.rate * jnp.maximum(x, 0.0))

    def quantile(self, probability: Array) -> Array:
        """−log(1 − p)/r."""
        return -jnp.log1p(-jnp.asarray(probability)) / self.rate

    def inverse_survival_function(self, probability: Array) -> Array:
        """−log(p)/r."""
        return -jnp.log(jnp.asarray(probability)) / self.rate

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw numbers."""
        return jax.random.exponential(key, shape) / self.rate
