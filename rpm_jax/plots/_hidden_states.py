"""States of a hidden Markov chain over time: what was inferred, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer
from rpm_jax.plots._style import (
    BLUE,
    VERMILION,
    array,
    declutter,
    indices,
    names_of,
    new_figure,
    slim_bar,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def hidden_states(
    probabilities: ArrayLike,
    states: ArrayLike | None = None,
    *,
    assignment: ArrayLike | None = None,
    times: ArrayLike | None = None,
    names: Sequence[object] | None = None,
    max_sequences: int = 3,
) -> Figure:
    """Probabilities of the states at every step as grey values, the true state on top, errors below.

    An error is a step whose most probable state is not the true one.

    Args:
        probabilities: Of the model's states, such as the posterior's, shape (N, T, S).
        states: True states 0, 1, ..., shape (N, T).
        assignment: The true state of each of the model's, −1 for none, shape (S,), such as
            `metrics.match_states(...).assignment`; rows are then true states, and below them those of the
            model that have none. None: rows are the model's states in their own order.
        times: Shape (T,), equally spaced; 0, 1, ... if not given.
        names: Of the true states, or of the model's where nothing is assigned.
        max_sequences: Only the first so many sequences are drawn, one a row.

    Returns:
        A figure with one axes for each sequence, and one for the grey values.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match, or a state is assigned twice or does not exist.
    """
    name = "hidden_states"
    shares = array(name, "probabilities", probabilities, ("N", "T", "S"))
    size, num_steps, num_states = shares.shape
    true = None if states is None else indices(name, "states", states, ("N", "T"), (size, num_steps))
    seconds = np.arange(num_steps) if times is None else array(name, "times", times, ("T",), (num_steps,))
    require_positive_integer(f"{name}: max_sequences", max_sequences)
    num_true = num_states
    if assignment is not None:
        labels = indices(name, "assignment", assignment, ("S",), (num_states,), smallest=-1)
        num_true = 1 + max(labels.max(), -1 if true is None else true.max())
        shares = _in_order(name, shares, labels, num_true)
    elif true is not None and true.max() >= num_states:
        raise ValueError(
            f"{name}: states must be below S = {num_states} where no assignment is given, got {true.max()}"
        )
    titles = names_of(name, "names", names, num_true, range(num_true))
    titles += ["unmatched"] * (shares.shape[2] - num_true)

    rows, height = min(size, max_sequences), shares.shape[2]
    each = float(np.clip(0.16 * height, 0.9, 3.0))
    figure = new_figure(7.0, 0.9 + (each + 0.15) * rows)
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    half = 0.5 * (seconds[-1] - seconds[0]) / max(num_steps - 1, 1) or 0.5
    for n, axes in enumerate(panels):
        image = axes.imshow(
            shares[n].T,
            cmap="Greys",
            vmin=0,
            vmax=1,
            aspect="auto",
            interpolation="nearest",
            extent=(seconds[0] - half, seconds[-1] + half, height - 0.5, -0.5),
        )
        if true is not None:
            edges = np.append(seconds - half, seconds[-1] + half)
            axes.stairs(true[n], edges, baseline=None, color=BLUE, lw=1.3, label="true state")
            wrong = shares[n].argmax(1) != true[n]
            axes.plot(
                seconds[wrong],
                np.full(wrong.sum(), height - 0.5 + 0.035 * height + 0.15),
                color=VERMILION,
                ls="",
                marker="|",
                ms=5,
                clip_on=False,
                label="most probable is another",
            )
            axes.set_ylim(height - 0.5 + 0.07 * height + 0.3, -0.5)
        every = -(-height // 12)
        axes.set_yticks(range(0, height, every), titles[::every])
        declutter(axes, keep=())
        axes.set_ylabel("state" if rows == 1 else f"sequence {n + 1}", fontsize=9)
    panels[-1].set_xlabel("time" if times is not None else "step")
    slim_bar(figure.colorbar(image, ax=list(panels), aspect=25, shrink=0.8, pad=0.02), "probability")
    handles, texts = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, texts, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def _in_order(name: str, shares: NDArray, labels: NDArray, num_true: int) -> NDArray:
    """Columns in the order of the true states, then those of states without one."""
    matched = np.flatnonzero(labels >= 0)
    if len(set(labels[matched])) < len(matched):
        raise ValueError(f"{name}: assignment must give each true state to at most one state, got {labels}")
    ordered = np.zeros((*shares.shape[:2], num_true))
    ordered[..., labels[matched]] = shares[..., matched]
    return np.concatenate([ordered, shares[..., labels < 0]], axis=-1)
