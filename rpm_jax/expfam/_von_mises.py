"""The von Mises family of independent angles."""

import math
from fractions import Fraction
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import i0e, i1e

from rpm_jax._arrays import as_floating
from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam._base import ExponentialFamily, Statistics
from rpm_jax.expfam._implicit import implicit_inverse, newton
from rpm_jax.expfam._special import derivative, horner, piecewise

LOG_TWO_PI = math.log(2 * math.pi)


def _asymptotic_coefficients(count: int) -> tuple[float, ...]:
    """The a_k of I1(κ)/I0(κ) = Σ_k a_k κ^−k, from the equation A' = 1 − A/κ − A² that the ratio solves."""
    terms = [Fraction(1)]
    for m in range(1, count):
        products = sum(terms[i] * terms[m - i] for i in range(1, m))
        terms.append(((m - 2) * terms[m - 1] - products) / 2)
    return tuple(float(term) for term in terms)


_RATIO = _asymptotic_coefficients(18)
_BESSEL_0 = tuple(1.0 / math.factorial(k) ** 2 for k in range(1, 11))
# I0(κ) √(2πκ) exp(−κ) = 1 + Σ_k c_k κ^−k, c_k = ((2k − 1)!!)² / (k! 8^k).
_BESSEL_FAR = tuple(
    math.prod(range(1, 2 * k, 2)) ** 2 / (math.factorial(k) * 8**k) for k in range(1, len(_RATIO))
)

PROPOSALS = 100
"""The most that are made for one draw; each is accepted with a probability of at least 0.65."""


@jax.custom_jvp
def _dispersion_of_bessel(concentration: Array) -> Array:
    return 1.0 - i1e(concentration) / i0e(concentration)


@_dispersion_of_bessel.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (concentration,), (tangent,) = primals, tangents
    dispersion = _dispersion_of_bessel(concentration)
    slope = (1.0 - dispersion) / concentration - dispersion * (2.0 - dispersion)
    return dispersion, slope * tangent


def _far(dtype: Any) -> float:
    """From where on asymptotic series reach the precision of the type."""
    return 30.0 if dtype == jnp.float64 else 10.0


def _dispersion(concentration: Array) -> Array:
    """1 − I1(κ)/I0(κ) for κ ≥ 1, without cancellation in itself or its derivatives for large κ."""
    far = _far(concentration.dtype)

    def series(concentration: Array) -> Array:
        return -horner(_RATIO[1:], 1.0 / concentration) / concentration

    return piecewise(concentration > far, series, _dispersion_of_bessel, concentration, far)


@jax.custom_jvp
def _log_bessel_excess(concentration: Array) -> Array:
    """Log I0(κ) − κ + ½ log 2πκ for κ ≥ 1, about 1/(8κ)."""

    def near(concentration: Array) -> Array:
        return jnp.log(i0e(concentration)) + 0.5 * (LOG_TWO_PI + jnp.log(concentration))

    def series(concentration: Array) -> Array:
        return jnp.log1p(horner(_BESSEL_FAR, 1.0 / concentration) / concentration)

    far = _far(concentration.dtype)
    return piecewise(concentration > far, series, near, concentration, far)


@_log_bessel_excess.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (concentration,), (tangent,) = primals, tangents
    slope = 0.5 / concentration - _dispersion(concentration)
    return _log_bessel_excess(concentration), slope * tangent


def _log_scaled_bessel(concentration: Array) -> Array:
    """Log I0(κ) − κ for κ ≥ 1."""
    return _log_bessel_excess(concentration) - 0.5 * (LOG_TWO_PI + jnp.log(concentration))


