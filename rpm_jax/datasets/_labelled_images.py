"""Images with labels, and a part of them held out."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from rpm_jax.datasets._arguments import generator, labelled, require_probability


class LabelledImages(NamedTuple):
    """N images of one size with a label each.

    Attributes:
        images: Grey values, shape (N, H, W): in [0, 1], or bytes of a memory map.
        labels: Whole numbers from 0 on, shape (N,).
    """

    images: Array | np.ndarray
    labels: Array


def hold_out(
    key: Array, images: ArrayLike, labels: ArrayLike, fraction: float
) -> tuple[LabelledImages, LabelledImages]:
    """Part images at random, with the same shares of the labels in both parts.

    Of n images of a label, n · fraction are held out, rounded to the nearest whole number.

    Args:
        key: One JAX random key.
        images: Shape (N, ...).
        labels: Whole numbers from 0 on, shape (N,).
        fraction: The part that is held out, between 0 and 1.

    Returns:
        The images that stay and those held out, either in their old order.

    Raises:
        TypeError: If `key` is no random key or the labels are no integers.
        ValueError: If the numbers of images and labels differ, or a part would be empty.
    """
    name = "hold_out"
    random = generator(name, key)
    pixels, names = labelled(name, images, labels)
    require_probability(f"{name}: fraction", fraction)
    held_out = np.zeros(len(names), bool)
    for label in np.unique(names):
        members = random.permutation(np.flatnonzero(names == label))
        held_out[members[: round(len(members) * fraction)]] = True
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"{name}: fraction {fraction!r} of {len(names)} images with {len(np.unique(names))} labels holds "
            f"out {held_out.sum()} and leaves {(~held_out).sum()}; at least one of each is needed"
        )
    stay, other = (
        LabelledImages(jnp.asarray(pixels[part]), jnp.asarray(names[part])) for part in (~held_out, held_out)
    )
    return stay, other
