"""The streamed normalizer equals the plain one, in value and derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import expfam
from rpm_jax.normalizers import ArrayComponents, log_tilted_mixture, log_tilted_mixture_plain

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

    def total(function, components, tilts):
        return jnp.sum(jnp.sin(function(ArrayComponents(components), tilts)))

    streamed = functools.partial(log_tilted_mixture, block_size=block_size)
    value, gradient = jax.value_and_grad(functools.partial(total, streamed), (0, 1))(components, tilts)
    expected, expected_gradient = jax.value_and_grad(
        functools.partial(total, log_tilted_mixture_plain), (0, 1)
    )(components, tilts)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["weights", "weights of zero", "mask", "weights and mask"])
def test_weights_and_masks(name):
    components, tilts = make("diagonal")
    given = options(name)

    def total(function, components, tilts):
        return jnp.sum(jnp.sin(function(ArrayComponents(components), tilts, **given)))

    streamed = functools.partial(log_tilted_mixture, block_size=2)
    value, gradient = jax.value_and_grad(functools.partial(total, streamed))(components, tilts)
    plain = functools.partial(total, log_tilted_mixture_plain)
    expected, expected_gradient = jax.value_and_grad(plain)(components, tilts)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(gradient.eta1, expected_gradient.eta1, atol=1e-13)
    np.testing.assert_allclose(gradient.eta2, expected_gradient.eta2, atol=1e-13)


def test_forward_mode_second_order_and_vmap():
    components, tilts = make("diagonal")

    def total(function, shift, tilts):
        moved = components.replace((components.eta1 + shift, components.eta2))
        return jnp.sum(function(ArrayComponents(moved), tilts) ** 2)

    streamed = functools.partial(total, functools.partial(log_tilted_mixture, block_size=3))
    plain = functools.partial(total, log_tilted_mixture_plain)
    np.testing.assert_allclose(
        jax.jvp(streamed, (0.3, tilts), (1.0, tilts))[1],
        jax.jvp(plain, (0.3, tilts), (1.0, tilts))[1],
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        jax.grad(jax.grad(streamed))(0.3, tilts), jax.grad(jax.grad(plain))(0.3, tilts), rtol=1e-11
    )
    shifts = jnp.linspace(-1, 1, 4)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(streamed, (0, None)))(shifts, tilts),
        jax.vmap(plain, (0, None))(shifts, tilts),
        rtol=1e-13,
    )


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
