"""Networks, and wrappers that make one network of another."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import networks

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def run(network, inputs):
    @jax.jit
    def both(inputs):
        params = network.init(KEY, inputs)
        return params, network.apply(params, inputs)

    return both(inputs)


def test_pointwise_network_is_shared_over_time():
    """Every time alone, with the same parameters."""
    network = networks.PointwiseMLP((5,), num_outputs=3)
    inputs = jnp.asarray(RNG.normal(size=(4, 6, 2)))
    params, outputs = run(network, inputs)
    assert outputs.shape == (4, 6, 3)
    single = network.apply(params, inputs[2, 4])
    np.testing.assert_allclose(outputs[2, 4], single, rtol=1e-12)
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert sorted(kernels) == [(2, 5), (5, 3)]


def test_perceptron_flattens():
    _, outputs = run(networks.MLP((5,), num_outputs=3), jnp.asarray(RNG.normal(size=(4, 6, 2))))
    assert outputs.shape == (4, 3)


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 28, 28, 3)])
def test_convolutions(shape):
    params, outputs = run(networks.CNN((2, 3), (4,), num_outputs=5), jnp.asarray(RNG.normal(size=shape)))
    assert outputs.shape == (2, 5)
    kernels = {leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim == 4}
    assert kernels == {(5, 5, 3 if len(shape) == 4 else 1, 2), (5, 5, 2, 3)}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_parameters_have_the_precision_of_the_inputs(dtype):
    inputs = jnp.ones((2, 12, 12), dtype)
    for network in (networks.MLP((3,), 2), networks.PointwiseMLP((3,), 2), networks.CNN((1,), (2,), 2, 3)):
        for leaf in jax.tree.leaves(jax.eval_shape(lambda x, n=network: run(n, x), inputs)):
            assert leaf.dtype == dtype


def test_number_of_outputs():
    assert networks.with_outputs(networks.MLP((5,)), 3).num_outputs == 3
    assert networks.with_outputs(networks.MLP((5,), 2), 3).num_outputs == 2
    dense = nn.Dense(4)
    assert networks.with_outputs(dense, 3) is dense
    wrapped = networks.stacked(networks.MLP((5,)))
    assert networks.with_outputs(wrapped, 3).network.network.num_outputs == 3


def test_pointwise_survives_wrapping():
    for wrap in (networks.standardised, networks.stacked, networks.concatenated):
        assert wrap(networks.PointwiseMLP()).pointwise
        assert not wrap(networks.MLP()).pointwise
        assert not wrap(nn.Dense(2)).pointwise


# Standardisation.


class Identity(NamedTuple):
    """A network without parameters: its outputs are what it sees."""

    def init(self, key, inputs):
        return {}

    def apply(self, params, inputs):
        return inputs


@pytest.mark.parametrize(("feature_axes", "axes"), [(1, (0, 1)), (0, (0, 1, 2)), (2, (0,))])
def test_standardised_inputs(feature_axes, axes):
    inputs = jnp.asarray(3.0 + 2.0 * RNG.normal(size=(50, 4, 3)) * np.array([1.0, 5.0, 0.1]))
    _, outputs = run(networks.standardised(Identity(), feature_axes), inputs)
    expected = (inputs - inputs.mean(axes)) / inputs.std(axes)
    np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-12)


def test_statistics_are_those_of_the_initial_data():
    """New data do not change them, and they have no gradient."""
    network = networks.standardised(networks.MLP((3,), 2))
    inputs = jnp.asarray(RNG.normal(size=(20, 3)) + 4.0)
    params = network.init(KEY, inputs)
    new = 10.0 * inputs[:3]
    expected = network.network.apply(params["network"], (new - inputs.mean(0)) / inputs.std(0))
    np.testing.assert_allclose(network.apply(params, new), expected, rtol=1e-10)
    gradient = jax.grad(lambda p: jnp.sum(network.apply(p, inputs) ** 2))(params)
    for leaf in jax.tree.leaves(gradient["statistics"]):
        np.testing.assert_array_equal(leaf, 0.0)
    assert any(np.any(leaf != 0.0) for leaf in jax.tree.leaves(gradient["network"]))


def test_constant_features_are_only_shifted():
    inputs = jnp.stack([jnp.arange(5.0), jnp.full(5, 7.0)], axis=1)
    _, outputs = run(networks.standardised(Identity()), inputs)
    np.testing.assert_array_equal(outputs[:, 1], 0.0)
    assert np.all(np.isfinite(outputs))


# All views at once.


def test_joined_views():
    views = tuple(jnp.asarray(RNG.normal(size=(4, 6))) for _ in range(3))
    _, stacked = run(networks.stacked(Identity(), standardise=False), views)
    np.testing.assert_array_equal(stacked, np.stack(views, axis=-1))
    wide = (views[0], views[1][:, :2])
    _, concatenated = run(networks.concatenated(Identity(), standardise=False), wide)
    np.testing.assert_array_equal(concatenated, np.concatenate(wide, axis=-1))
    _, standardised = run(networks.stacked(Identity()), views)
    np.testing.assert_allclose(standardised.mean((0, 1)), 0.0, atol=1e-12)
    np.testing.assert_allclose(standardised.std((0, 1)), 1.0, rtol=1e-10)


def test_errors():
    views = (jnp.zeros((4, 6)), jnp.zeros((4, 5)), jnp.zeros((3, 5)))
    with pytest.raises(
        ValueError, match=r"only be stacked if they share a shape, got \[\(4, 6\), \(4, 5\)\]"
    ):
        networks.stacked(networks.MLP()).init(KEY, views[:2])
    with pytest.raises(ValueError, match=r"only be concatenated if they share all axes but the last"):
        networks.concatenated(networks.MLP()).init(KEY, views)
    with pytest.raises(
        TypeError, match=r"MLP takes one array, got tuple; .*stacked\(network\) or .*concatenated"
    ):
        networks.MLP((3,), 2).init(KEY, views)
    with pytest.raises(ValueError, match="MLP: num_outputs is not set"):
        networks.MLP((3,)).init(KEY, views[0])
    with pytest.raises(ValueError, match=r"CNN takes images of shape \(N, H, W\) or .* got \(4, 6\)"):
        networks.CNN(num_outputs=2).init(KEY, views[0])
    for wrap in (networks.standardised, networks.stacked, networks.concatenated):
        with pytest.raises(
            TypeError, match=r"network must be a network: a flax.linen module or any .* got int"
        ):
            wrap(3)


@pytest.mark.parametrize("number", [-1, 1.5, True, None])
def test_numbers_of_feature_axes_are_checked(number):
    with pytest.raises(ValueError, match="num_feature_axes must be an integer of at least 0, got"):
        networks.standardised(networks.MLP(num_outputs=1), number)


def test_statistics_are_never_taken_over_no_data():
    """With as many feature axes as axes every datum would be its own mean, and all inputs 0."""
    network = networks.standardised(networks.MLP(num_outputs=1), 2)
    with pytest.raises(
        ValueError, match=r"num_feature_axes must be less than the 2 axes .* \(5, 3\).* got 2"
    ):
        network.init(jax.random.key(0), jnp.ones((5, 3)))
