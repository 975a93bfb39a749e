"""Densities of two numbers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import VERMILION, array, declutter, names_of, new_figure, slim_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTOURS = (0.5, 0.9)
"""Shares of the reference's mass that its contours hold."""

BRIGHTEST = 0.995
"""The quantile of the reference that the scale of colours ends at, since densities may have poles."""


def density_maps(
    first: ArrayLike,
    second: ArrayLike,
    densities: ArrayLike,
    titles: Sequence[object] | None = None,
    *,
    points: ArrayLike | None = None,
    axis_names: tuple[str, str] = ("$x_1$", "$x_2$"),
) -> Figure:
    """Densities on one grid and one scale of colours, such as the truth and what some models make of it.

    The contours of the first one, of 50 and 90 % of its mass on the grid, are drawn over all others.

    Args:
        first: Equally spaced values of the first number, shape (G,), G ≥ 2; the horizontal axis.
        second: Those of the second, shape (H,), H ≥ 2.
        densities: Shape (M, G, H); the first of them is the reference.
        titles: Of the M densities; 1, 2, ... if not given.
        points: Data (N, 2) to draw over the reference, if any.
        axis_names: Of the two numbers.

    Returns:
        A figure with M axes and one for the colours.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "density_maps"
    x, y = array(name, "first", first, ("G",)), array(name, "second", second, ("H",))
    for argument, values in (("first", x), ("second", y)):
        if values.size < 2:
            raise ValueError(f"{name}: {argument} must be at least two values, got {values.size}")
    maps = array(name, "densities", densities, ("M", "G", "H"), (None, x.size, y.size))
    headings = names_of(name, "titles", titles, len(maps), range(1, len(maps) + 1))
    scattered = None if points is None else array(name, "points", points, ("N", "2"), (None, 2))

    highest = np.quantile(maps[0], BRIGHTEST)
    levels = np.unique([density_holding(maps[0], share) for share in CONTOURS])
    figure = new_figure(2.5 * len(maps) + 0.9, 2.9)
    panels = list(figure.subplots(1, len(maps), sharex=True, sharey=True, squeeze=False)[0])
    for m, (axes, values, heading) in enumerate(zip(panels, maps, headings, strict=True)):
        image = axes.imshow(
            values.T,
            origin="lower",
            extent=(x[0], x[-1], y[0], y[-1]),
            aspect="auto",
            cmap="Blues",
            vmin=0.0,
            vmax=highest if highest > 0 else 1.0,
        )
        # A flat density has no contours.
        if maps[0].min() < levels[0]:
            axes.contour(x, y, maps[0].T, levels=levels, colors=VERMILION, linewidths=0.9)
        if m == 0 and scattered is not None:
            axes.plot(*scattered.T, ".", ms=1.6, mec="none", color="#303030", alpha=0.6)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(y[0], y[-1])
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel(axis_names[0])
        declutter(axes)
    panels[0].set_ylabel(axis_names[1])
    bar = figure.colorbar(image, ax=panels, aspect=25, pad=0.01, extend="max")
    slim_bar(bar, "density")
    return figure


def density_holding(densities: NDArray, share: float) -> float:
    """The level above which this share of the mass lies, of densities at points of equal volume."""
    ordered = np.sort(densities.ravel())[::-1]
    mass = np.cumsum(ordered)
    return float(ordered[np.searchsorted(mass, share * mass[-1])])
