"""Bouncing balls: what the pixels recorded, the true latent and the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer
from rpm_jax.plots._style import BLUE, GREY, VERMILION, array, declutter, new_figure, slim_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def bouncing_balls(
    views: ArrayLike,
    times: ArrayLike,
    latent: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    standard_deviation: ArrayLike | None = None,
    max_sequences: int = 5,
) -> Figure:
    """Sequences of pixels as images, with the true latent and the posterior drawn on top.

    Args:
        views: What the pixels recorded, shape (N, T, J); their positions are equally spaced on [−1, 1].
        times: Shape (T,).
        latent: The true position, shape (N, T).
        mean: Posterior mean on the scale of the true latent, shape (N, T).
        standard_deviation: Posterior standard deviation on that scale, shape (N, T); drawn as mean ± 2.
        max_sequences: Only the first so many sequences are drawn.

    Returns:
        A figure with one axes per sequence, and one for the grey scale.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "bouncing_balls"
    images = array(name, "views", views, ("N", "T", "J"))
    num_sequences, num_steps, num_pixels = images.shape
    seconds = array(name, "times", times, ("T",), (num_steps,))
    curves = {
        key: None if value is None else array(name, key, value, ("N", "T"), (num_sequences, num_steps))
        for key, value in [("latent", latent), ("mean", mean), ("standard_deviation", standard_deviation)]
    }
    require_positive_integer(f"{name}: max_sequences", max_sequences)
    if curves["standard_deviation"] is not None and curves["mean"] is None:
        raise ValueError(f"{name}: standard_deviation needs a mean to be drawn around")

    num_rows = min(num_sequences, max_sequences)
    figure = new_figure(6.4, 0.7 + 1.15 * num_rows)
    from matplotlib.colors import LinearSegmentedColormap

    greys = LinearSegmentedColormap.from_list("light greys", ["#ffffff", "#6e6e6e"])
    half_step = 0.5 * (seconds[-1] - seconds[0]) / max(num_steps - 1, 1) or 0.5
    half_pixel = 1.0 / max(num_pixels - 1, 1)
    # Rare outliers (skewed pixels reach 1000 times their standard deviation) would leave the rest one grey.
    darkest, lightest = np.nanpercentile(images[:num_rows], [99.5, 0.5])
    panels = figure.subplots(num_rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for row, axes in enumerate(panels):
        image = axes.imshow(
            images[row].T,
            cmap=greys,
            vmin=lightest,
            vmax=darkest,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(seconds[0] - half_step, seconds[-1] + half_step, -1 - half_pixel, 1 + half_pixel),
        )
        _draw_latents(axes, seconds, {k: v if v is None else v[row] for k, v in curves.items()})
        declutter(axes, keep=())
        axes.set_yticks([-1, 0, 1])
        axes.tick_params(axis="x", length=2.5 if row == num_rows - 1 else 0)
        axes.annotate(
            f"sequence {row + 1}",
            (1.008, 0.5),
            xycoords="axes fraction",
            rotation=270,
            va="center",
            fontsize=7.5,
            color=GREY,
        )
    panels[-1].set_xlabel("time")
    figure.supylabel("position", fontsize=10)
    bar = figure.colorbar(image, ax=list(panels), aspect=10 * num_rows, shrink=0.8, pad=0.03, fraction=0.03)
    slim_bar(bar, "pixel")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9
        )
    return figure


def _draw_latents(axes: Axes, times: NDArray, curves: dict[str, NDArray | None]) -> None:
    from matplotlib.patheffects import Normal, Stroke

    halo = [Stroke(linewidth=3.0, foreground="white"), Normal()]
    mean, deviation = curves["mean"], curves["standard_deviation"]
    if curves["latent"] is not None:
        axes.plot(times, curves["latent"], color=BLUE, lw=1.6, path_effects=halo, label="true latent")
    if mean is None:
        return
    if deviation is not None:
        axes.fill_between(
            times,
            mean - 2 * deviation,
            mean + 2 * deviation,
            color=VERMILION,
            alpha=0.3,
            lw=0,
            label="± 2 sd",
        )
    axes.plot(
        times, mean, color=VERMILION, lw=1.6, ls=(0, (4, 1.5)), path_effects=halo, label="posterior mean"
    )