def _polar(eta: Array) -> tuple[Array, Array, Array]:
    """Where κ = ‖η‖ < 1, κ² there and 0 elsewhere, κ elsewhere and 1 there; each of shape (...).

    Small κ have formulas in κ², smooth at zero; the squares of large ones may overflow.
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(eta), axis=-1))
    bounded = eta / jnp.maximum(largest, 1.0)[..., None]
    near = (largest < 1.0) & (jnp.sum(bounded**2, axis=-1) < 1.0)
    squared = jnp.sum(jnp.where(near[..., None], eta, 0.0) ** 2, axis=-1)
    scale = jnp.where(near, 1.0, largest)
    unit = jnp.where(near[..., None], jnp.array([1.0, 0.0], eta.dtype), eta / scale[..., None])
    return near, squared, scale * jnp.sqrt(jnp.sum(unit**2, axis=-1))


def _small_log_bessel(squared: Array) -> Array:
    """The logarithm of I0(κ) as a smooth function of κ² up to 1."""
    quarter = 0.25 * squared
    return jnp.log1p(quarter * horner(_BESSEL_0, quarter))


def _log_bessel(eta: Array) -> Array:
    """The logarithm of I0(‖η‖), shape (...)."""
    near, squared, norm = _polar(eta)
    return jnp.where(near, _small_log_bessel(squared), norm + _log_scaled_bessel(norm))


def _small_ratio_over_norm(squared: Array) -> Array:
    """I1(κ)/(κ I0(κ)) as a smooth function of κ² up to 1; ½ at zero."""
    fraction = jnp.full_like(squared, 18.0)
    for k in range(16, 0, -2):
        fraction = k + squared / fraction
    return 1.0 / fraction


def _ratio_over_norm(squared: Array) -> Array:
    """I1(κ)/(κ I0(κ)) as a smooth function of κ²; ½ at zero."""

    def far(squared: Array) -> Array:
        norm = jnp.sqrt(squared)
        return (1.0 - _dispersion(norm)) / norm

    return piecewise(squared < 1.0, _small_ratio_over_norm, far, squared, 1.0)


def _inverse_information(eta: Array, tangent: Array) -> Array:
    """The inverse Fisher information (∂²A)⁻¹ applied to a tangent of the mean, both (..., 2).

    With g = A1/κ the information is g (I − uuᵀ) + A1' uuᵀ in the direction u of η.
    """
    squared = jnp.sum(eta**2, axis=-1)
    ratio, slope = derivative(_ratio_over_norm, squared)
    near = ratio + 2.0 * squared * slope
    norm = jnp.sqrt(jnp.maximum(squared, 1.0))
    radial = jnp.where(squared < 1.0, near, -derivative(_dispersion, norm)[1])
    along = 2.0 * slope / (ratio * radial) * jnp.sum(eta * tangent, axis=-1)
    return tangent / ratio[..., None] - along[..., None] * eta


def _solve(mean: Array) -> Array:
    length = jnp.sqrt(jnp.sum(mean**2, axis=-1))
    # Best and Fisher's approximations (1981) of the inverse of I1/I0.
    start = jnp.select(
        [length < 0.53, length < 0.85],
        [
            length * (2.0 + length**2 * (1.0 + 5.0 / 6.0 * length**2)),
            -0.4 + 1.39 * length + 0.43 / (1 - length),
        ],
        1.0 / (length * (1.0 - length) * (3.0 - length)),
    )
    concentration = newton(lambda norm: norm * _ratio_over_norm(norm**2), length, start, num_steps=6)
    scale = jnp.where(length > 0, concentration / jnp.where(length > 0, length, 1.0), 2.0)
    return scale[..., None] * mean


_natural_from_mean = implicit_inverse(_solve, _inverse_information)


def _squared_chord(unit: Array, other: Array) -> Array:
    """‖u − v‖² of unit vectors, shape (..., 2), as 2 (u × v)² / (1 + ⟨u, v⟩), shape (...).

    Errors in their lengths do not enter it, which would be as large as the squares of small differences.
    """
    cross = unit[..., 0] * other[..., 1] - unit[..., 1] * other[..., 0]
    cosine = jnp.sum(unit * other, axis=-1)
    acute = cosine > 0
    near = 2.0 * cross**2 / jnp.where(acute, 1.0 + cosine, 1.0)
    return jnp.where(acute, near, jnp.sum((unit - other) ** 2, axis=-1))


@jax.custom_jvp
def _sample_centred(key: Array, concentration: Array) -> Array:
    """One angle around zero for each concentration: Best and Fisher's rejection sampler.

    Proposals θ = 2 atan((1−ρ)/(1+ρ) tan ½φ), φ uniform, are wrapped Cauchy; they are accepted with
    log-probability κ(cos θ − 1) + log(1 + ρ² − 2ρ cos θ) less its maximum over θ.

    That loses √κ rounding errors. Beyond κ = ε^−⅔, ε the precision of the type, the normal distribution of
    variance 1/κ is nearer to the truth: its moments are off by a fraction of 1/κ.
    """
    beyond = float(jnp.finfo(concentration.dtype).eps) ** (-2 / 3)
    normal_key, key = jax.random.split(key)
    normal = jax.random.normal(normal_key, concentration.shape, concentration.dtype)
    is_normal = concentration > beyond
    angle = _sample_by_rejection(key, jnp.where(is_normal, 0.0, concentration))
    return jnp.where(is_normal, normal / jnp.sqrt(jnp.where(is_normal, concentration, 1.0)), angle)


def _sample_by_rejection(key: Array, concentration: Array) -> Array:
    """One angle around zero for each concentration; NaN for one that is not a number."""
    root = jnp.sqrt(1.0 + 4.0 * concentration**2)
    ratio = 2.0 * jnp.sqrt(1.0 + root) / ((jnp.sqrt(1.0 + root) + math.sqrt(2.0)) * (root + 1.0))
    rho = concentration * ratio
    greatest = 0.5 * (1.0 - rho) ** 2 / ratio + jnp.log(2.0 * ratio) - 1.0

    def propose(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        count, key, angle, pending = state
        key, key_angle, key_accept = jax.random.split(key, 3)
        shape, dtype = concentration.shape, concentration.dtype
        half = jax.random.uniform(key_angle, shape, dtype, -0.5 * math.pi, 0.5 * math.pi)
        tangent = (1.0 - rho) / (1.0 + rho) * jnp.tan(half)
        squared_sine = tangent**2 / (1.0 + tangent**2)
        log_accept = -2.0 * concentration * squared_sine - greatest
        log_accept += jnp.log((1.0 - rho) ** 2 + 4.0 * rho * squared_sine)
        accepted = -jax.random.exponential(key_accept, shape, dtype) < log_accept
        angle = jnp.where(pending & accepted, 2.0 * jnp.arctan(tangent), angle)
        return count + 1, key, angle, pending & ~accepted

    # What is never accepted, such as where the concentration is not a number, stays NaN.
    start = jnp.full_like(concentration, jnp.nan)
    state = jnp.asarray(0), key, start, jnp.isfinite(concentration)
    return lax.while_loop(lambda state: (state[0] < PROPOSALS) & jnp.any(state[3]), propose, state)[2]


@_sample_centred.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    raise TypeError(
        "VonMises.sample cannot be differentiated: it draws by rejection. Stop the gradient of the family "
        "before sampling: jax.lax.stop_gradient(family).sample(key)"
    )


@pytree_dataclass
class VonMises(ExponentialFamily):
    """K independent angles z ∈ (−π, π]: t(z) = (cos z, sin z), A(η) = Σ_k log I0(‖η_k‖), χ = (2π)^−K.

    The length of η_k is the concentration κ, its direction the mean direction; zero is the uniform
    distribution.

    Attributes:
        eta: κ (cos m, sin m), shape (..., K, 2).
    """

    eta: Array

    natural_ranks: ClassVar[dict[str, int]] = {"eta": 2}
    independent: ClassVar[bool] = True

    def _check_event(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes["eta"][-1] != 2:
            raise ValueError(
                f"VonMises: eta must end in (K, 2), two numbers an angle, got shape {shapes['eta']}"
            )

    @classmethod
    def from_direction_and_concentration(cls, direction: Array, concentration: Array) -> Self:
        """The member with mean direction m (an angle) and concentration κ ≥ 0, both of shape (..., K)."""
        direction = as_floating("direction", direction)
        unit = jnp.stack([jnp.cos(direction), jnp.sin(direction)], axis=-1)
        return cls(as_floating("concentration", concentration)[..., None] * unit)

    @classmethod
    def from_mean(cls, mean: Statistics, **shared: Array) -> Self:
        """The member with E[(cos z, sin z)] = `mean[0]`, shape (..., K, 2), each shorter than 1.

        Newton's method on κ; the derivative is the inverse Fisher information.
        """
        return cls(_natural_from_mean(jnp.asarray(mean[0])))

    @property
    def concentration(self) -> Array:
        """κ = ‖η‖, shape (..., K); its derivative at zero is taken as zero."""
        largest = lax.stop_gradient(jnp.max(jnp.abs(self.eta), axis=-1))
        positive = largest > 0
        scale = jnp.where(positive, largest, 1.0)
        scaled = jnp.where(positive[..., None], self.eta / scale[..., None], 1.0)
        return jnp.where(positive, scale * jnp.sqrt(jnp.sum(scaled**2, axis=-1)), 0.0)

    def mean(self) -> Array:
        """The mean direction, shape (..., K), in [−π, π]."""
        return jnp.arctan2(self.eta[..., 1], self.eta[..., 0])

    def variance(self) -> Array:
        """The circular variance 1 − I1(κ)/I0(κ), shape (..., K): 0 for a point, 1 for the uniform."""
        near, squared, norm = _polar(self.eta)
        small = 1.0 - self.concentration * _small_ratio_over_norm(squared)
        return jnp.where(near, small, _dispersion(norm))

    def _log_partition(self) -> Array:
        return jnp.sum(_log_bessel(self.eta), axis=-1)

    def mean_parameters(self) -> Statistics:
        """E[(cos z, sin z)] = I1(κ)/I0(κ) (cos m, sin m), shape (..., K, 2)."""
        near, squared, norm = _polar(self.eta)
        large = (1.0 - _dispersion(norm))[..., None] * (self.eta / norm[..., None])
        return (jnp.where(near[..., None], _small_ratio_over_norm(squared)[..., None] * self.eta, large),)

    def sufficient_statistics(self, z: Array) -> Statistics:
        """(cos z, sin z), shape (..., K, 2)."""
        return (jnp.stack([jnp.cos(z), jnp.sin(z)], axis=-1),)

    def log_base_measure(self, z: Array) -> Array:
        """−K log 2π."""
        return jnp.full(z.shape[:-1], -z.shape[-1] * LOG_TWO_PI, self.dtype)

    def expected_log_base_measure(self) -> Array:
        """−K log 2π."""
        return jnp.full(self.batch_shape, -self.eta.shape[-2] * LOG_TWO_PI, self.dtype)

    def _cross_entropy(self, dispersion: Array, unit: Array, mean: Array, concentrated: Array) -> Array:
        """−E[log p(z)] − log 2π where z has E[t(z)] = `mean` = (1 − dispersion) `unit`, shape (..., K).

        For κ ≥ 1 it is κ(1 − ⟨mean, u⟩) + log(e^−κ I0(κ)), which does not cancel; the two parts of the
        mean are used only where it is `concentrated` too.
        """
        near, squared, norm = _polar(self.eta)
        product = jnp.sum(self.eta * mean, axis=-1)
        apart = 0.5 * norm * _squared_chord(self.eta / norm[..., None], unit)
        split = norm * dispersion + (1.0 - dispersion) * apart
        large = jnp.where(concentrated, split, norm - product) + _log_scaled_bessel(norm)
        return jnp.where(near, _small_log_bessel(squared) - product, large)

    def _cross_entropy_of(self, other: Self) -> Array:
        """−E_other[log p_self(z_k)] − log 2π, shape (..., K)."""
        near, _, norm = _polar(other.eta)
        return self._cross_entropy(
            _dispersion(norm), other.eta / norm[..., None], other.mean_parameters()[0], ~near
        )

    def log_prob(self, z: Array) -> Array:
        """The log-density, without the cancellation of ⟨η, t(z)⟩ with A(η) for large κ.

        Args:
            z: Angles, shape (..., K).

        Returns:
            In nats, shape (...).
        """
        (unit,) = self.sufficient_statistics(jnp.asarray(z, self.dtype))
        zero = jnp.zeros((), self.dtype)
        return -jnp.sum(self._cross_entropy(zero, unit, unit, jnp.asarray(True)) + LOG_TWO_PI, axis=-1)

    def entropy(self) -> Array:
        """The entropy Σ_k log 2π + log I0(κ) − κ I1(κ)/I0(κ), in nats, shape (...)."""
        return jnp.sum(self._cross_entropy_of(self) + LOG_TWO_PI, axis=-1)

    def kl_divergence(self, other: Self) -> Array:
        """KL(self‖other) in nats, shape (...), without the cancellation of large concentrations.

        With r = κ'/κ, D the circular variance, u the directions and g(κ) = log I0(κ) − κ + ½ log 2πκ, which
        is about 1/(8κ), it is Σ_k (r − 1) κD + ½ κ'(1 − D) ‖u' − u‖² − ½ log r + g(κ') − g(κ) where both κ
        are at least 1.
        """
        self._check_same_family(other, "kl_divergence")
        near, _, norm = _polar(self.eta)
        other_near, _, other_norm = _polar(other.eta)
        ratio = (other_norm - norm) / norm
        dispersion = _dispersion(norm)
        apart = _squared_chord(other.eta / other_norm[..., None], self.eta / norm[..., None])
        large = ratio * (norm * dispersion) + 0.5 * other_norm * (1.0 - dispersion) * apart
        large += _log_bessel_excess(other_norm) - _log_bessel_excess(norm) - 0.5 * jnp.log1p(ratio)
        difference = other._cross_entropy_of(self) - self._cross_entropy_of(self)
        return jnp.sum(jnp.where(near | other_near, difference, large), axis=-1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Draw angles in (−π, π], shape `shape` + (..., K), by rejection: not differentiable.

        References:
            D. J. Best and N. I. Fisher, Efficient simulation of the von Mises distribution, 1979.
        """
        concentration = jnp.broadcast_to(self.concentration, shape + self.eta.shape[:-1])
        angle = self.mean() + _sample_centred(key, concentration)
        angle = angle - 2.0 * math.pi * jnp.ceil((angle - math.pi) / (2.0 * math.pi))
        return jnp.where(angle <= -math.pi, math.pi, angle).astype(self.dtype)

    def is_valid(self) -> Array:
        """Whether η is finite, shape (...)."""
        return jnp.all(jnp.isfinite(self.eta), axis=(-2, -1))

    @property
    def num_unconstrained(self) -> int:
        """2K."""
        return 2 * self.eta.shape[-2]

    def potential(self, raw: Array) -> Self:
        """The raw numbers themselves: every η is valid."""
        return self.replace((raw.reshape(*raw.shape[:-1], self.eta.shape[-2], 2),))

    def unconstrained_potential(self) -> Array:
        """η itself, shape (..., 2K)."""
        return self.eta.reshape(*self.batch_shape, self.num_unconstrained)
