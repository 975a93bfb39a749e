"""Proportions of topics: the truth against what was recovered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import BLACK, BLUE, array, declutter, names_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 5


def topic_proportions(
    true: ArrayLike, recovered: ArrayLike, titles: Sequence[object] | None = None
) -> Figure:
    """Recovered against true proportions, one panel for each topic, with the diagonal and the correlation.

    Args:
        true: Shape (N, S).
        recovered: Shape (N, S), topics in the order of `true`.
        titles: Names of the S topics.

    Returns:
        A figure with S axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "topic_proportions"
    truth = array(name, "true", true, ("N", "S"))
    found = array(name, "recovered", recovered, ("N", "S"), truth.shape)
    num_topics = truth.shape[1]
    names = names_of(name, "titles", titles, num_topics, [f"topic {index}" for index in range(num_topics)])

    num_rows = -(-num_topics // MAX_COLUMNS)
    num_columns = -(-num_topics // num_rows)
    figure = new_figure(0.6 + 1.55 * num_columns, 0.5 + 1.75 * num_rows)
    grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, axes in enumerate(grid[:num_topics]):
        axes.plot([0, 1], [0, 1], color=BLACK, lw=0.8, ls=(0, (4, 1.5)), zorder=1)
        axes.scatter(truth[:, index], found[:, index], s=9, color=BLUE, alpha=0.45, lw=0, zorder=2)
        correlation = _correlation(truth[:, index], found[:, index])
        shown = "" if correlation is None else f", r = {correlation:.2f}"
        axes.set_title(f"{names[index]}{shown}", fontsize=9)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_xticklabels(["0", "0.5", "1"])
        axes.set_yticklabels(["0", "0.5", "1"])
        axes.set_aspect("equal")
        declutter(axes)
        axes.tick_params(labelbottom=index + num_columns >= num_topics)
    for axes in grid[num_topics:]:
        axes.remove()
    figure.supxlabel("true proportion", fontsize=10)
    figure.supylabel("recovered proportion", fontsize=10)
    return figure


def _correlation(first: NDArray, second: NDArray) -> float | None:
    """Pearson's, None where one of them does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / scale) if scale > 1e-12 else None
