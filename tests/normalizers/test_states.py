"""The mixtures themselves, for categorical components, and combinations of views."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import normalizers
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.normalizers import ArrayComponents, log_mixture

SIZE, VIEWS, SITES, STATES = 7, 2, 3, 4
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(SIZE, VIEWS, SITES, STATES)))
SCALE = jnp.asarray(RNG.normal(size=(SIZE, VIEWS, SITES)))
MASK = jnp.asarray(RNG.random((SIZE, VIEWS, SITES)) < 0.7)
WEIGHTS = jax.nn.log_softmax(jnp.asarray(RNG.normal(size=SIZE)))


def by_hand(logits, scale, weights, mask):
    f = jax.nn.softmax(logits) if scale is None else jnp.exp(logits + scale[..., None])
    w = jnp.full(SIZE, 1 / SIZE) if weights is None else jnp.exp(weights)
    w = jnp.broadcast_to(w.reshape(SIZE, *([1] * 2)) if w.ndim == 1 else w, (SIZE, VIEWS, SITES))
    if mask is not None:
        w = jnp.where(mask, w, 0.0)
        w = w / w.sum(0)
    return jnp.log(jnp.sum(w[..., None] * f, axis=0))


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("scale", [None, SCALE], ids=["normalised", "scaled"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["uniform", "weighted"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["complete", "missing"])
def test_value_and_gradient(block_size, scale, weights, mask):
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(VIEWS, SITES, STATES)))

    def ours(logits):
        components = ArrayComponents(Categorical(logits), scale)
        mixtures = log_mixture(components, log_weights=weights, mask=mask, block_size=block_size)
        return jnp.sum(mixtures.logits * cotangent)

    def plain(logits):
        return jnp.sum(by_hand(logits, scale, weights, mask) * cotangent)

    got, want = (jax.jit(jax.value_and_grad(f))(LOGITS) for f in (ours, plain))
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12)
    np.testing.assert_allclose(got[1], want[1], atol=1e-12)


def test_weights_of_every_view_and_site():
    weights = jax.nn.log_softmax(jnp.asarray(RNG.normal(size=(SIZE, VIEWS, SITES))), axis=0)
    for block_size in (None, 2):
        got = log_mixture(ArrayComponents(Categorical(LOGITS)), log_weights=weights, block_size=block_size)
        np.testing.assert_allclose(got.logits, by_hand(LOGITS, None, weights, None), rtol=1e-12)


@pytest.mark.parametrize("block_size", [None, 3])
def test_states_that_all_exclude(block_size):
    logits = LOGITS.at[..., 2].set(-jnp.inf)

    def value(logits):
        mixtures = log_mixture(ArrayComponents(Categorical(logits)), block_size=block_size)
        return jnp.sum(jnp.where(jnp.arange(STATES) == 2, 0.0, mixtures.logits)), mixtures.logits

    (_, mixtures), slope = jax.value_and_grad(value, has_aux=True)(logits)
    assert np.all(mixtures[..., 2] == -np.inf)
    assert np.all(np.isfinite(slope))


class Counted:
    """Components made on demand; how many were asked for at a time."""

    size, block_size = SIZE, 3

    def __init__(self):
        self.lengths = []

    def block(self, start, length):
        self.lengths.append(length)
        return normalizers.Block(Categorical(jax.lax.dynamic_slice_in_dim(LOGITS, start, length)))


def test_components_on_demand_in_their_own_blocks():
    components = Counted()
    got = log_mixture(components).logits
    np.testing.assert_allclose(got, by_hand(LOGITS, None, None, None), rtol=1e-12)
    assert set(components.lengths) == {3, 1}


def test_second_derivatives_and_forward_mode():
    def value(logits, block_size):
        return jnp.sum(log_mixture(ArrayComponents(Categorical(logits)), block_size=block_size).logits ** 2)

    small = LOGITS[:, :1, :1]

    @jax.jit
    def derivatives(x):
        plain, streamed = (functools.partial(value, block_size=b) for b in (None, 2))
        return (jax.hessian(streamed)(x), jax.jacfwd(streamed)(x)), (
            jax.hessian(plain)(x),
            jax.grad(plain)(x),
        )

    chex.assert_trees_all_close(*derivatives(small), atol=1e-12, rtol=0)


def test_only_one_hot_statistics():
    gaussian = DiagonalGaussian(np.zeros((3, 1, 1, 1)), -0.5 * np.ones((3, 1, 1, 1)))
    with pytest.raises(TypeError, match="log_tilted_mixture is for the others"):
        log_mixture(ArrayComponents(gaussian))


def test_combinations():
    grid = normalizers.all_combinations(3, 2)
    np.testing.assert_array_equal(grid[:4], [[0, 0], [0, 1], [0, 2], [1, 0]])
    assert len(np.unique(grid, axis=0)) == 9
    with pytest.raises(ValueError, match=r"N\^J = 8 components, more than the limit of 7"):
        normalizers.all_combinations(2, 3, limit=7)
    some = normalizers.random_combinations(jax.random.key(0), 5, 2, 2000)
    counts = np.bincount(np.asarray(some[:, 0] * 5 + some[:, 1]), minlength=25)
    assert counts.min() > 40
    with pytest.raises(ValueError, match="number must be a positive integer"):
        normalizers.random_combinations(jax.random.key(0), 5, 2, 0)
