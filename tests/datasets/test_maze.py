import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import maze_walk

KEY = jax.random.key(0)
STANDARD_ERRORS = 5.0
SMALL = functools.partial(maze_walk, num_sequences=4, num_steps=6)
CORNER = np.array([[False, False], [True, False]])


@pytest.fixture(scope="module")
def walk():
    return maze_walk(KEY, num_sequences=60, num_steps=80)


def test_shapes(walk):
    assert walk.views.shape == (60, 80, 5, 5)
    assert walk.states.shape == (60, 80)
    assert walk.places.shape == (28, 2)
    assert walk.scenes.shape == (28, 5, 5)
    assert walk.initial.shape == (28,)
    assert walk.transition.shape == (28, 28)
    assert (~np.asarray(walk.walls)).sum() == 28
    assert not np.asarray(walk.walls)[tuple(np.asarray(walk.places).T)].any()
    assert jnp.issubdtype(walk.states.dtype, jnp.integer)
    np.testing.assert_allclose(walk.times, np.linspace(0, 1, 80))


def test_the_transitions_of_a_corner():
    walk = SMALL(KEY, walls=CORNER, stay=0.2)
    assert walk.places.tolist() == [[0, 0], [0, 1], [1, 1]]
    np.testing.assert_allclose(walk.transition, [[0.2, 0.8, 0], [0.4, 0.2, 0.4], [0, 0.8, 0.2]], rtol=1e-12)
    np.testing.assert_allclose(walk.initial, [0.25, 0.5, 0.25], rtol=1e-12)


def test_the_walk_is_stationary(walk):
    np.testing.assert_allclose(walk.transition.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(walk.initial @ walk.transition, walk.initial, rtol=1e-12)
    np.testing.assert_allclose(walk.initial.sum(), 1, rtol=1e-12)


def test_steps_lead_to_neighbours_as_often_as_they_should(walk):
    states, places = np.asarray(walk.states), np.asarray(walk.places)
    distance = np.abs(places[states[:, 1:]] - places[states[:, :-1]]).sum(-1)
    assert distance.max() == 1
    counts = np.zeros((28, 28))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    chance = np.asarray(walk.transition)
    visits = counts.sum(1, keepdims=True)
    deviation = (counts - visits * chance) / np.sqrt(np.maximum(visits * chance * (1 - chance), 1e-12))
    assert np.abs(deviation[chance > 0]).max() < STANDARD_ERRORS
    # Independent walks at their first step follow the initial probabilities.
    many = SMALL(KEY, num_sequences=2000, walls=CORNER).states[:, 0]
    share = np.bincount(many, minlength=3) / 2000
    assert np.abs(share - [0.25, 0.5, 0.25]).max() < STANDARD_ERRORS * np.sqrt(0.25 / 2000)


def test_views_are_scenes_with_noise(walk):
    noise = np.asarray(walk.views - walk.scenes[walk.states])
    assert abs(noise.mean()) < STANDARD_ERRORS / np.sqrt(noise.size)
    assert abs(noise.var() - 1) < STANDARD_ERRORS * np.sqrt(2 / noise.size)
    silent = SMALL(KEY, noise=0.0, visual_field=3)
    assert jnp.array_equal(silent.views, silent.scenes[silent.states])


def test_scenes_show_the_floor_around_a_place(walk):
    floor = np.zeros(walk.walls.shape)
    floor[tuple(np.asarray(walk.places).T)] = walk.scenes[:, 2, 2]
    assert np.unique(floor).size == 29
    around = np.pad(floor, 2)
    for (row, column), scene in zip(np.asarray(walk.places), walk.scenes, strict=True):
        assert np.array_equal(scene, around[row : row + 5, column : column + 5])


def test_single_views_tell_the_place_often_but_not_always(walk):
    """The best there is, Bayes with the scenes known."""
    views = np.asarray(walk.views).reshape(-1, 1, 25)
    distance = ((views - np.asarray(walk.scenes).reshape(28, 25)) ** 2).sum(-1)
    best = np.argmin(0.5 * distance - np.log(walk.initial), axis=1)
    assert 0.7 < np.mean(best == np.asarray(walk.states).ravel()) < 0.95


def test_jumps_are_less_likely_the_farther_they_go():
    """Round the wall: the ends of the corner are two steps apart."""
    walk = SMALL(KEY, walls=CORNER, reach=1.5, stay=0.2)
    weights = np.exp(-np.array([[np.inf, 1, 2], [1, np.inf, 1], [2, 1, np.inf]]) / 1.5)
    step = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(walk.transition, 0.2 * np.eye(3) + 0.8 * step, rtol=1e-6)
    np.testing.assert_allclose(walk.initial, weights.sum(1) / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(walk.initial @ walk.transition, walk.initial, rtol=1e-6)


def test_pixels_are_flipped():
    quiet = SMALL(KEY, num_steps=200, noise=0.0)
    flipped = SMALL(KEY, num_steps=200, noise=0.0, flips=0.3)
    assert jnp.array_equal(flipped.states, quiet.states)
    seen = np.asarray(quiet.views) != 0
    ratio = (np.asarray(flipped.views)[seen] / np.asarray(quiet.views)[seen]).round(6)
    assert set(np.unique(ratio)) == {-1.0, 1.0}
    assert abs((ratio < 0).mean() - 0.3) < STANDARD_ERRORS * np.sqrt(0.21 / ratio.size)


def test_agents_look_aside():
    """The middle of a view is then that of a cell beside."""
    quiet = SMALL(KEY, num_steps=300, noise=0.0, visual_field=3)
    jittered = SMALL(KEY, num_steps=300, noise=0.0, visual_field=3, jitter=0.4)
    assert jnp.array_equal(jittered.states, quiet.states)
    scenes, views = np.asarray(quiet.views), np.asarray(jittered.views)
    same = (views == scenes).all((-2, -1))
    assert abs(same.mean() - 0.6) < STANDARD_ERRORS * np.sqrt(0.24 / same.size)
    beside = np.stack([scenes[..., 0, 1], scenes[..., 2, 1], scenes[..., 1, 0], scenes[..., 1, 2]], axis=-1)
    middle = views[..., 1, 1]
    found = (middle[..., None] == beside)[~same]
    assert found.any(-1).all()
    asides = np.asarray(quiet.asides)[:, np.asarray(quiet.states)]
    assert (views == asides).all((-2, -1)).any(0)[~same].all()


def test_key_jit_and_vmap():
    first, again = SMALL(KEY), SMALL(KEY)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, first, again))
    keys = jnp.stack([KEY, jax.random.key(1)])
    mapped = jax.jit(jax.vmap(SMALL))(keys)
    np.testing.assert_allclose(mapped.views[0], first.views, rtol=1e-10)
    assert not jnp.array_equal(mapped.scenes[1], first.scenes)
    assert jnp.array_equal(mapped.states[0], first.states)


