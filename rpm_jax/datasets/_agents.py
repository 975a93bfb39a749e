"""Agents that move in a plane, seen by a camera and by beacons that measure distances."""

import math
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import as_keys, require_positive_integer
from rpm_jax.datasets._arguments import require_at_least, require_positive, split_sequences
from rpm_jax.datasets._images import blobs

SPREAD = 0.35
"""Standard deviation of the agents' positions; half the image is 1."""

FAR = 1.2
"""Distance of the beacons from the middle."""


class Agents(NamedTuple):
    """N sequences of T steps of the same A agents, seen in two ways.

    Attributes:
        images: What the camera sees, shape (N, T, H, H).
        distances: From each beacon to each agent, those of the first agent first, shape (N, T, A·S).
        positions: Of the agents, shape (N, T, A, 2).
        beacons: Where they stand, shape (S, 2).
        times: The steps from 0 on, shape (T,).
    """

    images: Array
    distances: Array
    positions: Array
    beacons: Array
    times: Array

    @property
    def views(self) -> tuple[Array, Array]:
        """Images and distances."""
        return self.images, self.distances

    @property
    def states(self) -> Array:
        """All coordinates, shape (N, T, 2A)."""
        return self.positions.reshape(*self.positions.shape[:-2], -1)

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the sequences in two.

        Args:
            num_first: How many sequences go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` sequences and the others, with the same beacons.

        Raises:
            ValueError: If either part would be empty.
        """
        return split_sequences(self, ("images", "distances", "positions"), num_first)


def agents(
    key: Array,
    *,
    num_sequences: int = 200,
    num_steps: int = 30,
    num_agents: int = 2,
    num_beacons: int = 4,
    image_size: int = 16,
    memory: float = 4.0,
    blob_width: float = 1.2,
    image_noise: float = 0.1,
    distance_noise: float = 0.2,
) -> Agents:
    """Agents on smooth random paths, in images and in distances.

        p_t = 2α p_t−1 − α² p_t−2 + ε_t,   α = exp(−1/τ),   p_t ~ N(0, 0.35²) at all times, each coordinate
        image_t = Σ_a (1 − a/A) blob(p_at) + σ_i ε,   a = 0..A−1
        distance_tas = |p_at − b_s| + σ_d ε,   beacons b_s equally spaced on a circle of radius 1.2

    The path is a Matérn-3/2 process at whole times. Agents differ by their brightness, and beacons know them
    apart, so that either view tells all positions. Can be jitted and mapped over keys; the sizes are Python
    integers.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        num_agents: A.
        num_beacons: S; with fewer than three, distances leave positions in doubt.
        image_size: H, pixels a side, from −1 to 1.
        memory: τ, in steps.
        blob_width: Standard deviation of an agent's blob, in pixels.
        image_noise: σ_i; the brightest agent is 1.
        distance_noise: σ_d.

    Returns:
        Images, distances and positions.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, or a number is out of its range.
    """
    name = "agents"
    key = as_keys(f"{name}: key", key, 0)
    for argument, size in [
        ("num_sequences", num_sequences),
        ("num_steps", num_steps),
        ("num_agents", num_agents),
        ("num_beacons", num_beacons),
        ("image_size", image_size),
    ]:
        require_positive_integer(f"{name}: {argument}", size)
    require_positive(f"{name}: memory", memory)
    require_positive(f"{name}: blob_width", blob_width)
    require_at_least(f"{name}: image_noise", image_noise, 0)
    require_at_least(f"{name}: distance_noise", distance_noise, 0)

    path_key, image_key, distance_key = jax.random.split(key, 3)
    draws = jax.random.normal(path_key, (num_steps, num_sequences, num_agents, 2))
    positions = SPREAD * jnp.swapaxes(_paths(draws, jnp.exp(-1 / jnp.asarray(memory, float))), 0, 1)
    brightness = 1 - jnp.arange(num_agents) / num_agents
    images = jnp.einsum("a,ntaij->ntij", brightness, blobs(positions, image_size, blob_width))
    angles = 2 * math.pi * jnp.arange(num_beacons) / num_beacons
    beacons = FAR * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    distances = jnp.linalg.norm(positions[..., None, :] - beacons, axis=-1)
    distances = distances.reshape(num_sequences, num_steps, -1)
    return Agents(
        images=images + image_noise * jax.random.normal(image_key, images.shape),
        distances=distances + distance_noise * jax.random.normal(distance_key, distances.shape),
        positions=positions,
        beacons=beacons,
        times=jnp.arange(num_steps, dtype=float),
    )


def _paths(draws: Array, alpha: Array) -> Array:
    """Stationary paths of variance 1, time on the first axis."""
    correlation = 2 * alpha / (1 + alpha**2)
    scale = jnp.sqrt((1 - alpha**2) ** 3 / (1 + alpha**2))
    second = correlation * draws[0] + jnp.sqrt(1 - correlation**2) * draws[min(1, len(draws) - 1)]

    def step(last: tuple[Array, Array], draw: Array) -> tuple[tuple[Array, Array], Array]:
        new = 2 * alpha * last[1] - alpha**2 * last[0] + scale * draw
        return (last[1], new), new

    _, others = lax.scan(step, (draws[0], second), draws[2:])
    return jnp.concatenate([draws[:1], second[None], others])[: len(draws)]
