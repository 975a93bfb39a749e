"""Figures of sequences of images."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex

from rpm_jax import plots

IMAGES = np.random.default_rng(0).uniform(size=(3, 4, 5, 6))


def test_images_have_their_names():
    names, true = np.array([["1", "2", "3", "4"]] * 3), np.array([["1", "0", "3", "4"]] * 3)
    figure = plots.image_chains(IMAGES, names, true, num_sequences=2, num_shown=3)
    assert len(figure.axes) == 6
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), IMAGES[1, 1])
    labels = [axes.xaxis.label for axes in figure.axes[:3]]
    assert [label.get_text() for label in labels] == ["1", "2 (0)", "3"]
    assert [to_hex(label.get_color()) for label in labels] == [plots.BLACK, plots.VERMILION, plots.BLACK]
    stream = io.BytesIO()
    plots.image_chains(IMAGES).savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"image_chains: images must have shape \(N, T, H, W\)"):
        plots.image_chains(IMAGES[0])
    with pytest.raises(ValueError, match=r"image_chains: names must have shape \(N, T\) = \(3, 4\), got"):
        plots.image_chains(IMAGES, np.zeros(3))
