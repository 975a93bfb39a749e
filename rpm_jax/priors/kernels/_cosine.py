"""A kernel of undamped oscillations."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._algebra import add, add_to, multiply
from rpm_jax.priors.kernels._distance import differences_in_time, scaled_steps
from rpm_jax.priors.kernels._hyperparameters import inverse_of
from rpm_jax.priors.kernels._states import MarkovForm, from_entries, stationary


@record
class Cosine:
    """Oscillations of one period for ever, k = cos(2π (x − y)/p): of random amplitude and phase.

    Times a decaying kernel, such as `Matern(0.5) * Cosine(p)`, their amplitude and phase drift.

    Attributes:
        period: Initial p > 0.
        fixed: ("period",) if it is not learned.
    """

    period: float
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the period."""
        if self.period is None:
            raise ValueError("Cosine: period must be positive and finite, got None")
        hyperparameters.check("Cosine", self.fixed, period=self.period)

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithm of the period."""
        return hyperparameters.init(locations, self.fixed, period=self.period)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        rate = inverse_of("period", params, self.period, x)
        return jnp.cos(phase(differences_in_time("Cosine", x, y) * rate))

    @property
    def num_states(self) -> int:
        """2."""
        return 2

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """A rotation without noise of the oscillation and what it is a quarter of a period earlier."""
        angle = phase(scaled_steps(times, inverse_of("period", params, self.period, times)))
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        rotation = from_entries([[cosine, sine], [-sine, cosine]])
        identity = jnp.eye(2, dtype=angle.dtype)
        return stationary(identity, rotation, jnp.zeros_like(rotation), identity[0])

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


def phase(periods: Array) -> Array:
    """2π times numbers of periods, without whole ones: the sine of a large number has few digits."""
    return 2.0 * math.pi * (periods - jnp.round(periods))
