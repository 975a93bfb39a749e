"""Chains against the dense Gaussian over all T S numbers of a trajectory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.dense_chains import dense

from rpm_jax.priors import chains
from rpm_jax.priors.chains import GaussianChain

SIZES = [
    (1, 1, 1, True),
    (1, 3, 2, False),
    (2, 2, 1, True),
    (3, 4, 2, False),
    (3, 4, 2, True),
    (5, 3, 5, False),
    (3, 4, None, True),
]
"""States S, sites T, observed numbers K, None for potentials of the states themselves; singular or not."""


def example(seed, size, num_sites, observed, batch=(), homogeneous=True, singular=False):
    """A chain and potentials; `singular` ones have covariances and precisions of rank below S, some zero."""
    rng = np.random.default_rng(seed)
    number = size if observed is None else observed
    steps = 1 if homogeneous else num_sites - 1

    def covariance(*shape, rank):
        factor = rng.normal(size=(*shape, rank)) / np.sqrt(shape[-1])
        return factor @ np.swapaxes(factor, -1, -2)

    rank = max(size - 1, 0) if singular else size + 1
    chain = GaussianChain(
        jnp.asarray(rng.normal(size=size)),
        jnp.asarray(covariance(size, rank=rank)),
        jnp.asarray(0.9 * rng.normal(size=(steps, size, size)) / np.sqrt(size)),
        jnp.asarray(0.3 * rng.normal(size=(steps, size))),
        jnp.asarray(covariance(steps, size, rank=rank)),
    )
    precision = 3.0 * covariance(*batch, num_sites, number, rank=1 if singular else number + 1)
    if singular:
        precision[..., ::2, :, :] = 0.0
    emission = None if observed is None else jnp.asarray(rng.normal(size=(observed, size)))
    return chain, jnp.asarray(rng.normal(size=(*batch, num_sites, number))), jnp.asarray(precision), emission


def smoothed_moments(chain, linear, precision, emission, parallel=None):
    smoothed = chains.smooth(chain, linear, precision, emission, parallel=parallel)
    return smoothed.log_normalizer, smoothed.mean, smoothed.covariance, smoothed.cross_covariance


@pytest.mark.parametrize(("size", "num_sites", "observed", "singular"), SIZES)
def test_moments_and_gradients(size, num_sites, observed, singular):
    """Log-normaliser, marginals, pairs, and gradients of them all."""
    arguments = example(size, size, num_sites, observed, homogeneous=not singular, singular=singular)
    rng = np.random.default_rng(9)

    def total(function, arguments):
        chain, linear, precision, emission = arguments
        # Of symmetric matrices only the symmetric part counts.
        half = lambda x: 0.5 * (x + jnp.swapaxes(x, -1, -2))  # noqa: E731
        chain = dataclasses.replace(
            chain, initial_covariance=half(chain.initial_covariance), noise=half(chain.noise)
        )
        out = function(chain, linear, half(precision), emission)[:4]
        return sum(jnp.sum(w * x) for w, x in zip(weights, out, strict=True)), out

    weights = [rng.normal(size=x.shape) for x in jax.eval_shape(smoothed_moments, *arguments)]
    got, expected = (
        jax.jit(jax.value_and_grad(functools.partial(total, f), has_aux=True))(arguments)
        for f in (smoothed_moments, dense)
    )
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


def test_samples_have_the_joint_moments():
    chain, linear, precision, emission = example(3, 3, 4, 2, batch=(2,), singular=True)
    smoothed = chains.smooth(chain, linear, precision, emission)
    number = 40_000
    draws = jax.jit(functools.partial(chains.sample, shape=(number,)))(smoothed, jax.random.key(0))
    assert draws.shape == (number, 2, 4, 3)
    for b in range(2):
        *_, covariance = dense(chain, linear[b], precision[b], emission)
        flat = np.asarray(draws)[:, b].reshape(number, -1)
        spread = np.sqrt(np.diagonal(covariance))
        error = (flat.mean(0) - np.asarray(smoothed.mean)[b].reshape(-1)) * np.sqrt(number)
        assert np.all(np.abs(error) < 5 * spread + 1e-7)
        error = np.abs(np.cov(flat.T) - covariance) * np.sqrt(number / 2)
        assert np.all(error < 5 * spread[:, None] * spread + 1e-7)
    # Members of the batch are drawn independently of each other.
    assert np.abs(np.corrcoef(draws[:, 0, 0, 0], draws[:, 1, 0, 0])[0, 1]) < 5 / np.sqrt(number)


def test_marginals_of_a_chain_and_its_draws():
    chain, *_ = example(4, 2, 5, None, homogeneous=False)
    mean, covariance = chains.marginals(chain, 5)
    zero = jnp.zeros((5, 2))
    *_, expected, _ = dense(chain, zero, jnp.zeros((5, 2, 2)), None)
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)
    draws = np.asarray(chains.sample_chain(chain, jax.random.key(1), (20_000,), 5))
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(draws[:, 4].T), covariance[4], atol=0.1)


def both_arguments():
    """A batch of (2, 2) whose parts have different batch axes."""
    chain, linear, precision, emission = example(5, 3, 13, 2, batch=(2, 1), homogeneous=False)
    chain = dataclasses.replace(chain, noise=jnp.stack([chain.noise, 0.5 * chain.noise]))
    precision = precision[0]
    return chain, linear, precision, jnp.stack([emission] * 13)


@functools.cache
def both_forms():
    """Moments and a gradient by both forms, and by the sequential one a tangent."""

    def total(arguments, parallel):
        out = smoothed_moments(*arguments, parallel=parallel)
        return sum(jnp.sum(jnp.sin(x)) for x in out), out

    arguments = both_arguments()
    direction = jax.tree.map(jnp.sin, arguments)

    @functools.partial(jax.jit, static_argnums=1)
    def everything(arguments, parallel):
        value = jax.value_and_grad(total, has_aux=True)(arguments, parallel)
        if parallel:
            return value
        return value, jax.jvp(lambda a: total(a, parallel)[0], (arguments,), (direction,))[1]

    (sequential, tangent), in_parallel = (everything(arguments, parallel) for parallel in (False, True))
    return sequential, in_parallel, tangent


def test_parallel_is_sequential():
    first, second, _ = both_forms()
    assert first[0][1][1].shape == (2, 2, 13, 3)
    for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10)


def test_forward_and_reverse_mode_agree():
    (_, gradient), _, tangent = both_forms()
    arguments = both_arguments()
    expected = sum(
        jnp.sum(g * jnp.sin(x)) for g, x in zip(*map(jax.tree.leaves, (gradient, arguments)), strict=True)
    )
    np.testing.assert_allclose(tangent, expected, rtol=1e-9)


@pytest.mark.parametrize("parallel", [False, True])
def test_mapped_is_batched(parallel):
    chain, linear, precision, emission = example(6, 2, 5, 1, batch=(3,))
    batched = chains.smooth(chain, linear, precision, emission, parallel=parallel)
    mapped = jax.vmap(lambda h, w: chains.smooth(chain, h, w, emission, parallel=parallel))(linear, precision)
    np.testing.assert_allclose(mapped.mean, batched.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mapped.covariance, batched.covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("parallel", [False, True])
def test_nothing_known_and_everything_known(parallel):
    """Without potentials the chain itself, whose linear terms need no precision; extremes are finite."""
    chain, linear, precision, _ = example(7, 2, 6, None)
    free = chains.smooth(chain, 0.0 * linear, 0.0 * precision, parallel=parallel)
    mean, covariance = chains.marginals(chain, 6)
    np.testing.assert_allclose(free.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(free.covariance, covariance, rtol=1e-12)
    np.testing.assert_allclose(free.log_normalizers, 0.0, atol=1e-13)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (chain, linear, 1e8 * precision))

    def value(linear, precision):
        smoothed = chains.smooth(single[0], 1e8 * linear, precision, parallel=parallel)
        return jnp.sum(smoothed.mean) + jnp.sum(smoothed.covariance), smoothed

    (_, smoothed), gradient = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))(*single[1:])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((smoothed.log_normalizers, gradient)))
    expected = jnp.linalg.solve(precision, linear[..., None])[..., 0]
    np.testing.assert_allclose(smoothed.mean, expected, rtol=1e-4, atol=1e-5)
    assert np.all(np.linalg.eigvalsh(smoothed.covariance) > 0)
