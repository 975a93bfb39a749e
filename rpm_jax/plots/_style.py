"""What all figures share: colours, size, clean axes, lines of views, checked arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

# Wong's palette (Nature Methods 2011), made for colour-blind readers.
BLACK, BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#1a1a1a",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
GREY = "#8c8c8c"
RESOLUTION = 150
MAX_NAMED_MIXTURES = 6


def new_figure(width: float, height: float) -> Figure:
    """A figure of this many inches that belongs to nobody but the caller."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('rpm_jax.plots needs matplotlib: pip install "rpm_jax[experiments]"') from error
    figure = Figure(figsize=(width, height), dpi=RESOLUTION, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def declutter(axes: Axes, keep: tuple[str, ...] = ("left", "bottom")) -> None:
    """Hide all spines but these, and make ticks and their labels small."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
    axes.tick_params(labelsize=8, length=2.5)


def slim_bar(bar: Colorbar, label: str, length: float = 2.0) -> None:
    """Label a colour bar and take its frame away."""
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=length)


def colours_of_views(num_views: int) -> list[Any]:
    """Colours that can be told apart for a few views, a range of them for many."""
    if num_views <= MAX_NAMED_MIXTURES:
        return [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY][:num_views]
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, 0.9, num_views)))


def scale_of_views(figure: Figure, axes: Axes | list[Axes], num_views: int) -> None:
    """The scale of colours of many views, beside the axes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    palette = ListedColormap(colours_of_views(num_views))
    scale = ScalarMappable(BoundaryNorm(np.arange(num_views + 1) + 0.5, num_views), palette)
    ticks = np.arange(1, num_views + 1, -(-num_views // 10))
    bar = figure.colorbar(scale, ax=axes, ticks=ticks, aspect=30, pad=0.02)
    slim_bar(bar, "view $j$", length=0)
    bar.minorticks_off()


def lines_of_views(
    figure: Figure,
    axes: Axes,
    positions: NDArray,
    values: NDArray,
    named: Callable[[int], str],
    together: str,
) -> None:
    """One line for each view: a few with names in the legend, many with a scale of colours.

    Args:
        figure: Of the axes; gets the scale.
        axes: To draw on.
        positions: Shape (G,).
        values: Shape (J, G).
        named: Label of view j = 1, 2, ...
        together: One label for them all.
    """
    num_views = len(values)
    few = num_views <= MAX_NAMED_MIXTURES
    for j, (line, colour) in enumerate(zip(values, colours_of_views(num_views), strict=True)):
        label = named(j + 1) if few else together if j == num_views // 2 else None
        axes.plot(positions, line, color=colour, lw=1.5 if few else 1.3, zorder=3, label=label)
    if not few:
        scale_of_views(figure, axes, num_views)


def per_seed(function: str, argument: str, value: Any, axis: str, size: int) -> NDArray:
    """Values of one seed or several, shape (seeds, size); `ValueError` for other shapes."""
    values = np.asarray(value, float)
    if values.ndim not in (1, 2) or values.shape[-1] != size or values.shape[0] == 0:
        raise ValueError(
            f"{function}: {argument} must have shape ({axis},) or (seeds, {axis}) with {axis} = {size}, "
            f"got {values.shape}"
        )
    return np.atleast_2d(values)


def array(
    function: str, argument: str, value: Any, axes: tuple[str, ...], shape: tuple[int | None, ...] = ()
) -> NDArray:
    """Numbers of this shape, None for any size; `ValueError` for other shapes and nothing at all."""
    values = np.asarray(value, float)
    wanted = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
    expected = shape or (None,) * len(axes)
    matches = len(expected) == values.ndim and all(
        e in (None, s) for e, s in zip(expected, values.shape, strict=True)
    )
    if not matches or values.size == 0:
        named = [(axis, size) for axis, size in zip(axes, expected, strict=True) if size and axis.isalpha()]
        sizes = ", ".join(f"{axis} = {size}" for axis, size in named)
        raise ValueError(
            f"{function}: {argument} must have shape {wanted}{' with ' + sizes if sizes else ''}, "
            f"got {values.shape}"
        )
    return values


def indices(
    function: str,
    argument: str,
    value: Any,
    axes: tuple[str, ...],
    shape: tuple[int | None, ...] = (),
    smallest: int = 0,
) -> NDArray:
    """Integers of this shape, none below `smallest`; `ValueError` for anything else."""
    values = np.asarray(value)
    array(function, argument, values, axes, shape)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < smallest:
        what = f"from {values.min()}" if np.issubdtype(values.dtype, np.integer) else f"of {values.dtype}"
        raise ValueError(f"{function}: {argument} must be integers from {smallest} on, got values {what}")
    return values


def names_of(
    function: str, argument: str, given: Sequence[Any] | None, size: int, default: Sequence[Any]
) -> list[str]:
    """So many names, or the default ones; `ValueError` if there are more or fewer."""
    names = list(map(str, default if given is None else given))
    if len(names) != size:
        raise ValueError(f"{function}: {argument} must be {size} names, got {len(names)}")
    return names
