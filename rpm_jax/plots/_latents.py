"""Latents of sequences over time: posterior, truth, and what each view says by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer
from rpm_jax.plots._style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MAX_NAMED_MIXTURES,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    array,
    colours_of_views,
    declutter,
    names_of,
    new_figure,
    scale_of_views,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FACTORS = BLUE, GREEN, PURPLE, SKY, GREY, ORANGE
"""Colours of a few factors, none of them the posterior's."""


def latents_over_time(
    times: ArrayLike,
    mean: ArrayLike,
    standard_deviation: ArrayLike | None = None,
    *,
    truth: ArrayLike | None = None,
    factor_means: ArrayLike | None = None,
    names: Sequence[object] | None = None,
    shaded: ArrayLike | None = None,
    shade: str = "missing",
    max_sequences: int = 3,
) -> Figure:
    """Every latent over time: the posterior mean ± 2 standard deviations, the truth, each factor's own mean.

    A factor's mean is that of f_j(z_t|x_jt) alone. What is far off compared with all others lies outside of
    the axes.

    Args:
        times: Shape (T,).
        mean: Posterior means, shape (N, T, K).
        standard_deviation: Shape (N, T, K); drawn as mean ± 2.
        truth: True latents on the scale of the recovered ones, shape (N, T, K).
        factor_means: Shape (N, J, T, K); NaN where a view is missing, which leaves a gap.
        names: Of the K latents; z₁, z₂, ... if not given.
        shaded: Steps that are marked, such as those where a view is missing, boolean, shape (N, T).
        shade: What these are.
        max_sequences: Only the first so many sequences are drawn, one a column.

    Returns:
        A figure with an axes for each latent and sequence, and one for the scale of views where these are
        many.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "latents_over_time"
    values = array(name, "mean", mean, ("N", "T", "K"))
    size, num_steps, num_latents = values.shape
    seconds = array(name, "times", times, ("T",), (num_steps,))
    require_positive_integer(f"{name}: max_sequences", max_sequences)
    others = {
        argument: None if given is None else array(name, argument, given, ("N", "T", "K"), values.shape)
        for argument, given in [("standard_deviation", standard_deviation), ("truth", truth)]
    }
    marked = None
    if shaded is not None:
        marked = array(name, "shaded", shaded, ("N", "T"), (size, num_steps)) > 0
    own = None
    if factor_means is not None:
        shape = (size, None, num_steps, num_latents)
        own = array(name, "factor_means", factor_means, ("N", "J", "T", "K"), shape)
    labels = names_of(name, "names", names, num_latents, [f"$z_{{{k + 1}}}$" for k in range(num_latents)])

    columns = min(size, max_sequences)
    figure = new_figure(1.2 + 3.0 * columns, 0.9 + 1.35 * num_latents)
    panels = figure.subplots(num_latents, columns, sharex=True, sharey="row", squeeze=False)
    deviation, true = others["standard_deviation"], others["truth"]
    for k in range(num_latents):
        for n in range(columns):
            axes = panels[k, n]
            if own is not None:
                _draw_factors(axes, seconds, own[n, :, :, k])
            if true is not None:
                axes.plot(seconds, true[n, :, k], color=BLACK, lw=1.3, zorder=4, label="truth")
            if deviation is not None:
                low, high = values[n, :, k] - 2 * deviation[n, :, k], values[n, :, k] + 2 * deviation[n, :, k]
                axes.fill_between(
                    seconds, low, high, color=VERMILION, alpha=0.3, lw=0, zorder=2, label="± 2 sd"
                )
            style: dict[str, Any] = {"ls": (0, (4, 1.5))} if true is not None else {}
            axes.plot(
                seconds, values[n, :, k], color=VERMILION, lw=1.6, zorder=5, label="posterior mean", **style
            )
            if marked is not None:
                axes.fill_between(
                    seconds,
                    0,
                    1,
                    where=marked[n],
                    color=GREY,
                    alpha=0.25,
                    lw=0,
                    zorder=0,
                    transform=axes.get_xaxis_transform(),
                    label=shade,
                )
            declutter(axes)
        panels[k, 0].set_ylabel(labels[k], fontsize=10)
        _limit(
            panels[k, 0], [None if v is None else v[:columns, ..., k] for v in (values, deviation, true, own)]
        )
    for n in range(columns):
        panels[-1, n].set_xlabel("time")
        if columns > 1:
            panels[0, n].set_title(f"sequence {n + 1}", fontsize=9)
    if own is not None and own.shape[1] > MAX_NAMED_MIXTURES:
        scale_of_views(figure, list(panels.flat), own.shape[1])
    handles, texts = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside upper center", ncols=min(len(texts), 4), frameon=False, fontsize=8
    )
    return figure


def _draw_factors(axes: Axes, times: NDArray, means: NDArray) -> None:
    """A thin line for each view."""
    few = len(means) <= MAX_NAMED_MIXTURES
    colours = FACTORS[: len(means)] if few else colours_of_views(len(means))
    for j, (line, colour) in enumerate(zip(means, colours, strict=True)):
        label = f"factor {j + 1}" if few else "factors" if j == len(means) // 2 else None
        axes.plot(times, line, color=colour, lw=0.7, alpha=0.6, zorder=1, label=label)


def _limit(axes: Axes, parts: list[Any]) -> None:
    """All of the posterior and the truth, and of the factors what is not far out."""
    mean, deviation, truth, own = parts
    spread = 0.0 if deviation is None else 2 * deviation
    drawn = [mean - spread, mean + spread, *([] if truth is None else [truth])]
    low, high = min(np.nanmin(v) for v in drawn), max(np.nanmax(v) for v in drawn)
    if own is not None and np.isfinite(own).any():
        far = np.nanpercentile(own, [2, 98])
        width = high - low
        low = max(min(low, far[0]), low - width)
        high = min(max(high, far[1]), high + width)
    margin = 0.05 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
