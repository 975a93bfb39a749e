"""Networks that are convex in their inputs, and networks that start at zero."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpm_jax.networks import MLP, InputConvex, PointwiseMLP, starting_at_zero

KEY = jax.random.key(0)
NETWORK = InputConvex((4, 3), num_outputs=2)


def any_parameters(seed, size=3):
    """Parameters far from the initial ones: normal, times two."""
    keys = iter(jax.random.split(jax.random.key(seed), 8))
    shapes = jax.eval_shape(NETWORK.init, KEY, jnp.zeros((1, size)))
    return jax.tree.map(lambda leaf: 2.0 * jax.random.normal(next(keys), leaf.shape), shapes)


def by_hand(params, x, activation):
    first, second, last = (params["params"][f"Dense_{number}"] for number in range(3))
    u = activation(x @ first["kernel"] + first["bias"])
    u = activation(u @ jnp.log1p(jnp.exp(second["positive_kernel"])) + x @ second["kernel"] + second["bias"])
    return u @ jnp.log1p(jnp.exp(last["positive_kernel"])) + x @ last["kernel"] + last["bias"]


@pytest.mark.parametrize("activation", [nn.softplus, nn.relu])
def test_formula(activation):
    network = NETWORK.clone(activation=activation)

    @jax.jit
    def both(inputs):
        params = any_parameters(0)
        return network.apply(params, inputs), by_hand(params, inputs, activation)

    got, expected = both(jax.random.normal(KEY, (5, 4, 3)))
    assert got.shape == (5, 4, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@jax.jit
def curvatures(seed, point, other, share):
    """(Eigenvalues of the Hessian of every output, the gap of Jensen's inequality, its size)."""
    params = any_parameters(seed)
    hessian = jax.hessian(lambda x: NETWORK.apply(params, x))(point)
    ends = share * NETWORK.apply(params, point) + (1 - share) * NETWORK.apply(params, other)
    between = NETWORK.apply(params, share * point + (1 - share) * other)
    return jnp.linalg.eigvalsh(hessian), ends - between, jnp.abs(ends) + jnp.abs(between)


vectors = st.tuples(*[st.floats(-6.0, 6.0)] * 3).map(np.array)


@given(st.integers(0, 2**31 - 1), vectors, vectors, st.sampled_from((0.5, 0.1, 0.8)))
def test_convexity(seed, point, other, share):
    """For any parameters the Hessian has no negative eigenvalue, and chords lie above the function."""
    eigenvalues, gap, size = curvatures(seed, point, other, share)
    assert np.all(eigenvalues >= -1e-11 * (1 + np.abs(eigenvalues).max()))
    assert np.all(gap >= -1e-13 * (1 + size))


def test_it_is_not_linear():
    eigenvalues, gap, _ = curvatures(0, jnp.zeros(3), jnp.ones(3), 0.5)
    assert np.all(eigenvalues.max(-1) > 1e-3)
    assert np.all(gap > 1e-3)


def test_negative_weights_would_not_be_convex():
    """The test above can fail: with tanh, which is not convex, it does."""
    network = NETWORK.clone(activation=nn.tanh)

    @jax.jit
    def least(points):
        params = any_parameters(0)
        return jnp.linalg.eigvalsh(jax.vmap(jax.hessian(lambda x: network.apply(params, x)))(points)).min()

    assert least(jax.random.normal(KEY, (20, 3))) < -1e-2


@pytest.mark.parametrize("network", [MLP((4,)), PointwiseMLP((4,)), PointwiseMLP((4,), activation=nn.swish)])
def test_zero_start(network):
    """Zero for all inputs, and learnable: the last layer has a gradient."""
    network = starting_at_zero(network).with_outputs(2)

    @jax.jit
    def outputs_and_gradient(inputs):
        params = network.init(KEY, inputs)
        return network.apply(params, inputs), jax.grad(lambda p: network.apply(p, inputs).sum())(params)

    outputs, gradient = outputs_and_gradient(jax.random.normal(KEY, (5, 3)))
    np.testing.assert_array_equal(outputs, 0.0)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 0.1


def test_small_start():
    """A convex network starts small, and with sizes of its own otherwise; others as they are."""

    @jax.jit
    def deviations(inputs):
        networks = (NETWORK, starting_at_zero(NETWORK))
        return [jnp.std(network.apply(network.init(KEY, inputs), inputs), axis=0) for network in networks]

    usual, small = deviations(jax.random.normal(KEY, (200, 3)))
    assert np.all((usual > 0.3) & (usual < 3.0))
    assert np.all((small > 0.01 * usual) & (small < 0.2 * usual))
    other = nn.Dense(2)
    assert starting_at_zero(other) is other


def test_in_the_precision_of_its_inputs():
    params = jax.eval_shape(NETWORK.init, KEY, jnp.zeros((1, 3), jnp.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    with pytest.raises(ValueError, match="InputConvex: num_outputs is not set"):
        InputConvex((3,)).init(KEY, jnp.zeros((1, 3)))
