"""Score matching: fitting a density without its normaliser, by its derivatives in the data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import require_positive_integer

LogDensity = Callable[[Any], Array]
"""From a pytree of arrays with first axis N to (N,), each value depending on its own row alone."""

Weight = Callable[[Any], Any]
"""From x to a pytree of its shapes."""


def score_matching(log_density: LogDensity, x: Any, *, weight: Weight | None = None) -> Array:
    """Hyvärinen's score matching loss of every datum.

        ½ ‖∇_x log p(x)‖² + tr ∇²_x log p(x)

    Its mean over data is the Fisher divergence ½ E‖∇ log p_data − ∇ log p‖² up to a constant, if the density
    of the data vanishes at the boundary of its domain; no normaliser of p enters. Where it does not vanish
    there, as that of an exponential distribution at 0, a weight h that does takes care of it:

        Σ_d ½ h_d(x_d) (∂_d log p)² + h_d(x_d) ∂²_d log p + h_d'(x_d) ∂_d log p

    The trace is taken by forward- over reverse-mode differentiation: a product of the Hessian with one basis
    vector after another, all data at once, whatever log p is made of. The density has to be twice
    differentiable: networks with ReLUs have no second derivative that would see their kinks; take tanh or
    softplus.

    Args:
        log_density: log p(x) up to a constant. From a pytree of arrays with first axis N, one datum a row, to
            shape (N,); rows must not depend on each other. `jax.vmap` makes it of a function of one datum.
        x: The data: an array, or a pytree such as a tuple of J views, with first axis N.
        weight: h: from x to a pytree like x, ≥ 0, each entry a function of the same entry of x alone, such as
            `lambda x: x` for data that are positive. None: 1 everywhere.

    Returns:
        Shape (N,).

    Raises:
        TypeError: If x holds integers or `log_density` gives another shape.

    References:
        Hyvärinen, Estimation of non-normalized statistical models by score matching, JMLR 2005; Some
        extensions of score matching, 2007; Yu, Drton & Shojaie, Generalized score matching for non-negative
        data, JMLR 2019.
    """
    x = jax.tree.map(jnp.asarray, x)
    gradient = _gradient(log_density, x)
    leaves, structure = jax.tree.flatten(x)
    ends = np.cumsum([leaf[0].size for leaf in leaves])

    def curvature(index: Array) -> tuple[Any, Array]:
        """∇ log p, and ∂²_i log p for the i-th of all entries of x, shape (N,)."""
        basis = jnp.split(jnp.zeros(ends[-1], leaves[0].dtype).at[index].set(1.0), ends[:-1])
        tangents = [
            jnp.broadcast_to(part.astype(leaf.dtype).reshape(leaf.shape[1:]), leaf.shape)
            for part, leaf in zip(basis, leaves, strict=True)
        ]
        score, change = jax.jvp(gradient, (x,), (jax.tree.unflatten(structure, tangents),))
        return score, _rows(change)[:, index]

    score, curvatures = over_directions(curvature, jnp.arange(ends[-1]))
    h, slope = evaluate_weight(weight, x)
    return jnp.sum(_rows(h).T * curvatures, axis=0) + _first_order(_first(score), h, slope)


def sliced_score_matching(
    log_density: LogDensity,
    x: Any,
    key: Array,
    *,
    num_projections: int = 1,
    weight: Weight | None = None,
) -> Array:
    """`score_matching` with an estimated trace, for data of many dimensions.

        ½ ‖∇_x log p(x)‖² + 1/M Σ_m v_mᵀ ∇²_x log p(x) v_m,   v_m uniform on {−1, 1}^dim(x)

    Unbiased, since E[v vᵀ] = I, and exact where the Hessian is diagonal. It takes M products with the Hessian
    whatever the dimension.

    Args:
        log_density: As for `score_matching`.
        x: As there.
        key: A random key, for projections of each datum of its own.
        num_projections: M.
        weight: As there.

    Returns:
        Shape (N,).

    Raises:
        TypeError: As for `score_matching`.
        ValueError: For a number of projections that is not a positive integer.

    References:
        Song, Garg, Shi & Ermon, Sliced score matching, UAI 2019 (the variant with reduced variance);
        Hutchinson, A stochastic estimator of the trace, 1990.
    """
    require_positive_integer("num_projections", num_projections)
    x = jax.tree.map(jnp.asarray, x)
    gradient = _gradient(log_density, x)
    leaves, structure = jax.tree.flatten(x)
    h, slope = evaluate_weight(weight, x)

    def along(key: Array) -> tuple[Any, Array]:
        keys = jax.random.split(key, len(leaves))
        signs = [
            jax.random.rademacher(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)
        ]
        score, change = jax.jvp(gradient, (x,), (jax.tree.unflatten(structure, signs),))
        return score, jnp.sum(_rows(h) * _rows(signs) * _rows(change), axis=1)

    score, traces = over_directions(along, jax.random.split(key, num_projections))
    return jnp.mean(traces, axis=0) + _first_order(_first(score), h, slope)


def over_directions(function: Callable[[Array], Any], directions: Array) -> Any:
    """Results for one direction after another, stacked: on CPU faster than all at once by `vmap`."""
    if len(directions) == 1:
        return jax.tree.map(lambda leaf: leaf[None], function(directions[0]))
    return jax.lax.map(function, directions)


def _gradient(log_density: LogDensity, x: Any) -> Callable[[Any], Any]:
    """The gradient of every row's log-density."""
    check_log_density(log_density, x)
    return jax.grad(lambda x: jnp.sum(log_density(x)))


def check_log_density(log_density: LogDensity, x: Any) -> None:
    """Raise `TypeError` unless x is of floating-point type and the function gives shape (N,)."""
    leaves = jax.tree.leaves(x)
    if not leaves or any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise TypeError(
            "x must hold arrays of floating-point numbers, since derivatives by them are taken, got "
            f"{[str(leaf.dtype) for leaf in leaves]}"
        )
    size = leaves[0].shape[0]
    shape = jax.eval_shape(log_density, x).shape
    if shape != (size,):
        raise TypeError(
            f"log_density must give one number for each of the N data, shape ({size},), got {shape}; "
            "jax.vmap makes such a function of one for a single datum"
        )


def evaluate_weight(weight: Weight | None, x: Any) -> tuple[Any, Any]:
    """The weight h of every entry, and its derivative by that entry."""
    ones = jax.tree.map(jnp.ones_like, x)
    if weight is None:
        return ones, jax.tree.map(jnp.zeros_like, x)
    h, slope = jax.jvp(weight, (x,), (ones,))
    if jax.tree.map(jnp.shape, h) != jax.tree.map(jnp.shape, x):
        raise TypeError(
            f"weight must give a number for every entry of x, shapes {jax.tree.map(jnp.shape, x)}, got "
            f"{jax.tree.map(jnp.shape, h)}"
        )
    return h, slope


def _first(stacked: Any) -> Any:
    """The first of stacked results which are all the same."""
    return jax.tree.map(lambda leaf: leaf[0], stacked)


def _first_order(score: Any, h: Any, slope: Any) -> Array:
    """Σ_d ½ h_d s_d² + h_d' s_d, shape (N,)."""
    s = _rows(score)
    return jnp.sum(0.5 * _rows(h) * s**2 + _rows(slope) * s, axis=1)


def _rows(tree: Any) -> Array:
    """All entries of each datum side by side, shape (N, dim(x))."""
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(tree)], axis=1)
