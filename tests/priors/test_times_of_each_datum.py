"""Gaussian processes over times of each datum: its own process, dense and as a Markov chain."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init

import rpm_jax as rpm
from rpm_jax import priors
from rpm_jax._jit import jit
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors import kernels, solvers

KEY = jax.random.key(0)
SIZE, SITES = 6, 7
RNG = np.random.default_rng(0)
TIMES = np.cumsum(RNG.gamma(1.0, size=(SIZE, SITES)), axis=1)
KERNEL = kernels.Matern(1.5, 2.0)
BOTH = pytest.mark.parametrize("solver", [solvers.dense(), solvers.markov()], ids=["dense", "markov"])


def spec_of(solver, **options):
    return priors.gaussian_process(num_sites=SITES, kernel=KERNEL, num_latents=2, solver=solver, **options)


@jit
def questions(spec, params, times, given, key):
    """What a process over these times, or over its own, says; the Python of it is the same for all."""
    prior = spec.apply(params) if times is None else spec.apply(params, times)
    posterior = prior.condition(given)
    answers = posterior.log_normalizer, posterior.mean, posterior.standard_deviation
    return answers, prior.sites(), posterior.sample(key, (2,))


@BOTH
def test_each_datum_has_the_process_of_its_times(solver):
    spec = spec_of(solver, mean="constant")
    params = spec.init(KEY, TIMES)
    params["mean"] += np.array([[0.3], [-0.2]])
    shape = (SIZE, SITES, 2)
    given = DiagonalGaussian(RNG.normal(size=shape), -0.5 * RNG.gamma(1.0, size=shape))
    (log_normalizer, mean, deviation), _, draws = questions(spec, params, jnp.asarray(TIMES), given, KEY)
    assert draws.shape == (2, *shape)
    reference = spec.reference(params)
    for n in range(SIZE):
        own = priors.gaussian_process(TIMES[n], KERNEL, num_latents=2, mean="constant", solver=solver)
        expected, sites, _ = questions(
            own, {"kernel": params["kernel"], "mean": params["mean"]}, None, given[n], KEY
        )
        np.testing.assert_allclose(log_normalizer[n], expected[0], rtol=1e-10)
        np.testing.assert_allclose(mean[n], expected[1], rtol=0, atol=1e-11)
        np.testing.assert_allclose(deviation[n], expected[2], rtol=1e-10)
        chex.assert_trees_all_close(reference, sites, rtol=1e-12)


def data_of(size, times, sites=SITES):
    rng = np.random.default_rng(1)
    views = tuple(rng.normal(size=(size, sites, 1)) for _ in range(2))
    return views, times


@BOTH
def test_the_same_times_for_all_are_inputs_like_any(solver):
    """A model with its times as inputs is the model with these times."""
    same = np.broadcast_to(TIMES[0], (SIZE, SITES))
    views, _ = data_of(SIZE, same)
    network = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))
    with_inputs = rpm.RPM(spec_of(solver), network)
    plain = rpm.RPM(priors.gaussian_process(TIMES[0], KERNEL, num_latents=2, solver=solver), network)
    data, bare = rpm.as_data(views, inputs=same), rpm.as_data(views)
    params = init(with_inputs, KEY, data)
    own = params | {"prior": {"kernel": params["prior"]["kernel"]}}
    got = bound(with_inputs, params, data.all(), data)
    np.testing.assert_allclose(got, bound(plain, own, bare.all(), bare), rtol=1e-10)


def test_fits_and_padded_sites():
    """Times of masked sites at the end, whatever they are, change nothing."""
    views, times = data_of(SIZE, TIMES)
    mask = np.ones((SIZE, 2, SITES), bool)
    mask[::2, :, -2:] = False
    other = TIMES.copy()
    other[::2, -2:] += np.array([0.7, 5.0])
    model = rpm.RPM(spec_of(solvers.markov()), rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))))
    options = {"key": KEY, "num_steps": 4, "steps_per_call": 4, "batch_size": 4, "mask": mask}
    fits = [rpm.fit(model, views, inputs=inputs, **options) for inputs in (times, other)]
    assert fits[0].history.skipped == 0
    np.testing.assert_allclose(fits[0].bound, fits[1].bound, rtol=1e-10)
    assert fits[0].params["prior"]["kernel"]["log_lengthscale"][0] != np.log(2.0)
    means = [fit.posterior().mean for fit in fits]
    np.testing.assert_allclose(means[0][:, :-2], means[1][:, :-2], rtol=1e-9, atol=1e-10)
    assert fits[0].sample(KEY).latents.shape == (SIZE, SITES, 2)


def test_inputs_in_a_mapping_and_nothing_learned():
    spec = priors.gaussian_process(num_sites=SITES, kernel=KERNEL, learnable=False, mean="constant")
    params = spec.init(KEY, {"times": TIMES, "speed": TIMES})
    assert list(params) == ["statistics"]
    prior = spec.apply(params, {"times": jnp.asarray(TIMES)})
    np.testing.assert_array_equal(prior.mean, np.zeros((SIZE, 1, SITES)))
    np.testing.assert_allclose(spec.reference(params).variance(), 1.0, rtol=1e-12)


def test_traced_times_that_decrease_are_not_a_number():
    spec = spec_of(solvers.markov())
    params = spec.init(KEY, TIMES)
    given = DiagonalGaussian(jnp.zeros((SIZE, SITES, 2)), -0.5 * jnp.ones((SIZE, SITES, 2)))
    wrong = TIMES.copy()
    wrong[2, 3] = 0.0
    value = jax.jit(lambda times: spec.apply(params, times).condition(given).log_normalizer)(wrong)
    np.testing.assert_array_equal(np.isnan(value), np.arange(SIZE) == 2)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (TIMES[:, ::-1], "inputs: times of each datum must be strictly increasing, but times[0, 0] = "),
        (
            np.where(np.arange(SITES) == 3, TIMES[:, 2:3], TIMES),
            "strictly increasing, but times[0, 2]",
        ),
        (TIMES[:, :5], "inputs: must be the times of each datum, shape (N, T) with T = 7, or a mapping"),
        ({"clock": TIMES}, 'or a mapping with them under "times", got dict'),
    ],
)
def test_times_that_do_not_fit(times, message):
    views, _ = data_of(SIZE, TIMES)
    model = rpm.RPM(spec_of(None), rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))))
    with pytest.raises(ValueError, match=re.escape(message)):
        rpm.fit(model, views, inputs=times, key=KEY, num_steps=1)


def test_errors():
    with pytest.raises(ValueError, match="give times, or num_sites where each datum has its own times"):
        priors.gaussian_process()
    with pytest.raises(ValueError, match="num_sites is 3, and there are 4 times"):
        priors.gaussian_process(np.arange(4.0), num_sites=3)
    with pytest.raises(ValueError, match="mean, of times that differ by datum, must be one of 'zero'"):
        priors.gaussian_process(num_sites=3, mean="free")


def test_inputs_that_lose_digits_are_warned_of():
    """Unix seconds, 500 apart, are rounded to multiples of 128 in single precision."""
    seconds = 1.7e9 + 500.0 * np.arange(5.0) + np.random.default_rng(0).uniform(0, 300, size=(4, 1))
    views = (np.random.default_rng(1).normal(size=(4, 5)),) * 2
    with jax.enable_x64(False), pytest.warns(RuntimeWarning, match="inputs.*moves numbers by up to"):
        rpm.as_data(views, inputs=seconds)
