"""What recognition factors make of the values of their views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    array,
    declutter,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)


def factor_moments(
    values: Sequence[ArrayLike],
    moments: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]],
    *,
    latent: str = "$z$",
) -> Figure:
    """Mean and variance of f_j(z|x_j) against x_j, of one model or several.

    Args:
        values: Values of each of J views of one number, J arrays (G_j,).
        moments: For each model's name the means (G_j,) and variances (G_j,) of its J factors.
        latent: What z is called.

    Returns:
        A figure with two rows of J axes: means above, variances below.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, there are no models or too many, or a variance is not
            positive.
    """
    name = "factor_moments"
    places = [array(name, f"values[{j}]", value, ("G",)) for j, value in enumerate(values)]
    if not 1 <= len(moments) <= len(COLOURS) or not places:
        raise ValueError(
            f"{name}: moments must be of 1 to {len(COLOURS)} models, and values of at least one view, got "
            f"{len(moments)} models and {len(places)} views"
        )
    figure = new_figure(3.1 * len(places) + 0.6, 4.4)
    rows = figure.subplots(2, len(places), sharex="col", sharey="row", squeeze=False)
    for colour, (model, views) in zip(COLOURS, moments.items(), strict=False):
        if len(views) != len(places):
            raise ValueError(f"{name}: moments[{model!r}] must be of {len(places)} views, got {len(views)}")
        for j, (x, pair) in enumerate(zip(places, views, strict=True)):
            argument = f"moments[{model!r}][{j}]"
            mean, variance = (array(name, argument, part, ("G",), (x.size,)) for part in pair)
            if not np.all(variance > 0):
                raise ValueError(f"{name}: {argument} must have positive variances, got {variance.min()}")
            rows[0, j].plot(x, mean, color=colour, lw=1.5, label=model)
            rows[1, j].plot(x, variance, color=colour, lw=1.5)
    for j, x in enumerate(places):
        rows[0, j].set_title(f"view {j + 1}", fontsize=10)
        rows[1, j].set_xlabel(f"$x_{{{j + 1}}}$")
        rows[1, j].set_ylim(bottom=0)
        rows[1, j].set_xlim(x.min(), x.max())
    rows[0, 0].set_ylabel(f"mean of {latent}", fontsize=9)
    rows[1, 0].set_ylabel(f"variance of {latent}", fontsize=9)
    for axes in rows.flat:
        declutter(axes)
    rows[0, 0].legend(frameon=False, fontsize=8, loc="best")
    return figure


def factor_states(values: Sequence[ArrayLike], probabilities: Sequence[ArrayLike]) -> Figure:
    """f_j(k|x_j) of K states against x_j, stacked.

    States have one colour in all views, in the order of the values of the first view that they stand for.

    Args:
        values: Values of each of J views of one number, J arrays (G_j,).
        probabilities: J arrays (G_j, K).

    Returns:
        A figure with J axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "factor_states"
    places = [array(name, f"values[{j}]", value, ("G",)) for j, value in enumerate(values)]
    if len(probabilities) != len(places) or not places:
        raise ValueError(
            f"{name}: probabilities must be of as many views as values, at least one, got "
            f"{len(probabilities)} and {len(places)}"
        )
    shares: list[NDArray] = []
    for j, (x, given) in enumerate(zip(places, probabilities, strict=True)):
        number = shares[0].shape[1] if shares else None
        shares.append(array(name, f"probabilities[{j}]", given, ("G", "K"), (x.size, number)))
    weights = shares[0] / np.maximum(shares[0].sum(0), 1e-12)
    order = np.argsort(places[0] @ weights, kind="stable")
    figure = new_figure(3.1 * len(places) + 0.4, 2.7)
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.05, 0.95, order.size))
    for j, (axes, x, share) in enumerate(zip(panels, places, shares, strict=True)):
        axes.stackplot(x, share[:, order].T, colors=colours, lw=0.3, edgecolor="white")
        axes.set_title(f"view {j + 1}", fontsize=10)
        axes.set_xlabel(f"$x_{{{j + 1}}}$")
        axes.set_xlim(x.min(), x.max())
        axes.set_ylim(0, 1)
        declutter(axes)
    panels[0].set_ylabel("$f_j(k | x_j)$")
    return figure
