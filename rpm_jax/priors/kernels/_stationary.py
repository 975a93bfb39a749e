"""Kernels of the distance alone, of unit variance."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.priors.kernels import _hyperparameters as hyperparameters
from rpm_jax.priors.kernels._algebra import add, add_to, multiply
from rpm_jax.priors.kernels._distance import distance, scaled_steps, squared_distance
from rpm_jax.priors.kernels._hyperparameters import Scale, initial_lengthscale, inverse_of, value_of
from rpm_jax.priors.kernels._matern_states import matern_form
from rpm_jax.priors.kernels._states import MarkovForm


@record
class RBF:
    """The radial basis function k = exp(−d²/(2ℓ²)), d the distance: smooth functions.

    Attributes:
        lengthscale: Initial ℓ > 0 in units of the locations, or one for each dimension; None: 1.1 median
            spacings of the locations.
        by_dimension: Whether each dimension has a length scale of its own where `lengthscale` is None.
        fixed: Names of hyperparameters that are not learned.
    """

    lengthscale: float | tuple[float, ...] | None = None
    by_dimension: bool = False
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the length scale."""
        hyperparameters.check("RBF", self.fixed, lengthscale=self.lengthscale)

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithm of the length scale."""
        return _init(self, locations)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        rate = inverse_of("lengthscale", params, self.lengthscale, x)
        return jnp.exp(-0.5 * squared_distance(x, y, rate))

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


def rbf_from_bandwidth(bandwidth: float, fixed: tuple[str, ...] = ()) -> RBF:
    """The kernel exp(−γ d²) by its bandwidth γ = 1/(2ℓ²), as torchRPM has it.

    Args:
        bandwidth: Initial γ > 0, in inverse squared units of the locations.
        fixed: As for `RBF`.
    """
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be positive and finite, got {bandwidth!r}")
    return RBF(math.sqrt(0.5) / math.sqrt(bandwidth), fixed=fixed)


@record
class Matern:
    """The Matérn kernel of order ν, d the distance in length scales: functions with ν − ½ derivatives.

        ν = 1/2 (Ornstein-Uhlenbeck):  k = exp(−d)
        ν = 3/2:                       k = (1 + √3 d) exp(−√3 d)
        ν = 5/2:                       k = (1 + √5 d + 5/3 d²) exp(−√5 d)

    Attributes:
        order: ν: 0.5, 1.5 or 2.5.
        lengthscale: As of `RBF`.
        by_dimension: As of `RBF`.
        fixed: As of `RBF`.
    """

    order: float
    lengthscale: float | tuple[float, ...] | None = None
    by_dimension: bool = False
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check order and length scale."""
        if self.order not in (0.5, 1.5, 2.5):
            raise ValueError(f"order must be 0.5, 1.5 or 2.5, got {self.order!r}")
        hyperparameters.check("Matern", self.fixed, lengthscale=self.lengthscale)

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithm of the length scale."""
        return _init(self, locations)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        rate = inverse_of("lengthscale", params, self.lengthscale, x)
        scaled = math.sqrt(2 * self.order) * distance(x, y, rate)
        decay = jnp.exp(-scaled)
        if self.order == 0.5:
            return decay
        return (1.0 + scaled + (scaled**2 / 3.0 if self.order == 2.5 else 0.0)) * decay

    @property
    def num_states(self) -> int:
        """ν + ½."""
        return int(self.order + 0.5)

    def markov(self, params: Any, times: Array) -> MarkovForm:
        """Its states are the process and its derivatives, in units of (ℓ/√(2ν))."""
        rate = inverse_of("lengthscale", params, self.lengthscale, times)
        return matern_form(self.num_states, math.sqrt(2 * self.order) * scaled_steps(times, rate))

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


@record
class RationalQuadratic:
    """A mixture of `RBF`s of many length scales, k = (1 + d²/(2αℓ²))^(−α): the larger α, the more alike.

    Attributes:
        lengthscale: As of `RBF`.
        alpha: Initial α > 0.
        by_dimension: As of `RBF`.
        fixed: As of `RBF`; also "alpha".
    """

    lengthscale: float | tuple[float, ...] | None = None
    alpha: float = 1.0
    by_dimension: bool = False
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        hyperparameters.check("RationalQuadratic", self.fixed, lengthscale=self.lengthscale, alpha=self.alpha)

    def init(self, locations: Array) -> dict[str, Array]:
        """The logarithms of the length scale and of α."""
        return _init(self, locations, alpha=self.alpha)

    def covariance(self, params: Any, x: Array, y: Array | None = None) -> Array:
        """Shape (T, S)."""
        rate = inverse_of("lengthscale", params, self.lengthscale, x)
        alpha = value_of("alpha", params, self.alpha, x)
        return jnp.exp(-alpha * jnp.log1p(squared_distance(x, y, rate) / (2.0 * alpha)))

    __add__ = add
    __radd__ = add_to
    __mul__ = __rmul__ = multiply
    __array_ufunc__ = None


def _init(kernel: Any, locations: Array, **others: Scale) -> dict[str, Array]:
    defaults = {"lengthscale": initial_lengthscale(locations, kernel.by_dimension)}
    return hyperparameters.init(locations, kernel.fixed, defaults, lengthscale=kernel.lengthscale, **others)
