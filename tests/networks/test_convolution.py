"""Convolutions and pooling are flax's in values and derivatives, without XLA's slow operations on CPUs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import networks

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape))


def assert_close(actual, expected, tolerance=1e-12):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected
    )


CASES = {
    "valid": ((2, 7, 6, 2), {"padding": "VALID"}),
    "strides": ((2, 8, 7, 2), {"padding": "VALID", "strides": (2, 3)}),
    "same with strides": ((2, 8, 7, 2), {"padding": "SAME", "strides": 2}),
    "dilation": ((2, 7, 8, 1), {"padding": "SAME", "kernel_dilation": (2, 3)}),
    "pairs": ((2, 5, 6, 2), {"padding": ((1, 2), (0, 3)), "strides": (1, 2), "kernel_dilation": (2, 1)}),
    "integer": ((2, 5, 6, 2), {"padding": 1, "use_bias": False}),
    "circular": ((2, 5, 6, 2), {"padding": "CIRCULAR"}),
    "one pixel": ((2, 3, 4, 2), {"kernel_size": (1, 1)}),
    "no batch": ((5, 6, 2), {}),
    "two batch axes": ((3, 2, 4, 4, 1), {}),
    "one-dimensional": ((2, 7, 2), {"kernel_size": 3, "padding": "CAUSAL"}),
    "three-dimensional": ((2, 4, 3, 4, 1), {"kernel_size": (2, 3, 2), "strides": (1, 1, 2)}),
    "groups": ((2, 5, 6, 2), {"feature_group_count": 2, "features": 4}),
    "dilated inputs": ((2, 4, 5, 2), {"padding": ((0, 0), (1, 1)), "input_dilation": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_parameters_values_and_gradients_are_those_of_flax(case):
    shape, options = CASES[case]
    options = {"features": 3, "kernel_size": (3, 2), "param_dtype": jnp.float64, **options}
    ours, theirs = networks.Conv(**options), nn.Conv(**options)
    inputs = normal(*shape)

    @jax.jit
    def compare(inputs):
        params, expected_params = ours.init(KEY, inputs), theirs.init(KEY, inputs)
        weights = jnp.sin(jnp.arange(1.0, 1.0 + theirs.apply(params, inputs).size))

        def result(layer):
            def loss(params, inputs):
                outputs = layer.apply(params, inputs)
                return jnp.sum(weights * jnp.tanh(outputs).ravel()), outputs

            return jax.grad(loss, (0, 1), has_aux=True)(params, inputs)

        return (params, result(ours)), (expected_params, result(theirs))

    (params, actual), (expected_params, expected) = compare(inputs)
    jax.tree.map(np.testing.assert_array_equal, params, expected_params)
    assert actual[1].shape == expected[1].shape
    assert_close(actual, expected)
    assert np.any(actual[0][0]["params"]["kernel"] != 0.0)


def test_the_sum_that_defines_it():
    """y[n, p] = Σ_{k, c} kernel[k, c] x[n, p · stride + k · dilation − before, c], term by term."""
    images, kernel, bias = normal(2, 6, 7, 2), normal(3, 2, 2, 3), normal(3)
    strides, dilation, before = (2, 1), (1, 3), (1, 2)
    padding = ((1, 0), (2, 1))
    layer = networks.Conv(3, (3, 2), strides, padding, kernel_dilation=dilation, param_dtype=jnp.float64)
    outputs = np.asarray(layer.apply({"params": {"kernel": kernel, "bias": bias}}, images))
    assert outputs.shape == (2, 3, 7, 3)
    expected = np.zeros(outputs.shape) + np.asarray(bias)
    for place in np.ndindex(3, 7):
        for element in np.ndindex(3, 2):
            pixel = [
                p * s + k * d - b
                for p, s, k, d, b in zip(place, strides, element, dilation, before, strict=True)
            ]
            if 0 <= pixel[0] < 6 and 0 <= pixel[1] < 7:
                expected[:, *place] += np.asarray(images)[:, *pixel] @ np.asarray(kernel)[element]
    np.testing.assert_allclose(outputs, expected, rtol=1e-12, atol=1e-12)


def test_a_kernel_larger_than_the_image_leaves_nothing():
    options = {"features": 3, "kernel_size": (3, 3), "padding": "VALID"}
    inputs = jnp.ones((2, 2, 5, 1))
    ours, theirs = (layer(**options).init_with_output(KEY, inputs)[0] for layer in (networks.Conv, nn.Conv))
    assert ours.shape == theirs.shape == (2, 0, 3, 3)


def test_precision_of_the_computation():
    inputs = jnp.ones((1, 4, 4, 1), jnp.float32)
    layer = networks.Conv(2, (3, 3), dtype=jnp.bfloat16)
    outputs, params = jax.eval_shape(lambda: layer.init_with_output(KEY, inputs))
    assert outputs.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_forward_derivatives():
    options = {"features": 2, "kernel_size": (2, 3), "param_dtype": jnp.float64}
    inputs, direction = normal(2, 4, 5, 2), normal(2, 4, 5, 2)
    params = nn.Conv(**options).init(KEY, inputs)

    @jax.jit
    def derivative(params, inputs, direction):
        return [
            jax.jvp(layer(**options).apply, (params, inputs), (params, direction))
            for layer in (networks.Conv, nn.Conv)
        ]

    assert_close(*derivative(params, inputs, direction))


def test_stacked_parameters():
    """Seeds × views of parameters, each view with its own images, in value and gradient."""
    options = {"features": 2, "kernel_size": (2, 2), "strides": (1, 2), "param_dtype": jnp.float64}
    views = normal(2, 3, 4, 5, 1)
    params = {"params": {"kernel": normal(3, 2, 2, 2, 1, 2), "bias": normal(3, 2, 2)}}

    @jax.jit
    def results(params, views):
        def result(layer):
            loss = jax.value_and_grad(lambda p, x: jnp.sum(jnp.tanh(layer(**options).apply(p, x)) ** 2))
            return jax.vmap(jax.vmap(loss), in_axes=(0, None))(params, views)

        ours = result(networks.Conv)
        alone = networks.Conv(**options).apply(jax.tree.map(lambda leaf: leaf[2, 1], params), views[1])
        return ours, result(nn.Conv), ours[0][2, 1], jnp.sum(jnp.tanh(alone) ** 2)

    ours, theirs, stacked, alone = results(params, views)
    assert_close(ours, theirs)
    np.testing.assert_allclose(stacked, alone, rtol=1e-12)


@pytest.mark.parametrize(("platform", "by_xla"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_slow_operations_are_avoided_on_cpus_alone(platform, by_xla):
    """Neither convolutions nor the gradient of window reductions are in the program of a compiled loop."""
    network = networks.CNN((2, 3), (4,), num_outputs=2, kernel_size=3)
    images = jnp.ones((2, 2, 8, 8))

    def train(images):
        params = jax.vmap(network.init)(jax.random.split(KEY, 2), images)

        def step(params, _):
            gradient = jax.grad(lambda p: jnp.sum(jax.vmap(network.apply)(p, images)))(params)
            return jax.tree.map(jnp.subtract, params, gradient), None

        return jax.lax.scan(step, params, None, length=3)[0]

    program = jax.jit(train).trace(images).lower(lowering_platforms=(platform,)).as_text()
    for operation in ("stablehlo.convolution", "stablehlo.select_and_scatter"):
        assert (operation in program) == by_xla


# Pooling.

POOLS = {
    "side by side": ((2, 4, 6, 3), (2, 2), (2, 2), "VALID"),
    "left over": ((2, 5, 7, 1), (2, 3), (2, 3), "VALID"),
    "two batch axes": ((2, 3, 4, 4, 1), (2, 2), (2, 2), "VALID"),
    "no batch": ((4, 4, 2), (2, 2), (2, 2), "VALID"),
    "one-dimensional": ((2, 7, 2), (3,), (3,), "VALID"),
    "all pixels": ((2, 3, 4, 2), (3, 4), (3, 4), "VALID"),
    "overlapping": ((2, 5, 5, 1), (3, 3), (2, 2), "VALID"),
    "no strides": ((2, 4, 4, 1), (2, 2), None, "VALID"),
    "padded": ((2, 5, 5, 1), (2, 2), (2, 2), "SAME"),
}


@pytest.mark.parametrize("case", POOLS)
def test_pooling_is_that_of_flax(case):
    """Values and gradients, without equal pixels and with many: the first takes the gradient."""
    shape, *options = POOLS[case]
    distinct = normal(*shape)
    ties = jnp.round(distinct)

    @jax.jit
    def compare(images):
        def result(pool):
            outputs, pull_back = jax.vjp(lambda x: pool(x, *options), images)
            return outputs, pull_back(jnp.sin(jnp.arange(1.0, 1.0 + outputs.size)).reshape(outputs.shape))

        return result(networks.max_pool), result(nn.max_pool)

    for images in (distinct, ties, jnp.zeros(shape)):
        ours, theirs = compare(images)
        assert ours[0].shape == theirs[0].shape
        assert_close(ours, theirs)
        assert np.any(ours[1] != 0.0)


def test_pooling_shows_missing_numbers():
    images = np.zeros((1, 2, 4, 1))
    images[0, 1, 0], images[0, 0, 1] = np.nan, 1.0
    pooled = networks.max_pool(jnp.asarray(images), (2, 2), strides=(2, 2))
    np.testing.assert_array_equal(np.isnan(pooled).ravel(), [True, False])


# The network made of them.


class FlaxCNN(nn.Module):
    """CNN((2, 3), (4,), 5, kernel_size=3) with flax's layers."""

    @nn.compact
    def __call__(self, images):
        images = images[..., None]
        for channels in (2, 3):
            images = nn.Conv(channels, (3, 3), padding="VALID", param_dtype=jnp.float64)(images)
            images = nn.relu(nn.max_pool(images, (2, 2), strides=(2, 2)))
        hidden = nn.relu(nn.Dense(4, param_dtype=jnp.float64)(images.reshape(len(images), -1)))
        return nn.Dense(5, param_dtype=jnp.float64)(hidden)


