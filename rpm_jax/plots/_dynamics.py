"""Linear dynamics: eigenvalues in the unit circle, errors of forecasts by horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rpm_jax.plots._style import (
    BLACK,
    BLUE,
    GREY,
    VERMILION,
    array,
    colours_of_views,
    declutter,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (VERMILION, BLUE)
MARKERS = ("+", "x")


def eigenvalues(true: ArrayLike, recovered: Mapping[str, ArrayLike]) -> Figure:
    """Eigenvalues of transitions in the complex plane, with the unit circle.

    Args:
        true: Complex numbers, shape (K,).
        recovered: Those of up to two models by their names, shape (K',) each.

    Returns:
        A figure with two axes: the whole circle, and the part of it where the eigenvalues are.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there is none, more than two models, or one with another shape.
    """
    name = "eigenvalues"
    truth = np.asarray(true, complex)
    array(name, "true", truth.real, ("K",))
    if not 1 <= len(recovered) <= len(COLOURS):
        raise ValueError(f"{name}: recovered must be of 1 to {len(COLOURS)} models, got {len(recovered)}")
    found = {title: np.asarray(values, complex) for title, values in recovered.items()}
    for title, values in found.items():
        array(name, f"recovered[{title!r}]", values.real, ("K",))
    everything = np.concatenate([truth, *found.values()])
    # A real matrix has conjugate pairs: the upper half says it all, and can be drawn larger.
    upper = everything[everything.imag >= 0]
    span = 1.3 * max(np.ptp(upper.real), np.ptp(upper.imag), 0.05)
    centre = [(values.min() + values.max()) / 2 for values in (upper.real, upper.imag)]

    figure = new_figure(7.8, 4.2)
    whole, part = figure.subplots(1, 2)
    turn = np.linspace(0, 2 * np.pi, 400)
    for axes in (whole, part):
        axes.plot(np.cos(turn), np.sin(turn), color=GREY, lw=0.8)
        axes.scatter(
            truth.real, truth.imag, s=60, facecolors="none", edgecolors=BLACK, lw=1.2, label="true", zorder=2
        )
        for (title, values), colour, marker in zip(found.items(), COLOURS, MARKERS, strict=False):
            axes.scatter(values.real, values.imag, s=45, color=colour, marker=marker, label=title, zorder=3)
        axes.set_aspect("equal")
        declutter(axes)
        axes.set_xlabel("real part")
    whole.axhline(0, color=GREY, lw=0.5, zorder=0)
    whole.axvline(0, color=GREY, lw=0.5, zorder=0)
    whole.set_ylabel("imaginary part")
    part.set(
        xlim=(centre[0] - span / 2, centre[0] + span / 2), ylim=(centre[1] - span / 2, centre[1] + span / 2)
    )
    part.set_title("upper half, magnified", fontsize=10)
    part.legend(fontsize=8, frameon=False, loc="best")
    return figure


def error_by_horizon(errors: Mapping[str, ArrayLike], *, label: str = "mean squared error") -> Figure:
    """Errors of several ways to forecast, for each horizon.

    Args:
        errors: By the names of the ways, shape (H,) each; the first is drawn bold.
        label: What they are, with units.

    Returns:
        A figure with one axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there is none, or the shapes do not match.
    """
    name = "error_by_horizon"
    if not errors:
        raise ValueError(f"{name}: errors must be of at least one way to forecast, got none")
    size = len(np.atleast_1d(next(iter(errors.values()))))
    figure = new_figure(4.6, 3.2)
    axes = figure.subplots()
    for (title, values), colour in zip(errors.items(), colours_of_views(len(errors)), strict=True):
        line = array(name, f"errors[{title!r}]", values, ("H",), (size,))
        bold = title == next(iter(errors))
        axes.plot(np.arange(1, size + 1), line, color=colour, lw=2.0 if bold else 1.2, label=title)
    axes.set(xlabel="horizon (steps)", ylabel=label, ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    declutter(axes)
    axes.legend(fontsize=8, frameon=False)
    return figure
