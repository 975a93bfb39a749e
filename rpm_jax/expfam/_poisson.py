"""The Poisson family."""

import math
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

from rpm_jax._arrays import as_floating
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam._base import ExponentialFamily, Statistics
from rpm_jax.expfam._special import HALF_LOG_TWO_PI, excess, horner, piecewise, stirling_remainder

# E[log z!] = λ log λ − λ + ½ log 2πeλ − Σ_m c_m λ^−m, from the Taylor expansion of log(z + 1) about λ, the
# central moments of the Poisson and one integration over λ. Fourteen terms reach 1e-12 at λ = 25, where a
# direct sum needs ninety.
_SWITCH, _SWITCH_SINGLE = 25.0, 10.0
_SERIES = (
    1 / 12, 1 / 24, 19 / 360, 9 / 80, 863 / 2520, 1375 / 1008, 33953 / 5040, 57281 / 1440, 3250433 / 11880,
    378351 / 176, 13695779093 / 720720, 186710.76841422467, 2018968.866407204, 23830183.11736111,
)  # fmt: skip
_COUNTS = np.arange(2, 100)
_LOG_FACTORIALS = np.array([math.lgamma(count + 1.0) for count in _COUNTS])


def _switch(dtype: Any) -> float:
    """The logarithm of the rate from where on the series reaches the precision of the type."""
    return math.log(_SWITCH if dtype == jnp.float64 else _SWITCH_SINGLE)


def _tail(rate: Array) -> Array:
    """Σ_m c_m λ^−m for λ from the switch on."""
    return horner(_SERIES, 1.0 / rate) / rate


def _expected_log_factorial(log_rate: Array) -> Array:
    """E[log z!] of Poisson variables, elementwise."""

    def direct(log_rate: Array) -> Array:
        logs = jnp.asarray(_LOG_FACTORIALS, log_rate.dtype)
        counts = jnp.asarray(_COUNTS, log_rate.dtype)
        log_mass = counts * log_rate[..., None] - jnp.exp(log_rate)[..., None] - logs
        return jnp.sum(logs * jnp.exp(log_mass), axis=-1)

    def series(log_rate: Array) -> Array:
        rate = jnp.exp(log_rate)
        return rate * (log_rate - 1.0) + 0.5 * log_rate + HALF_LOG_TWO_PI + 0.5 - _tail(rate)

    switch = _switch(log_rate.dtype)
    return piecewise(log_rate < switch, direct, series, log_rate, switch)


def _entropy(log_rate: Array) -> Array:
    """The entropy, elementwise: for large rates without the difference of terms of size λ log λ."""

    def direct(log_rate: Array) -> Array:
        return jnp.exp(log_rate) * (1.0 - log_rate) + _expected_log_factorial(log_rate)

    def series(log_rate: Array) -> Array:
        return 0.5 * log_rate + HALF_LOG_TWO_PI + 0.5 - _tail(jnp.exp(log_rate))

    switch = _switch(log_rate.dtype)
    return piecewise(log_rate < switch, direct, series, log_rate, switch)


