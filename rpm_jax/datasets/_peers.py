"""Several images of the same thing: what they have in common is their label, which nobody is told."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._checks import require_positive_integer
from rpm_jax.datasets._arguments import generator, labelled


class Peers(NamedTuple):
    """N sets of J different images of one label.

    Attributes:
        views: J arrays of shape (N, H, W).
        labels: The label that the images of a set share, shape (N,).
        indices: Which image each view of a set is, shape (N, J).
    """

    views: tuple[Array, ...]
    labels: Array
    indices: Array


def peers(
    key: Array,
    images: ArrayLike,
    labels: ArrayLike,
    num_views: int = 2,
    *,
    num_sets: int | None = None,
    shares: ArrayLike | None = None,
    reuse: bool = True,
    share: tuple[int, int] = (0, 1),
) -> Peers:
    """Sets of J different images of one label, in random order.

    With `reuse`, a view is a rearrangement of the images within their labels that leaves none of them in
    its place: every image is in every view once, N sets of N images. Without, an image is in one view of
    one set, and n images of a label make ⌊n/J⌋ sets.

    Args:
        key: One JAX random key.
        images: Shape (M, H, W), or (M, ...).
        labels: Whole numbers from 0 on, shape (M,).
        num_views: J.
        num_sets: N; by default as many as there can be.
        shares: How often each of K labels occurs among the sets, shape (K,), up to a factor, 0 to leave a
            label out. By default all sets there can be, which `num_sets` thins out evenly.
        reuse: Whether an image may be in several sets, in another view each time.
        share: (p, P) makes the p-th, from 0, of P equal shares of the N sets, for one of several hosts. Of
            `images` that are a memory map only these are read.

    Returns:
        The views, the labels and the indices of the images. Where a label has at least J sets, the images
        it uses are all in every view once (with `reuse`).

    Raises:
        TypeError: If `key` is no random key or the labels are no integers.
        ValueError: If a label has too few images, or `num_sets` and `shares` ask for more than there are.
    """
    name = "peers"
    random = generator(name, key)
    pixels, names = labelled(name, images, labels)
    require_positive_integer(f"{name}: num_views", num_views)
    part, parts = share
    if not 0 <= part < parts:
        raise ValueError(f"{name}: share must be (p, P) with 0 <= p < P, got {share}")
    counts = np.bincount(names)
    available = counts if reuse else counts // num_views
    if not available.any():
        raise ValueError(
            f"{name}: some label must have at least num_views = {num_views} images, "
            f"got {counts} of the labels"
        )
    sets = _sets_per_label(name, available, shares, num_sets)
    short = (counts < num_views) & (sets > 0)
    if short.any():
        label = int(np.argmax(short))
        raise ValueError(
            f"{name}: each label must have at least num_views = {num_views} images, got {counts[label]} of "
            f"label {label}; leave the label out (shares) or take fewer views"
        )
    of_labels = [
        _sets_of_one_label(random, np.flatnonzero(names == label), int(number), num_views, reuse)
        for label, number in enumerate(sets)
        if number
    ]
    indices = random.permutation(np.concatenate(of_labels))
    indices = indices[len(indices) * part // parts : len(indices) * (part + 1) // parts]
    return Peers(
        tuple(jnp.asarray(pixels[indices[:, view]]) for view in range(num_views)),
        jnp.asarray(names[indices[:, 0]]),
        jnp.asarray(indices),
    )


def _sets_of_one_label(
    random: np.random.Generator, members: np.ndarray, num_sets: int, num_views: int, reuse: bool
) -> np.ndarray:
    """Indices of shape (num_sets, num_views)."""
    if not reuse:
        return random.permutation(members)[: num_sets * num_views].reshape(num_sets, num_views)
    circle = random.permutation(members)[: max(num_sets, num_views)]
    # Views walk round one circle, each a different way ahead, so that no two meet.
    ahead = np.append(0, 1 + random.permutation(len(circle) - 1)[: num_views - 1])
    return circle[(np.arange(num_sets)[:, None] + ahead) % len(circle)]


def _sets_per_label(
    function: str, available: np.ndarray, shares: ArrayLike | None, num_sets: int | None
) -> np.ndarray:
    if num_sets is not None:
        require_positive_integer(f"{function}: num_sets", num_sets)
    weights = available.astype(float) if shares is None else np.asarray(shares, float)
    if weights.shape != available.shape or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(
            f"{function}: shares must be one non-negative number for each of labels 0 to "
            f"{len(available) - 1}, not all 0, got {weights}"
        )
    weights = weights / weights.sum()
    wanted = weights > 0
    # The product of a share and its inverse may miss the whole number by a rounding error.
    largest = int(np.floor((available[wanted] / weights[wanted]).min() + 1e-6))
    if largest < 1 or (num_sets or 0) > largest:
        raise ValueError(
            f"{function}: at most {largest} sets have the shares {np.round(weights, 4)} "
            f"where the labels have {available}, got num_sets {num_sets!r}; "
            f"ask for fewer sets, other shares or reuse=True"
        )
    return _apportion(weights, num_sets or largest)


def _apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, closest to the weights by their largest remainders."""
    quota = weights * total
    whole = np.floor(quota + 1e-6).astype(int)
    first = np.argsort(-(quota - whole), kind="stable")[: total - whole.sum()]
    whole[first] += 1
    return whole
