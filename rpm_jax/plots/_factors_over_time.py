"""Prior, mixtures and factors of one latent over time, and their densities at one time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer
from rpm_jax.plots._style import BLACK, GREY, array, colours_of_views, declutter, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_GRID = 300


def factors_over_time(
    times: ArrayLike,
    prior_mean: ArrayLike,
    prior_deviation: ArrayLike,
    factor_mean: ArrayLike,
    factor_deviation: ArrayLike,
    *,
    at: int | None = None,
    max_views: int = 3,
    max_factors: int = 12,
) -> Figure:
    """Prior p(z_t), mixtures F_jt and factors f_j(z_t|x_jt) of one latent: over time, and at one time.

    Left the prior's mean ± 2 standard deviations, those of the mixture F_jt = 1/N Σ_n f_j(z|x_jt^n), and the
    means of some factors; right the densities at the time of the dotted line. A good fit makes the mixture
    like the prior at all times.

    Args:
        times: Shape (T,).
        prior_mean: Of p(z_t), shape (T,).
        prior_deviation: Its standard deviations, shape (T,).
        factor_mean: Of the Gaussian factors of N data, shape (N, J, T); NaN where a view is missing.
        factor_deviation: Their standard deviations, shape (N, J, T).
        at: Which of the T times the densities are of; the middle one if not given.
        max_views: Only the first so many views are drawn, one a row.
        max_factors: Of so many data the factors are drawn; mixtures are of all.

    Returns:
        A figure with two axes for each view.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, a deviation is not positive or there is no such time.
    """
    name = "factors_over_time"
    seconds = array(name, "times", times, ("T",))
    size = seconds.size
    centre = array(name, "prior_mean", prior_mean, ("T",), (size,))
    spread = array(name, "prior_deviation", prior_deviation, ("T",), (size,))
    means = array(name, "factor_mean", factor_mean, ("N", "J", "T"), (None, None, size))
    deviations = array(name, "factor_deviation", factor_deviation, ("N", "J", "T"), means.shape)
    for argument, values in (("prior_deviation", spread), ("factor_deviation", deviations)):
        if not np.all((values > 0) | np.isnan(values)):
            raise ValueError(f"{name}: {argument} must be positive, got {np.nanmin(values)}")
    require_positive_integer(f"{name}: max_views", max_views)
    require_positive_integer(f"{name}: max_factors", max_factors)
    moment = size // 2 if at is None else at
    if moment not in range(size):
        raise ValueError(f"{name}: at must be the index of one of the {size} times, got {at!r}")

    rows = min(means.shape[1], max_views)
    figure = new_figure(7.4, 0.8 + 1.9 * rows)
    panels = figure.subplots(rows, 2, width_ratios=[2.2, 1.0], squeeze=False, sharex="col")
    mixture, width = _moments(means, deviations)
    for j, (left, right) in enumerate(panels):
        colour = colours_of_views(means.shape[1])[j]
        some = slice(0, max_factors)
        left.fill_between(seconds, centre - 2 * spread, centre + 2 * spread, color="#e3e3e3", lw=0, zorder=0)
        left.plot(seconds, centre, color=GREY, lw=1.5, zorder=3, label="prior ± 2 sd")
        left.plot(seconds, means[some, j].T, color=colour, lw=0.6, alpha=0.6, zorder=2)
        left.plot([], [], color=colour, lw=0.8, alpha=0.8, label="factors' means")
        left.plot(seconds, mixture[j], color=BLACK, lw=1.6, zorder=4, label="mixture ± 2 sd")
        for sign in (-2, 2):
            left.plot(seconds, mixture[j] + sign * width[j], color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=4)
        left.axvline(seconds[moment], color=BLACK, lw=1.0, ls=":", zorder=1)
        left.set_ylabel(f"view {j + 1}", fontsize=9)
        _limit(left, np.stack([centre, mixture[j]]), 2 * np.stack([spread, width[j]]), means[some, j])
        _draw_densities(
            right,
            (centre[moment], spread[moment]),
            (means[:, j, moment], deviations[:, j, moment]),
            colour,
            max_factors,
        )
        for axes in (left, right):
            declutter(axes)
    panels[-1, 0].set_xlabel("time")
    panels[-1, 1].set_xlabel("latent $z$")
    panels[0, 1].set_title(f"densities at time {seconds[moment]:.3g}", fontsize=9)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def _moments(means: NDArray, deviations: NDArray) -> tuple[NDArray, NDArray]:
    """Mean and standard deviation of the mixtures over the data, shape (J, T) each."""
    known = np.isfinite(means)
    number = np.maximum(known.sum(0), 1)
    first = np.where(known, means, 0.0).sum(0) / number
    second = np.where(known, deviations**2 + (means - first) ** 2, 0.0).sum(0) / number
    return np.where(known.any(0), first, np.nan), np.sqrt(second)


def _limit(axes: Axes, centre: NDArray, reach: NDArray, own: NDArray) -> None:
    """All of prior and mixture, (2, T) each, and of the factors what is not far out."""
    low, high = np.nanmin(centre - reach), np.nanmax(centre + reach)
    far = np.nanpercentile(own, [1, 99]) if np.isfinite(own).any() else (low, high)
    margin = 0.05 * (high - low)
    axes.set_ylim(
        max(min(low, far[0]), 2 * low - high) - margin, min(max(high, far[1]), 2 * high - low) + margin
    )


def _draw_densities(
    axes: Axes,
    prior: tuple[float, float],
    factors: tuple[NDArray, NDArray],
    colour: str,
    max_factors: int,
) -> None:
    known = np.isfinite(factors[0])
    means, deviations = (values[known] for values in factors)
    ends = [prior[0] - 4 * prior[1], prior[0] + 4 * prior[1]]
    if len(means):
        inner = np.percentile(means, [2, 98])
        ends = [min(ends[0], inner[0] - 2 * prior[1]), max(ends[1], inner[1] + 2 * prior[1])]
    grid = np.linspace(ends[0], ends[1], NUM_GRID)
    density = _density(grid, means[:, None], deviations[:, None])
    own = _density(grid, *prior)
    axes.fill_between(grid, own, color="#e3e3e3", lw=0, zorder=0)
    axes.plot(grid, own, color=GREY, lw=1.5, zorder=3)
    axes.plot(grid, density[:max_factors].T, color=colour, lw=0.6, alpha=0.6, zorder=2)
    highest = own.max()
    if len(means):
        mixture = density.mean(0)
        axes.plot(grid, mixture, color=BLACK, lw=1.6, zorder=4)
        highest = max(highest, mixture.max())
        # Sharp factors would leave prior and mixture flat.
        highest = max(highest, min(density[:max_factors].max(), 4 * highest))
    axes.set_ylim(0, 1.05 * highest)
    axes.set_xlim(ends[0], ends[1])


def _density(z: NDArray, mean: NDArray | float, deviation: NDArray | float) -> NDArray:
    return np.exp(-0.5 * ((z - mean) / deviation) ** 2) / (np.sqrt(2 * np.pi) * deviation)
