"""A learned log-partition against that of the family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rpm_jax.plots._style import (
    BLACK,
    MAX_NAMED_MIXTURES,
    array,
    colours_of_views,
    declutter,
    new_figure,
    scale_of_views,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def log_partition_error(exact: ArrayLike, learned: ArrayLike) -> Figure:
    """ψ against A of every datum, view by view, and what is left of ψ − A, without their means.

    The mean of ψ_jt − A over data cancels in f_jt / F_jt and is taken away first, at every site by itself.
    The errors' axis leaves out the most extreme hundredth, if it would flatten all others.
    `model.log_partition_error(params, views)` gives both arrays as `exact` and `learned`.

    Args:
        exact: A(η_jt) in nats, shape (N, J, T); NaN where missing.
        learned: ψ_jt in nats, shape (N, J, T).

    Returns:
        A figure with two axes, and one for the scale of views where these are many.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "log_partition_error"
    truth = array(name, "exact", exact, ("N", "J", "T"))
    values = array(name, "learned", learned, ("N", "J", "T"), truth.shape)
    difference = np.ma.masked_invalid(values - truth)
    if difference.count() == 0:
        raise ValueError(f"{name}: exact and learned must have numbers in one place, got NaN everywhere")
    errors = (difference - difference.mean(axis=0)).filled(np.nan)
    num_views = truth.shape[1]

    figure = new_figure(8.0, 3.5)
    left, right = figure.subplots(1, 2)
    ends = [np.nanmin(truth), np.nanmax(truth)]
    left.plot(ends, ends, color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=4, label="identity")
    right.axhline(0.0, color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=4)
    for j, colour in enumerate(colours_of_views(num_views)):
        across, error = truth[:, j].ravel(), errors[:, j].ravel()
        deviation = np.ma.masked_invalid(error).std()
        few = num_views <= MAX_NAMED_MIXTURES
        label = f"view {j + 1}: sd {deviation:.2g} nats" if few else None
        left.scatter(across, across + error, s=6, lw=0, alpha=0.5, color=colour, zorder=2, label=label)
        right.scatter(across, error, s=6, lw=0, alpha=0.5, color=colour, zorder=2)
    left.set_ylabel(r"learned $\psi_j(\eta)$ less its offset (nats)")
    right.set_ylabel(r"error $\psi_j(\eta) - A(\eta)$ less its mean (nats)")
    for axes in (left, right):
        axes.set_xlabel(r"log-partition $A(\eta)$ (nats)")
        declutter(axes)
    low, high = np.nanpercentile(errors, [0.5, 99.5])
    margin = 0.5 * (high - low)
    bottom, top = right.get_ylim()
    if high > low:
        right.set_ylim(max(bottom, low - margin), min(top, high + margin))
    if num_views > MAX_NAMED_MIXTURES:
        scale_of_views(figure, right, num_views)
    left.legend(frameon=False, fontsize=8, loc="upper left", markerscale=2.0)
    return figure
