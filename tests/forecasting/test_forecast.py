"""Forecasts against the dense joint Gaussian, and against all paths of hidden Markov chains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import sequences
from cases.fitted_sequences import (
    FUTURE_TIMES,
    HORIZON,
    NEW,
    PRIORS,
    SITES,
    TIMES,
    conditioned,
    fitted,
    future_of,
    is_discrete,
    marginals,
    new_data,
    paths_of,
)
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.priors import kernels, solvers

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", PRIORS)
def test_forecast_by_brute_force(name):
    """Mean and covariance of the sites to come, with missing observations, future inputs and times."""
    got = rpm.forecasting.forecast(fitted(name), HORIZON, new_data(name), **future_of(name))
    assert got.sites.batch_shape == (NEW, HORIZON)
    for n in range(NEW):
        if is_discrete(name):
            expected = marginals(name, n, SITES)[SITES:]
            np.testing.assert_allclose(got.mean[n], expected, atol=1e-12)
            spread = expected[..., None] * np.eye(3) - expected[:, :, None] * expected[:, None, :]
        else:
            mean, covariance = conditioned(name, n, SITES)
            np.testing.assert_allclose(got.mean[n], mean[SITES:], atol=1e-10)
            spread = np.stack([covariance[t, :, t] for t in range(SITES, SITES + HORIZON)])
        np.testing.assert_allclose(got.covariance[n], spread, atol=1e-10)
        deviation = np.sqrt(np.diagonal(spread, axis1=-2, axis2=-1))
        np.testing.assert_allclose(got.standard_deviation[n], deviation, atol=1e-10)


@pytest.mark.parametrize("name", ["driven hidden Markov", "driven linear Gaussian", "Matern"])
def test_draws_are_joint(name):
    got = rpm.forecasting.forecast(fitted(name), HORIZON, new_data(name), **future_of(name))
    draws = np.asarray(got.sample(KEY, (20_000,)))
    if is_discrete(name):
        assert draws.shape == (20_000, NEW, HORIZON)
        paths, weights = paths_of(name, 0, SITES)
        pairs = np.zeros((3, 3))
        np.add.at(pairs, (paths[:, SITES], paths[:, SITES + 1]), weights)
        counts = np.zeros((3, 3))
        np.add.at(counts, (draws[:, 0, 0], draws[:, 0, 1]), 1 / 20_000)
        np.testing.assert_allclose(counts, pairs, atol=0.015)
        return
    assert draws.shape == (20_000, NEW, HORIZON, 2)
    mean, covariance = conditioned(name, 0, SITES)
    np.testing.assert_allclose(draws[:, 0].mean(0), mean[SITES:], atol=0.05)
    flat = draws[:, 0].reshape(20_000, -1)
    expected = covariance[SITES:, :, SITES:].reshape(2 * HORIZON, -1)
    np.testing.assert_allclose(np.cov(flat.T), expected, atol=0.05)


def test_the_data_of_the_fit_and_times_that_go_on():
    """Without data those of the fit, with their mask; without times the last step is repeated."""
    own = fitted("Matern")
    masked = rpm.Fitted(
        own.model, own.params, own.data._replace(mask=jnp.ones((6, 2, SITES), bool).at[0].set(False))
    )
    got = rpm.forecasting.forecast(masked, HORIZON)
    steps = TIMES[-1] + (TIMES[-1] - TIMES[-2]) * np.arange(1, HORIZON + 1)
    same = rpm.forecasting.forecast(masked, HORIZON, masked.data, times=np.concatenate([TIMES, steps]))
    np.testing.assert_allclose(got.mean, same.mean, atol=1e-12)
    # Nothing is known of the first datum: the prior.
    np.testing.assert_allclose(
        got.mean[0], np.broadcast_to(own.params["prior"]["mean"].T, (2, 2)), atol=1e-12
    )
    assert rpm.forecasting.forecast(fitted("own times"), 1).mean.shape == (6, 1, 1)


@pytest.mark.parametrize("name", sequences.MODELS)
def test_any_posterior(name):
    """E[z_T+1] = C_fo C_oo⁻¹ E_q[z_o], under amortized and saturated posteriors too."""
    own = rpm.Fitted(sequences.MODELS[name], sequences.initial()[name], sequences.VIEWS)
    q, got = rpm.inference.posterior(own), rpm.forecasting.forecast(own, 1)
    times = jnp.arange(3) / 2.0
    kernel = own.model.prior.kernel
    covariance = jax.vmap(lambda p: kernel.covariance(p, times))(own.params["prior"]["kernel"])[0]
    expected = covariance[2, :2] @ np.linalg.solve(covariance[:2, :2], q.mean[..., 0].T)
    np.testing.assert_allclose(got.mean[:, 0, 0], expected, atol=1e-10)
    with pytest.raises(TypeError, match="has no states that steps lead from site to site"):
        rpm.forecasting.rollout(own, q.sites[:, -1], 1)


def test_priors_that_are_not_learned_and_of_ones_own():
    """A fixed process knows its kernel, a fixed chain goes on; factors are relative to the fit's T sites."""
    data = rpm.as_data(two_views(0, size=6, sites=SITES))
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))

    def forecast(prior, **options):
        model = rpm.RPM(prior, factors)
        return rpm.forecasting.forecast(rpm.Fitted(model, init(model, KEY, data), data), HORIZON, **options)

    kernel = kernels.Matern(0.5, 0.8)
    for solver in (solvers.markov(), solvers.dense()):
        learned = rpm.priors.gaussian_process(TIMES, kernel, solver=solver)
        still = rpm.priors.gaussian_process(TIMES, kernel, solver=solver, learnable=False)
        ours, theirs = (forecast(prior, times=FUTURE_TIMES) for prior in (learned, still))
        np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-12)
    chain = rpm.priors.LinearGaussian(np.zeros(1), np.eye(1), 0.5 * np.eye(1), np.zeros(1), np.eye(1), SITES)
    got = forecast(chain)
    np.testing.assert_allclose(got.mean[:, 1], 0.5 * got.mean[:, 0], atol=1e-12)
    assert forecast(rpm.priors.Independent(rpm.expfam.VonMises(np.ones((1, 2))), SITES)).mean.shape == (
        6,
        2,
        1,
    )


