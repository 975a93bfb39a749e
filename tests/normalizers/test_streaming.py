"""The streamed normalizer equals the plain one, in value and derivatives."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import expfam
from rpm_jax.normalizers import ArrayComponents, Block, log_tilted_mixture, log_tilted_mixture_plain

SIZE, BATCH, VIEWS, SITES = 7, 3, 2, 4


def make(family, size=SIZE):
    """Components and tilts of a family."""
    keys = jax.random.split(jax.random.key(3), 2)

    def potentials(key, template, shape):
        return template.potential(jax.random.normal(key, (*shape, template.num_unconstrained)))

    template = {
        "diagonal": expfam.DiagonalGaussian(jnp.zeros(2), -0.5 * jnp.ones(2)),
        "full": expfam.Gaussian(jnp.zeros(2), -0.5 * jnp.eye(2)),
        "categorical": expfam.Categorical(jnp.zeros(3)),
        "von mises": expfam.VonMises(jnp.zeros((1, 2))),
    }[family]
    components = template + potentials(keys[0], template, (size, VIEWS, SITES))
    return components, potentials(keys[1], template, (BATCH, VIEWS, SITES))


def options(name):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(SIZE))
    mask = rng.random((SIZE, VIEWS, SITES)) < 0.7
    mask[:, 0, 0] = False
    return {
        "uniform": {},
        "weights": {"log_weights": jnp.log(weights)},
        "weights of zero": {"log_weights": jnp.log(jnp.asarray([0.0, 0.5, 0.0, 0.0, 0.25, 0.25, 0.0]))},
        "mask": {"mask": jnp.asarray(mask)},
        "weights and mask": {"log_weights": jnp.log(weights), "mask": jnp.asarray(mask)},
    }[name]


@pytest.mark.parametrize(
    ("family", "block_size"),
    [("diagonal", 1), ("diagonal", 3), ("diagonal", 6), ("full", 3), ("categorical", 3), ("von mises", 3)],
)
def test_families(family, block_size):
    components, tilts = make(family)

    compare(components, tilts, block_size)


def compare(components, tilts, block_size, **given):
    """Values and gradients of the streamed and the plain form."""

    def total(function, components, tilts):
        return jnp.sum(jnp.sin(function(ArrayComponents(components), tilts, **given)))

    @jax.jit
    def both(components, tilts):
        streamed = functools.partial(log_tilted_mixture, block_size=block_size)
        functions = (functools.partial(total, form) for form in (streamed, log_tilted_mixture_plain))
        return tuple(jax.value_and_grad(form, (0, 1))(components, tilts) for form in functions)

    (value, gradient), (expected, expected_gradient) = both(components, tilts)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["weights", "weights of zero", "mask", "weights and mask"])
def test_weights_and_masks(name):
    components, tilts = make("diagonal")
    compare(components, tilts, 2, **options(name))


def test_forward_mode_second_order_and_vmap():
    components, tilts = make("diagonal")

    def total(function, shift, tilts):
        moved = components.replace((components.eta1 + shift, components.eta2))
        return jnp.sum(function(ArrayComponents(moved), tilts) ** 2)

    @functools.partial(jax.jit, static_argnums=0)
    def evaluate(function):
        function = functools.partial(total, function)
        return (
            jax.jvp(function, (0.3, tilts), (1.0, tilts))[1],
            jax.grad(jax.grad(function))(0.3, tilts),
            jax.vmap(function, (0, None))(jnp.linspace(-1, 1, 4), tilts),
        )

    streamed = functools.partial(log_tilted_mixture, block_size=3)
    for got, expected in zip(evaluate(streamed), evaluate(log_tilted_mixture_plain), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_one_component_and_pooled_sites():
    components, tilts = make("diagonal", size=1)
    np.testing.assert_allclose(
        log_tilted_mixture(ArrayComponents(components), tilts, block_size=1),
        (components[0] + tilts).log_partition() - components[0].log_partition(),
        rtol=1e-12,
    )
    pooled = make("diagonal")[0].moveaxis(2, 1).reshape((SIZE * SITES, VIEWS, 1))
    np.testing.assert_allclose(
        log_tilted_mixture(ArrayComponents(pooled), tilts, block_size=5),
        log_tilted_mixture_plain(ArrayComponents(pooled), tilts),
        atol=1e-13,
    )


def test_memory_does_not_grow_with_the_pairs():
    """One log-partition per pair of 64 data and 4096 components would take 2 MiB."""

    def temporary_bytes(function):
        components = expfam.DiagonalGaussian(jnp.zeros((4096, 1, 1, 1)), -jnp.ones((4096, 1, 1, 1)))
        tilts = expfam.DiagonalGaussian(jnp.zeros((64, 1, 1, 1)), -jnp.ones((64, 1, 1, 1)))
        gradient = jax.grad(lambda c, t: jnp.sum(function(ArrayComponents(c), t)), (0, 1))
        return jax.jit(gradient).lower(components, tilts).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(functools.partial(log_tilted_mixture, block_size=128)) < 2**20
    assert temporary_bytes(log_tilted_mixture_plain) > 2**21


class Network(NamedTuple):
    """Components that are a function of parameters and data, a block of which is made when asked for."""

    params: Any
    inputs: jax.Array
    row_length: int = 1
    block_size: int = 10**6

    @property
    def size(self):
        return len(self.inputs)

    def block(self, start, length):
        inputs = jax.lax.dynamic_slice_in_dim(self.inputs, start, length)
        hidden = jnp.tanh(inputs[..., None] * self.params["first"])
        raw = jnp.einsum("njth,hk->njtk", hidden, self.params["second"])
        natural = expfam.DiagonalGaussian(raw[..., :1], -0.5 - jax.nn.softplus(raw[..., 1:2]))
        return Block(natural, raw[..., 2] if raw.shape[-1] > 2 else None)


def network_params(outputs=2):
    rng = np.random.default_rng(4)
    return {"first": jnp.asarray(rng.normal(size=5)), "second": jnp.asarray(rng.normal(size=(5, outputs)))}


@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("name", ["uniform", "weights of zero", "weights and mask"])
def test_networks_are_differentiated_block_by_block(name, outputs):
    """The gradient of parameters and tilts, by both modes, is that of all components at once."""
    inputs = jnp.asarray(np.random.default_rng(5).normal(size=(SIZE, VIEWS, SITES)))
    _, tilts = make("diagonal")
    tilts = tilts.replace(tuple(p[..., :1] for p in tilts.natural_parameters))
    given, params = options(name), network_params(outputs)

    def total(block_size, params, tilts):
        components = Network(params, inputs)
        return jnp.sum(jnp.sin(log_tilted_mixture(components, tilts, block_size=block_size, **given)))

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(block_size):
        function = functools.partial(total, block_size)
        value, gradient = jax.value_and_grad(function, (0, 1))(params, tilts)
        _, change = jax.jvp(lambda p: function(p, tilts), (params,), (params,))
        return value, change, gradient

    for got, expected in zip(
        jax.tree.leaves(derivatives(3)), jax.tree.leaves(derivatives(SIZE)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


def test_networks_under_vmap_over_parameters():
    inputs = jnp.asarray(np.random.default_rng(5).normal(size=(SIZE, VIEWS, SITES)))
    _, tilts = make("diagonal")
    tilts = tilts.replace(tuple(p[..., :1] for p in tilts.natural_parameters))
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), network_params())

    def gradient(block_size, params):
        return jax.grad(
            lambda p: jnp.sum(log_tilted_mixture(Network(p, inputs), tilts, block_size=block_size))
        )(params)

    got = jax.jit(jax.vmap(functools.partial(gradient, 2)))(stacked)
    expected = jax.jit(jax.vmap(functools.partial(gradient, SIZE)))(stacked)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_blocks_of_whole_rows():
    """Starts and lengths are multiples of the row's length, and every component counts once."""
    asked = []

    class Rows(Network):
        def block(self, start, length):
            asked.append(length)
            return super().block(start // 4 * 4, length)

    inputs = jnp.asarray(np.random.default_rng(5).normal(size=(12, VIEWS, 1)))
    _, tilts = make("diagonal")
    tilts = tilts.replace(tuple(p[..., :1] for p in tilts.natural_parameters))
    got = log_tilted_mixture(Rows(network_params(), inputs, row_length=4), tilts, block_size=7)
    expected = log_tilted_mixture(Network(network_params(), inputs), tilts)
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert set(asked) == {12, 4}


def test_components_say_how_many_to_ask_for():
    lengths = []

    class Few(Network):
        def block(self, start, length):
            lengths.append(length)
            return super().block(start, length)

    inputs = jnp.ones((9, 1, 1))
    tilts = expfam.DiagonalGaussian(jnp.zeros((1, 1, 1, 1)), -jnp.ones((1, 1, 1, 1)))
    log_tilted_mixture(Few(network_params(), inputs, block_size=3), tilts)
    assert min(lengths) == 3


@pytest.mark.parametrize("size", [2**15, 2**17])
def test_memory_of_networks_does_not_grow_with_the_data(size):
    """Two hidden units of the fewer data would take half a MiB; nobody asks for the inputs' gradient."""
    tilts = expfam.DiagonalGaussian(jnp.zeros((8, 1, 1, 1)), -jnp.ones((8, 1, 1, 1)))

    def loss(params, inputs):
        return jnp.sum(log_tilted_mixture(Network(params, inputs), tilts, block_size=256))

    inputs = jax.ShapeDtypeStruct((size, 1, 1), jnp.float64)
    compiled = jax.jit(jax.grad(loss)).lower(network_params(), inputs).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**19
