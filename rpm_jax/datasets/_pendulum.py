"""A pendulum that a torque drives, filmed together with something else that moves."""

import math
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import as_keys, is_concrete, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax.datasets._arguments import require_at_least, require_positive, split_sequences
from rpm_jax.datasets._images import blobs

SUBSTEPS = 4
"""Of the Runge-Kutta integration, in a step: errors of the energy stay far below a thousandth."""

ARM = 0.62
"""Length of the pendulum, from the middle of the image; half the image is 1."""


class Pendulum(NamedTuple):
    """N films of T frames, by J cameras that look the same way.

    Attributes:
        views: J arrays of images, shape (N, T, H, H).
        angle: θ of the pendulum, 0 where it hangs, not wrapped, shape (N, T).
        velocity: dθ/dt, in radians a second, shape (N, T).
        torque: u, constant from a frame to the next: u_t moves frame t to t + 1, shape (N, T).
        distractors: Where each camera's distractor is, in [−1, 1], shape (N, T, J, 2).
        times: In seconds, shape (T,).
    """

    views: tuple[Array, ...]
    angle: Array
    velocity: Array
    torque: Array
    distractors: Array
    times: Array

    @property
    def states(self) -> Array:
        """What is to be found: sin θ, cos θ and the angular velocity, shape (N, T, 3)."""
        return jnp.stack([jnp.sin(self.angle), jnp.cos(self.angle), self.velocity], axis=-1)

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the films in two.

        Args:
            num_first: How many films go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` films and the others.

        Raises:
            ValueError: If either part would be empty.
        """
        fields = ("views", "angle", "velocity", "torque", "distractors")
        return split_sequences(self, fields, num_first)


def pendulum(
    key: Array,
    *,
    num_sequences: int = 100,
    num_steps: int = 40,
    num_views: int = 1,
    image_size: int = 16,
    step: float = 0.1,
    frequency: float = 0.5,
    damping: float = 0.1,
    torque: float = 2.0,
    largest_angle: float = 2.0,
    blob_width: float = 1.2,
    distractor: float = 1.5,
    distractor_speed: float = 1.0,
    noise: float = 0.1,
) -> Pendulum:
    """Films of a driven pendulum and of a distractor, both blobs of light.

        θ'' = −(2πf)² sin θ − b θ' + u,   θ_1 uniform on [−a, a],   θ'_1 = 0
        u_t = 0.8 u_t−1 + 0.6 s ε_t,   u_1 ~ N(0, s²)
        x_jt = blob(ℓ (sin θ_t, −cos θ_t)) + c blob(d_jt) + σ ε_jt

    The distractor d of each camera walks through the image on a path of its own,

        d_t = d_t−1 + v Δ ε_t,   d_1 uniform on [−1, 1]²,   reflected at the edges,

    at random, but no further in a step than the pendulum may go. Nothing but the torque tells one camera's
    distractor from the pendulum, which is the predictable one of the two; several cameras share the pendulum
    alone. Can be jitted and mapped over keys; the sizes are Python integers.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        num_views: J, cameras.
        image_size: H, pixels a side.
        step: Δ, seconds from a frame to the next.
        frequency: f, small swings a second.
        damping: b, per second.
        torque: s, its standard deviation, in radians a square second.
        largest_angle: a, at the start, in radians, at most π.
        blob_width: Standard deviation of a blob, in pixels.
        distractor: c, its brightness, that of the pendulum being 1; 0 for none.
        distractor_speed: v, in half images by the root of a second.
        noise: σ.

    Returns:
        The films, the states, the torque and the distractors.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, or a number is out of its range.
    """
    name = "pendulum"
    key = as_keys(f"{name}: key", key, 0)
    for argument, size in [
        ("num_sequences", num_sequences),
        ("num_steps", num_steps),
        ("num_views", num_views),
        ("image_size", image_size),
    ]:
        require_positive_integer(f"{name}: {argument}", size)
    for argument, scale in [("step", step), ("frequency", frequency), ("blob_width", blob_width)]:
        require_positive(f"{name}: {argument}", scale)
    for argument, scale in [
        ("damping", damping),
        ("torque", torque),
        ("distractor", distractor),
        ("distractor_speed", distractor_speed),
        ("noise", noise),
    ]:
        require_at_least(f"{name}: {argument}", scale, 0)
    if is_concrete(largest_angle) and not 0 < largest_angle <= math.pi:
        raise ValueError(f"{name}: largest_angle must lie in (0, π], got {largest_angle!r}")

    start_key, torque_key, path_key, noise_key = jax.random.split(key, 4)
    start = largest_angle * jax.random.uniform(start_key, (num_sequences,), minval=-1.0)
    drive = torque * _correlated(jax.random.normal(torque_key, (num_steps, num_sequences)))
    angle, velocity = _swing(start, drive, step, (2 * math.pi * frequency) ** 2, damping)
    shape = (num_sequences, num_steps, num_views)
    distractors = _paths(path_key, shape, distractor_speed * jnp.sqrt(step))
    bob = ARM * jnp.stack([jnp.sin(angle), -jnp.cos(angle)], axis=-1)
    frames = blobs(bob, image_size, blob_width)[:, :, None]
    frames = frames + distractor * blobs(distractors, image_size, blob_width)
    frames = frames + noise * jax.random.normal(noise_key, frames.shape)
    return Pendulum(
        views=tuple(jnp.unstack(frames, axis=2)),
        angle=angle,
        velocity=velocity,
        torque=drive.T,
        distractors=distractors,
        times=step * jnp.arange(num_steps),
    )


def _correlated(draws: Array) -> Array:
    """Stationary first-order autoregressions of standard normal numbers, time on the first axis."""

    def step(value: Array, draw: Array) -> tuple[Array, Array]:
        value = 0.8 * value + 0.6 * draw
        return value, value

    _, others = lax.scan(step, draws[0], draws[1:])
    return jnp.concatenate([draws[:1], others])


@jit
def _swing(start: Array, torque: Array, step: Array, stiffness: Array, damping: Array) -> tuple[Array, Array]:
    """Angles and velocities at every frame, shape (N, T) each; the torque has shape (T, N)."""
    length = step / SUBSTEPS

    def slope(state: Array, torque: Array) -> Array:
        angle, velocity = state
        return jnp.stack([velocity, torque - stiffness * jnp.sin(angle) - damping * velocity])

    def one(state: Array, torque: Array) -> tuple[Array, None]:
        first = slope(state, torque)
        second = slope(state + length / 2 * first, torque)
        third = slope(state + length / 2 * second, torque)
        fourth = slope(state + length * third, torque)
        return state + length / 6 * (first + 2 * second + 2 * third + fourth), None

    def frame(state: Array, torque: Array) -> tuple[Array, Array]:
        after, _ = lax.scan(one, state, jnp.broadcast_to(torque, (SUBSTEPS, *torque.shape)))
        return after, state

    initial = jnp.stack([start, jnp.zeros_like(start)])
    _, states = lax.scan(frame, initial, torque)
    return states[:, 0].T, states[:, 1].T


def _paths(key: Array, shape: tuple[int, int, int], stride: Array) -> Array:
    """Random walks in [−1, 1]², shape (N, T, J, 2): unfolded ones, reflected at the edges."""
    start_key, walk_key = jax.random.split(key)
    num_sequences, num_steps, num_views = shape
    start = jax.random.uniform(start_key, (num_sequences, 1, num_views, 2), minval=-1.0)
    moves = stride * jax.random.normal(walk_key, (num_sequences, num_steps - 1, num_views, 2))
    walk = jnp.concatenate([start, start + jnp.cumsum(moves, axis=1)], axis=1)
    return jnp.abs((walk - 1) % 4 - 2) - 1
