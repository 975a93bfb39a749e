"""Figures of data, recovered latents and fits; none touches matplotlib's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Wong's palette (Nature Methods 2011), made for colour-blind readers.
BLACK, BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#1a1a1a",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
GREY = "#8c8c8c"
RESOLUTION = 150
MAX_NAMED_MIXTURES = 6
NUM_SMOOTHED = 400


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
    images = _array(name, "views", views, ("N", "T", "J"))
    num_sequences, num_steps, num_pixels = images.shape
    seconds = _array(name, "times", times, ("T",), (num_steps,))
    curves = {
        key: None if value is None else _array(name, key, value, ("N", "T"), (num_sequences, num_steps))
        for key, value in [("latent", latent), ("mean", mean), ("standard_deviation", standard_deviation)]
    }
    require_positive_integer(f"{name}: max_sequences", max_sequences)
    if curves["standard_deviation"] is not None and curves["mean"] is None:
        raise ValueError(f"{name}: standard_deviation needs a mean to be drawn around")

    num_rows = min(num_sequences, max_sequences)
    figure = _figure(6.4, 0.7 + 1.15 * num_rows)
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
        _declutter(axes, keep=())
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
    bar.set_label("pixel", fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
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


def bound_history(
    steps: ArrayLike,
    train: ArrayLike,
    held_out_steps: ArrayLike | None = None,
    held_out: ArrayLike | None = None,
) -> Figure:
    """The bound during training, smoothed by a running median, and on held-out data.

    One seed: the raw curve faint, the smoothed one bold. Several: each seed's smoothed curve thin, their
    median bold. The vertical axis leaves out the steep first steps if they would flatten all others.

    Args:
        steps: Shape (S,).
        train: The minibatch bound in nats, shape (S,) or (seeds, S).
        held_out_steps: Shape (H,).
        held_out: The bound on held-out data in nats, shape (H,) or (seeds, H).

    Returns:
        A figure with one axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or one of the held-out arguments comes alone.
    """
    name = "bound_history"
    steps = _array(name, "steps", steps, ("S",))
    raw = _per_seed(name, "train", train, "S", steps.size)
    if (held_out_steps is None) != (held_out is None):
        raise ValueError(f"{name}: held_out_steps and held_out come together, got only one of them")
    centres, smooth = _running_median(steps, raw)

    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    drawn = [smooth]
    if len(raw) == 1:
        axes.plot(steps, raw[0], color=BLUE, alpha=0.25, lw=0.5)
        drawn = [smooth, raw]
    _seeds_and_median(axes, centres, smooth, BLUE, "train")
    if held_out_steps is not None and held_out is not None:
        positions = _array(name, "held_out_steps", held_out_steps, ("H",))
        values = _per_seed(name, "held_out", held_out, "H", positions.size)
        _seeds_and_median(axes, positions, values, VERMILION, "held out")
        drawn.append(values)
    axes.set_xlabel("step")
    axes.set_ylabel("bound (nats per datum)")
    if steps[0] < steps[-1]:
        axes.set_xlim(steps[0], steps[-1])
    _limit_below(axes, drawn)
    _declutter(axes)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    if len(raw) > 1:
        axes.set_title(f"median of {len(raw)} seeds (bold), each seed (thin)", fontsize=9, color=GREY)
    return figure


def _seeds_and_median(axes: Axes, steps: NDArray, values: NDArray, colour: str, label: str) -> None:
    if len(values) > 1:
        for seed in values:
            axes.plot(steps, seed, color=colour, alpha=0.35, lw=0.6)
    axes.plot(steps, _median(values), color=colour, lw=2.0, label=label)


def _running_median(steps: NDArray, values: NDArray) -> tuple[NDArray, NDArray]:
    """The median over windows of 1/40 of the run, truncated at the ends, at `NUM_SMOOTHED` steps at most."""
    size = steps.size
    half = size // 80
    centres = np.unique(np.linspace(0, size - 1, min(size, NUM_SMOOTHED)).round().astype(int))
    windows = [_median(values[:, max(c - half, 0) : c + half + 1].T) for c in centres]
    return steps[centres], np.stack(windows, axis=-1)


def _median(values: NDArray) -> NDArray:
    """The median over the first axis of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    result = np.full(values.shape[1:], np.nan)
    some = finite.any(axis=0)
    result[some] = np.nanmedian(np.where(finite, values, np.nan)[:, some], axis=0)
    return result


