"""Mixed Gaussian processes, against the dense covariance of all latents at all sites."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax import priors
from rpm_jax.expfam import Gaussian
from rpm_jax.priors import kernels

KEY = jax.random.key(0)
SITES, BATCH = 5, 3
RNG = np.random.default_rng(0)
TIMES = np.cumsum(RNG.gamma(1.0, size=SITES))
KERNELS = [kernels.Matern(1.5, 2.0), kernels.Matern(0.5, 1.0), kernels.Cosine(4.0)]
MIXING = RNG.normal(size=(2, 3))
SPEC = priors.mixed_gaussian_process(TIMES, KERNELS, mixing=MIXING, mean="constant")
PARAMS = {**SPEC.init(KEY), "mean": jnp.array([0.3, -0.6])}


def potentials():
    root = RNG.normal(size=(BATCH, SITES, 2, 2)) * (RNG.random((BATCH, SITES)) > 0.3)[..., None, None]
    return Gaussian(RNG.normal(size=(BATCH, SITES, 2)), jnp.asarray(-0.5 * root @ np.swapaxes(root, -1, -2)))


@jax.jit
def moments(params):
    """The mean (T·2,) and covariance of all latents, from the kernels' covariances."""
    covariances = jnp.stack(
        [k.covariance(own, TIMES) for k, own in zip(KERNELS, params["kernels"], strict=True)]
    )
    joint = jnp.einsum("kr,rts,lr->tksl", params["mixing"], covariances, params["mixing"])
    return jnp.tile(params["mean"], SITES), joint.reshape(2 * SITES, 2 * SITES)


def dense(params, given):
    """log_normalizer, means and covariances of the sites."""
    mean, covariance = moments(params)
    precision = jax.scipy.linalg.block_diag(*(-2.0 * given.eta2[t] for t in range(SITES)))
    inner = jnp.eye(2 * SITES) + covariance @ precision
    posterior = jnp.linalg.solve(inner, covariance)
    linear = given.eta1.reshape(-1) - precision @ mean
    value = mean @ (given.eta1.reshape(-1) - 0.5 * precision @ mean) + 0.5 * linear @ posterior @ linear
    blocks = posterior.reshape(SITES, 2, SITES, 2)[np.arange(SITES), :, np.arange(SITES)]
    means = (mean + posterior @ linear).reshape(SITES, 2)
    return value - 0.5 * jnp.linalg.slogdet(inner)[1], means, blocks


def by_chain(params, given):
    posterior = SPEC.apply(params).condition(given)
    return posterior.log_normalizer, posterior.mean, posterior.covariance


def test_against_dense():
    given = potentials()

    def total(function, params, given):
        value, mean, covariance = function(params, given)
        return jnp.sum(value) + jnp.sum(jnp.sin(mean)) + jnp.sum(jnp.sin(covariance)), (
            value,
            mean,
            covariance,
        )

    def by_matrices(params, given):
        return jax.vmap(dense, in_axes=(None, 0))(params, given)

    ((_, got), gradients), ((_, expected), expected_gradients) = (
        jax.jit(jax.value_and_grad(lambda *a, f=f: total(f, *a), (0, 1), has_aux=True))(PARAMS, given)
        for f in (by_chain, by_matrices)
    )
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-10)
    chex.assert_trees_all_close(gradients[0], expected_gradients[0], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(gradients[1].eta1, expected_gradients[1].eta1, rtol=1e-8, atol=1e-9)
    symmetric = [0.5 * (g + np.swapaxes(g, -1, -2)) for g in (gradients[1].eta2, expected_gradients[1].eta2)]
    np.testing.assert_allclose(*symmetric, rtol=1e-8, atol=1e-9)
    mean, covariance = moments(PARAMS)
    sites = jax.jit(lambda params: SPEC.apply(params).sites())(PARAMS)
    np.testing.assert_allclose(sites.mean(), mean.reshape(SITES, 2), atol=1e-10)
    blocks = np.asarray(covariance).reshape(SITES, 2, SITES, 2)[np.arange(SITES), :, np.arange(SITES)]
    np.testing.assert_allclose(sites.covariance(), blocks, atol=1e-10)


@pytest.mark.slow
def test_draws():
    prior = SPEC.apply(PARAMS)
    given = potentials()
    posterior = prior.condition(given)
    number = 4000
    _, covariance = moments(PARAMS)
    draws = np.asarray(prior.sample(KEY, (number,))).reshape(number, -1)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) * 2 / number)
    assert np.all(np.abs(np.cov(draws.T) - covariance) < 5 * scale)
    draws = np.asarray(posterior.sample(KEY, (number,)))
    assert draws.shape == (number, BATCH, SITES, 2)
    error = posterior.standard_deviation / np.sqrt(number)
    assert np.all(np.abs(draws.mean(0) - posterior.mean) < 5 * error)
    np.testing.assert_allclose(draws.std(0), posterior.standard_deviation, rtol=0.08)
    each = jax.vmap(prior.condition)(given)
    np.testing.assert_allclose(each.sites.eta2, posterior.sites.eta2, rtol=1e-10)
    np.testing.assert_allclose(each.mean, posterior.mean, rtol=1e-10)


@pytest.mark.slow
def test_in_a_model():
    views = tuple(RNG.normal(size=(6, SITES, 2)) for _ in range(2))
    model = rpm.RPM(SPEC, rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))))
    fit = rpm.fit(model, views, key=KEY, num_steps=10, steps_per_call=10)
    assert fit.history.skipped == 0
    assert not np.allclose(fit.params["prior"]["mixing"], MIXING)
    assert fit.posterior().covariance.shape == (6, SITES, 2, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernels": "rbf"}, TypeError, "kernels must be a list of kernels, one for each process, got 'rbf'"),
        ({"kernels": ["matern12", "rbf"]}, ValueError, "kernel: RBF() has no Markov form"),
        (
            {"kernels": ["matern12"], "mixing": np.ones((2, 1))},
            ValueError,
            "mixing must have shape (K, R) for K latents of R = 1 processes (kernels), K ≤ R",
        ),
        ({"kernels": ["matern12"], "mean": "free"}, ValueError, "mean must be one of 'zero', 'constant'"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        priors.mixed_gaussian_process(TIMES, **options)
