import colorsys
import math

import jax
import numpy as np
import pytest
from scipy import ndimage

from rpm_jax.datasets import coloured, rotated

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((6, 7, 9))


def test_rotated_images_are_those_of_scipy(images):
    turned, angles = rotated(KEY, images)
    assert turned.shape == images.shape
    assert np.abs(angles).max() <= math.pi
    for image, result, angle in zip(images, turned, angles, strict=True):
        expected = ndimage.rotate(image, math.degrees(angle), reshape=False, order=1, mode="constant")
        inside = ndimage.rotate(np.ones_like(image), math.degrees(angle), reshape=False, order=1) > 0.999
        assert inside.any()
        np.testing.assert_allclose(np.asarray(result)[inside], expected[inside], atol=1e-6)


def test_a_quarter_turn_is_counter_clockwise():
    image = np.zeros((1, 5, 5))
    image[0, 2, 3:] = 1
    turned, angles = jax.vmap(lambda key: rotated(key, image))(jax.random.split(KEY, 400))
    nearest = int(np.argmin(np.abs(np.asarray(angles) - math.pi / 2)))
    assert abs(angles[nearest, 0] - math.pi / 2) < 0.05
    # What pointed right points up.
    np.testing.assert_allclose(turned[nearest, 0], np.rot90(image[0]), atol=0.15)
    assert abs(np.asarray(angles).mean()) < 5 * math.pi / math.sqrt(3 * 400)


def test_no_angle_leaves_images_alone(images):
    turned, angles = rotated(KEY, images, 0.0)
    np.testing.assert_allclose(turned, images, atol=1e-12)
    assert not np.asarray(angles).any()
    assert np.abs(rotated(KEY, images, 0.2)[1]).max() <= 0.2


def test_coloured_images_are_those_of_the_colour_circle(images):
    pictures, hues = coloured(KEY, images)
    assert pictures.shape == (*images.shape, 3)
    for image, picture, hue in zip(images, pictures, np.asarray(hues), strict=True):
        assert 0 <= hue < 2 * math.pi
        for pixel in [(0, 0), (3, 5)]:
            expected = colorsys.hsv_to_rgb(hue / (2 * math.pi), 1.0, image[pixel])
            np.testing.assert_allclose(picture[pixel], expected, atol=1e-12)


def test_hues_cover_the_circle():
    _, hues = coloured(KEY, np.zeros((400, 1, 1)))
    assert np.histogram(hues, 4, (0, 2 * math.pi))[0].min() > 100 - 5 * math.sqrt(75)


@pytest.mark.parametrize("function", [rotated, coloured])
def test_arguments_are_checked(function):
    name = function.__name__
    with pytest.raises(ValueError, match=rf"{name}: images must have shape \(N, H, W\), got \(3, 4\)"):
        function(KEY, np.zeros((3, 4)))
    with pytest.raises(TypeError, match=f"{name}: key must be a random key"):
        function(3, np.zeros((1, 3, 4)))


def test_the_angle_is_not_negative():
    with pytest.raises(ValueError, match="rotated: max_angle must be finite and at least 0, got -1"):
        rotated(KEY, np.zeros((1, 2, 2)), -1)
