"""Gaussian families: factorised, with full covariance, and with a known covariance."""

import math
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._arrays import as_floating
from rpm_jax._factorise import UNROLLED
from rpm_jax._linalg import (
    cholesky_with_inverse,
    inverse_and_log_determinant,
    log_determinant_and_product,
    matmul,
    matrix_vector,
    transpose,
)
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam._base import ExponentialFamily, Statistics, stack
from rpm_jax.expfam._maps import inverse_positive, positive
from rpm_jax.expfam._sums import all_at_once, gaussian_by_entry

LOG_TWO_PI = math.log(2 * math.pi)


class InDeviations(NamedTuple):
    """Tilts of Gaussians with one precision P, as linear functions of deviations from a centre.

    Attributes:
        statistics: s, to be multiplied with (u, uuᵀ).
        constant: a.
        dispersion: P⁻¹, or its diagonal.
        centre: c.
    """

    statistics: Statistics
    constant: Array
    dispersion: Array
    centre: Array


@pytree_dataclass
class DiagonalGaussian(ExponentialFamily):
    """K independent Gaussians: t(z) = (z, z²), A(η) = Σ_k −¼η1²/η2 − ½ log(−2η2), χ = (2π)^(−K/2).

    Attributes:
        eta1: Σ⁻¹μ, shape (..., K).
        eta2: −½σ⁻², shape (..., K), negative.
    """

    eta1: Array
    eta2: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta1": 1, "eta2": 1}
    independent: ClassVar[bool] = True

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["eta1"][-1] != shapes["eta2"][-1]:
            raise ValueError(
                f"DiagonalGaussian: eta1 and eta2 must end in the same number K of latents, got shapes "
                f"{shapes['eta1']} and {shapes['eta2']}"
            )

    @classmethod
    def from_mean_and_variance(cls, mean: Array, variance: Array) -> Self:
        """The member with mean μ and variance σ², both of shape (..., K)."""
        precision = 1.0 / as_floating("variance", variance)
        return cls(mean * precision, -0.5 * precision)

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[z], E[z²] = `mean`: η1 = μ/σ², η2 = −1/(2σ²)."""
        first, second = mean
        return cls.from_mean_and_variance(first, second - first**2)

    def mean(self) -> Array:
        """E[z] = −½η1/η2, shape (..., K)."""
        return -0.5 * self.eta1 / self.eta2

    def variance(self) -> Array:
        """Var[z] = −½/η2, shape (..., K)."""
        return -0.5 / self.eta2

    def _log_partition(self) -> Array:
        return jnp.sum(-0.25 * self.eta1**2 / self.eta2 - 0.5 * jnp.log(-2.0 * self.eta2), axis=-1)

    def mean_parameters(self) -> Statistics:
        """E[z] and E[z²], each of shape (..., K)."""
        mean = self.mean()
        return mean, mean**2 + self.variance()

    def sufficient_statistics(self, z: Array) -> Statistics:
        """The values z and z², each of shape (..., K)."""
        return z, z**2

    def log_base_measure(self, z: Array) -> Array:
        """−½K log 2π."""
        return jnp.full(z.shape[:-1], -0.5 * z.shape[-1] * LOG_TWO_PI, self.dtype)

    def expected_log_base_measure(self) -> Array:
        """−½K log 2π."""
        return jnp.full(self.batch_shape, -0.5 * self.eta1.shape[-1] * LOG_TWO_PI, self.dtype)

    def log_prob(self, z: Array) -> Array:
        """The log-density as a sum of squared deviations, which does not cancel far from zero.

        Args:
            z: Shape (..., K).

        Returns:
            In nats, shape (...).
        """
        deviation = z - self.mean()
        return jnp.sum(self.eta2 * deviation**2 + 0.5 * jnp.log(-2.0 * self.eta2) - 0.5 * LOG_TWO_PI, axis=-1)

    def entropy(self) -> Array:
        """The entropy ½ Σ_k 1 + log 2πσ², in nats, shape (...)."""
        return 0.5 * jnp.sum(1.0 + LOG_TWO_PI - jnp.log(-2.0 * self.eta2), axis=-1)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) = ½ Σ_k r − 1 − log r + (μ − μ')²/σ'², r = σ²/σ'²; in nats, shape (...)."""
        self._check_same_family(other, "kl_divergence")
        log_ratio = jnp.log(other.eta2 / self.eta2)
        squared = -2.0 * other.eta2 * (self.mean() - other.mean()) ** 2
        return 0.5 * jnp.sum(jnp.expm1(log_ratio) - log_ratio + squared, axis=-1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw z, shape `shape` + (..., K), differentiable in the natural parameters."""
        noise = jax.random.normal(key, shape + self.eta1.shape, self.dtype)
        return self.mean() + jnp.sqrt(self.variance()) * noise

    def in_deviations(self, tilts: Self, linear: Array) -> "InDeviations":
        """See `Gaussian.in_deviations`; the precision is diagonal, and so are P, Q and R."""
        precision, added = -2.0 * self.eta2, -2.0 * tilts.eta2
        centre = linear / precision
        total = precision + added
        rest = tilts.eta1 - added * centre
        ratio = precision / total
        constant = 0.5 * jnp.sum(
            jnp.log(ratio) + added * centre**2 + 2.0 * centre * rest + rest**2 / total, axis=-1
        )
        return InDeviations((ratio * rest, -0.5 * ratio * added), constant, 1.0 / precision, centre)

    def deviations(self, dispersion: Array, centre: Array) -> Self:
        """(u, u²), u = η1/P − c."""
        deviation = dispersion * self.eta1 - centre
        return self.replace((deviation, deviation**2))

    def is_valid(self) -> Array:
        """Whether η2 < 0 and all is finite, shape (...)."""
        return jnp.all(jnp.isfinite(self.eta1) & jnp.isfinite(self.eta2) & (self.eta2 < 0), axis=-1)

    @property
    def num_unconstrained(self) -> int:
        """2K."""
        return 2 * self.eta1.shape[-1]

    def potential(self, raw: Array) -> Self:
        """(raw_1..K, −softplus(raw_K+1..2K)): any mean direction, a positive added precision."""
        first, second = jnp.split(raw, 2, axis=-1)
        return self.replace((first, -positive(second)))

    def unconstrained_potential(self) -> Array:
        """The inverse of `potential`, shape (..., 2K)."""
        return jnp.concatenate([self.eta1, inverse_positive(-self.eta2)], axis=-1)


@pytree_dataclass
class Gaussian(ExponentialFamily):
    """A K-dimensional Gaussian: t(z) = (z, zzᵀ), A(η) = −¼η1ᵀη2⁻¹η1 − ½ log|−2η2|, χ = (2π)^(−K/2).

    Attributes:
        eta1: Σ⁻¹μ, shape (..., K).
        eta2: −½Σ⁻¹, shape (..., K, K); of a matrix that is not symmetric the symmetric part counts.
    """

    eta1: Array
    eta2: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta1": 1, "eta2": 2}

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["eta2"][-2:] != (shapes["eta1"][-1],) * 2:
            raise ValueError(
                f"Gaussian: eta1 must end in (K,) and eta2 in (K, K), got shapes {shapes['eta1']} and "
                f"{shapes['eta2']}"
            )

    @classmethod
    def from_mean_and_covariance(cls, mean: Array, covariance: Array) -> Self:
        """The member with mean μ (..., K) and covariance Σ (..., K, K)."""
        precision, _ = inverse_and_log_determinant(as_floating("covariance", covariance))
        return cls(matrix_vector(precision, jnp.asarray(mean)), -0.5 * precision)

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[z], E[zzᵀ] = `mean`."""
        first, second = mean
        return cls.from_mean_and_covariance(first, second - first[..., :, None] * first[..., None, :])

    @property
    def precision(self) -> Array:
        """Σ⁻¹ = −2η2, symmetric, shape (..., K, K)."""
        return -(self.eta2 + transpose(self.eta2))

    def covariance(self) -> Array:
        """Σ = (−2η2)⁻¹, shape (..., K, K)."""
        return inverse_and_log_determinant(self.precision)[0]

    def mean(self) -> Array:
        """E[z] = Ση1, shape (..., K)."""
        return matrix_vector(self.covariance(), self.eta1)

    def variance(self) -> Array:
        """The diagonal of Σ, shape (..., K)."""
        return jnp.diagonal(self.covariance(), axis1=-2, axis2=-1)

    def _log_partition(self) -> Array:
        log_determinant, product = log_determinant_and_product(self.precision, self.eta1)
        return 0.5 * (product - log_determinant)

    def log_partition_of_sums(self, others: Self) -> Array:
        """See `ExponentialFamily.log_partition_of_sums`; small precisions are taken number by number."""
        self._check_same_family(others, "+")
        small = self.eta1.shape[-1] <= UNROLLED
        return gaussian_by_entry(self, others) if small else all_at_once(self, others)

    def mean_parameters(self) -> Statistics:
        """E[z] of shape (..., K) and E[zzᵀ] of shape (..., K, K)."""
        return self._log_partition_and_mean()[1]

    def _log_partition_and_mean(self) -> tuple[Array, Statistics]:
        covariance, log_determinant = inverse_and_log_determinant(self.precision)
        mean = matrix_vector(covariance, self.eta1)
        second = covariance + mean[..., :, None] * mean[..., None, :]
        return 0.5 * (jnp.sum(self.eta1 * mean, axis=-1) - log_determinant), (mean, second)

    def sufficient_statistics(self, z: Array) -> Statistics:
        """The values z of shape (..., K) and zzᵀ of shape (..., K, K)."""
        return z, z[..., :, None] * z[..., None, :]

    def log_base_measure(self, z: Array) -> Array:
        """−½K log 2π."""
        return jnp.full(z.shape[:-1], -0.5 * z.shape[-1] * LOG_TWO_PI, self.dtype)

    def expected_log_base_measure(self) -> Array:
        """−½K log 2π."""
        return jnp.full(self.batch_shape, -0.5 * self.eta1.shape[-1] * LOG_TWO_PI, self.dtype)

    def log_prob(self, z: Array) -> Array:
        """The log-density through the deviation from the mean, which does not cancel far from zero.

        Args:
            z: Shape (..., K).

        Returns:
            In nats, shape (...).
        """
        covariance, log_determinant = inverse_and_log_determinant(self.precision)
        deviation = z - matrix_vector(covariance, self.eta1)
        squared = jnp.sum(deviation * matrix_vector(self.precision, deviation), axis=-1)
        return -0.5 * (squared - log_determinant + self.eta1.shape[-1] * LOG_TWO_PI)

    def entropy(self) -> Array:
        """The entropy ½ K (1 + log 2π) + ½ log|Σ|, in nats, shape (...)."""
        _, log_determinant = inverse_and_log_determinant(self.precision)
        return 0.5 * (self.eta1.shape[-1] * (1.0 + LOG_TWO_PI) - log_determinant)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) = ½[tr(Σ'⁻¹Σ) − K + log|Σ'|/|Σ| + (μ−μ')ᵀΣ'⁻¹(μ−μ')], in nats, shape (...)."""
        self._check_same_family(other, "kl_divergence")
        # One stacked factorisation instead of two.
        batch = jnp.broadcast_shapes(self.batch_shape, other.batch_shape)
        both = stack([self.broadcast_to(batch), other.broadcast_to(batch)])
        covariance, log_determinant = inverse_and_log_determinant(both.precision)
        mean = matrix_vector(covariance, both.eta1)
        deviation = mean[0] - mean[1]
        trace = jnp.sum(both.precision[1] * covariance[0], axis=(-2, -1))
        squared = jnp.sum(deviation * matrix_vector(both.precision[1], deviation), axis=-1)
        log_ratio = log_determinant[0] - log_determinant[1]
        return 0.5 * (trace - mean.shape[-1] + log_ratio + squared)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw z, shape `shape` + (..., K), differentiable in the natural parameters.

        With LLᵀ = Σ⁻¹ the draw is L⁻ᵀ(L⁻¹η1 + ε), ε standard normal.
        """
        _, inverse = cholesky_with_inverse(self.precision)
        noise = jax.random.normal(key, shape + self.eta1.shape, self.dtype)
        return matrix_vector(transpose(inverse), matrix_vector(inverse, self.eta1) + noise)

    def in_deviations(self, tilts: Self, linear: Array) -> "InDeviations":
        """What log-integrals of tilts are linear in, for all members that share this one's η2 = −½P.

            A(η + δ) − A(η) = ⟨s, (u, uuᵀ)⟩ + a,   u = P⁻¹η1 − c,

        for every η1, with δ = (d, −½R), Q = P + R, e = d − Rc, s = (P Q⁻¹ e, −½ P Q⁻¹ R) and
        a = ½ log|P| − ½ log|Q| + ½ cᵀRc + cᵀe + ½ eᵀQ⁻¹e.

        Args:
            tilts: δ, batch shape (n, ...), where this one's is (...).
            linear: The η1 of a member in the midst of all, which has the mean c, shape (..., K).

        Returns:
            s, a, and what `deviations` makes (u, uuᵀ) with.
        """
        precision, added = self.precision, tilts.precision
        # One stacked factorisation instead of two.
        both = jnp.concatenate([precision[None], precision + added])
        inverse, log_determinant = inverse_and_log_determinant(both)
        centre = matrix_vector(inverse[0], linear)
        rest = tilts.eta1 - matrix_vector(added, centre)
        shift = matrix_vector(inverse[1:], rest)
        product = matmul(matmul(precision, inverse[1:]), added)
        quadratic = matrix_vector(added, centre) + 2.0 * rest
        constant = 0.5 * (
            log_determinant[0]
            - log_determinant[1:]
            + jnp.sum(centre * quadratic, axis=-1)
            + jnp.sum(rest * shift, axis=-1)
        )
        statistics = matrix_vector(precision, shift), -0.25 * (product + transpose(product))
        return InDeviations(statistics, constant, inverse[0], centre)

    def deviations(self, dispersion: Array, centre: Array) -> Self:
        """(u, uuᵀ), u = P⁻¹η1 − c, with P⁻¹ and c from `in_deviations`."""
        deviation = matrix_vector(dispersion, self.eta1) - centre
        return self.replace((deviation, deviation[..., :, None] * deviation[..., None, :]))

    def is_valid(self) -> Array:
        """Whether −2η2 is positive definite and all is finite, shape (...)."""
        factor, _ = cholesky_with_inverse(self.precision)
        return jnp.all(jnp.isfinite(factor), axis=(-2, -1)) & jnp.all(jnp.isfinite(self.eta1), axis=-1)

    @property
    def num_unconstrained(self) -> int:
        """K + ½K(K + 1)."""
        size = self.eta1.shape[-1]
        return size + size * (size + 1) // 2

    def potential(self, raw: Array) -> Self:
        """(raw_1..K, −½LLᵀ), L lower triangular with a softplus on its diagonal."""
        size = self.eta1.shape[-1]
        rows, columns = jnp.tril_indices(size)
        entries = raw[..., size:]
        entries = jnp.where(rows == columns, positive(entries), entries)
        factor = jnp.zeros((*raw.shape[:-1], size, size), raw.dtype).at[..., rows, columns].set(entries)
        return self.replace((raw[..., :size], -0.5 * matmul(factor, transpose(factor))))

    def unconstrained_potential(self) -> Array:
        """The inverse of `potential`, shape (..., K + ½K(K + 1)).

        A singular precision gets a relative 10⁻⁶ (float32) or 10⁻¹² (float64) on its diagonal, and
        zero precision the map's floor.
        """
        size = self.eta1.shape[-1]
        precision = self.precision
        scale = jnp.maximum(jnp.max(jnp.abs(precision), axis=(-2, -1), keepdims=True), 1e-8)
        relative = 8 * jnp.finfo(self.dtype).eps
        factor, _ = cholesky_with_inverse(precision + relative * scale * jnp.eye(size, dtype=self.dtype))
        rows, columns = jnp.tril_indices(size)
        entries = factor[..., rows, columns]
        entries = jnp.where(rows == columns, inverse_positive(entries), entries)
        return jnp.concatenate([self.eta1, entries], axis=-1)


@pytree_dataclass
class KnownCovarianceGaussian(ExponentialFamily):
    """A Gaussian whose covariance Σ is known: t(z) = z, A(η) = ½ηᵀΣη, χ(z) = N(z; 0, Σ).

    Attributes:
        eta: Σ⁻¹μ, shape (..., K).
        covariance: Σ, shape (K, K), shared by the batch; arithmetic and indexing leave it alone.
    """

    eta: Array
    covariance: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta": 1}

    def __post_init__(self) -> None:
        """Check the covariance's shape on top of the natural parameters'."""
        super().__post_init__()
        covariance = jnp.asarray(self.covariance)
        if covariance.shape != (self.eta.shape[-1],) * 2:
            raise ValueError(
                f"KnownCovarianceGaussian: covariance must have shape (K, K) = "
                f"({self.eta.shape[-1]}, {self.eta.shape[-1]}) to go with eta {self.eta.shape}, "
                f"got {covariance.shape}"
            )
        object.__setattr__(self, "covariance", covariance.astype(self.dtype))

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[z] = `mean[0]`; needs `covariance=`: η = Σ⁻¹μ."""
        if "covariance" not in shared:
            raise TypeError("KnownCovarianceGaussian.from_mean needs covariance=, of shape (K, K)")
        precision, _ = inverse_and_log_determinant(jnp.asarray(shared["covariance"]))
        return cls(matrix_vector(precision, jnp.asarray(mean[0])), shared["covariance"])

    def mean(self) -> Array:
        """E[z] = Ση, shape (..., K)."""
        return matrix_vector(self.covariance, self.eta)

    def variance(self) -> Array:
        """The diagonal of Σ for each member, shape (..., K)."""
        return jnp.broadcast_to(jnp.diagonal(self.covariance), self.eta.shape)

    def _log_partition(self) -> Array:
        return 0.5 * jnp.sum(self.eta * self.mean(), axis=-1)

    def log_partition_of_sums(self, others: Self) -> Array:
        """See `ExponentialFamily.log_partition_of_sums`: ½ηᵀΣη + ½δᵀΣδ + ηᵀΣδ, a matrix product."""
        self._check_same_family(others, "+")
        others = self.replace(others.natural_parameters)
        own = jnp.moveaxis(self.log_partition(), 0, -1) + others.log_partition()[..., None]
        batch = others.batch_shape[: len(others.batch_shape) - len(self.batch_shape) + 1]
        mean = matrix_vector(0.5 * (self.covariance + transpose(self.covariance)), others.eta)
        rows = mean.reshape(-1, *mean.shape[len(batch) :])
        products = matmul(jnp.moveaxis(rows, 0, -2), jnp.moveaxis(self.eta, 0, -1))
        products = jnp.moveaxis(products, -2, 0)
        return own + products.reshape(*batch, *products.shape[1:])

    def _shared_tangent(self, tangent: Self) -> Array:
        return 0.5 * jnp.sum(self.eta * matrix_vector(tangent.covariance, self.eta), axis=-1)

    def mean_parameters(self) -> Statistics:
        """E[z], shape (..., K)."""
        return (self.mean(),)

    def sufficient_statistics(self, z: Array) -> Statistics:
        """z, shape (..., K)."""
        return (z,)

    def log_base_measure(self, z: Array) -> Array:
        """The log-density log N(z; 0, Σ), shape (...)."""
        precision, log_determinant = inverse_and_log_determinant(self.covariance)
        squared = jnp.sum(z * matrix_vector(precision, z), axis=-1)
        return -0.5 * (squared + log_determinant + z.shape[-1] * LOG_TWO_PI)

    def expected_log_base_measure(self) -> Array:
        """E[log N(z; 0, Σ)] = −½[K + ηᵀΣη + log|2πΣ|], shape (...)."""
        _, log_determinant = inverse_and_log_determinant(self.covariance)
        size = self.eta.shape[-1]
        return -0.5 * (size * (1 + LOG_TWO_PI) + log_determinant) - self.log_partition()

    def log_prob(self, z: Array) -> Array:
        """The log-density through the deviation from the mean, which does not cancel far from zero.

        Args:
            z: Shape (..., K).

        Returns:
            In nats, shape (...).
        """
        return self.log_base_measure(z - self.mean())

    def entropy(self) -> Array:
        """The entropy ½ K (1 + log 2π) + ½ log|Σ|, in nats, shape (...)."""
        _, log_determinant = inverse_and_log_determinant(self.covariance)
        entropy = 0.5 * (self.eta.shape[-1] * (1.0 + LOG_TWO_PI) + log_determinant)
        return jnp.broadcast_to(entropy, self.batch_shape)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) = ½ (η − η')ᵀΣ(η − η'), in nats, shape (...)."""
        self._check_same_family(other, "kl_divergence")
        return (self - other).log_partition()

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw z, shape `shape` + (..., K), differentiable in η and Σ."""
        factor, _ = cholesky_with_inverse(self.covariance)
        noise = jax.random.normal(key, shape + self.eta.shape, self.dtype)
        return self.mean() + matrix_vector(factor, noise)

    def is_valid(self) -> Array:
        """Whether η is finite and Σ positive definite, shape (...)."""
        factor, _ = cholesky_with_inverse(self.covariance)
        return jnp.all(jnp.isfinite(self.eta), axis=-1) & jnp.all(jnp.isfinite(factor))

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
