"""A walk through a maze by an agent that sees the floor around it: the hidden state is where it is."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from rpm_jax._checks import as_keys, is_concrete, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax.datasets._arguments import require_at_least

MAZE = (
    "...##...",
    "........",
    "...##...",
    "#.####.#",
    "#......#",
)
"""Two rooms, a short corridor and a long one; # is a wall. 28 places are free."""


class MazeWalk(NamedTuple):
    """N walks of T steps through one maze of S places.

    Attributes:
        views: What the agent sees, shape (N, T, V, V): one pixel a cell, the agent's own in the middle.
        states: The place where it is, 0 to S − 1, shape (N, T).
        places: Row and column of each place in the maze, shape (S, 2).
        initial: The probability of each place at the first step (and at any other), shape (S,).
        transition: The probability of stepping from i to j, [i, j], shape (S, S).
        scenes: What each place looks like without noise, shape (S, V, V).
        walls: Where no agent can be, boolean, shape (H, W).
        times: Equally spaced on [0, 1], shape (T,).
    """

    views: Array
    states: Array
    places: Array
    initial: Array
    transition: Array
    scenes: Array
    walls: Array
    times: Array

    def split(self, num_first: int) -> tuple[Self, Self]:
        """Part the walks in two, both in the same maze.

        Args:
            num_first: How many walks go to the first part, 0 < num_first < N.

        Returns:
            The first `num_first` walks and the others.

        Raises:
            ValueError: If either part would be empty.
        """
        require_positive_integer("MazeWalk.split: num_first", num_first)
        if num_first >= len(self.states):
            raise ValueError(
                f"MazeWalk.split: num_first must be less than the {len(self.states)} walks there are, "
                f"got {num_first}"
            )
        first = self._replace(views=self.views[:num_first], states=self.states[:num_first])
        return first, self._replace(views=self.views[num_first:], states=self.states[num_first:])


def maze_walk(
    key: Array,
    *,
    num_sequences: int = 50,
    num_steps: int = 100,
    walls: ArrayLike | None = None,
    visual_field: int = 5,
    noise: float = 1.0,
    stay: float = 0.1,
) -> MazeWalk:
    """Random walks, seen as noisy views of a textured floor.

        z_1 ~ π,   z_t+1 = z_t with probability s, else one of its free neighbours (up to four), all alike
        x_t = floor around z_t + σ ε_t,   floor ~ N(0, 1) at each place, 0 at walls,   ε ~ N(0, 1)

    π, proportional to the number of neighbours, is stationary: the walk is as likely at any place at all
    times. The floor and its noise come from the key; `MazeWalk.split` makes other data of the same maze.
    Can be jitted and mapped over keys; the sizes are Python integers, the walls a known array.

    Args:
        key: One JAX random key.
        num_sequences: N.
        num_steps: T.
        walls: True where there is a wall, shape (H, W), with free places that are all connected; walls
            surround it. By default two rooms and two corridors of 28 places in all.
        visual_field: V, odd: how many cells across the agent sees.
        noise: σ. At its default a linear classifier finds the place in a view of the default maze about
            four times out of five.
        stay: s, in [0, 1).

    Returns:
        The views, the places and the maze.

    Raises:
        TypeError: If `key` is no random key.
        ValueError: If a size is no positive integer, the visual field even, a number out of its range, or
            the maze in pieces.
    """
    name = "maze_walk"
    key = as_keys(f"{name}: key", key, 0)
    require_positive_integer(f"{name}: num_sequences", num_sequences)
    require_positive_integer(f"{name}: num_steps", num_steps)
    require_positive_integer(f"{name}: visual_field", visual_field)
    if visual_field % 2 == 0:
        raise ValueError(
            f"{name}: visual_field must be odd, so that the agent has a middle, got {visual_field}"
        )
    require_at_least(f"{name}: noise", noise, 0)
    if is_concrete(stay) and not 0 <= stay < 1:
        raise ValueError(f"{name}: stay must lie in [0, 1), got {stay!r}")
    maze = _maze(name, walls)
    places = np.argwhere(~maze)
    neighbours = np.abs(places[:, None] - places).sum(-1) == 1
    degree = neighbours.sum(1)
    step = jnp.asarray(neighbours / degree[:, None], float)
    transition = stay * jnp.eye(len(places)) + (1 - stay) * step
    initial = jnp.asarray(degree / degree.sum(), float)
    floor_key, walk_key, noise_key = jax.random.split(key, 3)
    states = _walk(walk_key, initial, transition, num_sequences, num_steps)
    scenes = _scenes(floor_key, maze, places, visual_field)
    shape = (*states.shape, visual_field, visual_field)
    return MazeWalk(
        views=scenes[states] + noise * jax.random.normal(noise_key, shape),
        states=states,
        places=jnp.asarray(places),
        initial=initial,
        transition=transition,
        scenes=scenes,
        walls=jnp.asarray(maze),
        times=jnp.linspace(0.0, 1.0, num_steps),
    )


@jit
def _walk(key: Array, initial: Array, transition: Array, num_sequences: int, num_steps: int) -> Array:
    """Places of shape (N, T)."""
    keys = jax.random.split(key, num_steps)
    start = jax.random.categorical(keys[0], jnp.log(initial), shape=(num_sequences,))

    def step(place: Array, key: Array) -> tuple[Array, Array]:
        place = jax.random.categorical(key, jnp.log(transition)[place])
        return place, place

    _, others = lax.scan(step, start, keys[1:])
    return jnp.concatenate([start[None], others]).T


def _scenes(key: Array, maze: np.ndarray, places: np.ndarray, visual_field: int) -> Array:
    """The floor around each place, shape (S, V, V)."""
    floor = jnp.where(maze, 0.0, jax.random.normal(key, maze.shape))
    around = jnp.pad(floor, visual_field // 2)
    cells = np.arange(visual_field)
    rows, columns = places[:, 0, None, None] + cells[:, None], places[:, 1, None, None] + cells
    return around[rows, columns]


def _maze(function: str, walls: ArrayLike | None) -> np.ndarray:
    from scipy import ndimage

    if walls is None:
        walls = np.array([list(row) for row in MAZE]) == "#"
    maze = np.asarray(walls)
    if maze.ndim != 2 or maze.dtype != bool:
        raise ValueError(
            f"{function}: walls must be a boolean array of shape (H, W), "
            f"got shape {maze.shape} of {maze.dtype}"
        )
    _, num_pieces = ndimage.label(~maze)
    if num_pieces != 1 or (~maze).sum() < 2:
        raise ValueError(
            f"{function}: walls must leave at least two places free, connected along rows and columns, "
            f"got {(~maze).sum()} in {num_pieces} pieces"
        )
    return maze