def _limit_below(axes: Axes, drawn: list[NDArray]) -> None:
    values = np.concatenate([v[np.isfinite(v)] for v in drawn])
    if values.size == 0:
        return
    low, high = np.percentile(values, 5), values.max()
    bottom = low - 0.3 * (high - low)
    if values.min() < bottom < high:
        axes.set_ylim(bottom, high + 0.06 * (high - bottom))


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
    z = _array(name, "grid", grid, ("G",))
    prior = _array(name, "prior_density", prior_density, ("G",), (z.size,))
    mixtures = _array(name, "mixture_densities", mixture_densities, ("J", "G"), (None, z.size))

    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    axes.fill_between(z, prior, color="#d9d9d9", lw=0, zorder=1)
    axes.plot(z, prior, color=BLACK, lw=2.0, ls=(0, (4, 1.5)), zorder=4, label="prior $p(z)$")
    _draw_mixtures(figure, axes, z, mixtures)
    axes.set_xlabel("latent $z$")
    axes.set_ylabel("density")
    axes.set_xlim(z[0], z[-1])
    axes.set_ylim(bottom=0)
    _declutter(axes)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def _draw_mixtures(figure: Figure, axes: Axes, grid: NDArray, mixtures: NDArray) -> None:
    num_views = len(mixtures)
    if num_views <= MAX_NAMED_MIXTURES:
        colours = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]
        for j, mixture in enumerate(mixtures):
            axes.plot(grid, mixture, color=colours[j], lw=1.5, zorder=3, label=f"$F_{{{j + 1}}}(z)$")
        return
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    palette = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, num_views)))
    for j, mixture in enumerate(mixtures):
        label = "mixtures $F_j(z)$" if j == num_views // 2 else None
        axes.plot(grid, mixture, color=palette(j), lw=1.3, zorder=3, label=label)
    scale = ScalarMappable(BoundaryNorm(np.arange(num_views + 1) + 0.5, num_views), palette)
    ticks = np.arange(1, num_views + 1, -(-num_views // 10))
    bar = figure.colorbar(scale, ax=axes, ticks=ticks, aspect=30, pad=0.02)
    bar.set_label("view $j$", fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.minorticks_off()


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('rpm_jax.plots needs matplotlib: pip install "rpm_jax[experiments]"') from error
    figure = Figure(figsize=(width, height), dpi=RESOLUTION, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _declutter(axes: Axes, keep: tuple[str, ...] = ("left", "bottom")) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
    axes.tick_params(labelsize=8, length=2.5)


def _per_seed(function: str, argument: str, value: Any, axis: str, size: int) -> NDArray:
    values = np.asarray(value, float)
    if values.ndim not in (1, 2) or values.shape[-1] != size or values.shape[0] == 0:
        raise ValueError(
            f"{function}: {argument} must have shape ({axis},) or (seeds, {axis}) with {axis} = {size}, "
            f"got {values.shape}"
        )
    return np.atleast_2d(values)


def _array(
    function: str, argument: str, value: Any, axes: tuple[str, ...], shape: tuple[int | None, ...] = ()
) -> NDArray:
    values = np.asarray(value, float)
    wanted = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
    expected = shape or (None,) * len(axes)
    matches = len(expected) == values.ndim and all(
        e in (None, s) for e, s in zip(expected, values.shape, strict=True)
    )
    if not matches or values.size == 0:
        sizes = ", ".join(f"{axis} = {size}" for axis, size in zip(axes, expected, strict=True) if size)
        raise ValueError(
            f"{function}: {argument} must have shape {wanted}{' with ' + sizes if sizes else ''}, "
            f"got {values.shape}"
        )
    return values
