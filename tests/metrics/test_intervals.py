"""Shares of truths within intervals."""

import jax
import numpy as np
import pytest

from rpm_jax import metrics


def test_intervals_of_the_true_distribution_cover_their_level():
    generator = np.random.default_rng(0)
    size = 40_000
    mean, deviation = generator.normal(size=size), generator.uniform(0.5, 2, size)
    truth = mean + deviation * generator.normal(size=size)
    levels = (0.3, 0.95)
    found = jax.jit(metrics.interval_coverage, static_argnames="levels")(
        truth, mean, deviation, levels=levels
    )
    tolerance = 5 * np.sqrt(0.25 / size)
    np.testing.assert_allclose(found, levels, atol=tolerance)
    narrow = metrics.interval_coverage(truth, mean, 0.5 * deviation, levels=(0.95,))
    np.testing.assert_allclose(narrow, 0.6729, atol=tolerance)  # Φ(0.98) − Φ(−0.98)


def test_axes_that_are_left_keep_their_coverage():
    mean, deviation = np.zeros((3, 4, 2)), np.ones((3, 4, 2))
    truth = np.broadcast_to(np.array([0.0, 1.0, 2.0, 3.0])[:, None], mean.shape)
    found = metrics.interval_coverage(truth, mean, deviation, levels=(0.5, 0.9, 0.99), axis=(0, 2))
    np.testing.assert_array_equal(found, [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])


def test_draws_have_intervals_between_their_quantiles():
    draws = np.linspace(-1, 1, 201)[:, None, None] * np.array([1.0, 2.0])
    truth = np.array([[0.45, 1.7], [0.7, 0.2]])
    found = metrics.sample_coverage(truth, np.broadcast_to(draws, (201, 2, 2)), levels=(0.5, 0.8), axis=0)
    np.testing.assert_array_equal(found, [[0.5, 0.5], [1.0, 0.5]])
    overall = metrics.sample_coverage(truth, np.broadcast_to(draws, (201, 2, 2)), levels=(0.5,))
    np.testing.assert_array_equal(overall, [0.5])


@pytest.mark.parametrize("levels", [(), (0.0,), (0.5, 1.0), (95,)])
def test_levels_out_of_range(levels):
    with pytest.raises(ValueError, match="interval_coverage: levels must lie between 0 and 1, got"):
        metrics.interval_coverage(np.ones(3), np.ones(3), np.ones(3), levels=levels)


def test_shapes_that_do_not_match():
    with pytest.raises(ValueError, match=r"must have one shape .* got \(3,\), \(3,\) and \(2,\)"):
        metrics.interval_coverage(np.ones(3), np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match=r"samples must have shape .* \(3,\) behind S .* got \(3,\)"):
        metrics.sample_coverage(np.ones(3), np.ones(3))


@pytest.mark.parametrize("place", range(3))
def test_missing_numbers_are_not_outside(place):
    arrays = [np.ones(3), np.ones(3), np.ones(3)]
    arrays[place] = np.array([1.0, np.nan, 1.0])
    name = ["truth", "mean", "standard_deviation"][place]
    with pytest.raises(ValueError, match=f"interval_coverage: {name} must be finite, got 1 NaN"):
        metrics.interval_coverage(*arrays)
    if place < 2:
        truth, draws = (
            (arrays[0], np.ones((4, 3))) if place == 0 else (np.ones(3), arrays[1] * np.ones((4, 3)))
        )
        name = ["truth", "samples"][place]
        with pytest.raises(ValueError, match=f"sample_coverage: {name} must be finite"):
            metrics.sample_coverage(truth, draws)


def test_negative_deviations():
    with pytest.raises(ValueError, match="standard_deviation must be at least 0, got -2"):
        metrics.interval_coverage(np.ones(2), np.ones(2), np.array([1.0, -2.0]))
