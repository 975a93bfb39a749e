import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import linear_system

KEY = jax.random.key(0)
SMALL = functools.partial(linear_system, num_sequences=4, num_steps=5)


@pytest.fixture(scope="module", params=[0, 1, 2, 4], ids="inputs {}".format)
def system(request):
    return linear_system(
        KEY, num_sequences=2000, num_steps=6, num_latents=3, num_views=2, num_inputs=request.param
    )


def test_eigenvalues_rotate_and_decay():
    for size in (1, 2, 4, 5):
        system = SMALL(KEY, num_latents=size, radius=(0.8, 0.9), angle=(0.3, 0.5))
        values = np.linalg.eigvals(np.asarray(system.transition))
        assert ((np.abs(values) > 0.8) & (np.abs(values) < 0.9)).all()
        angles = np.sort(np.abs(np.angle(values)))
        assert (angles[size % 2 :] > 0.3).all()
        assert (angles < 0.5).all()
        np.testing.assert_allclose(angles[: size % 2], 0, atol=1e-12)
    fixed = SMALL(KEY, radius=(0.98, 0.98), angle=(0.5, 0.5)).transition
    np.testing.assert_allclose(np.linalg.eigvals(fixed)[0], 0.98 * np.exp(0.5j), rtol=1e-9)


def test_the_system_is_stationary(system):
    """A Aᵀ + B Bᵀ + Q = I, and the states have this covariance at every step."""
    transition, noise = np.asarray(system.transition), np.asarray(system.noise_covariance)
    total = transition @ transition.T + noise
    if system.inputs is not None:
        total = total + system.input_matrix @ system.input_matrix.T
    np.testing.assert_allclose(total, np.eye(3), atol=1e-12)
    assert np.linalg.eigvalsh(noise).min() > 0
    for t in range(6):
        states = np.asarray(system.states)[:, t]
        assert np.abs(states.mean(0)).max() < 5 / np.sqrt(2000)
        assert np.abs(states.T @ states / 2000 - np.eye(3)).max() < 5 * np.sqrt(2 / 2000)


def test_states_follow_the_equation(system):
    """What is left of a step has covariance Q and does not depend on states or inputs before."""
    states, inputs = np.asarray(system.states), system.inputs
    left = states[:, 1:] - states[:, :-1] @ np.asarray(system.transition).T
    before = [states[:, :-1]]
    if inputs is not None:
        assert inputs.shape[:2] == (2000, 6)
        left = left - np.asarray(inputs)[:, :-1] @ np.asarray(system.input_matrix).T
        before.append(np.asarray(inputs)[:, :-1])
    left, before = left.reshape(-1, 3), np.concatenate(before, axis=-1).reshape(10000, -1)
    covariance = np.asarray(system.noise_covariance)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(left.T @ left / 10000 - covariance) / scale).max() < 5 * np.sqrt(2 / 10000)
    assert np.abs(left.T @ before / 10000 / np.sqrt(np.diag(covariance))[:, None]).max() < 0.05


def test_views_are_noisy_images_of_the_states(system):
    assert len(system.views) == 2
    for view, expected in zip(system.views, system.expected, strict=True):
        assert view.shape == (2000, 6, 8)
        left = np.asarray(view - expected)
        assert abs(left.std() - 0.3) < 0.01
        fit = np.linalg.lstsq(system.states.reshape(-1, 3), expected.reshape(-1, 8))[0]
        np.testing.assert_allclose(np.asarray(system.states) @ fit, expected, atol=1e-9)
    assert np.abs(np.asarray(system.expected[0] - system.expected[1])).max() > 0.1


def test_networks_of_sensors_are_not_linear():
    system = SMALL(KEY, num_sequences=300, sensors="network", num_views=2)
    for expected in system.expected:
        flat, states = np.asarray(expected).reshape(-1, 8), np.asarray(system.states).reshape(-1, 2)
        assert 0.2 < flat.std() < 2
        design = np.concatenate([states, np.ones((len(states), 1))], axis=1)
        left = flat - design @ np.linalg.lstsq(design, flat)[0]
        assert (left.std(0) / flat.std(0)).max() > 0.2


def test_inputs_take_their_share():
    for share in (0.0, 0.5, 1.0):
        system = SMALL(KEY, num_inputs=2, input_share=share)
        driven = system.input_matrix @ system.input_matrix.T
        new = np.eye(2) - system.transition @ system.transition.T
        np.testing.assert_allclose(driven, share * new, atol=1e-12)


def test_key_jit_and_vmap():
    first = SMALL(KEY, num_inputs=1)
    mapped = jax.jit(jax.vmap(functools.partial(SMALL, num_inputs=1)))(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(mapped.states[0], first.states, rtol=1e-8, atol=1e-10)
    assert not np.allclose(mapped.transition[1], first.transition)


def test_split_keeps_the_system():
    system = SMALL(KEY, num_inputs=1)
    first, rest = system.split(3)
    assert len(first.views[0]) == len(first.inputs) == 3
    for field in ("states", "inputs"):
        joined = jnp.concatenate([getattr(first, field), getattr(rest, field)])
        np.testing.assert_array_equal(joined, getattr(system, field))
    np.testing.assert_array_equal(rest.transition, system.transition)
    assert SMALL(KEY).split(1)[0].inputs is None
    for number in (0, 4, 1.5):
        with pytest.raises(ValueError, match=rf"LinearSystem.split: num_first must .*got {number}"):
            system.split(number)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_latents": 0}, "num_latents must be a positive integer, got 0"),
        ({"num_inputs": -1}, "num_inputs must be a positive integer, got -1"),
        ({"input_share": 1.5}, "input_share must lie between 0 and 1, got 1.5"),
        ({"radius": (0.5, 1.0)}, r"radius must be two finite numbers in \[0, 1\), the smaller first"),
        ({"radius": (0.9, 0.5)}, "radius must be two finite numbers"),
        ({"angle": 0.5}, "angle must be two finite numbers, the smaller first, got 0.5"),
        ({"sensors": "cubic"}, "sensors must be one of 'linear', 'network', got 'cubic'"),
        ({"noise": -1.0}, "noise must be finite and at least 0, got -1.0"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=f"linear_system: {message}"):
        SMALL(KEY, **options)
