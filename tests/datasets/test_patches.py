import numpy as np
import pytest

from rpm_jax.datasets import image_patches

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_patches_lie_side_by_side(channels):
    images = RNG.normal(size=(2, 7, 9, *channels))
    patches = image_patches(images, 3, 2)
    assert patches.shape == (2, 6, 2, 4, *channels)
    for row in range(3):
        for column in range(2):
            expected = images[:, 2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
            np.testing.assert_array_equal(patches[:, 2 * row + column], expected)
    np.testing.assert_array_equal(image_patches(images, 7)[:, 10], images[:, 1:2, 3:4])


@pytest.mark.parametrize(
    ("shape", "grid", "message"),
    [
        ((2, 3), (1,), r"images must have shape \(N, H, W\) or \(N, H, W, C\), got \(2, 3\)"),
        ((2, 4, 4), (0,), "rows must be a positive integer, got 0"),
        ((2, 4, 5), (2, 6), "rows and columns must be at most 4 and 5, the images' pixels, got 2 and 6"),
    ],
)
def test_arguments_are_checked(shape, grid, message):
    with pytest.raises(ValueError, match=f"image_patches: {message}"):
        image_patches(np.ones(shape), *grid)
