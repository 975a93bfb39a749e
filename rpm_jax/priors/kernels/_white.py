"""White noise."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._algebra import add, add_to, multiply
from rpm_jax.priors.kernels._distance import differences
from rpm_jax.priors.kernels._hyperparameters import value_of


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

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None
