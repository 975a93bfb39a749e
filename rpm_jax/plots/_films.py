"""Sequences of images, with names below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rpm_jax.plots._style import BLACK, VERMILION, array, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_chains(
    images: ArrayLike,
    names: ArrayLike | None = None,
    true: ArrayLike | None = None,
    *,
    num_sequences: int = 5,
    num_shown: int = 15,
) -> Figure:
    """A row of images for each of some sequences, each with the name it was given.

    Args:
        images: Grey values, shape (N, T, H, W).
        names: What to write below each, shape (N, T).
        true: What would be right, shape (N, T); other names are red, with the right one behind them.
        num_sequences: Rows, from the first sequence.
        num_shown: Images in a row, from the first step.

    Returns:
        A figure with an axes for each image.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "image_chains"
    shown = array(name, "images", images, ("N", "T", "H", "W"))[:num_sequences, :num_shown]
    for argument, words in [("names", names), ("true", true)]:
        if words is not None and np.shape(words) != np.shape(images)[:2]:
            raise ValueError(
                f"{name}: {argument} must have shape (N, T) = {np.shape(images)[:2]}, got {np.shape(words)}"
            )
    low, high = np.percentile(shown, [0, 99.9])
    rows, columns = shown.shape[:2]
    figure = new_figure(0.6 * columns + 0.2, (0.6 if names is None else 0.8) * rows + 0.2)
    panels = figure.subplots(rows, columns, squeeze=False)
    for (n, t), axes in np.ndenumerate(panels):
        axes.imshow(shown[n, t], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if names is None:
            continue
        word = str(np.asarray(names)[n, t])
        wanted = word if true is None else str(np.asarray(true)[n, t])
        text, colour = (word, BLACK) if word == wanted else (f"{word} ({wanted})", VERMILION)
        axes.set_xlabel(text, fontsize=8, color=colour, labelpad=1)
    return figure
