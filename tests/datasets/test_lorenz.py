"""Spikes of neurons on the Lorenz attractor: the paths, the rates, the counts."""

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from rpm_jax.datasets import lorenz_spikes
from rpm_jax.datasets._lorenz import _paths


@pytest.fixture(scope="module")
def spikes():
    return lorenz_spikes(
        jax.random.key(0), num_sequences=60, num_steps=50, num_neurons=11, num_groups=3, base_rate=2.0
    )


def velocity(_, state):
    x, y, z = state
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


def test_paths_solve_the_equations():
    """Against an integrator of high order, over a time in which the attractor multiplies errors by 20."""
    paths = np.asarray(_paths(jax.random.key(1), 3, 40, 0.02))
    for path in paths:
        times = 0.02 * np.arange(40)
        exact = solve_ivp(velocity, (0, times[-1]), path[0], "DOP853", times, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(path, exact.y.T, atol=1e-3)


def test_paths_are_on_the_attractor():
    """Moments of the attractor: x, y of mean 0, z of mean 23.5; standard deviations 7.9, 9.0, 8.6."""
    paths = np.asarray(_paths(jax.random.key(2), 300, 30, 0.1)).reshape(-1, 3)
    np.testing.assert_allclose(paths.mean(0), [0, 0, 23.55], atol=1.0)
    np.testing.assert_allclose(paths.std(0), [7.92, 9.01, 8.62], rtol=0.06)


def test_shapes_and_scales(spikes):
    assert [view.shape for view in spikes.views] == [(60, 50, 4), (60, 50, 4), (60, 50, 3)]
    assert spikes.counts.shape == spikes.rates.shape == (60, 50, 11)
    np.testing.assert_allclose(np.mean(spikes.states, (0, 1)), 0, atol=1e-10)
    np.testing.assert_allclose(np.std(spikes.states, (0, 1)), 1)
    np.testing.assert_allclose(np.linalg.norm(spikes.weights, axis=0), 0.7)
    np.testing.assert_allclose(spikes.times, 0.02 * np.arange(50))


def test_rates_are_log_linear_and_counts_poisson(spikes):
    rates = 2.0 * np.exp(np.asarray(spikes.states) @ np.asarray(spikes.weights) - 0.5 * 0.7**2)
    np.testing.assert_allclose(spikes.rates, rates)
    counts = np.asarray(spikes.counts)
    np.testing.assert_array_equal(counts, np.round(counts))
    residual = (counts - rates) / np.sqrt(rates)
    size = residual.size
    assert abs(residual.mean()) < 5 / np.sqrt(size)
    assert abs((residual**2).mean() - 1) < 5 * np.sqrt((2 + 1 / rates).mean() / size)


def test_the_key_decides(spikes):
    options = {"num_sequences": 2, "num_steps": 3, "num_neurons": 4, "num_groups": 2}
    first, again = (lorenz_spikes(jax.random.key(3), **options) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = lorenz_spikes(jax.random.key(4), **options)
    assert not np.allclose(first.states, other.states)
    assert not np.allclose(first.weights, other.weights)
    mapped = jax.jit(jax.vmap(lambda key: lorenz_spikes(key, **options)))(jax.random.split(jax.random.key(5)))
    assert mapped.views[0].shape == (2, 2, 3, 2)


def test_parts_are_of_the_same_neurons(spikes):
    first, second = spikes.split(45)
    np.testing.assert_array_equal(np.concatenate([first.counts, second.counts]), spikes.counts)
    np.testing.assert_array_equal(np.concatenate([first.states, second.states]), spikes.states)
    assert first.weights is spikes.weights
    assert second.views[2].shape == (15, 50, 3)
    with pytest.raises(ValueError, match=r"LorenzSpikes.split: num_first must be less than the 60 paths"):
        spikes.split(60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a positive integer, got 0"),
        ({"num_groups": 201}, "num_groups must be at most num_neurons = 200, got 201"),
        ({"step": 0.0}, "step must be positive and finite, got 0.0"),
        ({"base_rate": -1.0}, "base_rate must be positive and finite, got -1.0"),
        ({"modulation": float("nan")}, "modulation must be positive and finite, got nan"),
    ],
)
def test_messages(options, message):
    with pytest.raises(ValueError, match=f"lorenz_spikes: {message}"):
        lorenz_spikes(jax.random.key(0), **options)
