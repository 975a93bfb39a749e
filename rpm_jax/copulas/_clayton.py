"""The Clayton copula."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete, require_positive_integer
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.copulas._base import Probabilities


@pytree_dataclass
class Clayton:
    """Dependence in the lower tail: small values come together, large ones hardly.

        C(u) = (Σ_i u_i^(−θ) − D + 1)^(−1/θ)
        log c(u) = Σ_{k<D} log(1 + k θ) − (θ + 1) Σ_i log u_i − (D + 1/θ) log(Σ_i u_i^(−θ) − D + 1)

    Attributes:
        theta: θ > 0; Kendall's rank correlation is θ/(θ + 2).
        size: D ≥ 2.

    References:
        Clayton, 1978; Marshall & Olkin, Families of multivariate distributions, 1988, for sampling.
    """

    theta: Array | float
    size: int = static_field(default=2)

    def __post_init__(self) -> None:
        """Check both."""
        require_positive_integer("copulas.Clayton: size", self.size)
        if is_concrete(self.theta) and not 0 < self.theta < jnp.inf:
            raise ValueError(f"copulas.Clayton: theta must be positive and finite, got {self.theta}")

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Probabilities:
        """Draw u_i = (1 + E_i/V)^(−1/θ), E_i exponential and V ~ Gamma(1/θ), shape `shape` + (D,)."""
        mixing_key, key = jax.random.split(key)
        theta = jnp.asarray(self.theta, jnp.result_type(self.theta, 0.0))
        log_mixing = jax.random.loggamma(mixing_key, 1.0 / theta, (*shape, 1), theta.dtype)
        log_noise = jnp.log(jax.random.exponential(key, (*shape, self.size), theta.dtype))
        log_lower = -jax.nn.softplus(log_noise - log_mixing) / theta
        return Probabilities(jnp.exp(log_lower), -jnp.expm1(log_lower)).inside()

    def log_density(self, probabilities: Probabilities) -> Array:
        """Log c(u), shape (...)."""
        lower, upper = probabilities.inside()
        half = lower <= 0.5
        log_lower = jnp.where(half, jnp.log(lower), jnp.log1p(-jnp.where(half, 0.5, upper)))
        powers = -self.theta * log_lower
        # log(1 + Σ_i (u_i^(−θ) − 1)) without overflow.
        largest = jnp.max(powers, axis=-1, keepdims=True)
        sum_of_powers = jnp.sum(jnp.exp(powers - largest), axis=-1)
        generator = largest[..., 0] + jnp.log(sum_of_powers - (self.size - 1) * jnp.exp(-largest[..., 0]))
        constant = jnp.sum(jnp.log1p(jnp.arange(self.size) * self.theta))
        return (
            constant
            - (1.0 + self.theta) * jnp.sum(log_lower, axis=-1)
            - (self.size + 1.0 / self.theta) * generator
        )

    def total_correlation(self) -> Array:
        """Σ_k log(1 + kθ) + D (1 + θ) − (D + 1/θ) Σ_k θ/(1 + kθ), k from 0 to D − 1."""
        k = jnp.arange(self.size)
        terms = jnp.log1p(k * self.theta) + 1.0 + self.theta
        return jnp.sum(terms) - jnp.sum((self.size * self.theta + 1.0) / (1.0 + k * self.theta))

    def subset(self, indices: Sequence[int]) -> "Clayton":
        """The Clayton copula of fewer numbers."""
        return Clayton(self.theta, len(indices))