@pytree_dataclass
class Poisson(ExponentialFamily):
    """K independent counts: t(z) = z, A(η) = Σ_k exp η_k, χ(z) = Π_k 1/z_k!.

    Attributes:
        eta: The logarithm of the rate λ, shape (..., K).
    """

    eta: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta": 1}
    independent: ClassVar[bool] = True

    @classmethod
    def from_rate(cls, rate: Array) -> Self:
        """The member with rate λ, shape (..., K)."""
        return cls(jnp.log(as_floating("rate", rate)))

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[z] = `mean[0]`: η = log E[z]."""
        return cls.from_rate(mean[0])

    @property
    def rate(self) -> Array:
        """λ = exp η, shape (..., K)."""
        return jnp.exp(self.eta)

    def mean(self) -> Array:
        """E[z] = λ, shape (..., K)."""
        return self.rate

    def variance(self) -> Array:
        """Var[z] = λ, shape (..., K)."""
        return self.rate

    def _log_partition(self) -> Array:
        return jnp.sum(self.rate, axis=-1)

    def mean_parameters(self) -> Statistics:
        """E[z] = λ, shape (..., K)."""
        return (self.rate,)

    def sufficient_statistics(self, z: Array) -> Statistics:
        """z, shape (..., K), as floating-point numbers."""
        return (jnp.asarray(z, self.dtype),)

    def log_base_measure(self, z: Array) -> Array:
        """−Σ_k log z_k!, shape (...)."""
        return -jnp.sum(gammaln(jnp.asarray(z, self.dtype) + 1.0), axis=-1)

    def expected_log_base_measure(self) -> Array:
        """−Σ_k E[log z_k!], shape (...).

        For λ < 25 the sum over counts, above it an asymptotic series in 1/λ; both are within 1e-11 of the
        limit in float64.
        """
        return -jnp.sum(_expected_log_factorial(self.eta), axis=-1)

    def log_prob(self, z: Array) -> Array:
        """The log-mass in Loader's form, which does not cancel for large counts.

        It is Σ_k −½ log 2πz − S(z) − z (r − 1 − log r), r = λ/z, with Stirling's remainder S.

        Args:
            z: Counts, integers of shape (..., K).

        Returns:
            In nats, shape (...).
        """
        z = jnp.asarray(z, self.dtype)
        count = jnp.where(z > 0, z, 1.0)
        terms = -count * excess(self.rate / count) - stirling_remainder(count)
        terms += -HALF_LOG_TWO_PI - 0.5 * jnp.log(count)
        return jnp.sum(jnp.where(z > 0, terms, jnp.where(z < 0, -jnp.inf, -self.rate)), axis=-1)

    def entropy(self) -> Array:
        """The entropy Σ_k λ(1 − log λ) + E[log z_k!], in nats, shape (...)."""
        return jnp.sum(_entropy(self.eta), axis=-1)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) = Σ_k λ (λ'/λ − 1 − log(λ'/λ)), in nats, shape (...)."""
        self._check_same_family(other, "kl_divergence")
        log_ratio = other.eta - self.eta
        return jnp.sum(self.rate * (jnp.expm1(log_ratio) - log_ratio), axis=-1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw counts, integers of shape `shape` + (..., K).

        Rejection compares log-masses of size λ log λ and loses as many rounding errors. Beyond λ = ε^−½,
        for a precision ε of the type, counts are rounded quantiles λ + √λ x + (x² − 1)/6, x standard normal.
        Their first three moments are the Poisson's but for fractions of 1/λ. Counts that the integers cannot
        hold become the largest.
        """
        rate = jnp.broadcast_to(self.rate, shape + self.eta.shape)
        beyond = float(jnp.finfo(self.dtype).eps) ** -0.5
        rejection_key, normal_key = jax.random.split(key)
        is_large = rate > beyond
        counts = jax.random.poisson(rejection_key, jnp.where(is_large, 0.0, rate))
        x = jax.random.normal(normal_key, rate.shape, self.dtype)
        large = jnp.round(rate + jnp.sqrt(rate) * x + (x**2 - 1.0) / 6.0)
        limit = jnp.iinfo(counts.dtype).max
        held = large < float(limit)
        large = jnp.where(held, jnp.where(held & is_large, large, 0.0).astype(counts.dtype), limit)
        return jnp.where(is_large, large, counts)

    def is_valid(self) -> Array:
        """Whether η is finite, shape (...)."""
        return jnp.all(jnp.isfinite(self.eta), axis=-1)

    @property
    def num_unconstrained(self) -> int:
        """K."""
        return self.eta.shape[-1]

    def potential(self, raw: Array) -> Self:
        """The raw numbers themselves: every η is valid."""
        return self.replace((raw,))

    def unconstrained_potential(self) -> Array:
        """η itself, shape (..., K)."""
        return self.eta
