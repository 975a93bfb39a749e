import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import texture_sets

KEY = jax.random.key(0)
STANDARD_ERRORS = 5.0
SMALL = functools.partial(texture_sets, num_sets=3, num_patches=4, num_textures=2, patch_size=5)


@pytest.fixture(scope="module")
def sets():
    return texture_sets(KEY, num_sets=50, num_patches=20, num_textures=10, concentration=0.5)


def test_shapes(sets):
    assert sets.views.shape == (50, 20, 12, 12)
    assert sets.topics.shape == (50, 20)
    assert sets.proportions.shape == (50, 10)
    assert sets.examples.shape == (10, 12, 12)
    assert jnp.issubdtype(sets.topics.dtype, jnp.integer)
    assert jnp.isfinite(sets.views).all()
    np.testing.assert_allclose(sets.proportions.sum(1), 1, rtol=1e-12)


def test_topics_follow_the_proportions(sets):
    topics, proportions = np.asarray(sets.topics), np.asarray(sets.proportions)
    counts = (topics[..., None] == np.arange(10)).sum(1)
    variance = (20 * proportions * (1 - proportions)).sum(0)
    score = (counts - 20 * proportions).sum(0) / np.sqrt(variance)
    assert np.abs(score).max() < STANDARD_ERRORS
    # Sets differ more than chance would have it.
    assert counts.var(0).mean() > 2 * 20 * 0.1 * 0.9


def test_proportions_have_the_moments_of_the_dirichlet(sets):
    # Mean 1/10 and variance 0.1 · 0.9 / (10 · 0.5 + 1) of each.
    assert abs(np.asarray(sets.proportions).var() / 0.015 - 1) < 0.3
    proportions = np.asarray(SMALL(KEY, concentration=[1000.0, 3000.0]).proportions)
    variance = 0.25 * 0.75 / 4001
    assert np.abs(proportions[:, 0] - 0.25).max() < STANDARD_ERRORS * np.sqrt(variance)
    assert len(np.unique(proportions[:, 0])) == 3


def test_patches_differ_but_textures_can_be_told_apart(sets):
    """By the spectrum, which forgets the phase; hardly by the pixels."""
    patches, topics = np.asarray(sets.views).reshape(-1, 12, 12), np.asarray(sets.topics).ravel()
    half = len(topics) // 2
    spectra = np.log(0.1 + np.abs(np.fft.fft2(patches)) ** 2).reshape(len(topics), -1)

    def accuracy(features):
        """Of the nearest mean."""
        means = np.stack([features[:half][topics[:half] == s].mean(0) for s in range(10)])
        nearest = np.argmin(((features[half:, None] - means) ** 2).sum(-1), axis=1)
        return np.mean(nearest == topics[half:])

    assert accuracy(spectra) > 0.8
    assert accuracy(patches.reshape(-1, 144)) < 0.4


def test_no_patch_repeats_even_without_noise():
    correlation = np.corrcoef(np.asarray(SMALL(KEY, noise=0.0).views).reshape(12, -1))
    assert correlation[~np.eye(12, dtype=bool)].max() < 0.9999


def test_stripes_point_where_they_should(sets):
    """Upright stripes vary along a row, lying ones along a column."""
    examples = np.asarray(sets.examples)
    along_rows, along_columns = np.abs(np.diff(examples, axis=2)), np.abs(np.diff(examples, axis=1))
    ratio = along_rows.mean((1, 2)) / along_columns.mean((1, 2))
    assert (ratio[[0, 7]] > 2).all()
    assert (ratio[[3, 9]] < 0.5).all()
    assert np.abs(np.log(ratio[[1, 5, 8]])).max() < np.log(2)


def test_the_scale_of_patches_and_noise():
    quiet, loud = SMALL(KEY, noise=0.0), SMALL(KEY, noise=0.5)
    assert 0.5 < quiet.views.std() < 1.5
    noise = np.asarray(loud.views - quiet.views)
    assert abs(noise.var() - 0.25) < STANDARD_ERRORS * 0.25 * np.sqrt(2 / noise.size)
    assert jnp.array_equal(quiet.examples, loud.examples)


def test_key_jit_and_vmap():
    first, again = SMALL(KEY), SMALL(KEY)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, first, again))
    mapped = jax.jit(jax.vmap(SMALL))(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(mapped.views[0], first.views, rtol=1e-6, atol=1e-8)
    assert not jnp.allclose(mapped.views[1], first.views)


def test_split_parts_the_sets():
    sets = SMALL(KEY)
    first, rest = sets.split(1)
    assert first.views.shape == (1, 4, 5, 5)
    assert rest.topics.shape == (2, 4)
    for name in ("views", "topics", "proportions"):
        joined = jnp.concatenate([getattr(first, name), getattr(rest, name)])
        assert jnp.array_equal(joined, getattr(sets, name)), name
    for number in (0, 3, None):
        with pytest.raises(ValueError, match=rf"TextureSets.split: num_first must .*got {number}"):
            sets.split(number)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_sets": 0}, "num_sets must be a positive integer, got 0"),
        ({"num_patches": -1}, "num_patches must be a positive integer, got -1"),
        ({"num_textures": 11}, "num_textures must be at most 10, got 11"),
        ({"patch_size": 3}, "patch_size must be finite and at least 4, got 3"),
        ({"noise": float("nan")}, "noise must be finite and at least 0, got nan"),
        ({"concentration": 0.0}, "concentration must be positive and finite, got 0.0"),
        ({"concentration": [1.0, 2.0, 3.0]}, r"concentration must be a number or have shape \(2,\), got"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=f"texture_sets: {message}"):
        SMALL(KEY, **options)


def test_the_key_is_checked():
    with pytest.raises(TypeError, match="texture_sets: key must be a random key"):
        SMALL(None)
