"""Images varied along a circle: turned by an angle, coloured in a hue."""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy import ndimage
from jax.typing import ArrayLike

from rpm_jax._checks import as_keys
from rpm_jax.datasets._arguments import require_at_least

IMAGES_AT_ONCE = 1024
"""The coordinates of many more would take several times the memory of the images."""


def rotated(key: Array, images: ArrayLike, max_angle: float = math.pi) -> tuple[Array, Array]:
    """Turn each image about its centre by an angle of its own, with bilinear interpolation.

        image'(p) = image(R(α) p),   α uniform on [−a, a);   0 outside of the image

    Can be jitted and mapped over keys.

    Args:
        key: One JAX random key.
        images: Shape (N, H, W).
        max_angle: a, in radians; π for all angles.

    Returns:
        The turned images, shape (N, H, W), and the angles in radians, counter-clockwise as one looks at an
        image whose first row is on top, shape (N,).

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If the images have another shape or the angle is negative.
    """
    name = "rotated"
    key, pixels = as_keys(f"{name}: key", key, 0), _grey(name, images)
    require_at_least(f"{name}: max_angle", max_angle, 0)
    angles = max_angle * jax.random.uniform(key, pixels.shape[:1], pixels.dtype, minval=-1.0)
    centre = (jnp.array(pixels.shape[1:], pixels.dtype) - 1) / 2
    rows = jnp.arange(pixels.shape[1])[:, None] - centre[0]
    columns = jnp.arange(pixels.shape[2])[None, :] - centre[1]

    def turn(image: Array, angle: Array) -> Array:
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        source = [cosine * rows + sine * columns + centre[0], cosine * columns - sine * rows + centre[1]]
        return ndimage.map_coordinates(image, source, order=1)

    return lax.map(lambda pair: turn(*pair), (pixels, angles), batch_size=IMAGES_AT_ONCE), angles


def coloured(key: Array, images: ArrayLike) -> tuple[Array, Array]:
    """Show each grey image in a hue of its own, at full saturation.

        rgb = image · clip(|(3h/π + (0, 4, 2)) mod 6 − 3| − 1, 0, 1),   h uniform on [0, 2π)

    so that h = 0 is red, 2π/3 green and 4π/3 blue. Can be jitted and mapped over keys.

    Args:
        key: One JAX random key.
        images: Grey values, shape (N, H, W).

    Returns:
        The coloured images, shape (N, H, W, 3), and the hues in radians, shape (N,).

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If the images have another shape.
    """
    name = "coloured"
    key, pixels = as_keys(f"{name}: key", key, 0), _grey(name, images)
    hues = jax.random.uniform(key, pixels.shape[:1], pixels.dtype, maxval=2 * math.pi)
    offsets = jnp.array([0.0, 4.0, 2.0], pixels.dtype)
    channels = jnp.clip(jnp.abs((3 / math.pi * hues[:, None] + offsets) % 6 - 3) - 1, 0, 1)
    return pixels[..., None] * channels[:, None, None, :], hues


def _grey(function: str, images: ArrayLike) -> Array:
    pixels = jnp.asarray(images)
    if pixels.ndim != 3 or not pixels.size:
        raise ValueError(f"{function}: images must have shape (N, H, W), got {pixels.shape}")
    return pixels if jnp.issubdtype(pixels.dtype, jnp.floating) else pixels.astype(float)
