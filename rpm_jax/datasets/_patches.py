"""Images cut into a grid of patches, for models of sets of patches."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from rpm_jax._checks import require_positive_integer


def image_patches(images: ArrayLike, rows: int, columns: int | None = None) -> Array:
    """Cut images into a grid of patches of one size, side by side.

    With the patches of an image as a set, they are the data of `priors.dirichlet_topics`. Pixels that fill no
    whole patch, at the lower and the right edge, are left out.

    Args:
        images: Shape (N, H, W), or (N, H, W, C) with channels.
        rows: Of patches, R ≤ H.
        columns: Of patches, S ≤ W; None: as many as rows.

    Returns:
        Shape (N, R·S, H // R, W // S[, C]), row by row.

    Raises:
        ValueError: If the images have another shape, or there are more patches than pixels along an axis.
    """
    name = "image_patches"
    pixels = jnp.asarray(images)
    columns = rows if columns is None else columns
    require_positive_integer(f"{name}: rows", rows)
    require_positive_integer(f"{name}: columns", columns)
    if pixels.ndim not in (3, 4) or not pixels.size:
        raise ValueError(f"{name}: images must have shape (N, H, W) or (N, H, W, C), got {pixels.shape}")
    size, (height, width) = len(pixels), pixels.shape[1:3]
    if rows > height or columns > width:
        raise ValueError(
            f"{name}: rows and columns must be at most {height} and {width}, the images' pixels, got {rows} "
            f"and {columns}"
        )
    tall, wide = height // rows, width // columns
    cut = pixels[:, : rows * tall, : columns * wide]
    cut = cut.reshape(size, rows, tall, columns, wide, *pixels.shape[3:])
    return jnp.swapaxes(cut, 2, 3).reshape(size, rows * columns, tall, wide, *pixels.shape[3:])
