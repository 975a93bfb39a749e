"""The share of a sum of exponential waiting times that has passed, without cancellation."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array

THRESHOLD = 3.0
"""Up to here the series is taken; beyond it 1 − e^{−x} Σ_k<n x^k/k! loses less than a digit for n ≤ 5."""

NUM_TERMS = 28
"""Of the series; the next ones are below 10⁻¹⁷ of the sum at the threshold."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def distribution(order: int, x: Array) -> Array:
    """P_n(x) = 1 − e^{−x} Σ_k<n x^k/k! = ∫_0^x u^{n−1} e^{−u}/(n−1)! du, accurate relative to itself.

    The distribution function of an Erlang variable, the regularised incomplete gamma function of an integer.

    Args:
        order: n, 1 to 5.
        x: Not negative.
    """
    short = jnp.minimum(x, THRESHOLD)
    series = jnp.ones_like(x)
    for k in reversed(range(order + 1, order + NUM_TERMS)):
        series = 1.0 + short / k * series
    series = short**order / math.factorial(order) * jnp.exp(-short) * series
    survival = jnp.exp(-x) * sum(x**k / math.factorial(k) for k in range(order))
    return jnp.where(x <= THRESHOLD, series, 1.0 - survival)


@distribution.defjvp
def _(order: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (x_dot,) = primals, tangents
    density = jnp.exp(-x) * x ** (order - 1) / math.factorial(order - 1)
    return distribution(order, x), density * x_dot


def distributions(order: int, x: Array) -> list[Array]:
    """P_1(x) to P_n(x), by P_k = P_k+1 + e^{−x} x^k/k!, whose terms are positive."""
    values = [distribution(order, x)]
    for k in reversed(range(1, order)):
        values.append(values[-1] + jnp.exp(-x) * x**k / math.factorial(k))
    return values[::-1]
