"""Data with a known latent: a position, a place, a label, proportions, angles."""

from rpm_jax.datasets._bouncing_balls import (
    BouncingBalls,
    TexturedPixelMoments,
    poisson_balls,
    textured_balls,
    textured_pixel_moments,
)
from rpm_jax.datasets._circle_graphs import CircleGraphs, circle_edge_probability, circle_graphs
from rpm_jax.datasets._digits import load_digits
from rpm_jax.datasets._idx import read_idx
from rpm_jax.datasets._labelled_images import LabelledImages, hold_out
from rpm_jax.datasets._lorenz import LorenzSpikes, lorenz_spikes
from rpm_jax.datasets._maze import MazeWalk, maze_walk
from rpm_jax.datasets._mnist import download_mnist, load_mnist
from rpm_jax.datasets._peers import Peers, peers
from rpm_jax.datasets._textures import TextureSets, texture_sets
from rpm_jax.datasets._variations import coloured, rotated

__all__ = [
    "BouncingBalls",
    "CircleGraphs",
    "LabelledImages",
    "LorenzSpikes",
    "MazeWalk",
    "Peers",
    "TextureSets",
    "TexturedPixelMoments",
    "circle_edge_probability",
    "circle_graphs",
    "coloured",
    "download_mnist",
    "hold_out",
    "load_digits",
    "load_mnist",
    "lorenz_spikes",
    "maze_walk",
    "peers",
    "poisson_balls",
    "read_idx",
    "rotated",
    "texture_sets",
    "textured_balls",
    "textured_pixel_moments",
]
