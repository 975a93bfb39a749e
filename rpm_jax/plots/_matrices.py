"""Matrices side by side: labels against states, the truth against what was recovered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import array, declutter, indices, names_of, new_figure, slim_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAX_NUMBERED = 12
COLOURS = "Blues"


def confusion_matrices(before: ArrayLike, after: ArrayLike, labels: Sequence[object] | None = None) -> Figure:
    """How often each label meets each state, before and after states were matched to labels.

    Colours are shares of a label's data; cells hold the counts if there are `MAX_NUMBERED` a side at most.

    Args:
        before: Counts, shape (L, S).
        after: Counts with the columns in the order of the labels they are matched to, shape (L, S'), as
            `matched_columns` makes them; columns beyond the L-th are of states matched to none.
        labels: Names of the L labels; 0, 1, ... if not given.

    Returns:
        A figure with two axes and one for the colours.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or a count is negative.
    """
    name = "confusion_matrices"
    first = array(name, "before", before, ("L", "S"))
    num_labels = len(first)
    second = array(name, "after", after, ("L", "S'"), (num_labels, None))
    for argument, counts in [("before", first), ("after", second)]:
        if not np.all(counts >= 0):
            raise ValueError(f"{name}: {argument} must be counts of 0 or more, got {np.min(counts)}")
    names = names_of(name, "labels", labels, num_labels, range(num_labels))
    unmatched = ["–"] * max(second.shape[1] - num_labels, 0)

    figure, panels = _panels(first.shape, second.shape)
    for axes, counts in zip(panels, (first, second), strict=True):
        totals = counts.sum(axis=1, keepdims=True)
        image = _draw(axes, counts / np.maximum(totals, 1), 0.0, 1.0, counts, "{:.0f}")
        _ticks(axes, "y", names)
    panels[0].set_title("before matching", fontsize=10)
    panels[1].set_title("after matching", fontsize=10)
    panels[0].set_ylabel("label")
    panels[0].set_xlabel("state")
    _ticks(panels[0], "x", list(map(str, range(first.shape[1]))))
    panels[1].set_xlabel("label that the state is matched to")
    _ticks(panels[1], "x", (names + unmatched)[: second.shape[1]])
    slim_bar(figure.colorbar(image, ax=panels, aspect=25, shrink=0.8, pad=0.02), "share of the label")
    return figure


def matched_columns(counts: ArrayLike, assignment: ArrayLike) -> NDArray:
    """The columns of a confusion matrix in the order of the labels that their states are matched to.

    Args:
        counts: Shape (L, S).
        assignment: The label of each state, −1 for none, shape (S,); no label twice.

    Returns:
        Shape (L, L + U): a column for each label, zeros where no state is matched to it, then those of the U
        states without a label.

    Raises:
        ValueError: If the shapes do not match, or a label is assigned twice or does not exist.
    """
    name = "matched_columns"
    values = array(name, "counts", counts, ("L", "S"))
    labels = indices(name, "assignment", assignment, ("S",), (values.shape[1],), smallest=-1)
    matched = np.flatnonzero(labels >= 0)
    if labels.max() >= len(values) or len(set(labels[matched])) < len(matched):
        raise ValueError(
            f"{name}: assignment must give each of {len(values)} labels to at most one state, got {labels}"
        )
    columns = np.zeros((len(values), len(values)))
    columns[:, labels[matched]] = values[:, matched]
    return np.concatenate([columns, values[:, labels < 0]], axis=1)


def matrix_pair(
    true: ArrayLike,
    recovered: ArrayLike,
    titles: tuple[str, str] = ("true", "recovered"),
    *,
    rows: str = "from state",
    columns: str = "to state",
    label: str = "probability",
) -> Figure:
    """Two matrices of one shape and one scale of colours, such as true and recovered transitions.

    Cells hold the values if there are `MAX_NUMBERED` a side at most.

    Args:
        true: Shape (R, C).
        recovered: Shape (R, C), rows and columns in the order of `true`.
        titles: Of the two.
        rows: What a row is.
        columns: What a column is.
        label: What a value is, with units.

    Returns:
        A figure with two axes and one for the colours.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "matrix_pair"
    first = array(name, "true", true, ("R", "C"))
    second = array(name, "recovered", recovered, ("R", "C"), first.shape)
    headings = names_of(name, "titles", titles, 2, ())
    both = np.stack([first, second])
    low, high = min(0.0, np.nanmin(both)), np.nanmax(both)

    figure, panels = _panels(first.shape, second.shape)
    for axes, values, heading in zip(panels, both, headings, strict=True):
        image = _draw(axes, values, low, high, values, "{:.2f}")
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel(columns)
        for axis, size in zip("yx", values.shape, strict=True):
            _ticks(axes, axis, list(map(str, range(size))))
    panels[0].set_ylabel(rows)
    slim_bar(figure.colorbar(image, ax=panels, aspect=25, shrink=0.8, pad=0.02), label)
    return figure


def _panels(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Figure, list[Axes]]:
    """Two axes whose cells are about alike."""
    size = max(*first, *second)
    cell = min(0.42, max(3.0, 0.3 * size) / size)
    height = np.clip(cell * max(first[0], second[0]), 1.6, 5.0)
    width = np.clip(cell * (first[1] + second[1]), 3.2, 10.0)
    figure = new_figure(float(width) + 1.7, float(height) + 0.8)
    ratios = [first[1], second[1]]
    return figure, list(figure.subplots(1, 2, width_ratios=ratios))


def _draw(axes: Axes, shades: NDArray, low: float, high: float, numbers: NDArray, form: str) -> AxesImage:
    tall = shades.shape[0] > 2 * shades.shape[1] or shades.shape[1] > 2 * shades.shape[0]
    image = axes.imshow(
        shades,
        cmap=COLOURS,
        vmin=low,
        vmax=high if high > low else low + 1.0,
        interpolation="nearest",
        aspect="auto" if tall else "equal",
    )
    declutter(axes, keep=())
    axes.tick_params(length=0)
    if max(shades.shape) <= MAX_NUMBERED:
        for (row, column), value in np.ndenumerate(numbers):
            dark = (shades[row, column] - low) / max(high - low, 1e-12) > 0.55
            axes.text(
                column,
                row,
                form.format(value),
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else "#303030" if value else "#b0b0b0",
            )
    return image


def _ticks(axes: Axes, axis: str, names: Sequence[str]) -> None:
    """Names at every place, or at one in so many."""
    every = -(-len(names) // 25)
    axes.set(**{f"{axis}ticks": range(0, len(names), every), f"{axis}ticklabels": names[::every]})
    if axis == "x" and max(map(len, names)) > 2:
        axes.tick_params(axis="x", labelrotation=90)
