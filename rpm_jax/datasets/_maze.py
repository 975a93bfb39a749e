"""A walk through a maze by an agent that sees the floor around it: the hidden state is where it is."""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from rpm_jax._checks import as_keys, is_concrete, require_positive_integer
from rpm_jax._jit import jit
from rpm_jax.datasets._arguments import require_at_least, require_positive

MAZE = (
    "...##...",
    "........",
    "...##...",
    "#.####.#",
    "#......#",
)
"""Two rooms, a short corridor and a long one; # is a wall. 28 places are free."""

MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
"""To the cells beside one's own."""


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
        asides: What the four cells beside each place look like without noise, shape (4, S, V, V).
    """

    views: Array
    states: Array
    places: Array
    initial: Array
    transition: Array
    scenes: Array
    walls: Array
    times: Array
    asides: Array

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
    flips: float = 0.0,
    jitter: float = 0.0,
    stay: float = 0.1,
    reach: float | None = None,
) -> MazeWalk:
    """Random walks, seen as noisy views of a textured floor.

        z_1 ~ π,   z_t+1 = z_t with probability s, else j with probability ∝ w(d(z_t, j))
        x_t = b_t floor around z_t + σ ε_t,   floor ~ N(0, 1) at each place, 0 at walls,   ε ~ N(0, 1)

    d is the number of steps from place to place round the walls; w(d) = 1 for the free neighbours, d = 1, and
    0 else; or exp(−d/ℓ), with jumps. Every pixel of b is −1 with the probability `flips`, else 1 (Bernoulli
    noise); with the probability `jitter` the agent looks at the floor around one of the four cells beside its
    own. π, proportional to Σ_j w(d(i, j)), is stationary: the walk is as likely at any place at all
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
        flips: The probability that a pixel changes its sign, in [0, 1].
        jitter: The probability of a look aside, in [0, 1].
        stay: s, in [0, 1).
        reach: ℓ > 0, in steps: how far jumps go. None: to neighbours only.

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
    for argument, probability in [("flips", flips), ("jitter", jitter)]:
        if is_concrete(probability) and not 0 <= probability <= 1:
            raise ValueError(f"{name}: {argument} must lie between 0 and 1, got {probability!r}")
    if reach is not None:
        require_positive(f"{name}: reach", reach)
    maze = _maze(name, walls)
    places = np.argwhere(~maze)
    weights = _weights(places, reach)
    total = weights.sum(1, keepdims=True)
    transition = stay * jnp.eye(len(places)) + (1 - stay) * weights / total
    initial = total[:, 0] / total.sum()
    floor_key, walk_key, noise_key = jax.random.split(key, 3)
    states = _walk(walk_key, initial, transition, num_sequences, num_steps)
    floor = jnp.where(maze, 0.0, jax.random.normal(floor_key, maze.shape))
    scenes = _scenes(floor, places, visual_field)
    asides = jnp.stack([_scenes(floor, places + move, visual_field) for move in MOVES])
    views = scenes[states]
    # Keys of their own, so that walks and noise are the same with and without.
    if not (is_concrete(jitter) and jitter == 0):
        chance = jnp.array([1 - jitter, *[jitter / len(MOVES)] * len(MOVES)])
        looks = jax.random.categorical(jax.random.fold_in(noise_key, 1), jnp.log(chance), shape=states.shape)
        views = jnp.concatenate([scenes[None], asides])[looks, states]
    if not (is_concrete(flips) and flips == 0):
        flipped = jax.random.bernoulli(jax.random.fold_in(noise_key, 2), flips, views.shape)
        views = jnp.where(flipped, -views, views)
    return MazeWalk(
        views=views + noise * jax.random.normal(noise_key, views.shape),
        states=states,
        places=jnp.asarray(places),
        initial=initial,
        transition=transition,
        scenes=scenes,
        walls=jnp.asarray(maze),
        times=jnp.linspace(0.0, 1.0, num_steps),
        asides=asides,
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


def _weights(places: np.ndarray, reach: float | None) -> Array:
    """How likely steps are, up to a factor for each row, shape (S, S), symmetric, 0 on the diagonal."""
    from scipy.sparse.csgraph import shortest_path

    neighbours = np.abs(places[:, None] - places).sum(-1) == 1
    if reach is None:
        return jnp.asarray(neighbours, float)
    distance = jnp.asarray(shortest_path(neighbours, unweighted=True), float)
    return jnp.exp(-distance / reach) * (1 - jnp.eye(len(places)))


def _scenes(floor: Array, cells: np.ndarray, visual_field: int) -> Array:
    """The floor around each of some cells, in the maze or beside it, shape (cells, V, V)."""
    around = jnp.pad(floor, visual_field // 2 + 1)
    field = np.arange(visual_field) + 1
    rows, columns = cells[:, 0, None, None] + field[:, None], cells[:, 1, None, None] + field
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
