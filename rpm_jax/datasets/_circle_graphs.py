"""Random graphs of nodes on a circle: the closer two nodes, the more often they are connected."""

from functools import partial
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._checks import as_keys, is_concrete, require_choice, require_positive_integer

SPACINGS = ("stratified", "independent")


class CircleGraphs(NamedTuple):
    """N times J graphs of the same T nodes.

    Attributes:
        views: J arrays of adjacency matrices, 0 or 1, symmetric, without self-loops, shape (N, T, T).
        angles: Of the nodes, in (−π, π], shape (T,).
        probabilities: Of an edge between two nodes, shape (T, T), 0 on the diagonal.
    """

    views: tuple[Array, ...]
    angles: Array
    probabilities: Array

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the graphs in two.

        Args:
            num_first: How many of the N go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` and the others, of the same nodes.

        Raises:
            ValueError: If either part would be empty.
        """
        require_positive_integer("CircleGraphs.split: num_first", num_first)
        size = len(self.views[0])
        if num_first >= size:
            raise ValueError(
                f"CircleGraphs.split: num_first must be less than the {size} graphs there are, "
                f"got {num_first}"
            )
        first, rest = (
            self._replace(views=tuple(view[part] for view in self.views))
            for part in (slice(None, num_first), slice(num_first, None))
        )
        return first, rest


def circle_edge_probability(
    difference: ArrayLike, *, width: float = 0.5, peak: float = 0.7, background: float = 0.02
) -> Array:
    """The probability of an edge between nodes whose angles differ by so much.

        p(δ) = b + (a − b) exp((cos δ − 1) / w²)

    For small w about a Gaussian bump of standard deviation w.

    Args:
        difference: δ in radians, of any shape.
        width: w > 0.
        peak: a, at δ = 0.
        background: b, at most a.

    Returns:
        Of the shape of δ.

    Raises:
        ValueError: If a number is out of its range.
    """
    return _edge_probability("circle_edge_probability", difference, width, peak, background)


def _edge_probability(
    name: str, difference: ArrayLike, width: float, peak: float, background: float
) -> Array:
    if is_concrete(width) and not 0 < width < jnp.inf:
        raise ValueError(f"{name}: width must be positive and finite, got {width!r}")
    if is_concrete((peak, background)) and not 0 <= background <= peak <= 1:
        raise ValueError(
            f"{name}: peak and background must be probabilities, background at most peak, got {peak!r} and "
            f"{background!r}"
        )
    bump = jnp.exp((jnp.cos(jnp.asarray(difference)) - 1) / width**2)
    return background + (peak - background) * bump


def circle_graphs(
    key: Array,
    *,
    num_graphs: int = 20,
    num_nodes: int = 50,
    num_views: int = 2,
    width: float = 0.5,
    peak: float = 0.7,
    background: float = 0.02,
    spacing: str = "stratified",
) -> CircleGraphs:
    """Noisy graphs of nodes on a circle: random geometric graphs with soft edges.

        A_njkl ~ Bernoulli(p(θ_k − θ_l)) for k < l, independently for all n and j

    with p as in `circle_edge_probability`. The nodes' order says nothing about their angles. Can be jitted
    and mapped over keys; the sizes are Python integers.

    Args:
        key: One JAX random key.
        num_graphs: N, graphs in each view.
        num_nodes: T.
        num_views: J.
        width: w.
        peak: a.
        background: b.
        spacing: "stratified": one uniform angle in each of T equal arcs; "independent": uniform angles. A
            model with a uniform prior finds where a node is among the others, which tells an angle only as
            far as the nodes fill the circle evenly: independent ones leave an error of the order 1/√T.

    Returns:
        The graphs and the angles.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, or an argument is out of its range.
    """
    name = "circle_graphs"
    key = as_keys(f"{name}: key", key, 0)
    require_positive_integer(f"{name}: num_graphs", num_graphs)
    require_positive_integer(f"{name}: num_nodes", num_nodes)
    require_positive_integer(f"{name}: num_views", num_views)
    require_choice(f"{name}: spacing", spacing, SPACINGS)
    angle_key, order_key, edge_key = jax.random.split(key, 3)
    uniform = jax.random.uniform(angle_key, (num_nodes,))
    if spacing == "stratified":
        arcs = jax.random.permutation(order_key, num_nodes)
        uniform = (arcs + uniform) / num_nodes
    angles = jnp.pi - 2 * jnp.pi * uniform
    probabilities = _edge_probability(name, angles[:, None] - angles, width, peak, background)
    probabilities = probabilities * (1 - jnp.eye(num_nodes))
    draw = jax.vmap(partial(_edges, probabilities))
    shape = (num_views, num_graphs)
    graphs = jax.vmap(draw)(jax.random.split(edge_key, shape))
    return CircleGraphs(tuple(graphs), angles, probabilities)


def _edges(probabilities: Array, key: Array) -> Array:
    """One symmetric adjacency matrix."""
    above = jnp.triu(jax.random.uniform(key, probabilities.shape) < probabilities, 1)
    return (above | above.T).astype(probabilities.dtype)
