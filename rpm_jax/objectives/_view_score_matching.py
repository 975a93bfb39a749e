"""Score matching of densities whose views enter separately."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.objectives._score_matching import Weight, check_log_density, evaluate_weight, over_directions


def view_score_matching(
    features: Callable[[tuple[Array, ...]], Any],
    log_density: Callable[[Any], Array],
    views: tuple[Array, ...],
    *,
    weight: Weight | None = None,
) -> Array:
    """`score_matching` of log p(φ_1(x_1), ..., φ_J(x_J)), at 1/J of its cost.

    With a = ∂_d φ_j, the derivatives by entry d of view j are

        ∂ log p = ⟨∇_j log p, a⟩,   ∂² log p = ⟨∇_j log p, ∂²_d φ_j⟩ + aᵀ ∇²_jj log p a

    Features of different views do not depend on each other, so entry d of every view is differentiated in one
    pass: as many passes as the widest view has entries, not as all have together. Only ∇² log p needs a
    product for every view.

    Args:
        features: φ: from J views (N, ...) to a pytree of arrays (N, J, ...), of which [n, j] depends on view
            j of datum n alone.
        log_density: From such a pytree to log p up to a constant, shape (N,).
        views: J arrays with first axis N.
        weight: As for `score_matching`.

    Returns:
        Shape (N,).

    Raises:
        TypeError: If views hold integers, or a function gives other shapes.

    References:
        As for `score_matching`.
    """
    views = tuple(jnp.asarray(view) for view in views)
    check_log_density(lambda views: log_density(features(views)), views)
    size, num_views = views[0].shape[0], len(views)
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(features, views))]
    if any(shape[:2] != (size, num_views) for shape in shapes):
        raise TypeError(
            f"features must give arrays of shape (N, J, ...) = ({size}, {num_views}, ...), got {shapes}"
        )
    widths = [view[0].size for view in views]
    h, slope = (_by_entry(tree, max(widths)) for tree in evaluate_weight(weight, views))
    gradient = jax.grad(lambda values: jnp.sum(log_density(values)))
    only = jnp.eye(num_views, dtype=views[0].dtype)

    def along(entry: Array) -> Array:
        """The terms of one entry of every view."""
        tangents = tuple(
            jnp.broadcast_to((jnp.arange(width) == entry).astype(x.dtype).reshape(x.shape[1:]), x.shape)
            for x, width in zip(views, widths, strict=True)
        )

        def first(views: tuple[Array, ...]) -> tuple[Any, Any]:
            return jax.jvp(features, (views,), (tangents,))

        (values, change), (_, second) = jax.jvp(first, (views,), (tangents,))

        def quadratic(row: Array) -> tuple[Any, Array]:
            """∇ log p, and aᵀ ∇² log p a for one view, shape (N,)."""
            of_one = jax.tree.map(lambda a: a * row.reshape(1, -1, *[1] * (a.ndim - 2)), change)
            slope, product = jax.jvp(gradient, (values,), (of_one,))
            return slope, jnp.sum(_inner(product, of_one), axis=1)

        by_feature, quadratics = jax.vmap(quadratic, out_axes=(None, 1))(only)
        score = _inner(by_feature, change)
        curvature = _inner(by_feature, second) + quadratics
        weights, slopes = h[:, :, entry], slope[:, :, entry]
        return jnp.sum(0.5 * weights * score**2 + weights * curvature + slopes * score, axis=1)

    return jnp.sum(over_directions(along, jnp.arange(max(widths))), axis=0)


def _inner(left: Any, right: Any) -> Array:
    """Σ of products over all axes but data and views, shape (N, J)."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    sums = [jnp.sum((a * b).reshape(*a.shape[:2], -1), axis=-1) for a, b in pairs]
    return sum(sums[1:], start=sums[0])


def _by_entry(views: tuple[Array, ...], width: int) -> Array:
    """Views side by side with zeros behind the narrower ones, shape (N, J, width)."""
    rows = [view.reshape(view.shape[0], -1) for view in views]
    return jnp.stack([jnp.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows], axis=1)
