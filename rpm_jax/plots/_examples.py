"""Images sorted by the state or topic that they were given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rpm_jax._checks import require_positive_integer
from rpm_jax.plots._style import array, declutter, indices, names_of, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def samples_per_state(
    images: ArrayLike,
    states: ArrayLike,
    probabilities: ArrayLike | None = None,
    num_samples: int = 8,
    titles: Sequence[object] | None = None,
) -> Figure:
    """For each state a row of images that were given it, those with the highest probability first.

    Args:
        images: Shape (N, H, W), or (N, H, W, 3) with colours from 0 to 1.
        states: The state of each, shape (N,).
        probabilities: q(z = state) of each image's own state, shape (N,), or those of all states, shape
            (N, S); without them the first images are drawn.
        num_samples: Images in a row at most.
        titles: Names of the S states.

    Returns:
        A figure with one axes and one image; rows of states that no image has are empty.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    return _rows("samples_per_state", "state", images, states, probabilities, num_samples, titles)


def patches_by_topic(
    patches: ArrayLike,
    topics: ArrayLike,
    probabilities: ArrayLike | None = None,
    num_samples: int = 12,
    titles: Sequence[object] | None = None,
) -> Figure:
    """For each topic a row of patches that were given it, those with the highest probability first.

    Args:
        patches: Shape (..., P, P); the batch axes may be (N, T).
        topics: The topic of each, shape (...).
        probabilities: q(z = topic) of each patch's own topic, shape (...), or those of all topics, shape
            (..., S); without them the first patches are drawn.
        num_samples: Patches in a row at most.
        titles: Names of the S topics.

    Returns:
        A figure with one axes and one image; rows of topics that no patch has are empty.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If the shapes do not match.
    """
    name = "patches_by_topic"
    given, values = np.asarray(topics), np.asarray(patches, float)
    batch = given.shape
    if values.ndim != given.ndim + 2 or values.shape[: given.ndim] != batch or values.size == 0:
        raise ValueError(
            f"{name}: patches must have shape (..., P, P) with the axes {batch} of topics in front, "
            f"got {values.shape}"
        )
    scores = None if probabilities is None else np.asarray(probabilities, float)
    if scores is not None:
        if scores.shape[: given.ndim] != batch or scores.ndim > given.ndim + 1:
            raise ValueError(
                f"{name}: probabilities must have shape {batch} or {(*batch, 'S')}, got {scores.shape}"
            )
        scores = scores.reshape(-1, *scores.shape[given.ndim :])
    flat = values.reshape(-1, *values.shape[-2:])
    return _rows(name, "topic", flat, given.reshape(-1), scores, num_samples, titles)


def _rows(
    function: str,
    kind: str,
    images: ArrayLike,
    groups: ArrayLike,
    probabilities: ArrayLike | None,
    num_samples: int,
    titles: Sequence[object] | None,
) -> Figure:
    axes_names: tuple[str, ...] = ("N", "H", "W") if np.ndim(images) != 4 else ("N", "H", "W", "C")
    expected = () if np.ndim(images) != 4 else (None, None, None, 3)
    pixels = array(function, "images", images, axes_names, expected)
    group = indices(function, f"{kind}s", groups, ("N",), (len(pixels),))
    require_positive_integer(f"{function}: num_samples", num_samples)
    size, scores = int(group.max()) + 1, None
    if probabilities is not None and np.ndim(probabilities) == 2:
        table = array(function, "probabilities", probabilities, ("N", "S"), (len(pixels), None))
        if table.shape[1] < size:
            raise ValueError(
                f"{function}: probabilities must have a column for each of {size} {kind}s, got {table.shape}"
            )
        size, scores = table.shape[1], np.take_along_axis(table, group[:, None], axis=1)[:, 0]
    elif probabilities is not None:
        scores = array(function, "probabilities", probabilities, ("N",), (len(pixels),))
    size = max(size, 0 if titles is None else len(titles))
    names = names_of(function, "titles", titles, size, [f"{kind} {index}" for index in range(size)])
    chosen = [_best(np.flatnonzero(group == index), scores)[:num_samples] for index in range(size)]

    mosaic, low, high = _mosaic(pixels, chosen)
    height, width = pixels.shape[1:3]
    left = 0.2 + 0.075 * max(map(len, names))
    figure = new_figure(left + 0.55 * mosaic.shape[1] / width, 0.2 + 0.55 * mosaic.shape[0] / height)
    axes = figure.subplots()
    axes.imshow(mosaic, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    gap = _gap(pixels)
    axes.set_yticks((height - 1) / 2 + (height + gap) * np.arange(size), names)
    axes.set_xticks([])
    declutter(axes, keep=())
    axes.tick_params(length=0)
    # The layout knows how wide the names are only after they have been laid out once.
    figure.draw_without_rendering()
    return figure


def _best(members: NDArray, scores: NDArray | None) -> NDArray:
    return members if scores is None else members[np.argsort(-scores[members], kind="stable")]


def _mosaic(images: NDArray, chosen: Sequence[NDArray]) -> tuple[NDArray, float, float]:
    """One image of all, NaN (white where it has colours) between them, and the limits of its greys."""
    height, width = images.shape[1:3]
    gap = _gap(images)
    num_columns = max(len(row) for row in chosen)
    shape = (len(chosen) * (height + gap) - gap, num_columns * (width + gap) - gap, *images.shape[3:])
    colour = images.ndim == 4
    mosaic = np.full(shape, 1.0 if colour else np.nan)
    for row, members in enumerate(chosen):
        for column, member in enumerate(members):
            top, left = row * (height + gap), column * (width + gap)
            tile = images[member]
            mosaic[top : top + height, left : left + width] = np.clip(tile, 0.0, 1.0) if colour else tile
    # Rare outliers would leave the rest one grey.
    low, high = np.nanpercentile(mosaic, [0.5, 99.5])
    return mosaic, low, high if high > low else low + 1.0


def _gap(images: NDArray) -> int:
    return max(1, round(0.08 * images.shape[1]))
