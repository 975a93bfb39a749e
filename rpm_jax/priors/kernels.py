"""Stationary covariance functions of unit variance, plain and as learnable kernels."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

SPACINGS = math.sqrt(1 / 0.8)
"""Initial length scale in units of the median spacing of the times: at 50 times on [0, 1] it makes the
radial basis function's bandwidth 960, near the 1000 that is usual for this model."""


def rbf(times: Array, bandwidth: Array | float) -> Array:
    """The radial basis function kernel exp(−γ (t − t')²).

    Args:
        times: Shape (T,).
        bandwidth: γ > 0, in inverse squared units of time.

    Returns:
        The covariance, shape (T, T).
    """
    return jnp.exp(-bandwidth * (times[:, None] - times[None, :]) ** 2)


def matern12(times: Array, lengthscale: Array | float) -> Array:
    """The Matérn kernel of order 1/2 (Ornstein-Uhlenbeck), exp(−|t − t'|/ℓ), shape (T, T)."""
    return jnp.exp(-_distance(times, lengthscale))


def matern32(times: Array, lengthscale: Array | float) -> Array:
    """The Matérn kernel of order 3/2, (1 + √3 d) exp(−√3 d) with d = |t − t'|/ℓ, shape (T, T)."""
    scaled = math.sqrt(3.0) * _distance(times, lengthscale)
    return (1.0 + scaled) * jnp.exp(-scaled)


def matern52(times: Array, lengthscale: Array | float) -> Array:
    """The Matérn kernel of order 5/2, (1 + √5 d + 5/3 d²) exp(−√5 d), d = |t − t'|/ℓ, shape (T, T)."""
    scaled = math.sqrt(5.0) * _distance(times, lengthscale)
    return (1.0 + scaled + scaled**2 / 3.0) * jnp.exp(-scaled)


def _distance(times: Array, lengthscale: Array | float) -> Array:
    return jnp.abs(times[:, None] - times[None, :]) / lengthscale


class Kernel(NamedTuple):
    """A covariance function with learnable hyperparameters in unconstrained form.

    Attributes:
        init: times (T,) -> hyperparameters, a pytree of scalars.
        covariance: (hyperparameters, times) -> covariance (T, T).
    """

    init: Callable[[Array], Any]
    covariance: Callable[[Any, Array], Array]


def radial_basis_function(bandwidth: float | None = None) -> Kernel:
    """The learnable kernel `rbf`, by its log-bandwidth.

    On its raw scale, where it is of the order of 1000, a bandwidth hardly moves at the learning rates
    of networks; its logarithm does.

    Args:
        bandwidth: Initial γ > 0; None takes 0.4 over the squared median spacing of the times.

    Raises:
        ValueError: For a bandwidth that is not positive and finite.
    """
    _require_positive("bandwidth", bandwidth)
    return Kernel(
        init=lambda times: {
            "log_bandwidth": jnp.log(
                0.5 / _initial_lengthscale(times) ** 2 if bandwidth is None else bandwidth
            )
        },
        covariance=lambda params, times: rbf(times, jnp.exp(params["log_bandwidth"])),
    )


def matern(order: float, lengthscale: float | None = None) -> Kernel:
    """A learnable Matérn kernel, by its log-length scale.

    Args:
        order: 0.5, 1.5 or 2.5.
        lengthscale: Initial ℓ in units of time; None takes 1.1 median spacings of the times.

    Raises:
        ValueError: For another order, or a length scale that is not positive and finite.
    """
    functions = {0.5: matern12, 1.5: matern32, 2.5: matern52}
    if order not in functions:
        raise ValueError(f"order must be 0.5, 1.5 or 2.5, got {order!r}")
    _require_positive("lengthscale", lengthscale)
    function = functions[order]
    return Kernel(
        init=lambda times: {
            "log_lengthscale": jnp.log(_initial_lengthscale(times) if lengthscale is None else lengthscale)
        },
        covariance=lambda params, times: function(times, jnp.exp(params["log_lengthscale"])),
    )


def _require_positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")


def _initial_lengthscale(times: Array) -> Array | float:
    return SPACINGS * jnp.median(jnp.diff(times)) if times.shape[0] > 1 else 1.0
