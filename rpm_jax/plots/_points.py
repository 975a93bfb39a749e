"""Points in the plane with a label each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rpm_jax.plots._style import array, declutter, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def labelled_points(
    points: ArrayLike, labels: ArrayLike, axis_names: tuple[str, str] = ("z₁", "z₂")
) -> Figure:
    """A point for each datum, such as its posterior mean, in the colour of its label.

    Args:
        points: Shape (N, K), of which the first two coordinates are drawn; a single one against noise.
        labels: Whole numbers, shape (N,).
        axis_names: Of the two axes.

    Returns:
        A figure with one axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "labelled_points"
    places = array(name, "points", points, ("N", "K"))
    names = array(name, "labels", labels, ("N",), places.shape[:1])
    if places.shape[1] == 1:
        spread = np.random.default_rng(0).uniform(-0.5, 0.5, len(places))
        places = np.stack([places[:, 0], spread], axis=1)
        axis_names = (axis_names[0], "")
    figure = new_figure(4.6, 4.2)
    axes = figure.subplots()
    from matplotlib import colormaps

    for index, label in enumerate(np.unique(names)):
        cloud = places[names == label, :2]
        axes.scatter(cloud[:, 0], cloud[:, 1], s=5, lw=0, alpha=0.5, color=colormaps["tab10"](index % 10))
        x, y = np.median(cloud, axis=0)
        axes.text(x, y, f"{label:g}", fontsize=11, ha="center", va="center", weight="bold")
    axes.set_xlabel(axis_names[0], fontsize=10)
    axes.set_ylabel(axis_names[1], fontsize=10)
    declutter(axes)
    return figure
