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

    The mean of ψ_jt − A over data cancels in a model and is taken away first, at every site by itself;
    `model.log_partition_error(params, views)` gives both arrays as `exact` and `learned`.

    Args:
        exact: A(η_jt) in nats, shape (N, J, T).
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
    offsets = np.mean(values - truth, axis=0)
    num_views = truth.shape[1]

    figure = new_figure(8.0, 3.5)
    left, right = figure.subplots(1, 2)
    ends = [truth.min(), truth.max()]
    left.plot(ends, ends, color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=4, label="identity")
    right.axhline(0.0, color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=4)
    for j, colour in enumerate(colours_of_views(num_views)):
        across, up = truth[:, j].ravel(), (values[:, j] - offsets[j]).ravel()
        deviation = np.std(up - across)
        few = num_views <= MAX_NAMED_MIXTURES
        label = f"view {j + 1}: sd {deviation:.2g} nats" if few else None
        left.scatter(across, up, s=6, lw=0, alpha=0.5, color=colour, zorder=2, label=label)
        right.scatter(across, up - across, s=6, lw=0, alpha=0.5, color=colour, zorder=2)
    left.set_ylabel(r"learned $\psi_j(\eta)$ less its offset (nats)")
    right.set_ylabel(r"error $\psi_j(\eta) - A(\eta)$ less its mean (nats)")
    for axes in (left, right):
        axes.set_xlabel(r"log-partition $A(\eta)$ (nats)")
        declutter(axes)
    if num_views > MAX_NAMED_MIXTURES:
        scale_of_views(figure, right, num_views)
    left.legend(frameon=False, fontsize=8, loc="upper left", markerscale=2.0)
    return figure
