"""A kernel of oscillations that are damped and driven by noise."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._linalg import matrix_vector
from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._algebra import add, add_to, multiply
from rpm_jax.priors.kernels._cosine import phase
from rpm_jax.priors.kernels._distance import FAR, differences_in_time, scaled_steps
from rpm_jax.priors.kernels._hyperparameters import inverse_of
from rpm_jax.priors.kernels._states import MarkovForm, from_entries, stationary

NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)
"""Of Gauss and Legendre on [−1, 1], exact for the integrals below to 10⁻¹⁹."""


@record
class DampedOscillation:
    """A damped harmonic oscillator driven by white noise, whose motion has one derivative.

        k = exp(−d/ℓ) (cos ωd + sin(ωd)/(ωℓ)),   ω = 2π/p,   d = |x − y|

    It is the oscillator f'' + (2/ℓ) f' + ω_0² f = noise, ω_0² = ω² + ℓ⁻², of quality ω_0 ℓ/2 > ½, which
    others call "SHO". With a long period it is `Matern(1.5, √3 ℓ)`; `Matern(0.5) * Cosine(p)` is alike, but
    rough.

    Attributes:
        period: Initial p > 0.
        lengthscale: Initial ℓ > 0, after which a free oscillation has decayed to 1/e; None: the period.
        fixed: Names of hyperparameters that are not learned: "period", "lengthscale".

    References:
        Foreman-Mackey et al., Fast and scalable Gaussian process modeling, 2017.
    """

    period: float
    lengthscale: float | None = None
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        if self.period is None:
            raise ValueError("DampedOscillation: period must be positive and finite, got None")
        hyperparameters.check(
            "DampedOscillation", self.fixed, period=self.period, lengthscale=self.lengthscale
        )

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithms of period and length scale."""
        defaults = {"lengthscale": jnp.asarray(self.period)}
        return hyperparameters.init(
            locations, self.fixed, defaults, period=self.period, lengthscale=self.lengthscale
        )

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        frequency, decay = self._rates(params, x)
        distance = jnp.abs(differences_in_time("DampedOscillation", x, y))
        angle = phase(distance * frequency)
        damping = decay / (2.0 * math.pi * frequency)
        return jnp.exp(-jnp.minimum(distance * decay, FAR)) * (jnp.cos(angle) + damping * jnp.sin(angle))

    @property
    def num_states(self) -> int:
        """2."""
        return 2

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """Its states are the position f and the velocity f'/ω_0.

        With u = ω_0 Δ, ζ = 1/(ℓω_0), η = ω/ω_0, c = cos ηu, s = sin(ηu)/η, e = exp(−2ζu):

            A = e^{−ζu} [[c + ζs, s], [−s, c − ζs]],   P = I,
            Q_11 = 4ζ ∫_0^u e^{−2ζv} s(v)² dv = (1 − e) − 2ζes (ζs + c),
            Q_12 = 2ζes²,   Q_22 = Q_11 + 4ζecs

        The integral is taken, of positive terms, where u is below 1, and the closed form cancels.
        """
        frequency, decay = self._rates(params, times)
        angular = 2.0 * math.pi * frequency
        natural = jnp.sqrt(jnp.square(angular) + jnp.square(decay))
        damping, ratio = decay / natural, angular / natural
        angle = phase(scaled_steps(times, frequency))
        decayed = scaled_steps(times, decay)
        cosine, sine = jnp.cos(angle), jnp.sin(angle) / ratio
        shrunk, squared = jnp.exp(-decayed), jnp.exp(-2.0 * decayed)
        swing = damping * sine
        transition = from_entries([[cosine + swing, sine], [-sine, cosine - swing]])

        steps = scaled_steps(times, natural)
        half = 0.5 * jnp.minimum(steps, 1.0)
        places = half[..., None] * (1.0 + NODES).astype(steps.dtype)
        response = jnp.exp(-2.0 * damping * places) * jnp.square(jnp.sin(ratio * places) / ratio)
        integral = 4.0 * damping * half * matrix_vector(response, jnp.asarray(WEIGHTS, steps.dtype))
        closed = -jnp.expm1(-2.0 * decayed) - 2.0 * squared * swing * (swing + cosine)
        position = jnp.where(steps < 1.0, integral, closed)
        cross = 2.0 * squared * swing * sine
        velocity = position + 4.0 * squared * swing * cosine
        noise = from_entries([[position, cross], [cross, velocity]])
        identity = jnp.eye(2, dtype=steps.dtype)
        return stationary(identity, shrunk[:, None, None] * transition, noise, identity[0])

    def _rates(self, params: Any, locations: Array) -> tuple[Array, Array]:
        """1/p and 1/ℓ."""
        frequency = inverse_of("period", params, self.period, locations)
        if self.lengthscale is None and "log_lengthscale" not in params:
            return frequency, frequency
        return frequency, inverse_of("lengthscale", params, self.lengthscale, locations)

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None
