"""Synthetic data with a known latent."""

from rpm_jax.datasets._bouncing_balls import (
    BouncingBalls,
    TexturedPixelMoments,
    poisson_balls,
    textured_balls,
    textured_pixel_moments,
)

__all__ = [
    "BouncingBalls",
    "TexturedPixelMoments",
    "poisson_balls",
    "textured_balls",
    "textured_pixel_moments",
]
