"""Mixtures of Gaussians with one precision: the fast path is the plain one, in both precisions of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.expfam import DiagonalGaussian, Gaussian
from rpm_jax.normalizers import ArrayComponents, SharedPrecision, log_tilted_mixture, log_tilted_mixture_plain

VIEWS, SITES, SIZE = 2, 3, 7


def spread_out(rng, shape, size):
    """Positive definite, shape `shape` + (K, K)."""
    factor = rng.normal(size=(*shape, size, size))
    return factor @ np.swapaxes(factor, -1, -2) + np.eye(size)


def example(family, sites, *, precise=1.0, seed=0):
    """Components, their shared part, and tilts, batch shapes (N, J, sites), (J, sites), (4, J, T)."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(SIZE, VIEWS, sites, 2)) + 3.0
    tilted = rng.normal(size=(4, VIEWS, SITES, 2)) + 3.0
    if family is DiagonalGaussian:
        precision, added = (
            precise * np.exp(rng.normal(size=(*shape, 2))) for shape in ((VIEWS, sites), (4, VIEWS, SITES))
        )
        linear, shift = precision * means, added * tilted
    else:
        precision, added = (
            precise * spread_out(rng, shape, 2) for shape in ((VIEWS, sites), (4, VIEWS, SITES))
        )
        linear, shift = ((p @ m[..., None])[..., 0] for p, m in ((precision, means), (added, tilted)))
    shared = family(jnp.zeros(linear.shape[1:]), -0.5 * precision)
    natural = family(linear, jnp.broadcast_to(-0.5 * precision, (SIZE, *precision.shape)))
    return natural, shared, family(shift, -0.5 * added)


@pytest.mark.parametrize("family", [DiagonalGaussian, Gaussian])
@pytest.mark.parametrize(("sites", "scaled"), [(SITES, True), (1, False)])
def test_is_the_plain_one(family, sites, scaled):
    """Values and gradients, in one block and in several, pooled or not, with weights, mask and log-scales."""
    natural, shared, tilts = example(family, sites)
    rng = np.random.default_rng(1)
    log_scale = rng.normal(size=natural.batch_shape) if scaled else None
    mask = rng.random(natural.batch_shape) < 0.8
    mask[0] = True
    options = {"mask": mask, "log_weights": jax.nn.log_softmax(rng.normal(size=SIZE))} if scaled else {}

    def parts(linear, quadratic):
        own = natural.replace((linear, jnp.broadcast_to(quadratic, (SIZE, *quadratic.shape))))
        return ArrayComponents(own, log_scale), shared.replace((jnp.zeros_like(linear[0]), quadratic))

    def fast(linear, quadratic, tilts, block_size=None):
        components, own = parts(linear, quadratic)
        return log_tilted_mixture(SharedPrecision(components, own), tilts, block_size=block_size, **options)

    def plain(linear, quadratic, tilts):
        return log_tilted_mixture_plain(parts(linear, quadratic)[0], tilts, **options)

    arguments = (natural.natural_parameters[0], shared.natural_parameters[1], tilts)
    weights = rng.normal(size=tilts.batch_shape)

    @jax.jit
    def both(arguments):
        return [
            jax.value_and_grad(lambda a, f=f: (f(*a) * weights).sum())(arguments)
            for f in (fast, lambda *a: fast(*a, block_size=3), plain)
        ]

    *got, expected = both(arguments)
    np.testing.assert_allclose(fast(*arguments), plain(*arguments), rtol=1e-10, atol=1e-10)
    for value, gradient in got:
        np.testing.assert_allclose(value, expected[0], rtol=1e-11)
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected[1]), strict=True):
            if ours.ndim > 3 and ours.shape[-1] == ours.shape[-2]:
                ours, theirs = (a + np.swapaxes(a, -1, -2) for a in (ours, theirs))
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", [DiagonalGaussian, Gaussian])
@pytest.mark.parametrize("precise", [1.0, 1e4])
def test_in_single_precision(family, precise):
    """The expanded square is as accurate as the plain sum, or nearly, far from zero and precise too."""
    natural, shared, tilts = example(family, SITES, precise=precise)
    natural, shared, tilts = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (natural, shared, tilts))
    as_double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (natural, tilts))
    exact = log_tilted_mixture_plain(ArrayComponents(as_double[0]), as_double[1])
    fast = log_tilted_mixture(SharedPrecision(ArrayComponents(natural), shared), tilts)
    plain = log_tilted_mixture_plain(ArrayComponents(natural), tilts)
    assert fast.dtype == jnp.float32
    assert np.abs(fast - exact).max() < 2 * np.abs(plain - exact).max() + 1e-6 * np.abs(exact).max()


def test_tilts_without_precision():
    """A tilt of zero gives a mass of 1, one of η1 alone a moment-generating function."""
    natural, shared, tilts = example(Gaussian, SITES)
    components = SharedPrecision(ArrayComponents(natural), shared)
    np.testing.assert_allclose(log_tilted_mixture(components, tilts.zeros()), 0.0, atol=1e-12)
    linear = tilts.replace((tilts.eta1, jnp.zeros_like(tilts.eta2)))
    expected = log_tilted_mixture_plain(ArrayComponents(natural), linear)
    np.testing.assert_allclose(log_tilted_mixture(components, linear), expected, rtol=1e-11)
