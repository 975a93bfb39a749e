"""Trajectories in a latent space of two or three dimensions, coloured by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer
from rpm_jax.plots._style import array, declutter, names_of, new_figure, slim_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "viridis"


def trajectories(
    points: ArrayLike,
    truth: ArrayLike | None = None,
    *,
    times: ArrayLike | None = None,
    names: Sequence[object] | None = None,
    titles: tuple[str, str] = ("truth", "recovered"),
    max_sequences: int = 4,
) -> Figure:
    """Paths through a latent space of 2 or 3 dimensions, coloured by time; the truth beside them.

    Args:
        points: Such as posterior means, shape (N, T, K) with K = 2 or 3; of more latents take some columns.
        truth: True latents, with the axes and limits of `points`, so on their scale, shape (N, T, K).
        times: Shape (T,); 0, 1, ... if not given.
        names: Of the K axes; z₁, z₂, ... if not given.
        titles: Of the two panels, where there is a truth.
        max_sequences: Only the first so many sequences are drawn.

    Returns:
        A figure with one axes, or two, and one for the scale of time.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or K is neither 2 nor 3.
    """
    name = "trajectories"
    paths = array(name, "points", points, ("N", "T", "K"))
    num_steps, size = paths.shape[1:]
    if size not in (2, 3):
        raise ValueError(
            f"{name}: points must have K = 2 or 3 dimensions, such as points[..., :3], got K = {size}"
        )
    panels_of = [paths]
    if truth is not None:
        panels_of.insert(0, array(name, "truth", truth, ("N", "T", "K"), paths.shape))
    seconds = (
        np.arange(float(num_steps)) if times is None else array(name, "times", times, ("T",), (num_steps,))
    )
    require_positive_integer(f"{name}: max_sequences", max_sequences)
    labels = names_of(name, "names", names, size, [f"$z_{{{k + 1}}}$" for k in range(size)])
    headings = names_of(name, "titles", titles, 2, ())

    figure = new_figure(3.8 * len(panels_of) + 1.0, 3.5)
    from matplotlib.ticker import MaxNLocator

    kind = {"projection": "3d"} if size == 3 else {}
    panels = figure.subplots(1, len(panels_of), squeeze=False, subplot_kw=kind)[0]
    drawn = np.concatenate([each[:max_sequences] for each in panels_of]).reshape(-1, size)
    low, high = np.nanmin(drawn, axis=0), np.nanmax(drawn, axis=0)
    margin = np.where(high > low, 0.05 * (high - low), 0.5)
    for axes, values, heading in zip(panels, panels_of, headings[-len(panels_of) :], strict=True):
        lines = _lines(values[:max_sequences], seconds)
        (axes.add_collection3d if size == 3 else axes.add_collection)(lines)
        for k, axis in enumerate("xyz"[:size]):
            axes.set(**{f"{axis}lim": (low[k] - margin[k], high[k] + margin[k])})
            pad = 2 if size == 2 else 1 if axis == "z" else -4
            getattr(axes, f"set_{axis}label")(labels[k], fontsize=9, labelpad=pad)
            if size == 3:
                getattr(axes, f"{axis}axis").set_major_locator(MaxNLocator(5))
        if len(panels_of) == 2:
            axes.set_title(heading, fontsize=10)
        if size == 2:
            declutter(axes)
        else:
            axes.tick_params(labelsize=6.5, pad=-2)
    slim_bar(figure.colorbar(lines, ax=list(panels), aspect=25, shrink=0.75, pad=0.08), "time")
    return figure


def _lines(paths: NDArray, times: NDArray) -> Any:
    """One line from each step to the next, in the colour of its time."""
    segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, paths.shape[-1])
    values = np.tile(0.5 * (times[:-1] + times[1:]), len(paths))
    if paths.shape[-1] == 3:
        from mpl_toolkits.mplot3d.art3d import Line3DCollection as Lines
    else:
        from matplotlib.collections import LineCollection as Lines
    lines = Lines(segments, cmap=COLOURS, lw=1.1)
    lines.set_array(values)
    lines.set_clim(times.min(), times.max() if times.max() > times.min() else times.min() + 1)
    return lines
