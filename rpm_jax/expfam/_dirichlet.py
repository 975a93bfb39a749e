"""The Dirichlet and Beta families.

Both are written in the concentrations α (..., K), their sum α0, the mean p = α/α0, Stirling's remainder S
and h(α) = log α − ψ(α), none of which cancels for large α. A Beta is a Dirichlet over (z, 1 − z).
"""

from typing import ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._arrays import as_floating
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam._base import ExponentialFamily, Statistics
from rpm_jax.expfam._implicit import implicit_inverse
from rpm_jax.expfam._maps import inverse_positive, positive
from rpm_jax.expfam._special import (
    HALF_LOG_TWO_PI,
    derivative,
    excess,
    log_minus_digamma,
    stirling_remainder,
    times_log_excess,
)


def _total(concentration: Array) -> Array:
    return jnp.sum(concentration, axis=-1, keepdims=True)


def _proportions(concentration: Array) -> Array:
    return concentration / _total(concentration)


def _log_proportions(concentration: Array) -> Array:
    """The logarithms of p, shape (..., K), accurate for a p close to 1 too."""
    places = jnp.arange(concentration.shape[-1])
    is_largest = places == jnp.argmax(concentration, axis=-1, keepdims=True)
    rest = jnp.sum(jnp.where(is_largest, 0.0, concentration), axis=-1, keepdims=True)
    odds = rest / jnp.where(is_largest, concentration, 1.0)
    logs = jnp.log(jnp.where(is_largest, 1.0, _proportions(concentration)))
    return jnp.where(is_largest, -jnp.log1p(jnp.where(is_largest, odds, 0.0)), logs)


def _remainder(concentration: Array) -> Array:
    """A less Σ_k α_k log p_k: ½(log α0 − Σ_k log α_k) + ½(K − 1) log 2π + Σ_k S(α_k) − S(α0), shape (...)."""

    def term(concentration: Array) -> Array:
        return HALF_LOG_TWO_PI - 0.5 * jnp.log(concentration) + stirling_remainder(concentration)

    return jnp.sum(term(concentration), axis=-1) - term(jnp.sum(concentration, axis=-1))


def _log_normaliser(concentration: Array) -> Array:
    """Σ_k log Γ(α_k) − log Γ(α0), shape (...)."""
    return _remainder(concentration) + jnp.sum(concentration * _log_proportions(concentration), axis=-1)


def _expected_log(concentration: Array) -> Array:
    """ψ(α_k) − ψ(α0), shape (..., K)."""
    difference = log_minus_digamma(_total(concentration)) - log_minus_digamma(concentration)
    return _log_proportions(concentration) + difference


def _log_density(eta: Array, x: Array) -> Array:
    """The log-density at points x (..., K) of the simplex, shape (...).

    With r = x/p its terms η log r − α (r − 1) sum to ⟨η, log r⟩. Large α need log r next to r − 1, which
    cancel; small ones α = η + 1 next to r, which may be large.
    """
    concentration = eta + 1.0
    proportions = _proportions(concentration)
    ratio = x / proportions
    is_small = concentration < 1.0
    small = eta * jnp.log(jnp.where(is_small, ratio, 1.0)) - concentration * (ratio - 1.0)
    large = times_log_excess(eta, jnp.where(is_small, 1.0, ratio)) - (ratio - 1.0)
    terms = jnp.where(is_small, small, large) - jnp.log(proportions)
    return jnp.sum(terms, axis=-1) - _remainder(eta + 1.0)


def _weighted_gap(weight: Array, concentration: Array) -> Array:
    """Σ_k w_k h(α_k) − (Σ_k w_k) h(α0), shape (...)."""
    total = jnp.sum(weight, axis=-1) * log_minus_digamma(jnp.sum(concentration, axis=-1))
    return jnp.sum(weight * log_minus_digamma(concentration), axis=-1) - total


