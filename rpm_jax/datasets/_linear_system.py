"""A linear system that rotates and decays, driven by noise and inputs, seen by sensors."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax._checks import as_keys, is_concrete, require_choice, require_positive_integer
from rpm_jax.datasets._arguments import require_at_least, split_sequences

SENSORS = ("linear", "network")
NUM_HIDDEN = 20
"""Hidden units of the network between a state and what sensors record."""


class LinearSystem(NamedTuple):
    """N sequences of T steps of one system.

    Attributes:
        views: J arrays of shape (N, T, D): what each group of sensors recorded.
        states: z, shape (N, T, K).
        inputs: a, of which a_t moves z_t to z_t+1, shape (N, T, A); None without.
        transition: A, shape (K, K).
        input_matrix: B, shape (K, A); None without inputs.
        noise_covariance: Q, shape (K, K).
        expected: E[view | states] of each view, J arrays of shape (N, T, D).
    """

    views: tuple[Array, ...]
    states: Array
    inputs: Array | None
    transition: Array
    input_matrix: Array | None
    noise_covariance: Array
    expected: tuple[Array, ...]

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the sequences in two, both of the same system.

        Args:
            num_first: How many sequences go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` sequences and the others.

        Raises:
            ValueError: If either part would be empty.
        """
        return split_sequences(self, ("views", "states", "inputs", "expected"), num_first)


def linear_system(
    key: Array,
    *,
    num_sequences: int = 64,
    num_steps: int = 15,
    num_latents: int = 2,
    num_views: int = 1,
    num_sensors: int = 8,
    num_inputs: int = 0,
    input_share: float = 0.8,
    radius: tuple[float, float] = (0.95, 0.99),
    angle: tuple[float, float] = (0.2, 0.8),
    sensors: str = "linear",
    noise: float = 0.3,
) -> LinearSystem:
    """Pairs of latents that rotate and decay, in random directions, stationary by construction.

        A = U diag(ρ_1 R(θ_1), ρ_2 R(θ_2), …) Uᵀ,   U a random rotation, ρ and θ uniform on their ranges
        z_1 ~ N(0, I),   z_t+1 = A z_t + B a_t + ε_t,   a_t ~ N(0, I),   ε_t ~ N(0, Q)
        x_jt = g_j(z_t) + σ N(0, I),   Q = I − A Aᵀ − B Bᵀ

    so that z_t ~ N(0, I) at all times, inputs not known. B = √s U diag(√(1 − ρ²)) W with orthonormal columns
    W (rows where there are more inputs than latents): in its directions inputs are the share s of what is new
    in a step. With odd K the last latent decays without rotating. g_j has outputs of variance about 1: a
    random matrix, or a random network of 20 tanh units, another one for each view. Can be jitted and mapped
    over keys; the sizes are Python integers.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        num_latents: K.
        num_views: J, groups of sensors.
        num_sensors: D, in each group.
        num_inputs: A; 0 for none.
        input_share: s, in [0, 1].
        radius: The range of ρ, within [0, 1).
        angle: The range of θ, in radians a step.
        sensors: "linear" or "network".
        noise: σ.

    Returns:
        The views, the states, the inputs and the system.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, or a number is out of its range.
    """
    name = "linear_system"
    key = as_keys(f"{name}: key", key, 0)
    for argument, size in [
        ("num_sequences", num_sequences),
        ("num_steps", num_steps),
        ("num_latents", num_latents),
        ("num_views", num_views),
        ("num_sensors", num_sensors),
    ]:
        require_positive_integer(f"{name}: {argument}", size)
    if num_inputs != 0:
        require_positive_integer(f"{name}: num_inputs", num_inputs)
    if is_concrete(input_share) and not 0 <= input_share <= 1:
        raise ValueError(f"{name}: input_share must lie between 0 and 1, got {input_share!r}")
    _check_range(f"{name}: radius", radius, 0.0, 1.0)
    _check_range(f"{name}: angle", angle, -jnp.inf, jnp.inf)
    require_choice(f"{name}: sensors", sensors, SENSORS)
    require_at_least(f"{name}: noise", noise, 0)

    system_key, state_key, input_key, sensor_key, noise_key = jax.random.split(key, 5)
    transition, input_matrix, fresh = _system(system_key, num_latents, num_inputs, input_share, radius, angle)
    inputs = jax.random.normal(input_key, (num_sequences, num_steps, num_inputs))
    states = _states(state_key, transition, input_matrix, fresh, inputs)
    expected = tuple(
        _sensors(view_key, states, num_sensors, sensors)
        for view_key in jax.random.split(sensor_key, num_views)
    )
    views = tuple(
        mean + noise * jax.random.normal(view_key, mean.shape)
        for mean, view_key in zip(expected, jax.random.split(noise_key, num_views), strict=True)
    )
    return LinearSystem(
        views=views,
        states=states,
        inputs=inputs if num_inputs else None,
        transition=transition,
        input_matrix=input_matrix if num_inputs else None,
        noise_covariance=fresh @ fresh.T,
        expected=expected,
    )


