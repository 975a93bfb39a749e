"""Figures of how tight a bound is."""

import io

import numpy as np
import pytest

from rpm_jax import plots

RNG = np.random.default_rng(0)
DRAWS = [1, 10, 100]
EXACT = RNG.normal(size=(4, 2))
BOUNDS = EXACT - RNG.uniform(0.1, 0.2, (4, 2))
ESTIMATES = EXACT[..., None] - np.array([0.1, 0.05, 0.01])
ERRORS = np.full((4, 2, 3), 0.01)
PARTS = RNG.uniform(size=(2, 4, 2))


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert len(stream.getvalue()) > 5000


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_estimates_are_relative_to_the_exact_value():
    figure = plots.likelihood_estimates(
        DRAWS, ESTIMATES, ERRORS, BOUNDS, EXACT, ["one", "other"], ["a", "b", "c", "d"]
    )
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", "d"]
    for d, axes in enumerate(figure.axes):
        zero, *lines = axes.lines
        np.testing.assert_array_equal(zero.get_ydata(), 0)
        for m in range(2):
            estimate, bound = lines[2 * m : 2 * m + 2]
            np.testing.assert_allclose(estimate.get_xydata()[:, 0], DRAWS)
            np.testing.assert_allclose(estimate.get_ydata(), [-0.1, -0.05, -0.01])
            np.testing.assert_allclose(bound.get_ydata(), BOUNDS[d, m] - EXACT[d, m])
            band = axes.collections[m].get_paths()[0].vertices[:, 1]
            np.testing.assert_allclose([band.min(), band.max()], [-0.12, 0.01], atol=1e-12)
        assert axes.get_xscale() == "log"
    assert legend(figure) == ["exact log-likelihood", "one", "other", "inner bounds"]
    assert_saves(figure)


def test_parts_of_the_gap_are_stacked():
    figure = plots.gap_parts(*PARTS, names=["one", "other"])
    for d, axes in enumerate(figure.axes):
        lower, upper = axes.containers
        np.testing.assert_allclose([bar.get_width() for bar in lower], PARTS[0, d])
        np.testing.assert_allclose([bar.get_x() for bar in upper], PARTS[0, d])
        np.testing.assert_allclose([bar.get_width() for bar in upper], PARTS[1, d])
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert names == [["one", "other"], ["", ""], ["", ""], ["one", "other"]]
    assert len(legend(figure)) == 2
    assert_saves(figure)


def test_divergences_of_views():
    values = RNG.uniform(size=(1, 3, 2))
    figure = plots.mixture_divergences(values)
    (axes,) = figure.axes
    for j, bars in enumerate(axes.containers):
        np.testing.assert_allclose([bar.get_width() for bar in bars], values[0, :, j])
        centres = [bar.get_y() + bar.get_height() / 2 for bar in bars]
        np.testing.assert_allclose(centres, np.arange(3) + (-0.2, 0.2)[j])
    assert legend(figure) == ["view 1", "view 2"]
    assert_saves(figure)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("likelihood_estimates", ([1], ESTIMATES, ERRORS, BOUNDS, EXACT), r"estimates .* S = 1, got \(4, 2"),
        ("likelihood_estimates", (DRAWS, ESTIMATES, ERRORS, BOUNDS[0], EXACT), r"bounds .* got \(2,\)"),
        (
            "likelihood_estimates",
            (DRAWS, np.ones((1, 7, 3)), np.ones((1, 7, 3)), np.ones((1, 7)), np.ones((1, 7))),
            "estimates must be of at most 6 models, got 7",
        ),
        ("gap_parts", (PARTS[0], PARTS[1, :2]), r"auxiliary_gap must have shape .* got \(2, 2\)"),
        ("gap_parts", (*PARTS, ["a"]), "names must be 2 names, got 1"),
        ("gap_parts", (*PARTS, None, ["a"]), "titles must be 4 names, got 1"),
        ("mixture_divergences", (PARTS[0],), r"divergence must have shape \(D, M, J\), got \(4, 2\)"),
        ("mixture_divergences", (np.ones((1, 1, 7)),), "divergence must be of at most 6 views, got 7"),
    ],
)
def test_messages_name_what_does_not_fit(function, arguments, message):
    with pytest.raises(ValueError, match=f"^{function}: {message}"):
        getattr(plots, function)(*arguments)
