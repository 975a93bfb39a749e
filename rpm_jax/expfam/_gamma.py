"""The Gamma family."""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

from rpm_jax._arrays import as_floating
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam._base import ExponentialFamily, Statistics
from rpm_jax.expfam._implicit import implicit_inverse, newton
from rpm_jax.expfam._maps import inverse_positive, positive
from rpm_jax.expfam._special import (
    HALF_LOG_TWO_PI,
    derivative,
    excess,
    log_minus_digamma,
    stirling_remainder,
    times_log_excess,
)


def _solve(gap: Array) -> Array:
    start = (3.0 - gap + jnp.sqrt((gap - 3.0) ** 2 + 24.0 * gap)) / (12.0 * gap)
    return newton(log_minus_digamma, gap, start, num_steps=6, reciprocal=True)


_shape_from_gap = implicit_inverse(_solve, lambda shape, gap: gap / derivative(log_minus_digamma, shape)[1])
"""The inverse of log α − ψ(α), from Minka's start, which is within 1.5 per cent."""


@pytree_dataclass
class Gamma(ExponentialFamily):
    """K independent positive numbers: t(z) = (log z, z), A(η) = Σ_k log Γ(α) − α log β, χ = 1.

    Attributes:
        eta1: The shape less one, α − 1, shape (..., K), above −1.
        eta2: Minus the rate, −β, shape (..., K), negative.
    """

    eta1: Array
    eta2: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta1": 1, "eta2": 1}
    independent: ClassVar[bool] = True

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["eta1"][-1] != shapes["eta2"][-1]:
            raise ValueError(
                f"Gamma: eta1 and eta2 must end in the same number K of latents, got shapes "
                f"{shapes['eta1']} and {shapes['eta2']}"
            )

    @classmethod
    def from_shape_and_rate(cls, shape: Array, rate: Array) -> Self:
        """The member with shape α and rate β, both of shape (..., K)."""
        return cls(as_floating("shape", shape) - 1.0, -as_floating("rate", rate))

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[log z], E[z] = `mean`.

        The shape solves log α − ψ(α) = log E[z] − E[log z] by Newton's method, differentiated implicitly;
        the rate is α/E[z].

        References:
            T. P. Minka, Estimating a Gamma distribution, 2002.
        """
        logarithm, first = (jnp.asarray(statistic) for statistic in mean)
        shape = _shape_from_gap(jnp.log(first) - logarithm)
        return cls.from_shape_and_rate(shape, shape / first)

    @property
    def shape(self) -> Array:
        """α, shape (..., K)."""
        return self.eta1 + 1.0

    @property
    def rate(self) -> Array:
        """β, shape (..., K)."""
        return -self.eta2

    def mean(self) -> Array:
        """E[z] = α/β, shape (..., K)."""
        return self.shape / self.rate

    def variance(self) -> Array:
        """Var[z] = α/β², shape (..., K)."""
        return self.shape / self.rate**2

    def _log_partition(self) -> Array:
        return jnp.sum(gammaln(self.shape) - self.shape * jnp.log(self.rate), axis=-1)

    def mean_parameters(self) -> Statistics:
        """E[log z] = ψ(α) − log β and E[z] = α/β, each of shape (..., K)."""
        mean = self.mean()
        return jnp.log(mean) - log_minus_digamma(self.shape), mean

    def sufficient_statistics(self, z: Array) -> Statistics:
        """The values log z and z, each of shape (..., K)."""
        return jnp.log(z), z

    def log_base_measure(self, z: Array) -> Array:
        """0."""
        return jnp.zeros(z.shape[:-1], self.dtype)

    def expected_log_base_measure(self) -> Array:
        """0."""
        return jnp.zeros(self.batch_shape, self.dtype)

    def log_prob(self, z: Array) -> Array:
        """The log-density through z/E[z], which does not cancel for large shapes.

        Args:
            z: Positive numbers, shape (..., K).

        Returns:
            In nats, shape (...).
        """
        shape, mean = self.shape, self.mean()
        ratio = z / mean
        terms = times_log_excess(self.eta1, ratio) - (ratio - 1.0) - jnp.log(mean)
        terms += 0.5 * jnp.log(shape) - stirling_remainder(shape) - HALF_LOG_TWO_PI
        return jnp.sum(terms, axis=-1)

    def entropy(self) -> Array:
        """The entropy in nats, shape (...), without differences of log-gamma functions.

        With Stirling's remainder S it is Σ_k ½ log 2πα + S(α) + (α − 1)(log α − ψ(α)) − log β.
        """
        shape = self.shape
        terms = self.eta1 * log_minus_digamma(shape) + stirling_remainder(shape) + HALF_LOG_TWO_PI
        return jnp.sum(terms + 0.5 * jnp.log(shape) - jnp.log(self.rate), axis=-1)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) in nats, shape (...), without differences of log-gamma functions.

        With r = E[z]/E'[z] and Stirling's remainder S it is Σ_k α'(r − 1 − log r) + ½ log(α/α')
        + (α' − α)(log α − ψ(α)) + S(α') − S(α).
        """
        self._check_same_family(other, "kl_divergence")
        terms = other.shape * excess(self.mean() / other.mean())
        terms += (other.eta1 - self.eta1) * log_minus_digamma(self.shape)
        terms += 0.5 * jnp.log(self.shape / other.shape)
        return jnp.sum(terms + stirling_remainder(other.shape) - stirling_remainder(self.shape), axis=-1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw z, shape `shape` + (..., K), differentiable in the natural parameters."""
        return jax.random.gamma(key, self.shape, shape + self.eta1.shape, self.dtype) / self.rate

    def is_valid(self) -> Array:
        """Whether η1 > −1, η2 < 0 and all is finite, shape (...)."""
        finite = jnp.isfinite(self.eta1) & jnp.isfinite(self.eta2)
        return jnp.all(finite & (self.shape > 0) & (self.rate > 0), axis=-1)

    def origin(self) -> Self:
        """Shape and rate zero: η = (−1, 0)."""
        return self.replace((jnp.full_like(self.eta1, -1.0), jnp.zeros_like(self.eta2)))

    @property
    def num_unconstrained(self) -> int:
        """2K."""
        return 2 * self.eta1.shape[-1]

    def potential(self, raw: Array) -> Self:
        """(softplus(raw_1..K), −softplus(raw_K+1..2K)): a positive added shape, a positive added rate."""
        shape, rate = jnp.split(positive(raw), 2, axis=-1)
        return self.replace((shape, -rate))

    def unconstrained_potential(self) -> Array:
        """The inverse of `potential`, shape (..., 2K)."""
        return inverse_positive(jnp.concatenate([self.eta1, -self.eta2], axis=-1))
