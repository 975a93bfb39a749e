"""Whatever a chain is, stable or not, of any rank and with any potentials: the dense Gaussian's numbers."""

import functools

import jax
import numpy as np
import pytest
from cases.dense_chains import dense
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import composite, floats, integers

from rpm_jax.expfam import Gaussian
from rpm_jax.priors import LinearGaussian, chains

SITES = 4


@composite
def chains_and_potentials(draw, size):
    """Moments of a chain of K latents whose steps differ, and potentials (λ1, −2λ2) of every site."""

    def numbers(*shape, bound=1.5):
        return draw(arrays(float, shape, elements=floats(-bound, bound, width=16)))

    def covariances(*shape):
        root = numbers(*shape, size, size)
        # Of any rank from 0 to K.
        root[..., draw(integers(0, size)) :] = 0.0
        return root @ np.swapaxes(root, -1, -2)

    steps = SITES - 1
    moments = {
        "initial_mean": numbers(size),
        "initial_covariance": covariances(),
        "transition": numbers(steps, size, size),
        "bias": numbers(steps, size),
        "noise_covariance": covariances(steps),
    }
    seen = draw(arrays(bool, SITES))
    linear, root = numbers(SITES, size, bound=4.0), numbers(SITES, size, size, bound=4.0)
    root[..., draw(integers(0, size)) :] = 0.0
    precision = root @ np.swapaxes(root, -1, -2)
    return moments, seen[:, None] * linear, seen[:, None, None] * precision


@jax.jit
def everything(moments, linear, precision):
    """Of both forms and of the dense Gaussian: log-normaliser, means, covariances, cross-covariances, and
    covariances before anything is seen."""
    out = []
    for parallel in (False, True):
        prior = LinearGaussian(**moments, num_sites=SITES, parallel=parallel)
        posterior = prior.condition(Gaussian(linear, -0.5 * precision))
        own = posterior.log_normalizer, posterior.mean, posterior.covariance, posterior.cross_covariance
        out.append((*own, chains.marginals(prior.chain, SITES)[1]))
    *expected, _ = dense(prior.chain, linear, precision, None)
    return out, tuple(expected)


def check(moments, linear, precision):
    forms, expected = jax.tree.map(np.asarray, everything(moments, linear, precision))
    for form in forms:
        for got, wanted in zip(form, expected, strict=True):
            assert np.all(np.isfinite(got))
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(wanted).max()))
        covariance, spread = form[2], np.abs(expected[4]).max()
        np.testing.assert_allclose(covariance, np.swapaxes(covariance, -1, -2), atol=1e-12 * (1.0 + spread))
        assert np.linalg.eigvalsh(covariance).min() >= -1e-12 * (1.0 + spread)


@functools.cache
def property_of(size):
    return given(chains_and_potentials(size))(lambda case: check(*case))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_both_forms_are_the_dense_gaussian(size):
    property_of(size)()
