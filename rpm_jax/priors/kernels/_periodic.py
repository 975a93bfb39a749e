"""A kernel of periodic functions."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._algebra import add, add_to, multiply
from rpm_jax.priors.kernels._distance import FAR, differences
from rpm_jax.priors.kernels._hyperparameters import initial_lengthscale, inverse_of, value_of


@record
class Periodic:
    """An `RBF` on a circle of circumference p, k = exp(−c²/(2ℓ²)), c = p/π sin(π |x − y|/p) the chord.

    With ℓ in units of the locations as for all kernels: where ℓ ≪ p, within a period, it is an `RBF`. In
    MacKay's form exp(−2 sin²(π |x − y|/p)/w²), w = 2πℓ/p. In D dimensions c² is the sum over them.

    Attributes:
        period: Initial p > 0.
        lengthscale: Initial ℓ > 0; None: 1.1 median spacings of the locations.
        fixed: Names of hyperparameters that are not learned: "period", "lengthscale".

    References:
        MacKay, Introduction to Gaussian processes, 1998.
    """

    period: float
    lengthscale: float | None = None
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        if self.period is None:
            raise ValueError("Periodic: period must be positive and finite, got None")
        hyperparameters.check("Periodic", self.fixed, period=self.period, lengthscale=self.lengthscale)

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithms of period and length scale."""
        defaults = {"lengthscale": initial_lengthscale(locations)}
        return hyperparameters.init(
            locations, self.fixed, defaults, period=self.period, lengthscale=self.lengthscale
        )

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        period = value_of("period", params, self.period, x)
        rate = inverse_of("lengthscale", params, self.lengthscale, x)
        periods = differences(x, y) * inverse_of("period", params, self.period, x)
        # Whole periods are taken off first: the sine of a large number has few digits.
        chords = jnp.sin(math.pi * (periods - jnp.round(periods))) / math.pi * jnp.minimum(period * rate, FAR)
        return jnp.exp(-0.5 * jnp.sum(jnp.square(chords), axis=-1))

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None
