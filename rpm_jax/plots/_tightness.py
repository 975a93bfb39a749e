"""How tight a bound is: estimates of the likelihood, parts of the gap, distance of mixtures to the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    array,
    declutter,
    names_of,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY
MAX_COLUMNS = 3


def likelihood_estimates(
    num_samples: ArrayLike,
    estimates: ArrayLike,
    standard_errors: ArrayLike,
    bounds: ArrayLike,
    exact: ArrayLike,
    names: Sequence[object] | None = None,
    titles: Sequence[object] | None = None,
) -> Figure:
    """Importance-sampled estimates against the number of draws, with the bound, relative to the exact value.

    One panel for each data set, in it for each model a line (estimate ± 2 standard errors) and a dashed one
    (its bound). 0 is the exact log-likelihood of each.

    Args:
        num_samples: K, shape (S,).
        estimates: In nats, shape (D, M, S) of D data sets and M models.
        standard_errors: Of the estimates, shape (D, M, S).
        bounds: In nats, shape (D, M).
        exact: In nats, shape (D, M).
        names: Of the models.
        titles: Of the data sets.

    Returns:
        A figure with D axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or there are more than 6 models.
    """
    name = "likelihood_estimates"
    draws = array(name, "num_samples", num_samples, ("S",))
    values = array(name, "estimates", estimates, ("D", "M", "S"), (None, None, draws.size))
    errors = array(name, "standard_errors", standard_errors, ("D", "M", "S"), values.shape)
    lower = array(name, "bounds", bounds, ("D", "M"), values.shape[:2])
    truth = array(name, "exact", exact, ("D", "M"), values.shape[:2])
    labels = _models(name, names, values.shape[1])
    figure, panels = _panels(name, titles, len(values), 2.6)
    for d, axes in enumerate(panels):
        axes.axhline(0.0, color=BLACK, lw=1.0, zorder=1, label="exact log-likelihood")
        for m, label in enumerate(labels):
            line = values[d, m] - truth[d, m]
            band = 2 * errors[d, m]
            axes.fill_between(draws, line - band, line + band, color=COLOURS[m], alpha=0.15, lw=0)
            axes.plot(draws, line, color=COLOURS[m], lw=1.5, marker="o", ms=3, label=label)
            axes.axhline(lower[d, m] - truth[d, m], color=COLOURS[m], lw=1.0, ls=(0, (4, 1.5)), zorder=2)
        axes.set_xscale("log")
        axes.set_xlabel("draws $K$")
        declutter(axes)
    _label_first_column(panels, "nats above the exact value")
    handles, texts = panels[0].get_legend_handles_labels()
    handles.append(_dashed())
    _legend_below(figure, handles, [*texts, "inner bounds"])
    return figure


def gap_parts(
    posterior_gap: ArrayLike,
    auxiliary_gap: ArrayLike,
    names: Sequence[object] | None = None,
    titles: Sequence[object] | None = None,
) -> Figure:
    """The two parts of log w − bound as stacked bars, one panel for each data set, one bar for each model.

    Args:
        posterior_gap: KL(q‖posterior) in nats, shape (D, M).
        auxiliary_gap: Σ_j U_j − E_q[log F_j] in nats, shape (D, M).
        names: Of the models.
        titles: Of the data sets.

    Returns:
        A figure with D axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "gap_parts"
    first = array(name, "posterior_gap", posterior_gap, ("D", "M"))
    second = array(name, "auxiliary_gap", auxiliary_gap, ("D", "M"), first.shape)
    labels = names_of(name, "names", names, first.shape[1], range(first.shape[1]))
    figure, panels = _panels(name, titles, len(first), 0.9 + 0.24 * first.shape[1])
    places = np.arange(first.shape[1])
    for d, axes in enumerate(panels):
        axes.barh(places, first[d], color=BLUE, label="$q$ is not the posterior")
        axes.barh(places, second[d], left=first[d], color=ORANGE, label=r"$\xi$ is not optimal")
        _model_axis(axes, places, labels, shown=d % MAX_COLUMNS == 0)
        axes.set_xlabel("gap (nats per datum)")
    _legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def mixture_divergences(
    divergence: ArrayLike, names: Sequence[object] | None = None, titles: Sequence[object] | None = None
) -> Figure:
    """KL(F_j‖prior) of every view as bars, one panel for each data set, a group of bars for each model.

    Args:
        divergence: In nats, shape (D, M, J).
        names: Of the models.
        titles: Of the data sets.

    Returns:
        A figure with D axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or there are more than 6 views.
    """
    name = "mixture_divergences"
    values = array(name, "divergence", divergence, ("D", "M", "J"))
    num_models, num_views = values.shape[1:]
    if num_views > len(COLOURS):
        raise ValueError(f"{name}: divergence must be of at most {len(COLOURS)} views, got {num_views}")
    labels = names_of(name, "names", names, num_models, range(num_models))
    figure, panels = _panels(name, titles, len(values), 0.9 + 0.24 * num_models)
    places, width = np.arange(num_models), 0.8 / num_views
    for d, axes in enumerate(panels):
        for j in range(num_views):
            offset = (j - (num_views - 1) / 2) * width
            axes.barh(places + offset, values[d, :, j], width, color=COLOURS[j], label=f"view {j + 1}")
        _model_axis(axes, places, labels, shown=d % MAX_COLUMNS == 0)
        axes.set_xlabel("KL($F_j$ ‖ prior) (nats)")
    _legend_below(figure, *panels[0].get_legend_handles_labels())
    return figure


def _models(function: str, names: Sequence[object] | None, size: int) -> list[str]:
    if size > len(COLOURS):
        raise ValueError(f"{function}: estimates must be of at most {len(COLOURS)} models, got {size}")
    return names_of(function, "names", names, size, [f"model {index}" for index in range(size)])


def _panels(
    function: str, titles: Sequence[object] | None, size: int, height: float
) -> tuple[Figure, NDArray]:
    """A grid of as many axes, with their titles, and room for a legend below."""
    texts = names_of(function, "titles", titles, size, [""] * size)
    num_rows = -(-size // MAX_COLUMNS)
    num_columns = min(size, MAX_COLUMNS)
    figure = new_figure(1.6 + 2.6 * num_columns, 0.7 + height * num_rows)
    grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, text in zip(grid, texts, strict=False):
        axes.set_title(text, fontsize=10)
    for axes in grid[size:]:
        axes.remove()
    return figure, grid[:size]


def _label_first_column(panels: NDArray, label: str) -> None:
    for axes in panels[::MAX_COLUMNS]:
        axes.set_ylabel(label)


def _model_axis(axes: Axes, places: NDArray, labels: list[str], *, shown: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_yticks(places, labels if shown else [""] * len(labels))
    axes.invert_yaxis()
    axes.axvline(0.0, color=BLACK, lw=0.8)
    declutter(axes, keep=("bottom",))
    axes.tick_params(axis="y", length=0, labelsize=9)


def _dashed() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=GREY, lw=1.0, ls=(0, (4, 1.5)))


def _legend_below(figure: Figure, handles: list[Any], labels: list[str]) -> None:
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False, fontsize=9
    )
