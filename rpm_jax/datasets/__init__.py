"""Data with a known latent: a position, a state, a place, a label, proportions, angles."""

from rpm_jax.datasets._agents import Agents, agents
from rpm_jax.datasets._bouncing_balls import (
    BouncingBalls,
    TexturedPixelMoments,
    poisson_balls,
    textured_balls,
    textured_pixel_moments,
)
from rpm_jax.datasets._circle_graphs import CircleGraphs, circle_edge_probability, circle_graphs
from rpm_jax.datasets._digit_chains import DigitChains, digit_chains, ring_transition
from rpm_jax.datasets._digits import load_digits
from rpm_jax.datasets._idx import read_idx
from rpm_jax.datasets._labelled_images import LabelledImages, hold_out
from rpm_jax.datasets._linear_system import LinearSystem, linear_system
from rpm_jax.datasets._lorenz import LorenzSpikes, lorenz_spikes
from rpm_jax.datasets._maze import MazeWalk, maze_walk
from rpm_jax.datasets._mnist import download_mnist, load_mnist
from rpm_jax.datasets._patches import image_patches
from rpm_jax.datasets._peers import Peers, peers
from rpm_jax.datasets._pendulum import Pendulum, pendulum
from rpm_jax.datasets._textures import TextureSets, texture_sets
from rpm_jax.datasets._variations import coloured, rotated

__all__ = [
    "Agents",
    "BouncingBalls",
    "CircleGraphs",
    "DigitChains",
    "LabelledImages",
    "LinearSystem",
    "LorenzSpikes",
    "MazeWalk",
    "Peers",
    "Pendulum",
    "TextureSets",
    "TexturedPixelMoments",
    "agents",
    "circle_edge_probability",
    "circle_graphs",
    "coloured",
    "digit_chains",
    "download_mnist",
    "hold_out",
    "image_patches",
    "linear_system",
    "load_digits",
    "load_mnist",
    "lorenz_spikes",
    "maze_walk",
    "peers",
    "pendulum",
    "poisson_balls",
    "read_idx",
    "ring_transition",
    "rotated",
    "texture_sets",
    "textured_balls",
    "textured_pixel_moments",
]