def test_refusals():
    own, new = fitted("linear Gaussian"), new_data("linear Gaussian")
    forecast = rpm.forecasting.forecast
    for horizon in (0, 1.5, True):
        with pytest.raises(ValueError, match="horizon must be a positive integer"):
            forecast(own, horizon, new)
    with pytest.raises(ValueError, match=r"inputs: the prior LearnableLinearGaussian is not driven"):
        forecast(own, 2, new, inputs=np.zeros((NEW, 2)))
    with pytest.raises(
        ValueError, match=r"times: the steps of the prior LearnableLinearGaussian are all alike"
    ):
        forecast(own, 2, new, times=[1.0, 2.0])
    for name in ("driven hidden Markov", "driven linear Gaussian"):
        with pytest.raises(ValueError, match=r"pass those of the horizon = 2 steps to come, shape \(2, 2\)"):
            forecast(fitted(name), 2, new_data(name))
        with pytest.raises(
            ValueError, match=r"inputs must be those of the horizon = 2 .* got shape \(2, 3\)"
        ):
            forecast(fitted(name), 2, new_data(name), inputs=np.zeros((NEW, 3), int))
        with pytest.raises(ValueError, match=r"inputs must be integers from 0 to 1, .* got 7"):
            forecast(fitted(name), 2, new_data(name), inputs=np.full((NEW, 2), 7))
    with pytest.raises(ValueError, match="must be strictly increasing"):
        forecast(fitted("dense"), 1, times=[0.2])
    with pytest.raises(ValueError, match=r"since the first of the fit, shape \(2,\), or .* got shape \(3,\)"):
        forecast(fitted("Matern"), 2, times=[2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="the first T = 4 of 6 must be those of the fit"):
        forecast(fitted("Matern"), 2, times=np.arange(6.0))
    with pytest.raises(ValueError, match=r"times must be those of the horizon = 2 .* shape \(2, 2\)"):
        forecast(fitted("own times"), 2, new_data("own times"), times=[2.0, 3.0])


def test_priors_and_models_without_a_future():
    data = rpm.as_data(two_views(0, size=6, sites=SITES))
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))

    def forecast(model, views=data):
        return rpm.forecasting.forecast(rpm.Fitted(model, init(model, KEY, views), views), 2)

    with pytest.raises(ValueError, match="mean='free' learns a number at each of the sites of the fit"):
        forecast(rpm.RPM(rpm.priors.gaussian_process(TIMES, "rbf", mean="free"), factors))
    for prior, kind in (
        (rpm.priors.tridiagonal_gaussian_process(SITES), "LearnableTridiagonal"),
        (rpm.priors.dirichlet_topics(3, SITES), "LearnableDirichletTopics"),
    ):
        with pytest.raises(TypeError, match=rf"the prior {kind}.* has no sites behind its last one"):
            forecast(rpm.RPM(prior, factors))
    steps = np.broadcast_to(np.eye(3), (SITES - 1, 3, 3))
    with pytest.raises(ValueError, match="the transitions of this HiddenMarkov differ by step"):
        forecast(rpm.RPM(rpm.priors.HiddenMarkov(np.zeros(3), steps, SITES), factors))
    places = np.arange(8.0).reshape(SITES, 2)
    with pytest.raises(ValueError, match="locations in several dimensions can't be continued"):
        forecast(rpm.RPM(rpm.priors.gaussian_process(places, "rbf"), factors))
    chain = rpm.priors.hidden_markov(3, SITES)
    for model in (
        rpm.ImplicitRPM(PRIORS["linear Gaussian"], factors),
        rpm.LocalLatentRPM(chain, factors, 2),
        rpm.JointRPM(chain, rpm.networks.stacked(rpm.networks.MLP((3,)))),
    ):
        with pytest.raises(
            TypeError, match=rf"forecast asks how the prior goes on.* got {type(model).__name__}"
        ):
            forecast(model)