def test_split_keeps_the_maze():
    walk = SMALL(KEY)
    first, rest = walk.split(3)
    assert first.states.shape == (3, 6)
    assert rest.views.shape == (1, 6, 5, 5)
    assert jnp.array_equal(jnp.concatenate([first.views, rest.views]), walk.views)
    assert jnp.array_equal(rest.scenes, walk.scenes)
    for number in (0, 4, 1.5):
        with pytest.raises(ValueError, match=rf"MazeWalk.split: num_first must .*got {number}"):
            walk.split(number)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sequences": 0}, "num_sequences must be a positive integer, got 0"),
        ({"num_steps": 2.5}, "num_steps must be a positive integer, got 2.5"),
        ({"visual_field": 4}, "visual_field must be odd, .*got 4"),
        ({"noise": -1.0}, "noise must be finite and at least 0, got -1.0"),
        ({"flips": 1.5}, "flips must lie between 0 and 1, got 1.5"),
        ({"jitter": -0.1}, "jitter must lie between 0 and 1, got -0.1"),
        ({"reach": 0.0}, "reach must be positive and finite, got 0.0"),
        ({"stay": 1.0}, r"stay must lie in \[0, 1\), got 1.0"),
        ({"walls": np.zeros((3, 3))}, r"walls must be a boolean array .*got shape \(3, 3\) of float64"),
        ({"walls": np.array([[False, True, False]])}, "walls must leave at least two .*got 2 in 2 pieces"),
        ({"walls": np.array([[False, True]])}, "got 1 in 1 pieces"),
        ({"walls": np.ones((2, 2), bool)}, "got 0 in 0 pieces"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=f"maze_walk: {message}|maze_walk: .*{message}"):
        SMALL(KEY, **options)


def test_the_key_is_checked():
    with pytest.raises(TypeError, match="maze_walk: key must be a random key"):
        SMALL(0)
