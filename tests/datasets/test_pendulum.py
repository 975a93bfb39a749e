import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import pendulum

KEY = jax.random.key(0)
SMALL = functools.partial(pendulum, num_sequences=3, num_steps=5, image_size=12)
FREE = functools.partial(SMALL, torque=0.0, damping=0.0, noise=0.0)


def energy(films, frequency=0.5):
    stiffness = (2 * np.pi * frequency) ** 2
    return np.asarray(films.velocity**2 / 2 - stiffness * jnp.cos(films.angle))


def test_energy_is_kept_without_torque_and_damping():
    films = FREE(KEY, num_steps=200)
    total = energy(films)
    np.testing.assert_allclose(total, np.broadcast_to(total[:, :1], total.shape), atol=1e-3)
    damped = energy(FREE(KEY, num_steps=200, damping=0.3))
    assert (damped[:, -1] < damped[:, 0]).all()


def test_small_swings_have_their_frequency():
    films = FREE(KEY, num_steps=41, frequency=0.25, largest_angle=0.01)
    np.testing.assert_allclose(films.times[-1], 4.0)
    np.testing.assert_allclose(films.angle[:, -1], films.angle[:, 0], rtol=1e-3)  # one full swing
    np.testing.assert_allclose(films.angle[:, 20], -films.angle[:, 0], rtol=1e-3)


def test_the_torque_moves_a_frame_to_the_next():
    """Hanging still, a torque u for a short Δ makes the velocity u Δ."""
    films = SMALL(KEY, largest_angle=1e-6, damping=0.0, step=0.001, num_sequences=50)
    np.testing.assert_allclose(films.velocity[:, 1], films.torque[:, 0] * 0.001, rtol=1e-3, atol=1e-7)
    many = np.asarray(SMALL(KEY, num_sequences=4000, torque=3.0, image_size=1).torque)
    np.testing.assert_allclose(many.std(0), 3.0, rtol=0.06)
    assert abs(np.corrcoef(many[:, 2], many[:, 3])[0, 1] - 0.8) < 0.05


def test_the_blob_is_where_the_pendulum_is():
    films = FREE(KEY, distractor=0.0, image_size=21)
    frames, pixels = np.asarray(films.views[0]), np.arange(21) - 10
    weight = frames.sum((-2, -1))
    across = (frames.sum(-2) @ pixels) / weight / 10.5
    up = -(frames.sum(-1) @ pixels) / weight / 10.5
    np.testing.assert_allclose(across, 0.62 * np.sin(films.angle), atol=0.02)
    np.testing.assert_allclose(up, -0.62 * np.cos(films.angle), atol=0.02)
    np.testing.assert_allclose(frames.max((-2, -1)), 1.0, atol=0.17)


def test_cameras_share_the_pendulum_alone():
    films = SMALL(KEY, num_views=2, noise=0.0, image_size=21)
    alone = SMALL(KEY, num_views=2, noise=0.0, image_size=21, distractor=0.0)
    np.testing.assert_allclose(alone.views[0], alone.views[1])
    for j in range(2):
        left = np.asarray(films.views[j] - alone.views[j])
        rows, columns = np.unravel_index(left.reshape(3, 5, -1).argmax(-1), (21, 21))
        found = np.stack([columns - 10, 10 - rows], axis=-1) / 10.5
        np.testing.assert_allclose(found, films.distractors[:, :, j], atol=0.06)
    assert np.abs(np.asarray(films.distractors[:, :, 0] - films.distractors[:, :, 1])).max() > 0.2


def test_distractors_walk_and_are_reflected():
    films = SMALL(KEY, num_steps=400, image_size=1, distractor_speed=1.0)
    walk = np.asarray(films.distractors)
    assert np.abs(walk).max() <= 1
    moves = np.diff(walk, axis=1)
    inside = np.abs(walk[:, :-1]) < 0.2
    assert abs(moves[inside].std() - np.sqrt(0.1)) < 0.03
    still = SMALL(KEY, distractor_speed=0.0).distractors
    np.testing.assert_allclose(still, np.broadcast_to(still[:, :1], still.shape), atol=1e-12)


def test_noise_and_states():
    films = SMALL(KEY, num_steps=50, noise=0.1)
    left = np.asarray(films.views[0] - SMALL(KEY, num_steps=50, noise=0.0).views[0])
    assert abs(left.std() - 0.1) < 0.005
    expected = [np.sin(films.angle), np.cos(films.angle), films.velocity]
    np.testing.assert_allclose(films.states, np.stack(expected, axis=-1))


def test_key_jit_vmap_and_split():
    films = SMALL(KEY, num_views=2)
    mapped = jax.jit(jax.vmap(functools.partial(SMALL, num_views=2)))(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(mapped.views[1][0], films.views[1], rtol=1e-8, atol=1e-10)
    first, rest = films.split(1)
    assert [len(first.torque), len(rest.views[1]), len(rest.distractors)] == [1, 2, 2]
    np.testing.assert_array_equal(rest.angle, films.angle[1:])
    np.testing.assert_array_equal(rest.times, films.times)
    with pytest.raises(ValueError, match=r"Pendulum.split: num_first must .*got 3"):
        films.split(3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_views": 0}, "num_views must be a positive integer, got 0"),
        ({"step": 0.0}, "step must be positive and finite, got 0.0"),
        ({"noise": -1.0}, "noise must be finite and at least 0, got -1.0"),
        ({"largest_angle": 4.0}, r"largest_angle must lie in \(0, π\], got 4.0"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=f"pendulum: {message}"):
        SMALL(KEY, **options)