def _entropy(concentration: Array) -> Array:
    """A − ⟨α − 1, E[log z]⟩, shape (...)."""
    total = jnp.sum(_expected_log(concentration), axis=-1)
    return _remainder(concentration) + _weighted_gap(concentration, concentration) + total


def _relative_entropy(concentration: Array, other: Array) -> Array:
    """KL between two Dirichlets, shape (...)."""
    proportions = excess(_proportions(concentration) / _proportions(other))
    gap = _weighted_gap(other - concentration, concentration)
    return jnp.sum(other * proportions, axis=-1) + _remainder(other) - _remainder(concentration) + gap


def _inverse_information(concentration: Array, tangent: Array) -> Array:
    """The inverse of diag ψ'(α) − ψ'(α0) 11ᵀ applied to a tangent (..., K), by Sherman and Morrison.

    With c = 1/ψ' it is c v + c Σ_k c_k v_k / (c(α0) − Σ_k c_k); the denominator is computed from the small
    differences α − c(α).
    """

    def inverse_trigamma(concentration: Array) -> tuple[Array, Array]:
        scaled = -concentration * derivative(log_minus_digamma, concentration)[1]
        inverse = concentration / (1.0 + scaled)
        return inverse, scaled * inverse

    inverse, difference = inverse_trigamma(concentration)
    _, difference_of_total = inverse_trigamma(_total(concentration))
    moved = inverse * tangent
    return moved + inverse * _total(moved) / (_total(difference) - difference_of_total)


def _solve(expected_log: Array) -> Array:
    """Minka's Newton method for E[log z], damped so that it converges from everywhere.

    A is convex and nearly self-concordant: with the Newton decrement λ the step 1/(1 + 2λ) stays in the
    domain and decreases the objective, and becomes the full step near the solution.
    """
    size = expected_log.shape[-1]
    geometric = jnp.exp(expected_log)
    spread = jnp.maximum(1.0 - _total(geometric), jnp.finfo(expected_log.dtype).eps)
    total = 0.5 * (size - 1) / spread
    # For small concentrations ψ(α) is about −1/α, for large ones the geometric mean is nearly the mean.
    start = jnp.maximum(total * geometric, 1.0 / (jnp.log1p(total) - expected_log + 1.0))

    def step(state: tuple[int, Array, Array]) -> tuple[int, Array, Array]:
        count, concentration, _ = state
        residual = expected_log - _expected_log(concentration)
        change = _inverse_information(concentration, residual)
        decrement = jnp.sqrt(jnp.maximum(jnp.sum(residual * change, axis=-1, keepdims=True), 0.0))
        moved = concentration + change / (1.0 + 2.0 * decrement)
        return count + 1, jnp.maximum(moved, 0.1 * concentration), decrement

    def unfinished(state: tuple[int, Array, Array]) -> Array:
        count, _, decrement = state
        return (count < 100) & jnp.any(decrement > tolerance)

    # The step after this decrement is exact to the precision of the type.
    tolerance = jnp.finfo(expected_log.dtype).eps ** 0.5
    first = jnp.full_like(spread, jnp.inf)
    return lax.while_loop(unfinished, step, (0, start, first))[1]


_concentration_from_expected_log = implicit_inverse(_solve, _inverse_information)


