"""Figures of eigenvalues, and of errors by horizon."""

import io

import numpy as np
import pytest

from rpm_jax import plots

TRUE = np.array([0.9 + 0.3j, 0.9 - 0.3j, 0.7])


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert len(stream.getvalue()) > 5000


def test_eigenvalues_lie_where_they_are():
    found = {"one": TRUE + 0.01, "other": TRUE[:2]}
    figure = plots.eigenvalues(TRUE, found)
    whole, part = figure.axes
    for axes in (whole, part):
        for drawn, values in zip(axes.collections, [TRUE, *found.values()], strict=True):
            np.testing.assert_allclose(drawn.get_offsets() @ [1, 1j], values)
    assert [text.get_text() for text in part.get_legend().get_texts()] == ["true", "one", "other"]
    (low, high), (bottom, top) = part.get_xlim(), part.get_ylim()
    assert low < 0.7 < 0.91 < high
    assert bottom < 0.0 < 0.3 < top
    assert_saves(figure)


def test_errors_by_horizon():
    figure = plots.error_by_horizon({"forecast": [0.1, 0.2], "persistence": [0.3, 0.4]})
    first, second = figure.axes[0].lines
    np.testing.assert_allclose(first.get_xdata(), [1, 2])
    np.testing.assert_allclose(second.get_ydata(), [0.3, 0.4])
    assert first.get_linewidth() > second.get_linewidth()
    assert_saves(figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.eigenvalues([[1.0]], {"a": [1.0]}), r"eigenvalues: true must have shape \(K,\)"),
        (lambda: plots.eigenvalues([1.0], {}), "eigenvalues: recovered must be of 1 to 2 models, got 0"),
        (lambda: plots.eigenvalues([1.0], {"a": 1.0}), r"recovered\['a'\] must have shape \(K,\)"),
        (lambda: plots.error_by_horizon({}), "error_by_horizon: errors must be of at least one"),
        (
            lambda: plots.error_by_horizon({"a": [1.0], "b": [1.0, 2.0]}),
            r"errors\['b'\] must have shape \(H,\) with H = 1, got \(2,\)",
        ),
    ],
)
def test_shapes_are_checked(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
