"""Gaussian processes as Markov chains: the same numbers as with dense covariances, for all that is asked."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import priors
from rpm_jax._jit import jit
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors import kernels, solvers
from rpm_jax.priors.kernels import Cosine, DampedOscillation, MarkovForm, Matern, White

KEY = jax.random.key(0)
SITES, LATENTS, BATCH = 9, 2, 3
TIMES = np.cumsum(np.random.default_rng(1).gamma(1.0, size=SITES))

KERNELS = {
    "matern12 and white": 0.8 * Matern(0.5, 2.0) + White(0.3),
    "matern52": Matern(2.5, 2.0),
    "oscillation": DampedOscillation(3.0, 2.0),
    "singular": Cosine(5.0),
}


def potentials(seed=0, shape=(BATCH, SITES, LATENTS)):
    """Some without evidence."""
    rng = np.random.default_rng(seed)
    evidence = rng.gamma(1.0, size=shape) * (rng.random(shape) > 0.3)
    return DiagonalGaussian(jnp.asarray(rng.normal(size=shape)), jnp.asarray(-0.5 * evidence))


def process(kernel, solver, mean="free", times=TIMES):
    spec = priors.gaussian_process(times, kernel, num_latents=LATENTS, mean=mean, solver=solver)
    params = jax.jit(spec.init)(KEY)
    return spec, jax.tree.map(lambda x: x + 0.1 * np.arange(float(x.size)).reshape(x.shape), params)


@jit
def condition(spec, params, potentials):
    return spec.apply(params).condition(potentials)


def summary(spec, params, potentials):
    """A number that depends on all of the posterior, with all derivatives."""
    posterior = spec.apply(params).condition(potentials)
    return (
        jnp.sum(posterior.log_normalizer)
        + jnp.sum(jnp.sin(posterior.mean + jnp.arange(LATENTS)))
        + jnp.sum(jnp.cos(posterior.variance))
    ), posterior


@jax.jit
def evaluate(spec, params, potentials):
    """Value, posterior, gradients, and a directional derivative in forward mode."""
    arguments = params, potentials
    (value, posterior), gradients = jax.value_and_grad(lambda *a: summary(spec, *a), (0, 1), has_aux=True)(
        *arguments
    )
    direction = jax.tree.map(jnp.ones_like, arguments)
    slope = jax.jvp(lambda *a: summary(spec, *a)[0], arguments, direction)[1]
    sites = spec.apply(params).sites()
    return value, posterior.log_normalizer, posterior.sites, gradients, slope, sites


# The oscillation's form itself is in test_kernel_states.py, and in chains of matrices below.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "oscillation" else n for n in KERNELS]
)
def test_against_dense(name):
    dense, params = process(KERNELS[name], solvers.dense())
    markov, _ = process(KERNELS[name], solvers.markov())
    assert isinstance(jax.eval_shape(markov.apply, params), priors.MarkovGaussianProcess)
    got, expected = evaluate(markov, params, potentials()), evaluate(dense, params, potentials())
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-9)
    total = sum(np.sum(leaf) for leaf in jax.tree.leaves(got[3]))
    np.testing.assert_allclose(got[4], total, rtol=1e-10)


@pytest.mark.slow
def test_by_chains_of_matrices():
    """What accelerators take, and kernels of many states."""
    markov, params = process(KERNELS["oscillation"], solvers.markov())
    parallel, _ = process(KERNELS["oscillation"], solvers.markov(parallel=True))
    got, expected = evaluate(parallel, params, potentials()), evaluate(markov, params, potentials())
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-9)


def test_dense_covariances_when_asked_for():
    dense, params = process(KERNELS["matern12 and white"], solvers.dense(), "constant")
    markov, _ = process(KERNELS["matern12 and white"], solvers.markov(), "constant")
    first, second = (jax.jit(spec.apply)(params) for spec in (dense, markov))
    np.testing.assert_allclose(second.covariance, first.covariance, rtol=0, atol=1e-12)
    np.testing.assert_allclose(second.dense().covariance, first.covariance, rtol=0, atol=1e-12)
    q, p = (condition(spec, params, potentials()) for spec in (dense, markov))
    np.testing.assert_allclose(p.joint_covariance, q.joint_covariance, rtol=0, atol=1e-10)
    np.testing.assert_allclose(p.joint_mean, q.joint_mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(p.joint_variance, q.joint_variance, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_second_derivatives():
    """By numerical differences of the first ones."""
    spec, params = process(Matern(1.5, 2.0), solvers.markov(), "zero", TIMES[:4])
    given = jax.tree.map(lambda x: x[0, :4], potentials())
    given = DiagonalGaussian(given.eta1, given.eta2 - 0.5)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), (params, given))

    def slope(params, given):
        return jax.jvp(lambda *a: summary(spec, *a)[0], (params, given), direction)[1]

    curvature = jax.jit(lambda *a: jax.jvp(slope, a, direction)[1])(params, given)
    reverse = jax.jit(jax.grad(slope, (0, 1)))(params, given)
    total = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (reverse, direction)), strict=True))
    step = 1e-5
    above, below = (
        jax.jit(slope)(*jax.tree.map(lambda x, d, sign=sign: x + sign * step * d, (params, given), direction))
        for sign in (1, -1)
    )
    np.testing.assert_allclose([curvature, total], (above - below) / (2 * step), rtol=1e-6)


def test_draws():
    """Means and covariances of draws, of the prior and of the posterior, in standard errors."""
    spec, params = process(KERNELS["matern12 and white"], solvers.markov(), "constant")
    prior, posterior = jax.jit(spec.apply)(params), condition(spec, params, potentials())
    number = 4000
    for given, mean, covariance in (
        (prior, prior.mean.T, prior.covariance),
        (posterior, posterior.mean, posterior.joint_covariance),
    ):
        draws = np.asarray(given.sample(KEY, (number,)))
        assert draws.shape == (number, *mean.shape)
        centred = draws - mean
        variance = np.swapaxes(np.diagonal(covariance, axis1=-2, axis2=-1), -1, -2)
        assert np.all(np.abs(centred.mean(0)) < 5 * np.sqrt(variance / number))
        found = np.einsum("n...tk,n...sk->...kts", centred, centred) / number
        error = np.sqrt((covariance**2 + np.einsum("...tk,...sk->...kts", variance, variance)) / number)
        assert np.all(np.abs(found - covariance) < 5 * error)


def test_draws_of_a_batch_made_by_vmap():
    spec, params = process(Matern(1.5, 2.0), solvers.markov())
    posteriors = jax.jit(lambda each: jax.vmap(spec.apply(params).condition)(each))(potentials())
    whole = condition(spec, params, potentials())
    np.testing.assert_allclose(posteriors.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(posteriors.joint_covariance, whole.joint_covariance, rtol=1e-12)
    np.testing.assert_array_equal(posteriors.sample(KEY, (2,)), whole.sample(KEY, (2,)))


def test_positive_potentials_are_not_a_number():
    spec, params = process(Matern(0.5), solvers.markov())
    given = potentials()
    given = DiagonalGaussian(given.eta1, given.eta2.at[1, 3, 0].set(0.1))
    posterior = condition(spec, params, given)
    np.testing.assert_array_equal(np.isnan(posterior.log_normalizer), [False, True, False])


@pytest.mark.parametrize(
    ("order", "spacing", "num_sites"),
    [
        (0.5, 0.05, 2000),
        (2.5, 0.01, 2000),
        # Less smooth, or less densely sampled, than the last.
        pytest.param(1.5, 0.05, 2000, marks=pytest.mark.slow),
        pytest.param(2.5, 0.05, 2000, marks=pytest.mark.slow),
        pytest.param(2.5, 0.05, 10_000, marks=pytest.mark.slow),
    ],
)
def test_single_precision(order, spacing, num_sites):
    """Within 10⁻³ nats per 1000 sites of double precision, 30 % missing; moments to 10⁻³ deviations."""
    rng = np.random.default_rng(0)
    times = spacing * np.arange(num_sites)
    evidence = rng.gamma(1.0, size=(num_sites, 1)) * (rng.random((num_sites, 1)) > 0.3)
    linear = evidence * np.sin(times)[:, None] + np.sqrt(evidence) * rng.normal(size=(num_sites, 1))
    results = []
    for dtype in (np.float64, np.float32):
        given = DiagonalGaussian(jnp.asarray(linear, dtype), jnp.asarray(-0.5 * evidence, dtype))
        rounded = times.astype(np.float32).astype(dtype)
        spec = priors.gaussian_process(rounded, Matern(order, 1.0), solver=solvers.markov())
        params = spec.init(KEY)
        assert params["kernel"]["log_lengthscale"].dtype == dtype
        posterior = condition(spec, params, given)
        assert posterior.mean.dtype == dtype
        results.append((posterior.log_normalizer, posterior.mean, posterior.standard_deviation))
    (value, mean, deviation), (single, single_mean, single_deviation) = results
    assert abs(single - value) < 1e-3 * num_sites / 1000
    assert np.max(np.abs(np.asarray(single_mean) - np.asarray(mean)) / np.asarray(deviation)) < 1e-3
    np.testing.assert_allclose(single_deviation, deviation, rtol=1e-3)


def test_the_faster_solver_is_chosen_and_printed():
    for kernel, num_sites, expected in (
        ("matern32", 10, solvers.dense()),
        ("matern32", 200, solvers.markov()),
        ("rbf", 200, solvers.dense()),
        (Matern(0.5) + kernels.RBF(), 200, solvers.dense()),
        (Matern(0.5) + White(), 200, solvers.markov()),
    ):
        spec = priors.gaussian_process(np.arange(num_sites), kernel)
        assert spec.solver == expected
        assert f"solver={expected!r}" in repr(spec)
    places = np.random.default_rng(0).normal(size=(200, 2))
    assert priors.gaussian_process(places, "matern32").solver == solvers.dense()
    assert priors.gaussian_process(TIMES, "matern32", solver=solvers.markov()).solver == solvers.markov()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: priors.gaussian_process(TIMES, "rbf", solver=solvers.markov()),
            ValueError,
            "kernel: RBF() has no Markov form; Matern, Cosine, DampedOscillation, White",
        ),
        (
            lambda: priors.gaussian_process(np.ones((3, 2)), "matern12", solver=solvers.markov()),
            ValueError,
            "solver: markov() needs times of shape (T,), which have an order; got locations in 2 dimensions",
        ),
        (
            lambda: priors.gaussian_process(TIMES, solver="markov"),
            TypeError,
            "solver must be of rpm_jax.priors.solvers, such as solvers.markov() or solvers.dense(), or None",
        ),
        (
            lambda: priors.gaussian_process(TIMES, solver=solvers.Markov),
            TypeError,
            "solver must be of rpm_jax.priors.solvers",
        ),
        (
            lambda: priors.MarkovGaussianProcess.from_forms(
                jnp.zeros((1, 1)),
                MarkovForm(
                    np.ones((1, 1, 2, 2)), np.ones((1, 0, 2, 2)), np.ones((1, 0, 2, 2)), np.eye(2)[1:]
                ),
            ),
            ValueError,
            "the Markov form's observation must not be 0 in its first entry",
        ),
    ],
)
def test_errors(build, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build()


def tridiagonal_by_precision(params):
    neighbours = jnp.eye(SITES, k=1) + jnp.eye(SITES, k=-1)
    off = 0.5 * jnp.tanh(params["coupling"])[:, None, None] * neighbours
    precision = jnp.exp(params["log_diagonal"])[:, None, None] * (jnp.eye(SITES) + off)
    return priors.GaussianProcess.from_precision(jnp.zeros((LATENTS, SITES)), precision)


@functools.partial(jax.jit, static_argnums=0)
def of_tridiagonal(dense, params, given):
    """Value, marginals and gradients."""

    def value(params, given):
        build = tridiagonal_by_precision if dense else TRIDIAGONAL.apply
        posterior = build(params).condition(given)
        total = jnp.sum(posterior.log_normalizer) + jnp.sum(jnp.sin(posterior.mean))
        return total + jnp.sum(posterior.standard_deviation), (posterior.sites, build(params).sites())

    return jax.value_and_grad(value, (0, 1), has_aux=True)(params, given)


TRIDIAGONAL = priors.tridiagonal_gaussian_process(SITES, num_latents=LATENTS)


@pytest.mark.parametrize(("a", "b"), [(0.4, -1.0), (-2.0, 0.7), (0.3, 0.0), (1.0, -300.0)])
def test_tridiagonal_process_against_dense(a, b):
    """The same numbers and gradients as by inverting its precision, also where that is nearly singular."""
    spec = priors.tridiagonal_gaussian_process(SITES, num_latents=LATENTS, log_diagonal=a, coupling=b)
    got, expected = (of_tridiagonal(dense, spec.init(KEY), potentials()) for dense in (False, True))
    chex.assert_trees_all_close(got, expected, rtol=1e-9, atol=1e-10)


def test_divergence_of_a_long_sequence_in_single_precision():
    """KL(q‖p) site by site: two sums of some 10⁴ nats that differ by little would lose it."""
    num_sites = 4000
    rng = np.random.default_rng(0)
    times = 0.05 * np.arange(num_sites)
    evidence = np.where(rng.random((num_sites, 1)) < 0.3, 0.0, 20.0)
    linear = evidence * np.sin(times)[:, None] + np.sqrt(evidence) * rng.normal(size=evidence.shape)

    @jax.jit
    def divergence(times, linear, evidence):
        spec = priors.gaussian_process(times, priors.kernels.Matern(2.5, 1.0), solver=priors.solvers.markov())
        potentials = DiagonalGaussian(linear, -0.5 * evidence)
        posterior = spec.apply(spec.init(jax.random.key(0))).condition(potentials)
        mean = posterior.sites.mean_parameters()
        by_site = priors.divergence_from_prior(posterior, potentials, mean)
        return by_site, jnp.sum(potentials.dot(mean)) - posterior.log_normalizer

    expected, at_once = divergence(times, linear, evidence)
    np.testing.assert_allclose(expected, at_once, rtol=1e-9)
    got, _ = divergence(*(jnp.asarray(a, jnp.float32) for a in (times, linear, evidence)))
    assert got.dtype == jnp.float32
    assert abs(got - expected) < 1e-3 * num_sites / 1000
