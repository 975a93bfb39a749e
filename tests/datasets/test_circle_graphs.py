import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import circle_edge_probability, circle_graphs

KEY = jax.random.key(0)
SMALL = functools.partial(circle_graphs, num_graphs=3, num_nodes=4)


@pytest.fixture(scope="module")
def graphs():
    return circle_graphs(KEY, num_graphs=400, num_nodes=12, num_views=3)


def test_graphs_are_simple(graphs):
    assert len(graphs.views) == 3
    assert graphs.probabilities.shape == (12, 12)
    for view in graphs.views:
        assert view.shape == (400, 12, 12)
        assert set(np.unique(view)) == {0.0, 1.0}
        np.testing.assert_array_equal(view, np.swapaxes(view, 1, 2))
        assert not np.diagonal(view, axis1=1, axis2=2).any()


def test_edges_have_their_probabilities(graphs):
    expected = np.asarray(graphs.probabilities)
    difference = np.asarray(graphs.angles)[:, None] - np.asarray(graphs.angles)
    bump = 0.02 + 0.68 * np.exp((np.cos(difference) - 1) / 0.25)
    np.testing.assert_allclose(expected, bump * (1 - np.eye(12)), rtol=1e-12)
    for view in graphs.views:
        error = np.sqrt(expected * (1 - expected) / 400)
        assert np.abs((np.asarray(view).mean(0) - expected) / np.where(error > 0, error, 1)).max() < 5


def test_edges_are_independent_of_view_and_graph(graphs):
    upper = np.triu_indices(12, 1)
    centred = [np.asarray(view - graphs.probabilities)[:, *upper] for view in graphs.views]
    scale = np.asarray(graphs.probabilities * (1 - graphs.probabilities))[upper].sum()
    pairs = [(centred[0], centred[1]), (centred[1], centred[2]), (centred[0], np.roll(centred[0], 1, 0))]
    for first, second in pairs:
        products = (first * second).sum(-1) / scale
        assert abs(products.mean()) < 5 * products.std() / np.sqrt(400)


def test_stratified_angles_fill_the_circle():
    angles = np.asarray(SMALL(KEY, num_nodes=40).angles)
    assert np.abs(angles).max() <= np.pi
    arcs = np.floor((np.pi - angles) / (2 * np.pi) * 40).astype(int)
    assert sorted(arcs) == list(range(40))
    assert np.abs(np.corrcoef(arcs, np.arange(40))[0, 1]) < 0.6
    independent = np.asarray(SMALL(KEY, num_nodes=40, spacing="independent").angles)
    assert len(set(np.floor(independent / (2 * np.pi) * 40))) < 35


def test_edge_probability_falls_with_distance():
    probability = circle_edge_probability(np.linspace(0, np.pi, 20), width=0.3, peak=0.9, background=0.1)
    assert (np.diff(probability) < 0).all()
    np.testing.assert_allclose(probability[0], 0.9)
    # Near 0 a bump of standard deviation w.
    near = (circle_edge_probability(0.05, width=0.5) - 0.02) / 0.68
    np.testing.assert_allclose(near, np.exp(-0.5 * 0.05**2 / 0.25), rtol=1e-5)


def test_split_parts_the_graphs_and_keeps_the_nodes():
    graphs = SMALL(KEY)
    first, rest = graphs.split(2)
    assert [len(first.views[0]), len(rest.views[1])] == [2, 1]
    for j in range(2):
        joined = jnp.concatenate([first.views[j], rest.views[j]])
        np.testing.assert_array_equal(joined, graphs.views[j])
    np.testing.assert_array_equal(first.angles, rest.angles)
    for number in (0, 3, None):
        with pytest.raises(ValueError, match=rf"CircleGraphs.split: num_first must .*got {number}"):
            graphs.split(number)


def test_key_jit_and_vmap():
    first, again = SMALL(KEY), SMALL(KEY)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, first, again))
    mapped = jax.jit(jax.vmap(SMALL))(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_array_equal(mapped.views[1][0], first.views[1])
    assert not jnp.allclose(mapped.angles[1], first.angles)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_graphs": 0}, "num_graphs must be a positive integer, got 0"),
        ({"num_nodes": -1}, "num_nodes must be a positive integer, got -1"),
        ({"num_views": 1.5}, "num_views must be a positive integer, got 1.5"),
        ({"width": 0.0}, "width must be positive and finite, got 0.0"),
        ({"peak": 1.1}, "peak and background must be probabilities, .* got 1.1 and 0.02"),
        ({"background": 0.8}, "peak and background must be probabilities, .* got 0.7 and 0.8"),
        ({"spacing": "even"}, "spacing must be one of 'stratified', 'independent', got 'even'"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=f"circle_graphs: {message}"):
        SMALL(KEY, **options)


def test_the_key_is_checked():
    with pytest.raises(TypeError, match="circle_graphs: key must be a random key"):
        SMALL(None)
    with pytest.raises(ValueError, match="circle_edge_probability: width must be positive"):
        circle_edge_probability(0.1, width=-1.0)
