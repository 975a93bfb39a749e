"""Figures of angles and of graphs on a circle."""

import io

import numpy as np
import pytest

from rpm_jax import plots

RNG = np.random.default_rng(0)
TRUE = np.array([-3.0, -1.0, 0.5, 2.0, 3.1])
FOUND = np.array([3.1, -0.8, 0.4, 2.2, -3.0])
EDGES = np.array([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1], [1, 0, 0, 1, 0]])


def assert_saves(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert len(stream.getvalue()) > 5000


def test_points_stay_near_the_diagonal():
    figure = plots.recovered_angles(TRUE, [FOUND, TRUE], ["model", "baseline"])
    first, second = figure.axes
    points = first.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], np.degrees(TRUE))
    expected = np.degrees(FOUND) + np.array([-360, 0, 0, 0, 360])
    np.testing.assert_allclose(points[:, 1], expected)
    np.testing.assert_allclose(second.collections[0].get_offsets()[:, 1], np.degrees(TRUE))
    assert [axes.get_title() for axes in figure.axes] == ["model", "baseline"]
    assert first.get_ylim()[0] < expected.min()
    assert first.get_ylim()[1] > expected.max()
    many = plots.recovered_angles(TRUE, RNG.uniform(-3, 3, (1, 7, 5)))
    assert many.axes[0].collections[0].get_offsets().shape == (35, 2)
    assert_saves(figure)
    assert_saves(many)


def test_graphs_show_edges_between_the_nodes():
    figure = plots.circle_graphs(EDGES, TRUE, FOUND)
    for axes, angles in zip(figure.axes, (TRUE, FOUND), strict=True):
        lines, nodes = axes.collections
        places = np.column_stack([np.cos(angles), np.sin(angles)])
        np.testing.assert_allclose(nodes.get_offsets(), places)
        np.testing.assert_allclose(nodes.get_array(), TRUE)
        pairs = [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]
        np.testing.assert_allclose(lines.get_segments(), [places[list(pair)] for pair in pairs])
    assert [axes.get_title() for axes in figure.axes] == ["true", "recovered"]
    assert_saves(figure)
    assert_saves(plots.circle_graphs(np.zeros((5, 5)), TRUE, FOUND))


def test_matrices_are_sorted():
    weights = np.arange(25.0).reshape(5, 5)
    figure = plots.sorted_adjacency(weights, TRUE[::-1], FOUND)
    given, true, found, bar = figure.axes
    np.testing.assert_array_equal(given.images[0].get_array(), weights)
    np.testing.assert_array_equal(true.images[0].get_array(), weights[::-1, ::-1])
    order = np.argsort(FOUND)
    np.testing.assert_array_equal(found.images[0].get_array(), weights[order][:, order])
    assert given.images[0].get_clim() == found.images[0].get_clim() == (0, 24)
    assert bar.get_ylabel() == "share of graphs with the edge"
    assert_saves(figure)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("recovered_angles", (EDGES, [FOUND]), r"angles must have shape \(T,\), got \(5, 5\)"),
        ("recovered_angles", (TRUE, [FOUND[:4]]), r"recovered must have shape .* T = 5, got \(1, 1, 4\)"),
        ("recovered_angles", (TRUE, [FOUND], ["a", "b"]), "titles must be 1 names, got 2"),
        ("circle_graphs", (EDGES[:4], TRUE, FOUND), r"adjacency must have shape .* T = 5, got \(4, 5\)"),
        ("circle_graphs", (EDGES, TRUE, FOUND[:2]), r"recovered must have shape .* T = 5, got \(2,\)"),
        ("circle_graphs", (EDGES, TRUE, FOUND, ["a"]), "titles must be 2 names, got 1"),
        ("sorted_adjacency", (EDGES, TRUE, FOUND[:2]), r"recovered must have shape .* T = 5, got \(2,\)"),
        ("sorted_adjacency", (EDGES[0], TRUE, FOUND), r"adjacency must have shape .* T = 5, got \(5,\)"),
    ],
)
def test_messages_name_what_does_not_fit(function, arguments, message):
    with pytest.raises(ValueError, match=f"^{function}: {message}"):
        getattr(plots, function)(*arguments)
