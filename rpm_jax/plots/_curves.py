"""Curves over training: bounds, and what drifts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax.plots._style import (
    BLACK,
    BLUE,
    GREY,
    VERMILION,
    array,
    declutter,
    lines_of_views,
    new_figure,
    per_seed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_SMOOTHED = 400


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
    steps = array(name, "steps", steps, ("S",))
    raw = per_seed(name, "train", train, "S", steps.size)
    if (held_out_steps is None) != (held_out is None):
        raise ValueError(f"{name}: held_out_steps and held_out come together, got only one of them")
    centres, smooth = _running_median(steps, raw)

    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    drawn = [smooth]
    if len(raw) == 1:
        axes.plot(steps, raw[0], color=BLUE, alpha=0.25, lw=0.5)
        drawn = [smooth, raw]
    _seeds_and_median(axes, centres, smooth, BLUE, "train")
    if held_out_steps is not None and held_out is not None:
        positions = array(name, "held_out_steps", held_out_steps, ("H",))
        values = per_seed(name, "held_out", held_out, "H", positions.size)
        _seeds_and_median(axes, positions, values, VERMILION, "held out")
        drawn.append(values)
    axes.set_xlabel("step")
    axes.set_ylabel("bound (nats per datum)")
    _limit_across(axes, steps)
    _limit_below(axes, drawn)
    declutter(axes)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    if len(raw) > 1:
        axes.set_title(f"median of {len(raw)} seeds (bold), each seed (thin)", fontsize=9, color=GREY)
    return figure


def learning_curves(
    curves: ArrayLike,
    best: int | None = None,
    maximum: float | None = None,
    label: str = "bound (nats per datum)",
    *,
    steps: ArrayLike | None = None,
    maximum_label: str = "maximum",
    held_out_steps: ArrayLike | None = None,
    held_out: ArrayLike | None = None,
) -> Figure:
    """One curve for each seed, smoothed by a running median, the chosen one highlighted.

    The vertical axis leaves out the steep first steps if they would flatten all others. `sweep_curves` draws
    those of a `Sweep`.

    Args:
        curves: Shape (runs, S) or (S,).
        best: Index of the chosen run.
        maximum: The highest value possible, such as log K, drawn as a horizontal line.
        label: Of the vertical axis, with units.
        steps: Shape (S,); 1, 2, ... if not given.
        maximum_label: What the line is called.
        held_out_steps: Shape (H,).
        held_out: The same on held-out data, dashed, shape (runs, H) or (H,).

    Returns:
        A figure with one axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, `best` is none of the runs, or one of the held-out arguments
            comes alone.
    """
    name = "learning_curves"
    size = np.shape(curves)[-1] if np.ndim(curves) else 0
    raw = per_seed(name, "curves", curves, "S", size)
    positions = np.arange(1.0, size + 1) if steps is None else array(name, "steps", steps, ("S",), (size,))
    if best is not None and best not in range(len(raw)):
        raise ValueError(f"{name}: best must be the index of one of the {len(raw)} runs, got {best!r}")
    if (held_out_steps is None) != (held_out is None):
        raise ValueError(f"{name}: held_out_steps and held_out come together, got only one of them")
    centres, smooth = _running_median(positions, raw)

    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    _runs_and_best(axes, centres, smooth, best, "-", "")
    drawn = [smooth]
    if held_out_steps is not None and held_out is not None:
        looks = array(name, "held_out_steps", held_out_steps, ("H",))
        values = per_seed(name, "held_out", held_out, "H", looks.size)
        if len(values) != len(raw):
            raise ValueError(f"{name}: held_out must be of {len(raw)} runs as curves are, got {len(values)}")
        _runs_and_best(axes, looks, values, best, (0, (4, 1.5)), ", held out")
        drawn.append(values)
    if maximum is not None:
        axes.axhline(maximum, color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=1, label=maximum_label)
        drawn.append(np.full((1, smooth.shape[1]), maximum))
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    _limit_across(axes, centres)
    _limit_below(axes, drawn)
    declutter(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def sweep_curves(sweep: Any, label: str = "bound (nats per datum)") -> Figure:
    """The bound of all seeds of a sweep over training, that with the best bound in the end highlighted.

    Args:
        sweep: Of `rpm_jax.fit_seeds`; its held-out bounds are drawn where it has any.
        label: Of the vertical axis, with units.

    Returns:
        A figure with one axes.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If no seed has a finite bound.
    """
    history = sweep.history
    looks = {}
    if np.size(history.held_out_steps):
        looks = {"held_out_steps": history.held_out_steps, "held_out": history.held_out}
    return learning_curves(history.train, sweep.best_index(), label=label, **looks)


def drift(steps: ArrayLike, log_masses: ArrayLike) -> Figure:
    """How far free factors drift from being normalised during training.

    A free factor exp g_j(k|x) of a categorical latent has the mass Σ_k exp g_j(k|x). It cancels in f_j / F_j
    where it is the same for all data; a normalised factor has 1.

    Args:
        steps: Shape (S,).
        log_masses: log Σ_k exp g_j(k|x), such as its mean over data, in nats, shape (S, J).

    Returns:
        A figure with one axes, and one for the scale of views where these are many.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "drift"
    positions = array(name, "steps", steps, ("S",))
    values = array(name, "log_masses", log_masses, ("S", "J"), (positions.size, None))

    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    axes.axhline(0.0, color=BLACK, lw=1.0, ls=(0, (4, 1.5)), zorder=1, label="normalised")
    lines_of_views(figure, axes, positions, values.T, lambda j: f"view {j}", "views")
    axes.set_xlabel("step")
    axes.set_ylabel(r"log mass $\log\,\Sigma_k \exp\,g_j(k|x)$ (nats)")
    _limit_across(axes, positions)
    declutter(axes)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def _limit_across(axes: Axes, steps: NDArray) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    if steps[0] < steps[-1]:
        axes.set_xlim(steps[0], steps[-1])


def _runs_and_best(
    axes: Axes, steps: NDArray, values: NDArray, best: int | None, style: Any, what: str
) -> None:
    others = [run for run in range(len(values)) if run != best]
    for place, run in enumerate(others):
        text = f"a run{what}" if place == 0 and (best is not None or what) else None
        axes.plot(steps, values[run], color=BLUE, alpha=0.5, lw=0.9, ls=style, zorder=2, label=text)
    if best is not None:
        text = f"run {best}, chosen{what}"
        axes.plot(steps, values[best], color=VERMILION, lw=2.0, ls=style, zorder=3, label=text)


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
