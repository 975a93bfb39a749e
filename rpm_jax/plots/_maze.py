"""A maze, and what a hidden Markov model made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import BLACK, BLUE, VERMILION, array, declutter, indices, new_figure, slim_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_PROBABILITY = 0.02
WIDEST = 7.0


def maze_map(
    walls: ArrayLike,
    places: ArrayLike,
    recovered: ArrayLike,
    transition_true: ArrayLike,
    transition_recovered: ArrayLike,
    label: str = "probability of the place's own state",
) -> Figure:
    """The maze with the steps that are possible, next to the steps that were recovered.

    Steps between two places are lines whose half at either place is as wide as the probability of leaving
    that place this way; steps of a probability below `MIN_PROBABILITY` are left out. Recovered steps that the
    true walk cannot take are red.

    Args:
        walls: Whether a cell is wall, booleans of shape (H, W).
        places: Row and column of each place in the maze, shape (S, 2).
        recovered: Something about each place, shape (S,): the index of the state matched to it, written into
            it (integers, −1 for none, which stays empty), or a value between 0 and 1 (floats), shown as its
            colour.
        transition_true: p(to j | from i) of the walk at [i, j], shape (S, S).
        transition_recovered: The same of the model, states in the order of the places they are matched to,
            shape (S, S); rows of NaN for places without a state.
        label: What the values of `recovered` are, if they are floats.

    Returns:
        A figure with two axes, and one for the colours if `recovered` holds floats.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or a place is outside of the maze.
    """
    name = "maze_map"
    blocked = array(name, "walls", walls, ("H", "W"))
    cells = indices(name, "places", places, ("S", "2"), (None, 2))
    size = len(cells)
    if np.any(cells >= blocked.shape):
        raise ValueError(
            f"{name}: places must be within the maze of {blocked.shape}, got up to {cells.max(axis=0)}"
        )
    steps = array(name, "transition_true", transition_true, ("S", "S"), (size, size))
    found = array(name, "transition_recovered", transition_recovered, ("S", "S"), (size, size))
    numbered = np.issubdtype(np.asarray(recovered).dtype, np.integer)
    if numbered:
        values = indices(name, "recovered", recovered, ("S",), (size,), smallest=-1)
    else:
        values = array(name, "recovered", recovered, ("S",), (size,))

    height, width = blocked.shape
    scale = max(0.32, min(0.5, 4.0 / width))
    figure = new_figure(2 * scale * width + (0.4 if numbered else 1.3), scale * height + 0.5)
    panels = list(figure.subplots(1, 2))
    for axes, title in zip(panels, ("true steps", "recovered steps"), strict=True):
        _draw_walls(axes, blocked)
        axes.set_title(title, fontsize=10)
    _draw_steps(panels[0], cells, steps, steps)
    _draw_steps(panels[1], cells, found, steps)
    x, y = cells[:, 1], cells[:, 0]
    diameter = 36.0 * scale
    panels[0].scatter(x, y, s=diameter**2 / 5, color=BLUE, zorder=3, lw=0)
    outline: dict[str, Any] = {"s": diameter**2, "edgecolors": BLACK, "lw": 0.6, "zorder": 3}
    if numbered:
        panels[1].scatter(x, y, c=np.where(values < 0, "#ffffff", "#d6e8f5"), **outline)
        for place in np.flatnonzero(values >= 0):
            panels[1].text(
                x[place],
                y[place] + 0.02,
                str(values[place]),
                ha="center",
                va="center",
                fontsize=0.5 * diameter,
                color=BLACK,
                zorder=4,
            )
        return figure
    points = panels[1].scatter(x, y, c=values, cmap="viridis", vmin=0, vmax=1, plotnonfinite=True, **outline)
    slim_bar(figure.colorbar(points, ax=panels, aspect=25, shrink=0.8, pad=0.02), label)
    return figure


def _draw_walls(axes: Axes, walls: NDArray) -> None:
    from matplotlib.colors import ListedColormap

    axes.imshow(walls, cmap=ListedColormap(["#ffffff", "#c9c9c9"]), vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    declutter(axes, keep=())


def _draw_steps(axes: Axes, places: NDArray, transition: NDArray, truth: NDArray) -> None:
    """Half lines, from each place towards those that it leads to."""
    from matplotlib.collections import LineCollection

    possible = np.nan_to_num(transition) >= MIN_PROBABILITY
    np.fill_diagonal(possible, False)
    start, end = np.nonzero(possible)
    points = places[:, ::-1].astype(float)
    segments = np.stack([points[start], (points[start] + points[end]) / 2], axis=1)
    wrong = (truth[start, end] <= 0) & (truth[end, start] <= 0)
    axes.add_collection(
        LineCollection(
            list(segments),
            linewidths=WIDEST * transition[start, end],
            colors=[VERMILION if bad else BLUE for bad in wrong],
            alpha=0.7,
            capstyle="butt",
            zorder=2,
        ),
        autolim=False,
    )
