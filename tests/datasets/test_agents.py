import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import agents

KEY = jax.random.key(0)
SMALL = functools.partial(agents, num_sequences=3, num_steps=4, image_size=11)


def test_paths_are_stationary_and_smooth():
    """A Matérn-3/2 process: correlation (1 + k (1 − α²)/(1 + α²)) αᵏ at whole times."""
    found = agents(KEY, num_sequences=4000, num_steps=6, num_agents=1, image_size=1, memory=3.0)
    paths = np.asarray(found.positions)[:, :, 0] / 0.35
    alpha = np.exp(-1 / 3)
    for t, k in [(0, 1), (2, 1), (0, 3), (3, 2)]:
        expected = (1 + k * (1 - alpha**2) / (1 + alpha**2)) * alpha**k
        assert abs((paths[:, t] * paths[:, t + k]).mean() - expected) < 0.06
    assert np.abs((paths**2).mean((0, 2)) - 1).max() < 0.08


def test_distances_are_those_to_the_beacons():
    found = SMALL(KEY, distance_noise=0.0, num_beacons=3)
    assert found.distances.shape == (3, 4, 6)
    np.testing.assert_allclose(np.linalg.norm(found.beacons, axis=-1), 1.2)
    for a in range(2):
        for s in range(3):
            apart = np.linalg.norm(found.positions[:, :, a] - found.beacons[s], axis=-1)
            np.testing.assert_allclose(found.distances[:, :, 3 * a + s], apart)
    noisy = SMALL(KEY, num_steps=200, num_beacons=3)
    quiet = SMALL(KEY, num_steps=200, num_beacons=3, distance_noise=0.0)
    assert abs(np.asarray(noisy.distances - quiet.distances).std() - 0.2) < 0.02


def test_agents_are_blobs_of_their_own_brightness():
    found = SMALL(KEY, image_noise=0.0)
    one = SMALL(KEY, image_noise=0.0, num_agents=1)
    pixels = (np.arange(11) - 5) / 5.5

    def blob(place):
        across, down = pixels - place[0], -pixels - place[1]
        return np.exp(-((across**2 + down[:, None] ** 2) * 5.5**2) / (2 * 1.2**2))

    places = np.asarray(found.positions)[1, 2]
    np.testing.assert_allclose(found.images[1, 2], blob(places[0]) + 0.5 * blob(places[1]), atol=1e-6)
    np.testing.assert_allclose(one.images[0, 0], blob(np.asarray(one.positions)[0, 0, 0]), atol=1e-6)
    noise = SMALL(KEY).images - found.images
    assert abs(np.asarray(noise).std() - 0.1) < 0.01


def test_views_states_split_and_vmap():
    found = SMALL(KEY)
    assert found.views[0] is found.images
    assert found.views[1] is found.distances
    assert found.states.shape == (3, 4, 4)
    np.testing.assert_array_equal(found.states[..., 2:], found.positions[:, :, 1])
    first, rest = found.split(2)
    assert [len(first.images), len(rest.distances), len(rest.states)] == [2, 1, 1]
    np.testing.assert_array_equal(rest.beacons, found.beacons)
    mapped = jax.jit(jax.vmap(SMALL))(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(mapped.images[0], found.images, rtol=1e-8, atol=1e-10)
    for steps in (1, 2):
        assert SMALL(KEY, num_steps=steps).images.shape == (3, steps, 11, 11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_agents": 0}, "num_agents must be a positive integer, got 0"),
        ({"memory": 0.0}, "memory must be positive and finite, got 0.0"),
        ({"image_noise": -1.0}, "image_noise must be finite and at least 0, got -1.0"),
        ({"distance_noise": np.inf}, "distance_noise must be finite and at least 0, got inf"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=f"agents: {message}"):
        SMALL(KEY, **options)
