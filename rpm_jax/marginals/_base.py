"""What a marginal offers, and how distributions of other libraries are made to offer it."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from rpm_jax._record import record
from rpm_jax.expfam._implicit import implicit_inverse


@runtime_checkable
class Marginal(Protocol):
    """A continuous distribution of a real number; all functions act on every entry of an array.

    Probabilities come in pairs, F(x) = P(X ≤ x) and S(x) = P(X > x), since 1 − F has no digits left where F
    is close to 1.
    """

    def log_prob(self, x: Array, /) -> Array:
        """The log-density, −∞ outside of the support."""
        ...

    def cdf(self, x: Array, /) -> Array:
        """F(x)."""
        ...

    def survival_function(self, x: Array, /) -> Array:
        """S(x) = 1 − F(x)."""
        ...

    def quantile(self, probability: Array, /) -> Array:
        """F⁻¹(p) for 0 < p < 1."""
        ...

    def inverse_survival_function(self, probability: Array, /) -> Array:
        """S⁻¹(p) for 0 < p < 1."""
        ...


@record
class Completed:
    """A distribution of another library, or one's own, with what it lacks of `Marginal`; see `as_marginal`.

    Attributes:
        distribution: An object with `log_prob` and `cdf`.
    """

    distribution: Any

    def __post_init__(self) -> None:
        """Check the methods and the event's shape."""
        distribution = self.distribution
        for name in ("log_prob", "cdf"):
            if not callable(getattr(distribution, name, None)):
                raise TypeError(
                    f"a marginal must have the methods log_prob and cdf, got {type(distribution).__name__}, "
                    f"which has no {name}; rpm_jax.marginals has some, and distrax distributions of one "
                    "number have both"
                )
        shape = tuple(getattr(distribution, "event_shape", ()))
        if shape != ():
            raise ValueError(
                f"a marginal must be a distribution of one number, got {type(distribution).__name__} with "
                f"event shape {shape}; give one distribution for each entry"
            )

    def log_prob(self, x: Array) -> Array:
        """The log-density."""
        return self.distribution.log_prob(x)

    def cdf(self, x: Array) -> Array:
        """F(x)."""
        return self.distribution.cdf(x)

    def survival_function(self, x: Array) -> Array:
        """S(x), by the distribution's own function if it has one."""
        own = getattr(self.distribution, "survival_function", None)
        return 1.0 - self.cdf(x) if own is None else own(x)

    def quantile(self, probability: Array) -> Array:
        """F⁻¹(p), by the distribution's own `quantile` or `icdf`, or by bisection."""
        for name in ("quantile", "icdf"):
            if callable(getattr(self.distribution, name, None)):
                return getattr(self.distribution, name)(probability)
        return invert(self.cdf, self.log_prob, probability, rising=True)

    def inverse_survival_function(self, probability: Array) -> Array:
        """S⁻¹(p)."""
        own = getattr(self.distribution, "inverse_survival_function", None)
        if own is not None:
            return own(probability)
        if any(hasattr(self.distribution, name) for name in ("quantile", "icdf")):
            return self.quantile(1.0 - probability)
        return invert(self.survival_function, self.log_prob, probability, rising=False)


def as_marginal(distribution: Any) -> Marginal:
    """Any distribution of one number as a `Marginal`.

    Args:
        distribution: A `Marginal`; or an object with `log_prob` and `cdf`, such as distrax distributions with
            an empty event shape. Its own `quantile` or `icdf`, `survival_function` and
            `inverse_survival_function` are used where it has them; without an inverse, F is inverted by
            bisection, with the derivative 1/p(x).

    Raises:
        TypeError: For an object without these methods.
        ValueError: For a distribution of several numbers.
    """
    return distribution if isinstance(distribution, Marginal) else Completed(distribution)


def invert(
    function: Callable[[Array], Array], log_prob: Callable[[Array], Array], value: Array, *, rising: bool
) -> Array:
    """Solve F(x) = p or S(x) = p by bisection of asinh(x), over all floating-point numbers.

    Args:
        function: F or S. Where it is NaN it is taken to be outside of the support, and x < 0 below it.
        log_prob: The logarithm of |F'|, for the derivative of the solution.
        value: p, any shape.
        rising: Whether the function is F, which rises, or S, which falls.

    Returns:
        x, of the shape of p.
    """
    value = jnp.asarray(value)
    end = float(np.log(jnp.finfo(value.dtype).max)) - 1.0
    sign = 1.0 if rising else -1.0

    def solve(value: Array) -> Array:
        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            x = jnp.sinh(middle)
            reached = function(x)
            below = jnp.where(jnp.isnan(reached), x < 0, sign * reached < sign * value)
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = lax.fori_loop(
            0,
            12 + jnp.finfo(value.dtype).nmant,
            halve,
            (jnp.full_like(value, -end), jnp.full_like(value, end)),
        )
        return jnp.sinh(0.5 * (low + high))

    def inverse_jacobian(x: Array, tangent: Array) -> Array:
        return sign * tangent * jnp.exp(-log_prob(x))

    return implicit_inverse(solve, inverse_jacobian)(value)
