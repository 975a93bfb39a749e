import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpm_jax.datasets import poisson_balls, textured_balls, textured_pixel_moments

SAMPLERS = [poisson_balls, textured_balls]
SMALL = {"num_sequences": 3, "num_steps": 5, "num_pixels": 4}  # compiled once, for most of the tests
STANDARD_ERRORS = 5.0


def assert_sums_to_zero(terms, variances):
    """Sums over sequences and steps, one a pixel, lie within five standard errors of zero."""
    score = np.asarray(terms).sum((0, 1)) / np.sqrt(np.asarray(variances).sum((0, 1)))
    assert np.abs(score).max() < STANDARD_ERRORS, score


def gaussian_moment(mean, variance, order):
    return {
        1: mean,
        2: mean**2 + variance,
        3: mean**3 + 3 * mean * variance,
        4: mean**4 + 6 * mean**2 * variance + 3 * variance**2,
        6: mean**6 + 15 * mean**4 * variance + 45 * mean**2 * variance**2 + 15 * variance**3,
    }[order]


def textured_moment(latent, locations, order, *, width, noise_variance, max_shape):
    distance = np.asarray(locations) - np.asarray(latent)[..., None]
    low = np.sqrt(1 - noise_variance)
    shape = low + (max_shape - low) * np.exp(-(distance**2) / width**2)
    chance = (1 - noise_variance) / (1 - noise_variance + shape**2)
    other = -shape * chance / (1 - chance)
    return chance * gaussian_moment(shape, noise_variance, order) + (1 - chance) * gaussian_moment(
        other, noise_variance, order
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_shapes_and_ranges(sampler):
    balls = sampler(jax.random.key(0), **SMALL)
    assert len(balls.views) == 4
    assert all(view.shape == (3, 5) for view in balls.views)
    assert balls.latent.shape == (3, 5)
    assert balls.stacked.shape == (3, 5, 4)
    assert all(jnp.array_equal(balls.stacked[..., j], view) for j, view in enumerate(balls.views))
    np.testing.assert_allclose(balls.times, np.linspace(0, 1, 5), rtol=1e-6)
    assert jnp.abs(balls.latent).max() <= 1
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(balls))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(balls))


def test_the_defaults_are_those_of_the_reference_experiments():
    for sampler in SAMPLERS:
        views = jax.eval_shape(sampler, jax.random.key(0)).views
        assert [view.shape for view in views] == [(20, 50)] * 10


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_sequence_one_step_one_pixel(sampler):
    balls = sampler(jax.random.key(0), num_sequences=1, num_steps=1, num_pixels=1)
    assert jnp.isfinite(balls.stacked).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_latent_swings_at_the_given_frequency(sampler):
    latent = sampler(jax.random.key(1), sampling_rate=20.0, frequency=1.5, **SMALL).latent
    angle = 2 * np.pi * 1.5 / 20.0
    np.testing.assert_allclose(latent[:, 2:] + latent[:, :-2], 2 * np.cos(angle) * latent[:, 1:-1], atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_phase_is_uniform(sampler):
    latent = sampler(jax.random.key(2), num_sequences=4000, num_steps=2, num_pixels=1).latent
    assert stats.kstest(np.arccos(np.asarray(latent[:, 0])) / np.pi, "uniform").pvalue > 1e-4
    # Both directions of travel are equally likely.
    rising = np.asarray(latent[:, 1] > latent[:, 0])
    assert abs(rising.mean() - 0.5) < STANDARD_ERRORS * 0.5 / np.sqrt(rising.size)


def test_poisson_pixels_have_poisson_moments():
    balls = poisson_balls(
        jax.random.key(3), num_sequences=2000, num_steps=10, num_pixels=6, base_rate=7.0, width=0.8
    )
    locations = np.linspace(-1, 1, 6)
    rate = 7.0 * np.exp(-((locations - np.asarray(balls.latent)[..., None]) ** 2) / 0.8**2)
    np.testing.assert_allclose(balls.expected, rate, rtol=1e-4)
    np.testing.assert_allclose(balls.locations, locations, rtol=1e-6)
    counts = np.asarray(balls.stacked)
    assert np.array_equal(counts, np.round(counts))
    assert counts.min() == 0
    deviation = counts - rate
    assert_sums_to_zero(deviation, rate)
    assert_sums_to_zero(deviation**2 - rate, rate + 2 * rate**2)
    assert_sums_to_zero(deviation**3 - rate, 15 * rate**3 + 24 * rate**2 + rate)


@pytest.mark.parametrize(
    "texture",
    [
        {"width": 0.5, "noise_variance": 0.1, "max_shape": 3.0},
        {"width": 0.15, "noise_variance": 0.01, "max_shape": 5.0},
        {"width": 1.0, "noise_variance": 0.75, "max_shape": 0.5},
    ],
)
def test_textured_pixels_have_the_moments_of_the_mixture(texture):
    balls = textured_balls(jax.random.key(4), num_sequences=2000, num_steps=10, num_pixels=6, **texture)
    pixels = np.asarray(balls.stacked)
    moments = textured_pixel_moments(balls.latent, balls.locations, **texture)
    moment = functools.partial(textured_moment, balls.latent, balls.locations, **texture)
    assert_sums_to_zero(pixels - moments.mean, moments.variance)
    assert_sums_to_zero(pixels**2 - moments.variance, moment(4) - 1)
    assert_sums_to_zero(pixels**3 - moments.third, moment(6) - moment(3) ** 2)


@pytest.mark.parametrize("max_shape", [1.5, 30.0, 1000.0])
def test_the_formulas_of_the_moments_are_those_of_the_mixture(max_shape):
    texture = {"width": 0.3, "noise_variance": 0.05, "max_shape": max_shape}
    latent, locations = jnp.linspace(-1, 1, 9).reshape(3, 3), jnp.linspace(-1.0, 1.0, 5)
    moments = textured_pixel_moments(latent, locations, **texture)
    assert all(m.shape == (3, 3, 5) for m in moments)
    for order, value in enumerate(moments, start=1):
        expected = textured_moment(latent, locations, order, **texture)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)