def test_network_is_that_of_flax():
    """The same parameters of the same key, the same outputs, also of a size that pooling doesn't divide."""
    images = normal(2, 11, 12)
    ours, theirs = networks.CNN((2, 3), (4,), 5, kernel_size=3), FlaxCNN()

    @jax.jit
    def both(images):
        params = ours.init(KEY, images), theirs.init(KEY, images)
        return params, (ours.apply(params[0], images), theirs.apply(params[0], images))

    params, outputs = both(images)
    jax.tree.map(np.testing.assert_array_equal, *params)
    assert_close(*outputs)


def test_smallest_images():
    """A kernel of 3 leaves one pixel of 8 × 8 images, which pooling keeps; every pixel counts."""
    network = networks.CNN((2, 3), (4,), num_outputs=2, kernel_size=3, activation=jnp.tanh)

    @jax.jit
    def slopes(images):
        params = network.init(KEY, images)
        return jax.grad(lambda images: jnp.sum(network.apply(params, images)))(images)

    assert np.all(np.any(slopes(normal(20, 8, 8)) != 0.0, axis=0))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (2, 8, 9),
            {},
            r"CNN: images of 8 × 9 pixels are too small for 2 convolutions with kernel_size=5 .* take "
            r"14 × 14 or more; set kernel_size to at most 3, or give fewer channels or larger images",
        ),
        ((2, 28, 13, 3), {}, r"28 × 13 pixels .* 14 × 14 or more; set kernel_size to at most 4"),
        ((2, 7, 8), {"kernel_size": 3}, r"7 × 8 pixels .* 8 × 8 or more; set kernel_size to at most 2"),
        (
            (2, 4, 4),
            {"channels": (1,)},
            "1 convolutions .* take 5 × 5 or more; set kernel_size to at most 4",
        ),
    ],
)
def test_images_that_are_too_small(shape, options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(networks.CNN(num_outputs=2, **options).init, KEY, jnp.ones(shape))
