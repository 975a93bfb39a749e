"""Linear recursions of small vectors and symmetric matrices, whose derivatives are such recursions again."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.priors.chains import _small as small


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def vectors(reverse: bool, start: Array, transition: Array, source: Array) -> Array:
    """x_1 = start, x_t+1 = Φ_t x_t + b_t.

        dx_t+1 = Φ_t dx_t + (db_t + dΦ_t x_t)

    Args:
        reverse: Whether start is the last one, and x_t = Φ_t x_t+1 + b_t.
        start: Shape (S, ...).
        transition: Φ, shape (T − 1, S², ...).
        source: b, shape (T − 1, S, ...).

    Returns:
        x, shape (T, S, ...).
    """

    def step(x: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        new = _image(given[0], x) + given[1]
        return new, new

    return _scan(step, reverse, start, (transition, source))


@vectors.defjvp
def _(reverse: bool, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, transition, _ = primals
    start_dot, transition_dot, source_dot = tangents
    x = vectors(reverse, *primals)
    moved = jax.vmap(_image)(transition_dot, _before(reverse, x))
    return x, vectors(reverse, start_dot, transition, source_dot + moved)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def congruences(reverse: bool, start: Array, transition: Array, source: Array) -> Array:
    """X_1 = start, X_t+1 = Φ_t X_t Φ_tᵀ + B_t, of symmetric matrices.

        dX_t+1 = Φ_t dX_t Φ_tᵀ + (dB_t + dΦ_t X_t Φ_tᵀ + Φ_t X_t dΦ_tᵀ)

    Args:
        reverse: Whether start is the last one, and X_t = Φ_t X_t+1 Φ_tᵀ + B_t.
        start: Shape (S (S + 1)/2, ...).
        transition: Φ, shape (T − 1, S², ...).
        source: B, shape (T − 1, S (S + 1)/2, ...).

    Returns:
        X, shape (T, S (S + 1)/2, ...).
    """

    def step(x: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        new = _congruent(given[0], x) + given[1]
        return new, new

    return _scan(step, reverse, start, (transition, source))


@congruences.defjvp
def _(reverse: bool, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    _, transition, _ = primals
    start_dot, transition_dot, source_dot = tangents
    x = congruences(reverse, *primals)

    def moved(transition: Array, x: Array, transition_dot: Array) -> Array:
        factors = small.matrix(transition_dot), small.symmetric(x), small.matrix(transition)
        return small.packed(small.doubled_product(*factors))

    change = jax.vmap(moved)(transition, _before(reverse, x), transition_dot)
    return x, congruences(reverse, start_dot, transition, source_dot + change)


def _image(transition: Array, x: Array) -> Array:
    return small.stacked(small.apply(small.matrix(transition), small.vector(x)))


def _congruent(transition: Array, x: Array) -> Array:
    return small.packed(small.congruent(small.matrix(transition), small.symmetric(x)))


def _scan(step: Callable[..., Any], reverse: bool, start: Array, given: tuple[Array, Array]) -> Array:
    """All states, the start among them."""
    start = jnp.broadcast_to(start, jnp.broadcast_shapes(start.shape, given[1].shape[1:]))
    _, rest = lax.scan(step, start, given, reverse=reverse)
    return jnp.concatenate([rest, start[None]] if reverse else [start[None], rest])


def _before(reverse: bool, states: Array) -> Array:
    """What each step starts from."""
    return states[1:] if reverse else states[:-1]