def test_textured_pixels_span_the_latent_and_show_the_ball_as_a_calm_place():
    balls = textured_balls(jax.random.key(5), num_sequences=50)
    np.testing.assert_allclose(balls.locations[0], balls.latent.min(), rtol=1e-6)
    np.testing.assert_allclose(balls.locations[-1], balls.latent.max(), rtol=1e-6)
    assert balls.expected is None
    distance = np.abs(np.asarray(balls.locations - balls.latent[..., None]))
    pixels = np.asarray(balls.stacked)
    assert np.median(np.abs(pixels[distance < 0.05])) < 0.2
    assert abs(np.median(np.abs(pixels[distance > 1.0])) - np.sqrt(0.99)) < 0.05


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_key_determines_the_data(sampler):
    small = functools.partial(sampler, **SMALL)
    first, again, other = (small(jax.random.key(seed)) for seed in (0, 0, 1))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, first, again))
    assert not jnp.array_equal(first.latent, other.latent)
    assert not jnp.array_equal(first.stacked, other.stacked)
    old_style = small(jax.random.PRNGKey(0))
    assert jnp.array_equal(first.stacked, old_style.stacked)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_jit_and_vmap_over_keys(sampler):
    small = functools.partial(sampler, **SMALL)
    keys = jax.random.split(jax.random.key(0), 2)
    mapped = jax.jit(jax.vmap(small))(keys)
    assert mapped.stacked.shape == (2, 3, 5, 4)
    first, rest = mapped.split(1)
    assert first.stacked.shape == (2, 1, 5, 4)
    assert rest.latent.shape == (2, 2, 5)
    for i, key in enumerate(keys):
        single = jax.tree.map(lambda leaf, i=i: leaf[i], mapped)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), single, small(key))


def test_scales_may_be_traced():
    key = jax.random.key(0)
    rates = jax.vmap(lambda width: poisson_balls(key, width=width, **SMALL).expected)(jnp.array([0.3, 0.6]))
    np.testing.assert_allclose(rates[1], poisson_balls(key, **SMALL).expected, rtol=1e-5)
    shapes = jax.jit(lambda v, s: textured_balls(key, noise_variance=v, max_shape=s, **SMALL).stacked)(
        0.02, 9.0
    )
    assert jnp.isfinite(shapes).all()


def test_split_parts_the_sequences():
    balls = poisson_balls(jax.random.key(0), **SMALL)
    first, rest = balls.split(2)
    assert first.latent.shape == (2, 5)
    assert rest.latent.shape == (1, 5)
    for name in ("stacked", "latent", "expected"):
        joined = jnp.concatenate([getattr(first, name), getattr(rest, name)])
        assert jnp.array_equal(joined, getattr(balls, name)), name
    assert jnp.array_equal(rest.times, balls.times)
    assert textured_balls(jax.random.key(0), **SMALL).split(1)[0].expected is None


@pytest.mark.parametrize("num_first", [0, -1, 3, 7, 2.0])
def test_split_leaves_no_part_empty(num_first):
    balls = poisson_balls(jax.random.key(0), **SMALL)
    with pytest.raises(ValueError, match=rf"BouncingBalls.split: num_first must.*{num_first}"):
        balls.split(num_first)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("size", ["num_sequences", "num_steps", "num_pixels"])
@pytest.mark.parametrize("value", [0, -3, 2.5, True, None])
def test_sizes_are_positive_integers(sampler, size, value):
    message = rf"{sampler.__name__}: {size} must be a positive integer, got {value!r}"
    with pytest.raises(ValueError, match=message):
        sampler(jax.random.key(0), **{size: value})


@pytest.mark.parametrize(
    ("sampler", "scale"),
    [(s, scale) for s in SAMPLERS for scale in ("sampling_rate", "frequency", "width")]
    + [(poisson_balls, "base_rate"), (textured_balls, "noise_variance"), (textured_balls, "max_shape")],
)
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_scales_are_positive(sampler, scale, value):
    with pytest.raises(ValueError, match=rf"{sampler.__name__}: {scale} must be positive and finite, got"):
        sampler(jax.random.key(0), **{scale: value})


def test_the_noise_leaves_room_for_the_shape():
    with pytest.raises(ValueError, match=r"noise_variance must lie between 0 and 1, got 1\.0"):
        textured_balls(jax.random.key(0), noise_variance=1.0)
    with pytest.raises(ValueError, match=r"max_shape must be at least .* = 0\.995.*got 0\.5"):
        textured_pixel_moments(jnp.zeros(2), jnp.zeros(2), max_shape=0.5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (0, TypeError, r"key must be one random key.*got 0 of type int"),
        (None, TypeError, r"got None of type NoneType"),
        (jnp.zeros(2), TypeError, r"got an array of float\d+ and shape \(2,\)"),
        (jax.random.split(jax.random.key(0), 3), ValueError, r"got keys of shape \(3,\); use jax.vmap"),
    ],
)
def test_the_key_is_one_random_key(sampler, key, error, message):
    with pytest.raises(error, match=message):
        sampler(key)
