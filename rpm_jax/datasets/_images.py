"""Blobs on small images."""

import jax.numpy as jnp
from jax import Array


def blobs(positions: Array, size: int, width: float) -> Array:
    """Images of a Gaussian blob each, exp(−|p − c|² / 2w²) at the centres p of the pixels.

    Args:
        positions: c, x to the right and y upwards, in [−1, 1] within the image, shape (..., 2).
        size: H, pixels a side.
        width: w, in pixels.

    Returns:
        Shape (..., H, H), the first row on top.
    """
    pixels = jnp.arange(size) - (size - 1) / 2
    centre = positions * size / 2
    across = jnp.exp(-(((pixels - centre[..., :1]) / width) ** 2) / 2)
    down = jnp.exp(-(((-pixels - centre[..., 1:]) / width) ** 2) / 2)
    return down[..., :, None] * across[..., None, :]
