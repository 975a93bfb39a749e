"""The mixtures F_j against the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from rpm_jax.plots._style import BLACK, array, declutter, lines_of_views, new_figure

if TYPE_CHECKING:
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
    name = "prior_against_mixtures"
    z = array(name, "grid", grid, ("G",))
    prior = array(name, "prior_density", prior_density, ("G",), (z.size,))
    mixtures = array(name, "mixture_densities", mixture_densities, ("J", "G"), (None, z.size))

    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    axes.fill_between(z, prior, color="#d9d9d9", lw=0, zorder=1)
    axes.plot(z, prior, color=BLACK, lw=2.0, ls=(0, (4, 1.5)), zorder=4, label="prior $p(z)$")
    lines_of_views(figure, axes, z, mixtures, lambda j: f"$F_{{{j}}}(z)$", "mixtures $F_j(z)$")
    axes.set_xlabel("latent $z$")
    axes.set_ylabel("density")
    axes.set_xlim(z[0], z[-1])
    axes.set_ylim(bottom=0)
    declutter(axes)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure
