"""White noise."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._algebra import add, add_to, multiply
from rpm_jax.priors.kernels._distance import differences
from rpm_jax.priors.kernels._hyperparameters import value_of
from rpm_jax.priors.kernels._states import MarkovForm, stationary


@record
class White:
    """White noise: σ² where two locations are the same, 0 elsewhere.

    A part of the latent at its site alone, nothing of which is known elsewhere; in a sum with a smooth kernel
    it also keeps covariances away from singular ones.

    Attributes:
        variance: Initial σ² > 0.
        fixed: ("variance",) if it is not learned.
    """

    variance: float = 1.0
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the variance."""
        hyperparameters.check("White", self.fixed, variance=self.variance)

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithm of the variance."""
        return hyperparameters.init(locations, self.fixed, variance=self.variance)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        same = jnp.all(differences(x, y) == 0, axis=-1)
        return jnp.where(same, value_of("variance", params, self.variance, x), 0.0)

    @property
    def num_states(self) -> int:
        """1."""
        return 1

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """One state that is drawn anew at every time: A = 0, Q = σ²."""
        variance = value_of("variance", params, self.variance, times)
        transition = jnp.zeros((times.shape[0] - 1, 1, 1), variance.dtype)
        observation = jnp.ones(1, variance.dtype)
        return stationary(variance.reshape(1, 1), transition, transition + variance, observation)

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None
