"""Pairs of numbers on which a conjugate posterior is nearly exact, and others on which it is not."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax import copulas, marginals

NOISE = 0.3
STEEPNESS = 2.0
SATURATED_NOISE = 0.1

Pair = tuple[Array, Array]
"""Two views, shape (N, 1) each."""


def gaussian(key: Array, size: int, correlation: float) -> Pair:
    """Standard Gaussian numbers with a correlation: F_j can be the prior, and q then is the posterior."""
    copula = copulas.Gaussian(copulas.equicorrelation(correlation))
    first, second = copulas.joint(copula, [marginals.Normal(0.0, 1.0)] * 2).sample(key, (size,))
    return first, second


def tanh(key: Array, size: int) -> Pair:
    """Noisy z, with 0.3 ε, and tanh 2z + 0.1 ε: the second view says little of large z."""
    z, first, second = _draws(key, size)
    return z + NOISE * first, jnp.tanh(STEEPNESS * z) + SATURATED_NOISE * second


def bimodal(key: Array, size: int) -> Pair:
    """Two noisy copies s + 0.3 ε of a sign s: a continuous latent has to stand for two points."""
    z, first, second = _draws(key, size)
    return jnp.sign(z) + NOISE * first, jnp.sign(z) + NOISE * second


def square(key: Array, size: int) -> Pair:
    """Noisy z and z², with 0.3 ε each: of the second view no Gaussian factor can say it."""
    z, first, second = _draws(key, size)
    return z + NOISE * first, z**2 + NOISE * second


CASES: dict[str, Callable[..., Pair]] = {
    "gaussian": gaussian,
    "tanh": tanh,
    "bimodal": bimodal,
    "square": square,
}


def _draws(key: Array, size: int) -> tuple[Array, Array, Array]:
    z, first, second = jax.random.normal(key, (3, size, 1))
    return z, first, second
