"""Student's t distribution: its lower tail and the inverse of it."""

import math

import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import betainc, gammaln

from rpm_jax.expfam._implicit import implicit_inverse

_HALVINGS = 5
_NEWTON_STEPS = 7


def lower_tail(z: Array, freedom: float) -> Array:
    """P(t ≤ z) for z ≤ 0, by the incomplete beta function of whichever argument is away from 1."""
    square = z**2
    near = square < freedom
    # For large |z|: z² may overflow, ν/z² does not.
    far = jnp.where(near, 0.5, 1.0 / (1.0 + square / freedom))
    close = jnp.where(near, square / (freedom + jnp.where(near, square, 0.0)), 0.5)
    argument = jnp.where(near, close, far)
    first = jnp.where(near, 0.5, 0.5 * freedom)
    second = jnp.where(near, 0.5 * freedom, 0.5)
    mass = betainc(first, second, argument)
    return jnp.where(near, 0.5 - 0.5 * mass, 0.5 * mass)


def log_density(z: Array, freedom: float) -> Array:
    """The log-density of Student's t distribution."""
    half = 0.5 * freedom
    constant = gammaln(half + 0.5) - gammaln(half) - 0.5 * jnp.log(freedom * jnp.pi)
    return constant - (half + 0.5) * jnp.log1p(z**2 / freedom)


def lower_quantile(probability: Array, freedom: float) -> Array:
    """The inverse of `lower_tail` for 0 < p ≤ ½, with the derivative 1/density.

    In y with z = −sinh y the logarithm of the tail is smooth and nearly linear far out, since P(t ≤ z) ≈
    C |z|^(−ν): a few bisections, then Newton's method. Where z² would overflow, z is the last number for
    which it doesn't.
    """
    probability = jnp.asarray(probability)
    limits = jnp.finfo(probability.dtype)
    beyond = -math.log(float(limits.tiny)) / freedom + math.log(freedom) + 3.0
    furthest = min(beyond, 0.5 * math.log(float(limits.max)) - 1.0)

    def log_tail(y: Array) -> Array:
        return jnp.log(jnp.maximum(lower_tail(-jnp.sinh(y), freedom), limits.tiny))

    def solve(probability: Array) -> Array:
        target = jnp.log(probability)

        def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = 0.5 * (low + high)
            above = log_tail(middle) > target
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        start = jnp.zeros_like(target), jnp.full_like(target, furthest)
        low, high = lax.fori_loop(0, _HALVINGS, halve, start)

        def step(_: int, y: Array) -> Array:
            value = log_tail(y)
            slope = -jnp.exp(log_density(jnp.sinh(y), freedom) - value) * jnp.cosh(y)
            return jnp.clip(y + (target - value) / slope, low, high)

        return -jnp.sinh(lax.fori_loop(0, _NEWTON_STEPS, step, 0.5 * (low + high)))

    def inverse_jacobian(z: Array, tangent: Array) -> Array:
        # At probabilities near the smallest number 1/density is too large for one.
        return tangent * jnp.exp(jnp.minimum(-log_density(z, freedom), 0.9 * math.log(float(limits.max))))

    return implicit_inverse(solve, inverse_jacobian)(probability)
