"""Angles: the truth against what was recovered, and graphs of nodes on a circle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import BLACK, BLUE, array, declutter, names_of, new_figure, slim_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CYCLIC = "hsv"
"""Colours that come back to where they began."""


def recovered_angles(
    angles: ArrayLike, recovered: ArrayLike, titles: Sequence[object] | None = None
) -> Figure:
    """Recovered against true angles, in degrees, one panel for each way that they were recovered.

    A recovered angle is drawn within half a turn of the true one, so that points stay near the diagonal.

    Args:
        angles: True angles in radians, shape (T,).
        recovered: In radians, already turned and reflected, shape (ways, T) or (ways, N, T).
        titles: Names of the ways.

    Returns:
        A figure with one axes for each way.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "recovered_angles"
    true = array(name, "angles", angles, ("T",))
    found = np.asarray(recovered, float)
    if found.ndim == 2:
        found = found[:, None]
    found = array(name, "recovered", found, ("ways", "N", "T"), (None, None, true.size))
    names = names_of(name, "titles", titles, len(found), [""] * len(found))

    figure = new_figure(0.7 + 3.0 * len(found), 3.4)
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    degrees = np.degrees(true)
    for axes, values, title in zip(panels, found, names, strict=True):
        axes.plot([-200, 200], [-200, 200], color=BLACK, lw=0.8, ls=(0, (4, 1.5)), zorder=1)
        off = np.degrees(np.angle(np.exp(1j * (values - true))))
        across = np.broadcast_to(degrees, off.shape)
        few = off.size < 200
        axes.scatter(
            across.ravel(),
            (across + off).ravel(),
            s=14 if few else 5,
            color=BLUE,
            alpha=0.8 if few else 0.25,
            lw=0,
        )
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(-185, 185), xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
        axes.set_xlabel("true angle (degrees)")
        declutter(axes)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(min(low, -185), max(high, 185))
    panels[0].set_ylabel("recovered angle (degrees)")
    return figure


def circle_graphs(
    adjacency: ArrayLike,
    angles: ArrayLike,
    recovered: ArrayLike,
    titles: Sequence[object] = ("true", "recovered"),
) -> Figure:
    """A graph with its nodes where they are on the circle, and where they were recovered.

    Nodes have the colour of their true angle in both, so that colours out of order are nodes out of place.

    Args:
        adjacency: Weights of edges, symmetric, shape (T, T).
        angles: True angles in radians, shape (T,).
        recovered: In radians, already turned and reflected, shape (T,).
        titles: Of the two panels.

    Returns:
        A figure with two axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "circle_graphs"
    true = array(name, "angles", angles, ("T",))
    found = array(name, "recovered", recovered, ("T",), true.shape)
    weights = array(name, "adjacency", adjacency, ("T", "T"), (true.size, true.size))
    names = names_of(name, "titles", titles, 2, titles)

    figure = new_figure(6.4, 3.6)
    for axes, positions, title in zip(figure.subplots(1, 2), (true, found), names, strict=True):
        _draw_graph(axes, weights, positions, true)
        axes.set_title(title, fontsize=10)
    return figure


def _draw_graph(axes: Axes, weights: NDArray, positions: NDArray, colours: NDArray) -> None:
    from matplotlib.collections import LineCollection

    places = np.stack([np.cos(positions), np.sin(positions)], axis=-1)
    first, second = np.nonzero(np.triu(weights, 1))
    edges = np.stack([places[first], places[second]], axis=1)
    axes.add_collection(LineCollection(list(edges), colors=BLACK, linewidths=0.6, alpha=0.25, zorder=1))
    axes.scatter(
        places[:, 0],
        places[:, 1],
        s=34,
        c=colours,
        cmap=CYCLIC,
        vmin=-np.pi,
        vmax=np.pi,
        edgecolors="white",
        lw=0.6,
        zorder=2,
    )
    axes.set(xlim=(-1.12, 1.12), ylim=(-1.12, 1.12), xticks=[], yticks=[])
    axes.set_aspect("equal")
    declutter(axes, keep=())


def sorted_adjacency(
    adjacency: ArrayLike,
    angles: ArrayLike,
    recovered: ArrayLike,
    label: str = "share of graphs with the edge",
) -> Figure:
    """An adjacency matrix with its nodes in the order given, and sorted by true and by recovered angles.

    Args:
        adjacency: Weights of edges, such as a mean over graphs, shape (T, T).
        angles: True angles, shape (T,).
        recovered: Recovered angles, shape (T,).
        label: What the colours are.

    Returns:
        A figure with three axes, and one for the scale.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "sorted_adjacency"
    true = array(name, "angles", angles, ("T",))
    found = array(name, "recovered", recovered, ("T",), true.shape)
    weights = array(name, "adjacency", adjacency, ("T", "T"), (true.size, true.size))

    figure = new_figure(9.0, 3.1)
    panels = figure.subplots(1, 3)
    orders = np.arange(true.size), np.argsort(true, kind="stable"), np.argsort(found, kind="stable")
    titles = "nodes in their own order", "sorted by true angle", "sorted by recovered angle"
    for axes, order, title in zip(panels, orders, titles, strict=True):
        image = axes.imshow(
            weights[np.ix_(order, order)], cmap="Blues", vmin=0, vmax=max(weights.max(), 1e-12)
        )
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
        declutter(axes, keep=())
    slim_bar(figure.colorbar(image, ax=panels, aspect=30, pad=0.01), label)
    return figure