@pytree_dataclass
class Dirichlet(ExponentialFamily):
    """A point of the simplex of K parts: t(z) = log z, A(η) = Σ_k log Γ(α_k) − log Γ(Σ_k α_k), χ = 1.

    Densities are with respect to the volume of the first K − 1 coordinates.

    Attributes:
        eta: The concentrations less one, α − 1, shape (..., K), above −1.
    """

    eta: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta": 1}

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["eta"][-1] < 2:
            raise ValueError(f"Dirichlet: eta must end in K >= 2 parts, got shape {shapes['eta']}")

    @classmethod
    def from_concentration(cls, concentration: Array) -> Self:
        """The member with concentrations α, shape (..., K)."""
        return cls(as_floating("concentration", concentration) - 1.0)

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[log z] = `mean[0]`, shape (..., K).

        Newton's method with the closed-form inverse of the Hessian, a diagonal plus rank one; the derivative
        is the inverse Fisher information.

        References:
            T. P. Minka, Estimating a Dirichlet distribution, 2000.
        """
        return cls.from_concentration(_concentration_from_expected_log(jnp.asarray(mean[0])))

    @property
    def concentration(self) -> Array:
        """α, shape (..., K)."""
        return self.eta + 1.0

    def mean(self) -> Array:
        """E[z] = α/α0, shape (..., K)."""
        return _proportions(self.concentration)

    def variance(self) -> Array:
        """Var[z] = p(1 − p)/(α0 + 1), p = α/α0, shape (..., K)."""
        mean = self.mean()
        return mean * (1.0 - mean) / (_total(self.concentration) + 1.0)

    def _log_partition(self) -> Array:
        return _log_normaliser(self.concentration)

    def mean_parameters(self) -> Statistics:
        """E[log z] = ψ(α) − ψ(α0), shape (..., K)."""
        return (_expected_log(self.concentration),)

    def sufficient_statistics(self, z: Array) -> Statistics:
        """The logarithms log z, shape (..., K)."""
        return (jnp.log(z),)

    def log_base_measure(self, z: Array) -> Array:
        """0."""
        return jnp.zeros(z.shape[:-1], self.dtype)

    def expected_log_base_measure(self) -> Array:
        """0."""
        return jnp.zeros(self.batch_shape, self.dtype)

    def log_prob(self, z: Array) -> Array:
        """The log-density through z/E[z], which does not cancel for large concentrations.

        Args:
            z: Positive numbers that sum to 1 over the last axis, shape (..., K).

        Returns:
            In nats, shape (...).
        """
        return _log_density(self.eta, z)

    def entropy(self) -> Array:
        """The entropy A(η) − ⟨η, E[log z]⟩ in nats, shape (...), without its cancellation."""
        return _entropy(self.concentration)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) in nats, shape (...), without differences of log-gamma functions."""
        self._check_same_family(other, "kl_divergence")
        return _relative_entropy(self.concentration, other.concentration)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw z, shape `shape` + (..., K), differentiable in the natural parameters."""
        return jax.random.dirichlet(key, self.concentration, shape + self.batch_shape, self.dtype)

    def is_valid(self) -> Array:
        """Whether η > −1 and all is finite, shape (...)."""
        return jnp.all(jnp.isfinite(self.eta) & (self.concentration > 0), axis=-1)

    def origin(self) -> Self:
        """All concentrations zero: η = −1."""
        return self.replace((jnp.full_like(self.eta, -1.0),))

    @property
    def num_unconstrained(self) -> int:
        """K."""
        return self.eta.shape[-1]

    def potential(self, raw: Array) -> Self:
        """softplus(raw): positive added concentrations."""
        return self.replace((positive(raw),))

    def unconstrained_potential(self) -> Array:
        """The inverse of `potential`, shape (..., K)."""
        return inverse_positive(self.eta)


@pytree_dataclass
class Beta(ExponentialFamily):
    """K independent numbers in (0, 1): t(z) = (log z, log(1 − z)), A(η) = Σ_k log B(α, β), χ = 1.

    Attributes:
        eta1: α − 1, shape (..., K), above −1.
        eta2: β − 1, shape (..., K), above −1.
    """

    eta1: Array
    eta2: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta1": 1, "eta2": 1}
    independent: ClassVar[bool] = True

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["eta1"][-1] != shapes["eta2"][-1]:
            raise ValueError(
                f"Beta: eta1 and eta2 must end in the same number K of latents, got shapes "
                f"{shapes['eta1']} and {shapes['eta2']}"
            )

    @classmethod
    def from_concentrations(cls, alpha: Array, beta: Array) -> Self:
        """The member with concentrations α (towards 1) and β (towards 0), both of shape (..., K)."""
        return cls(as_floating("alpha", alpha) - 1.0, as_floating("beta", beta) - 1.0)

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[log z], E[log(1 − z)] = `mean`; see `Dirichlet.from_mean`."""
        concentration = _concentration_from_expected_log(jnp.stack(mean, axis=-1))
        return cls.from_concentrations(concentration[..., 0], concentration[..., 1])

    @property
    def concentrations(self) -> Array:
        """α and β, shape (..., K, 2)."""
        return jnp.stack([self.eta1, self.eta2], axis=-1) + 1.0

    def mean(self) -> Array:
        """E[z] = α/(α + β), shape (..., K)."""
        return _proportions(self.concentrations)[..., 0]

    def variance(self) -> Array:
        """Var[z] = p(1 − p)/(α + β + 1), p = α/(α + β), shape (..., K)."""
        proportions = _proportions(self.concentrations)
        return proportions[..., 0] * proportions[..., 1] / (self.eta1 + self.eta2 + 3.0)

    def _log_partition(self) -> Array:
        return jnp.sum(_log_normaliser(self.concentrations), axis=-1)

    def mean_parameters(self) -> Statistics:
        """E[log z] = ψ(α) − ψ(α + β) and E[log(1 − z)] = ψ(β) − ψ(α + β), each of shape (..., K)."""
        mean = _expected_log(self.concentrations)
        return mean[..., 0], mean[..., 1]

    def sufficient_statistics(self, z: Array) -> Statistics:
        """The logarithms log z and log(1 − z), each of shape (..., K)."""
        return jnp.log(z), jnp.log1p(-z)

    def log_base_measure(self, z: Array) -> Array:
        """0."""
        return jnp.zeros(z.shape[:-1], self.dtype)

    def expected_log_base_measure(self) -> Array:
        """0."""
        return jnp.zeros(self.batch_shape, self.dtype)

    def log_prob(self, z: Array) -> Array:
        """The log-density, which does not cancel for large concentrations.

        Args:
            z: Numbers between 0 and 1, shape (..., K).

        Returns:
            In nats, shape (...).
        """
        density = _log_density(self.concentrations - 1.0, jnp.stack([z, 1.0 - z], axis=-1))
        return jnp.sum(density, axis=-1)

    def entropy(self) -> Array:
        """The entropy A(η) − ⟨η, E[t(z)]⟩ in nats, shape (...), without its cancellation."""
        return jnp.sum(_entropy(self.concentrations), axis=-1)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) in nats, shape (...), without differences of log-gamma functions."""
        self._check_same_family(other, "kl_divergence")
        return jnp.sum(_relative_entropy(self.concentrations, other.concentrations), axis=-1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw z, shape `shape` + (..., K), differentiable in the natural parameters."""
        concentrations = self.concentrations
        return jax.random.beta(
            key, concentrations[..., 0], concentrations[..., 1], shape + self.eta1.shape, self.dtype
        )

    def is_valid(self) -> Array:
        """Whether η1 > −1, η2 > −1 and all is finite, shape (...)."""
        concentrations = self.concentrations
        return jnp.all(jnp.isfinite(concentrations) & (concentrations > 0), axis=(-2, -1))

    def origin(self) -> Self:
        """Both concentrations zero: η = (−1, −1)."""
        return self.replace((jnp.full_like(self.eta1, -1.0), jnp.full_like(self.eta2, -1.0)))

    @property
    def num_unconstrained(self) -> int:
        """2K."""
        return 2 * self.eta1.shape[-1]

    def potential(self, raw: Array) -> Self:
        """(softplus(raw_1..K), softplus(raw_K+1..2K)): positive added concentrations."""
        alpha, beta = jnp.split(positive(raw), 2, axis=-1)
        return self.replace((alpha, beta))

    def unconstrained_potential(self) -> Array:
        """The inverse of `potential`, shape (..., 2K)."""
        return inverse_positive(jnp.concatenate([self.eta1, self.eta2], axis=-1))
