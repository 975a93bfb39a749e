"""Special functions that stay accurate where differences of log-gamma functions would cancel.

Entropies, divergences and densities of the Gamma, Beta, Dirichlet and Poisson families are differences
of terms of size α log α. Written with the remainder of Stirling's formula, the large terms cancel on
paper and not in floating point.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

HALF_LOG_TWO_PI = 0.9189385332046727

# B_2, B_4, …: from `_SHIFT` on the series to B_20 are exact to double precision.
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330,
)  # fmt: skip
_STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, start=1))
_DIGAMMA = tuple(b / (2 * k) for k, b in enumerate(_BERNOULLI, start=1))
_SHIFT = 10


def horner(coefficients: tuple[float, ...], x: Array) -> Array:
    """The polynomial Σ_k c_k x^k."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + x * total
    return total


def piecewise(
    condition: Array,
    inside: Callable[[Array], Array],
    outside: Callable[[Array], Array],
    x: Array,
    safe: float,
) -> Array:
    """`inside(x)` where the condition holds, `outside(x)` elsewhere, and so for all derivatives.

    Args:
        condition: Boolean, of the shape of `x`.
        inside: Elementwise function.
        outside: Elementwise function.
        x: The argument.
        safe: A number at which both functions are regular; each sees it instead of the arguments that
            are not its own, whose infinite derivatives would become NaN in the other's place.

    Returns:
        An array of the shape of `x`.
    """
    return jnp.where(condition, inside(jnp.where(condition, x, safe)), outside(jnp.where(condition, safe, x)))


@jax.custom_jvp
def stirling_remainder(x: Array) -> Array:
    """S(x) = log Γ(x) − (x − ½) log x + x − ½ log 2π, about 1/(12x)."""

    def direct(x: Array) -> Array:
        return gammaln(x) - (x - 0.5) * jnp.log(x) + x - HALF_LOG_TWO_PI

    def series(x: Array) -> Array:
        return horner(_STIRLING, 1 / x**2) / x

    return piecewise(x < _SHIFT, direct, series, x, float(_SHIFT))


@stirling_remainder.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return stirling_remainder(x), (0.5 / x - log_minus_digamma(x)) * tangent


def log_minus_digamma(x: Array) -> Array:
    """h(x) = log x − ψ(x), about 1/(2x); it falls from ∞ to 0.

    An asymptotic series, reached from small x by ψ(x + 1) = ψ(x) + 1/x. All of it is rational but for one
    logarithm, so derivatives of any order are cheap.
    """
    small = x < _SHIFT
    near = jnp.where(small, x, 1.0)
    recurrence = jnp.log(near / (near + _SHIFT)) + sum(1.0 / (near + k) for k in range(_SHIFT))
    far = jnp.where(small, x + _SHIFT, x)
    series = 0.5 / far + horner(_DIGAMMA, 1.0 / far**2) / far**2
    return series + jnp.where(small, recurrence, 0.0)


def derivative(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """The value and the derivative of an elementwise function."""
    return jax.jvp(function, (x,), (jnp.ones_like(x),))


def excess(ratio: Array) -> Array:
    """The difference r − 1 − log r ≥ 0, which is small for ratios near 1."""
    return ratio - 1.0 - jnp.log(ratio)


def times_log_excess(factor: Array, ratio: Array) -> Array:
    """The product a (log r − r + 1), with a factor of zero winning over the infinite logarithm of r = 0."""
    ignored = (factor == 0) & (ratio == 0)
    return -factor * excess(jnp.where(ignored, 1.0, ratio))
