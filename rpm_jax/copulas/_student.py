"""The copula of Student's t distribution."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import digamma, gammaln

from rpm_jax._checks import is_concrete
from rpm_jax._linalg import cholesky_with_inverse, matmul
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.copulas._base import Probabilities, as_correlation, correlation_of, symmetric_quantile
from rpm_jax.copulas._student_quantile import lower_quantile, lower_tail


@pytree_dataclass
class Student:
    """The copula of D jointly t-distributed numbers: extremes come together, whatever the correlation.

        log c(u) = log t_{ν,R}(z) − Σ_i log t_ν(z_i),   z_i = T_ν⁻¹(u_i)

    Attributes:
        correlation: R, shape (D, D). Zeros are not independence.
        degrees_of_freedom: ν ≥ 1, a fixed number; as it grows the copula becomes the Gaussian one.

    References:
        Demarta & McNeil, The t copula and related copulas, 2005.
    """

    correlation: Array
    degrees_of_freedom: float = static_field(default=4.0)

    def __post_init__(self) -> None:
        """Check both."""
        object.__setattr__(self, "correlation", as_correlation("copulas.Student", self.correlation))
        freedom = self.degrees_of_freedom
        if not is_concrete(freedom) or not 1 <= freedom < jnp.inf:
            raise ValueError(
                f"copulas.Student: degrees_of_freedom must be a fixed number of at least 1, got {freedom}; "
                "for infinitely many take copulas.Gaussian"
            )
        object.__setattr__(self, "degrees_of_freedom", float(freedom))

    @property
    def size(self) -> int:
        """D."""
        return self.correlation.shape[0]

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Probabilities:
        """Draw u = T_ν(z) with z = Normal(0, R) · sqrt(ν / χ²_ν), shape `shape` + (D,)."""
        normal_key, scale_key = jax.random.split(key)
        dtype, freedom = self.correlation.dtype, self.degrees_of_freedom
        factor, _ = cholesky_with_inverse(self.correlation)
        noise = jax.random.normal(normal_key, (*shape, self.size), dtype)
        log_gamma = jax.random.loggamma(scale_key, 0.5 * freedom, (*shape, 1), dtype)
        z = matmul(noise, factor.T) * jnp.exp(0.5 * (jnp.log(0.5 * freedom) - log_gamma))
        tail = lower_tail(-jnp.abs(z), freedom)
        lower = jnp.where(z <= 0, tail, 1.0 - tail)
        return Probabilities(lower, jnp.where(z <= 0, 1.0 - tail, tail)).inside()

    def log_density(self, probabilities: Probabilities) -> Array:
        """Log c(u), shape (...)."""
        freedom, size = self.degrees_of_freedom, self.size
        factor, inverse = cholesky_with_inverse(self.correlation)
        z = symmetric_quantile(lambda p: lower_quantile(p, freedom), probabilities)
        distance = jnp.sum(matmul(z, inverse.T) ** 2, axis=-1)
        joint = -0.5 * (freedom + size) * jnp.log1p(distance / freedom)
        marginals = -0.5 * (freedom + 1.0) * jnp.sum(jnp.log1p(z**2 / freedom), axis=-1)
        half = 0.5 * freedom
        constant = gammaln(half + 0.5 * size) - gammaln(half) - size * (gammaln(half + 0.5) - gammaln(half))
        return constant - jnp.sum(jnp.log(jnp.diagonal(factor))) + joint - marginals

    def total_correlation(self) -> Array:
        """Σ_i H(z_i) − H(z), from the entropy of the multivariate t distribution."""
        factor, _ = cholesky_with_inverse(self.correlation)
        half, size = 0.5 * self.degrees_of_freedom, self.size

        def entropy(dimension: int) -> Array:
            """Without log|R| and the terms that are proportional to the dimension."""
            top = half + 0.5 * dimension
            return gammaln(half) - gammaln(top) + top * (digamma(top) - digamma(half))

        return size * entropy(1) - entropy(size) - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def subset(self, indices: Sequence[int]) -> "Student":
        """The t copula of some rows and columns of R, with the same degrees of freedom."""
        return Student(correlation_of(self.correlation, indices), self.degrees_of_freedom)
