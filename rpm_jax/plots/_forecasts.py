"""Forecasts as fans: what was observed, what is expected, and what came."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rpm_jax.plots._style import BLACK, GREY, VERMILION, array, declutter, names_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.95, 0.8, 0.5)


def forecast_fan(
    times: ArrayLike,
    observed: ArrayLike,
    forecast_times: ArrayLike,
    mean: ArrayLike,
    standard_deviation: ArrayLike,
    *,
    truth: ArrayLike | None = None,
    names: Sequence[object] | None = None,
    levels: Sequence[float] = LEVELS,
) -> Figure:
    """The forecast of a sequence as a fan of central intervals from the last observed time on.

    Args:
        times: Of what was observed, shape (T,).
        observed: Until then: the truth, or posterior means, shape (T, K).
        forecast_times: Shape (H,), after the last of `times`.
        mean: Of the forecast, shape (H, K).
        standard_deviation: Of the forecast, Gaussian, shape (H, K).
        truth: What came, shape (H, K).
        names: Of the K numbers; z₁, z₂, ... if not given.
        levels: Of the intervals, the wider the fainter.

    Returns:
        A figure with K axes, one below the other.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, the forecast does not come after what was observed, or a level
            is not between 0 and 1.
    """
    name = "forecast_fan"
    past = array(name, "observed", observed, ("T", "K"))
    size = past.shape[1]
    seconds = array(name, "times", times, ("T",), past.shape[:1])
    centre = array(name, "mean", mean, ("H", "K"), (None, size))
    spread = array(name, "standard_deviation", standard_deviation, ("H", "K"), centre.shape)
    after = array(name, "forecast_times", forecast_times, ("H",), centre.shape[:1])
    came = None if truth is None else array(name, "truth", truth, ("H", "K"), centre.shape)
    if not after.min() > seconds.max():
        raise ValueError(
            f"{name}: forecast_times must come after the last of times, {seconds.max():g}, got "
            f"{after.min():g}"
        )
    if not len(levels) or not all(0 < level < 1 for level in levels):
        raise ValueError(f"{name}: levels must lie between 0 and 1, got {tuple(levels)!r}")
    labels = names_of(name, "names", names, size, [f"$z_{{{k + 1}}}$" for k in range(size)])

    figure = new_figure(6.4, 0.9 + 1.5 * size)
    panels = figure.subplots(size, 1, sharex=True, squeeze=False)[:, 0]
    joined = np.append(seconds[-1], after)
    for k, axes in enumerate(panels):
        line, width = np.append(past[-1, k], centre[:, k]), np.append(0.0, spread[:, k])
        for place, level in enumerate(sorted(levels, reverse=True)):
            reach = NormalDist().inv_cdf(0.5 + 0.5 * level) * width
            shade = 0.15 + 0.3 * (place + 1) / len(levels)
            axes.fill_between(
                joined,
                line - reach,
                line + reach,
                color=VERMILION,
                alpha=shade,
                lw=0,
                zorder=1,
                label=f"{100 * level:g} %",
            )
        axes.plot(seconds, past[:, k], color=BLACK, lw=1.3, zorder=3, label="observed")
        axes.plot(joined, line, color=VERMILION, lw=1.6, zorder=3, label="forecast")
        if came is not None:
            axes.plot(
                joined,
                np.append(past[-1, k], came[:, k]),
                color=BLACK,
                lw=1.3,
                ls=(0, (3, 1.2)),
                zorder=4,
                label="what came",
            )
        axes.axvline(seconds[-1], color=GREY, lw=0.8, ls=":", zorder=0)
        axes.set_ylabel(labels[k], fontsize=10)
        axes.set_xlim(seconds[0], after[-1])
        declutter(axes)
    panels[-1].set_xlabel("time")
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        texts,
        loc="outside upper center",
        ncols=len(texts),
        frameon=False,
        fontsize=8,
        columnspacing=1.2,
    )
    return figure
