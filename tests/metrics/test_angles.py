"""Angles up to rotation and reflection, against brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.metrics import align_angles, angular_distance, circular_correlation, mean_angular_error

RNG = np.random.default_rng(0)
TRUE = RNG.uniform(-np.pi, np.pi, (5, 4))
NOISY = TRUE + 0.4 * RNG.normal(size=TRUE.shape)


def distance(first, second):
    """Round the circle, by trying all turns."""
    return np.min([np.abs(first - second + 2 * np.pi * turns) for turns in range(-3, 4)], axis=0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rotation", [0.0, 2.5, -4.0])
def test_rotations_and_reflections_are_undone(sign, rotation):
    recovered = sign * (TRUE - rotation) + 6 * np.pi
    aligned = align_angles(TRUE, recovered)
    assert aligned.reflection == sign
    np.testing.assert_allclose(distance(aligned.angles, TRUE), 0.0, atol=1e-12)
    np.testing.assert_allclose(aligned.apply(recovered[:2]), aligned.angles[:2])
    assert np.abs(aligned.angles).max() <= np.pi
    assert mean_angular_error(TRUE, recovered) < 1e-12
    np.testing.assert_allclose(circular_correlation(TRUE, recovered), sign, rtol=1e-12)


def test_alignment_has_the_largest_mean_cosine():
    recovered = 1.0 - NOISY
    aligned = align_angles(TRUE, recovered)
    reached = np.mean(np.cos(aligned.angles - TRUE))
    grid = np.linspace(-np.pi, np.pi, 2001)
    for sign in (1, -1):
        others = np.cos(sign * recovered.ravel() + grid[:, None] - TRUE.ravel()).mean(-1)
        assert others.max() <= reached + 1e-12
        assert sign == 1 or others.max() > reached - 1e-5
    expected = distance(np.asarray(aligned.angles), TRUE).mean()
    np.testing.assert_allclose(mean_angular_error(TRUE, recovered), expected, rtol=1e-12)


def test_correlation_is_the_double_sum():
    pairs = list(itertools.combinations(range(TRUE.size), 2))
    first, second = (np.array([np.sin(a[i] - a[j]) for i, j in pairs]) for a in (TRUE.ravel(), NOISY.ravel()))
    expected = np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2))
    np.testing.assert_allclose(circular_correlation(TRUE, NOISY), expected, rtol=1e-12)
    assert np.isnan(circular_correlation(TRUE, np.zeros_like(TRUE)))


def test_independent_angles_are_no_better_than_chance():
    true, found = RNG.uniform(-np.pi, np.pi, (2, 4000))
    assert 0.95 * np.pi / 2 < mean_angular_error(true, found) <= np.pi / 2
    assert abs(circular_correlation(true, found)) < 0.1


def test_distances_go_the_short_way_round():
    np.testing.assert_allclose(angular_distance([3.0, 0.1], [-3.0, -0.1]), [2 * np.pi - 6, 0.2], rtol=1e-12)
    np.testing.assert_allclose(angular_distance(TRUE, 5.0), distance(TRUE, 5.0), rtol=1e-12)


def test_jit_and_vmap():
    recovered = jnp.stack([NOISY, -NOISY])
    errors = jax.jit(jax.vmap(mean_angular_error, (None, 0)))(TRUE, recovered)
    np.testing.assert_allclose(errors, mean_angular_error(TRUE, NOISY), rtol=1e-12)


@pytest.mark.parametrize("function", [align_angles, mean_angular_error, circular_correlation])
@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (3, 2)), ((0,), (0,))])
def test_shapes_that_do_not_match(function, shapes):
    message = rf"{function.__name__}: angles and recovered must have the same shape and not be empty, got \("
    with pytest.raises(ValueError, match=message):
        function(*map(np.zeros, shapes))
