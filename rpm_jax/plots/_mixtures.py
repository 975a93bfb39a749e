"""The mixtures F_j against the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rpm_jax.plots._style import BLACK, array, declutter, lines_of_views, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def prior_against_mixtures(grid: ArrayLike, prior_density: ArrayLike, mixture_densities: ArrayLike) -> Figure:
    """The prior's marginal against each view's mixture F_j, which a good fit makes alike.

    Args:
        grid: Values of the latent, shape (G,).
        prior_density: p(z) on the grid, shape (G,).
        mixture_densities: F_j(z) on the grid, shape (J, G).

    Returns:
        A figure with one axes, and one for the scale of views where these are many.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    _draw(figure, axes, "prior_against_mixtures", "", grid, prior_density, mixture_densities)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def mixtures_by_model(models: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]) -> Figure:
    """`prior_against_mixtures` for several models, side by side.

    Args:
        models: For each model's name the grid (G,), p(z) on it (G,), and F_j(z) on it (J, G); where the grid
            holds integers they are states, and the values are probabilities.

    Returns:
        A figure with one axes for each model.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or there is no model.
    """
    name = "mixtures_by_model"
    if not models:
        raise ValueError(f"{name}: models must be of at least one model, got none")
    figure = new_figure(2.8 * len(models) + 0.4, 2.8)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, (model, content) in zip(panels, models.items(), strict=True):
        _draw(figure, axes, name, f" of models[{model!r}]", *content)
        axes.set_title(model, fontsize=10)
        if axes is not panels[0]:
            axes.set_ylabel("")
    panels[0].legend(frameon=False, fontsize=8, loc="best")
    return figure


def _draw(
    figure: Figure,
    axes: Axes,
    name: str,
    place: str,
    grid: ArrayLike,
    prior_density: ArrayLike,
    mixture_densities: ArrayLike,
) -> None:
    z = array(name, f"grid{place}", grid, ("G",))
    prior = array(name, f"prior_density{place}", prior_density, ("G",), (z.size,))
    mixtures = array(name, f"mixture_densities{place}", mixture_densities, ("J", "G"), (None, z.size))
    are_states = np.issubdtype(np.asarray(grid).dtype, np.integer)
    if are_states:
        axes.bar(z, prior, color="#d9d9d9", zorder=1)
        axes.set_xlabel("state $k$")
        axes.set_ylabel("probability")
        axes.set_xlim(z[0] - 0.7, z[-1] + 0.7)
        style: dict[str, Any] = {"ls": "", "marker": "_", "ms": 12, "mew": 2.0}
    else:
        axes.fill_between(z, prior, color="#d9d9d9", lw=0, zorder=1)
        axes.set_xlabel("latent $z$")
        axes.set_ylabel("density")
        axes.set_xlim(z[0], z[-1])
        style = {"lw": 2.0, "ls": (0, (4, 1.5))}
    axes.plot(z, prior, color=BLACK, zorder=4, label="prior $p(z)$", **style)
    lines_of_views(figure, axes, z, mixtures, lambda j: f"$F_{{{j}}}(z)$", "mixtures $F_j(z)$")
    if are_states:
        for line in axes.lines[1:]:
            line.set(linestyle="", marker="o", markersize=5, alpha=0.8)
    axes.set_ylim(bottom=0)
    declutter(axes)
