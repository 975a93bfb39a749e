"""Rollouts from states, from what is known of a site, and from latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.fitted_sequences import FUTURE, FUTURE_TIMES, NEW, SITES, fitted, new_data
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.forecasting import filter_init, filter_step, forecast, rollout

KEY = jax.random.key(0)


def test_from_the_last_site_of_the_posterior():
    """The last site's marginal says all of what comes next in a chain."""
    for name, future in (
        ("driven hidden Markov", {"inputs": FUTURE["codes"]}),
        ("driven linear Gaussian", {"inputs": FUTURE["codes"]}),
    ):
        own, data = fitted(name), new_data(name)
        last = rpm.inference.infer(own, data).sites[:, -1]
        expected = forecast(own, 2, data, **future)
        got = rollout(own, last, 2, **future)
        np.testing.assert_allclose(got.mean, expected.mean, atol=1e-10)
        np.testing.assert_allclose(got.covariance, expected.covariance, atol=1e-10)
    own, data = fitted("own times"), new_data("own times")
    last = rpm.inference.infer(own, data).sites[:, -1]
    expected = forecast(own, 2, data, times=FUTURE["times"])
    got = rollout(own, last, 2, times=FUTURE["times"] - data.inputs[:, -1:])
    np.testing.assert_allclose(got.mean, expected.mean, atol=1e-10)
    np.testing.assert_allclose(got.covariance, expected.covariance, atol=1e-10)


def test_from_latents_by_hand():
    own = fitted("linear Gaussian")
    prior = own.model.prior_of(own.params)
    start = np.array([[1.0, -2.0], [0.5, 0.0]])
    got = rollout(own, start, 3)
    A, b, Q = prior.transition, prior.bias, prior.noise_covariance
    mean, covariance = start, np.zeros((2, 2))
    for h in range(3):
        mean, covariance = mean @ A.T + b, A @ covariance @ A.T + Q
        np.testing.assert_allclose(got.mean[:, h], mean, atol=1e-12)
        np.testing.assert_allclose(got.covariance[0, h], covariance, atol=1e-10)
    chain = fitted("hidden Markov")
    transition = np.exp(chain.model.prior_of(chain.params).transition)
    got = rollout(chain, jnp.array([2, 0]), 2)
    np.testing.assert_allclose(got.mean[:, 1], (transition @ transition)[[2, 0]], atol=1e-12)
    process = fitted("own times")
    got = rollout(process, np.array([[1.5]]), 1, times=[0.4])
    decay = np.exp(-0.4 * np.exp(-process.params["prior"]["kernel"]["log_lengthscale"][0]))
    np.testing.assert_allclose(got.mean[0, 0, 0], 1.5 * decay, rtol=1e-10)


@pytest.mark.parametrize("name", ["driven hidden Markov", "driven linear Gaussian", "Matern"])
def test_draws_are_those_of_a_forecast(name):
    own, data = fitted(name), new_data(name, None)
    future = {"inputs": FUTURE["codes"]} if "driven" in name else {"times": FUTURE_TIMES}
    state = filter_init(own, NEW)
    for t in range(SITES):
        inputs = data.inputs[:, t - 1] if "driven" in name and t else None
        state, _ = filter_step(state, tuple(view[:, t] for view in data.views), inputs)
    rolled, expected = rollout(own, state, 2, **future), forecast(own, 2, data, **future)
    draws, others = (np.asarray(each.sample(KEY, (20_000,))) for each in (rolled, expected))
    assert draws.shape == others.shape
    if draws.ndim == 3:
        draws, others = np.eye(3)[draws], np.eye(3)[others]
    flat, other = (x[:, 1].reshape(20_000, -1) for x in (draws, others))
    np.testing.assert_allclose(flat.mean(0), other.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(flat.T), np.cov(other.T), atol=0.06)


def test_refusals():
    own = fitted("linear Gaussian")
    with pytest.raises(ValueError, match="horizon must be a positive integer"):
        rollout(own, np.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match="state has seen no site yet"):
        rollout(own, filter_init(own), 2)
    with pytest.raises(TypeError, match=r"state must be that of filter_step.* got str"):
        rollout(own, "last", 2)
    with pytest.raises(ValueError, match=r"latents of one site must have shape \(n, 2\), got \(3,\)"):
        rollout(own, np.zeros(3), 2)
    with pytest.raises(ValueError, match=r"state must be a Gaussian of batch shape \(n,\).* \(6, 4\)"):
        rollout(own, rpm.inference.posterior(own).sites, 2)
    with pytest.raises(ValueError, match="inputs: the prior is not driven by inputs"):
        rollout(own, np.zeros((1, 2)), 2, inputs=np.zeros((1, 2)))
    driven = fitted("driven hidden Markov")
    with pytest.raises(
        ValueError, match=r"inputs must be those of the horizon = 2 steps, shape \(1, 2, ...\)"
    ):
        rollout(driven, jnp.array([0]), 2, inputs=np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"inputs must be integers from 0 to 1"):
        rollout(driven, jnp.array([0]), 2, inputs=np.array([[0, 5]]))
    process = fitted("Matern")
    with pytest.raises(TypeError, match="2 numbers of state for each latent"):
        rollout(process, np.zeros((1, 2)), 2)
    with pytest.raises(ValueError, match="times: each datum has times of its own"):
        rollout(fitted("own times"), np.zeros((1, 1)), 2)
    with pytest.raises(ValueError, match="times must increase"):
        rollout(fitted("own times"), np.zeros((1, 1)), 2, times=[0.5, 0.5])
    views = rpm.as_data(two_views(0, size=6, sites=SITES))
    steps = np.zeros((SITES - 1, 3, 3))
    model = rpm.RPM(
        rpm.priors.HiddenMarkov(np.zeros(3), steps, SITES),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))),
    )
    varying = rpm.Fitted(model, init(model, KEY, views), views)
    with pytest.raises(ValueError, match="a transition of its own for each step between its 4 sites"):
        rollout(varying, jnp.array([0]), 1)
    assert rollout(varying, jnp.array([0]), 2, site=1).mean.shape == (1, 2, 3)