def _check_range(name: str, values: Any, least: float, most: float) -> None:
    """Raise `ValueError` unless there are two finite numbers, in order, in [least, most)."""
    if not is_concrete(values):
        return
    numbers = tuple(values) if isinstance(values, tuple | list) else ()
    if len(numbers) != 2 or not (least <= numbers[0] <= numbers[1] < most and abs(numbers[0]) < jnp.inf):
        within = "" if most == jnp.inf else f" in [{least:g}, {most:g})"
        raise ValueError(f"{name} must be two finite numbers{within}, the smaller first, got {values!r}")


def _system(
    key: Array,
    size: int,
    num_inputs: int,
    share: float,
    radius: tuple[float, float],
    angle: tuple[float, float],
) -> tuple[Array, Array, Array]:
    """A, B, and a root of Q."""
    radius_key, angle_key, turn_key, input_key = jax.random.split(key, 4)
    num_pairs = -(-size // 2)
    radii = jax.random.uniform(radius_key, (num_pairs,), minval=radius[0], maxval=radius[1])
    angles = jax.random.uniform(angle_key, (num_pairs,), minval=angle[0], maxval=angle[1])
    cosine, sine = radii * jnp.cos(angles), radii * jnp.sin(angles)
    if size % 2:
        cosine, sine = cosine.at[-1].set(radii[-1]), sine.at[-1].set(0.0)
    first = 2 * jnp.arange(num_pairs)
    blocks = jnp.zeros((2 * num_pairs, 2 * num_pairs))
    blocks = blocks.at[first, first].set(cosine).at[first + 1, first + 1].set(cosine)
    blocks = blocks.at[first, first + 1].set(-sine).at[first + 1, first].set(sine)[:size, :size]
    turn = jax.random.orthogonal(turn_key, size)
    new = jnp.sqrt(1 - jnp.repeat(radii, 2)[:size] ** 2)  # of what a step adds, in the turned coordinates
    columns = jax.random.orthogonal(input_key, max(size, num_inputs))[:size, :num_inputs]
    # I − s W Wᵀ has the root I − (1 − √(1 − s)) W Wᵀ where W Wᵀ projects, and is (1 − s) I where it is I.
    rest = jnp.eye(size) - (1 - jnp.sqrt(1 - share)) * columns @ columns.T
    return turn @ blocks @ turn.T, jnp.sqrt(share) * (turn * new) @ columns, (turn * new) @ rest


def _states(key: Array, transition: Array, input_matrix: Array, fresh: Array, inputs: Array) -> Array:
    """Of shape (N, T, K)."""
    num_sequences, num_steps, _ = inputs.shape
    draws = jax.random.normal(key, (num_steps, num_sequences, len(transition)))
    moved = jnp.swapaxes(inputs, 0, 1)[:-1] @ input_matrix.T + draws[1:] @ fresh.T

    def step(state: Array, move: Array) -> tuple[Array, Array]:
        state = state @ transition.T + move
        return state, state

    _, others = lax.scan(step, draws[0], moved)
    return jnp.swapaxes(jnp.concatenate([draws[:1], others]), 0, 1)


def _sensors(key: Array, states: Array, number: int, kind: str) -> Array:
    """What one group of sensors records without noise, shape (N, T, D)."""
    size = states.shape[-1]
    if kind == "linear":
        return states @ jax.random.normal(key, (size, number)) / jnp.sqrt(size)
    first_key, bias_key, second_key = jax.random.split(key, 3)
    weights = jax.random.normal(first_key, (size, NUM_HIDDEN)) / jnp.sqrt(size)
    hidden = jnp.tanh(2 * states @ weights + jax.random.normal(bias_key, (NUM_HIDDEN,)))
    return hidden @ jax.random.normal(second_key, (NUM_HIDDEN, number)) * jnp.sqrt(2 / NUM_HIDDEN)
