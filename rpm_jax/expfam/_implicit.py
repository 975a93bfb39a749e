"""Inverse functions found by iteration, differentiated through the equation that they solve."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.expfam._special import derivative


def implicit_inverse(
    solve: Callable[[Array], Array], inverse_jacobian: Callable[[Array, Array], Array]
) -> Callable[[Array], Array]:
    """The inverse y ↦ x of a function f, with the derivative dx = f'(x)⁻¹ dy.

    The rule sees x as the output of the inverse itself, so derivatives of every order and in both modes
    are those of the exact inverse, however `solve` got there.

    Args:
        solve: Maps y to x by any means; it is never differentiated.
        inverse_jacobian: Maps x and a tangent dy to f'(x)⁻¹ dy, linear in dy.

    Returns:
        The differentiable inverse.
    """

    @jax.custom_jvp
    def inverse(y: Array) -> Array:
        return solve(y)

    @inverse.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        x = inverse(*primals)
        return x, inverse_jacobian(x, *tangents)

    return inverse


def newton(
    function: Callable[[Array], Array],
    target: Array,
    start: Array,
    *,
    num_steps: int,
    reciprocal: bool = False,
) -> Array:
    """Solve f(x) = target elementwise for x > 0 from a good start.

    Args:
        function: Elementwise and monotone.
        target: Values of f.
        start: First guess, of the shape of `target`.
        num_steps: Newton steps, each doubling the correct digits.
        reciprocal: Take the steps in 1/x, in which functions like 1/x are linear, instead of in x.

    Returns:
        The solution, of the shape of `target`.
    """

    def step(_: int, x: Array) -> Array:
        value, slope = derivative(function, x)
        change = (target - value) / slope
        return 1.0 / (1.0 / x - change / x**2) if reciprocal else x + change

    return lax.fori_loop(0, num_steps, step, jnp.asarray(start))
