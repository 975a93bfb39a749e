"""Message passing over graphs, against sums over walks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import networks

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
T = 6


def graphs(number):
    above = np.triu(RNG.random((number, T, T)) < 0.5, 1)
    return jnp.asarray((above | above.swapaxes(1, 2)).astype(float))


def test_normalised_adjacency():
    adjacency = np.array(graphs(1)[0])
    adjacency[0], adjacency[:, 0] = 0, 0
    degree = adjacency.sum(0)
    expected = np.zeros((T, T))
    for i, k in np.argwhere(adjacency):
        expected[i, k] = 1 / np.sqrt(degree[i] * degree[k])
    loops = adjacency + np.diag(RNG.random(T))
    np.testing.assert_allclose(networks.normalised_adjacency(jnp.asarray(loops)), expected, rtol=1e-12)
    gradient = jax.grad(lambda a: jnp.sum(networks.normalised_adjacency(a) ** 2))(jnp.asarray(adjacency))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_outputs_are_of_sums_over_walks(rounds):
    """Walks of 1..R steps that end at another node, each with the product of its edges' weights."""
    network = networks.GraphNetwork((5,), 2 * T, num_features=3, num_rounds=rounds)
    inputs = graphs(2)
    params = network.init(KEY, inputs)
    outputs = network.apply(params, inputs)
    assert outputs.shape == (2, T, 2)
    embedding = np.asarray(params["params"]["embedding"])
    for n, weights in enumerate(np.asarray(networks.normalised_adjacency(inputs))):
        received = np.zeros((rounds, T, 3))
        for length in range(1, rounds + 1):
            for walk in itertools.product(range(T), repeat=length + 1):
                if walk[0] != walk[-1]:
                    weight = np.prod([weights[i, k] for i, k in itertools.pairwise(walk)])
                    received[length - 1, walk[0]] += np.sqrt(T) * weight * embedding[walk[-1]]
        features = jnp.asarray(np.concatenate(received, axis=-1))
        perceptron = networks.PointwiseMLP((5,), 2)
        own = perceptron.apply({"params": params["params"]["PointwiseMLP_0"]}, features)
        np.testing.assert_allclose(outputs[n], own, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_node_does_not_know_its_own_embedding(rounds):
    """It would tell which node it is; others' embeddings matter."""
    network = networks.GraphNetwork((5,), 2 * T, num_rounds=rounds, activation=jnp.tanh)
    inputs = jnp.ones((1, T, T))
    params = network.init(KEY, inputs)

    @jax.jit
    def sensitivity(params):
        def outputs(embedding):
            return network.apply({"params": params["params"] | {"embedding": embedding}}, inputs)[0]

        return jnp.abs(jax.jacobian(outputs)(params["params"]["embedding"])).max((1, 3))

    influence = np.asarray(sensitivity(params))
    np.testing.assert_array_equal(np.diag(influence), 0.0)
    assert (influence[~np.eye(T, dtype=bool)] > 0).all()


def test_relabelled_nodes_have_relabelled_outputs():
    network = networks.GraphNetwork((5,), T, num_rounds=2)
    inputs, order = graphs(1), RNG.permutation(T)
    params = network.init(KEY, inputs)
    moved = {"params": params["params"] | {"embedding": params["params"]["embedding"][order]}}
    relabelled = network.apply(moved, inputs[:, order][:, :, order])
    np.testing.assert_allclose(relabelled, network.apply(params, inputs)[:, order], rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_precision_and_open_outputs(dtype):
    network = networks.with_outputs(networks.GraphNetwork((3,)), 2 * T)
    shapes = jax.eval_shape(network.init, KEY, jnp.ones((2, T, T), dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(dtype)}
    assert not network.pointwise


def test_errors():
    square = jnp.ones((2, T, T))
    with pytest.raises(ValueError, match="GraphNetwork: num_outputs is not set"):
        networks.GraphNetwork().init(KEY, square)
    with pytest.raises(ValueError, match=r"takes adjacency matrices of shape \(N, T, T\), got \(2, 6, 5\)"):
        networks.GraphNetwork((3,), 12).init(KEY, square[:, :, :5])
    with pytest.raises(ValueError, match="num_outputs must be a multiple of the 6 nodes, got 13"):
        networks.GraphNetwork((3,), 13).init(KEY, square)
    with pytest.raises(ValueError, match="num_rounds must be a positive integer, got 0"):
        networks.GraphNetwork((3,), 12, num_rounds=0).init(KEY, square)
