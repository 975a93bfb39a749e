"""The implicit model: what it says, how it is fitted, and whether it is a density."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.model import Model
from rpm_jax.objectives import (
    implicit_integral,
    implicit_log_likelihood,
    moment_penalty,
    score_matching,
)
from rpm_jax.train import ScoreMatching, SlicedScoreMatching

KEY = jax.random.key(0)
CORRELATION = 0.8


def gaussian_views(seed, size):
    z = np.random.default_rng(seed).normal(size=(size, 2))
    return z[:, :1], CORRELATION * z[:, :1] + np.sqrt(1 - CORRELATION**2) * z[:, 1:]


def log_normal(x):
    return -0.5 * x**2 - 0.5 * np.log(2 * np.pi)


VIEWS = gaussian_views(0, 400)
PRIOR = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True)
FACTORS = rpm.factors.per_view(rpm.networks.MLP((6,), activation=nn.tanh))
MODEL = rpm.ImplicitRPM(PRIOR, FACTORS, marginals=[log_normal, log_normal])


@pytest.fixture(scope="module")
def params():
    return init(MODEL, KEY, rpm.as_data(VIEWS))


def test_formulas(params):
    """Ratio, density, posterior, penalty and bound by their definitions."""
    data = rpm.as_data(VIEWS)

    @jax.jit
    def by_definition(params):
        prior, natural = MODEL.prior_of(params), MODEL.recognise(params, data.all()).natural
        mean = (natural.sum(-2) - prior.sites()).mean()
        return implicit_log_likelihood(prior, natural), mean, moment_penalty(prior, natural)

    ratio, want, penalty = by_definition(params)
    np.testing.assert_allclose(jax.jit(MODEL.log_ratio)(params, data), ratio, rtol=1e-12, atol=1e-14)
    marginals = log_normal(VIEWS[0][:, 0]) + log_normal(VIEWS[1][:, 0])
    density = jax.jit(MODEL.log_density)(params, data)
    np.testing.assert_allclose(density, ratio + marginals, rtol=1e-12, atol=1e-14)
    posterior = rpm.inference.posterior(rpm.Fitted(MODEL, params, VIEWS))
    np.testing.assert_allclose(posterior.mean, want, rtol=1e-10)
    model = rpm.ImplicitRPM(PRIOR, FACTORS, integral_weight=2.0, penalty_weight=3.0)
    batch = data.batch(jnp.arange(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        integral = rpm.diagnostics.integral(rpm.Fitted(model, params, VIEWS), KEY).value
    want = ratio[:5] - 2 * (integral - 1) - 3 * penalty
    np.testing.assert_allclose(bound(model, params, batch, data), want, rtol=1e-9)
    plain = rpm.ImplicitRPM(PRIOR, FACTORS, integral_weight=0.0)
    np.testing.assert_allclose(bound(plain, params, batch, data), ratio[:5], rtol=1e-12, atol=1e-14)
    assert isinstance(MODEL, Model)


def test_score_matching_is_that_of_the_density(params):
    def weight(views):
        return tuple(1.0 + jnp.sin(view) for view in views)

    views = tuple(view[:7] for view in VIEWS)

    @jax.jit
    def generic(views):
        return score_matching(lambda views: MODEL.log_density(params, views), views, weight=weight)

    want = generic(views)
    got = jax.jit(lambda views: MODEL.score_matching(params, views, weight=weight))(views)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    estimates = jax.jit(jax.vmap(lambda key: MODEL.sliced_score_matching(params, views, key, weight=weight)))(
        jax.random.split(KEY, 1000)
    )
    error = estimates.std(0) / np.sqrt(1000)
    assert (np.abs(estimates.mean(0) - want) < 5 * error + 1e-9).all()


def test_missing_views(params):
    """A datum without its second view says what its first view alone says: nothing but the posterior."""
    mask = np.ones((400, 2), bool)
    mask[:3, 1] = False
    spoiled = (VIEWS[0], np.where(mask[:, 1:], VIEWS[1], np.nan))
    data = rpm.as_data(spoiled, mask)
    log_ratio = jax.jit(MODEL.log_ratio)
    ratio = log_ratio(params, data)
    np.testing.assert_allclose(ratio[:3], 0.0, atol=1e-12)
    np.testing.assert_allclose(ratio[3:], log_ratio(params, VIEWS)[3:], rtol=1e-12)
    first = jax.jit(lambda views: MODEL.recognise(params, rpm.as_data(views).all()).natural[:3, 0].mean())(
        rpm.as_data(VIEWS).views
    )
    np.testing.assert_allclose(
        rpm.inference.posterior(rpm.Fitted(MODEL, params, data)).mean[:3], first, rtol=1e-10
    )
    with pytest.raises(ValueError, match="views must be complete here"):
        MODEL.log_density(params, data)


@pytest.mark.parametrize("feed", [rpm.feeds.full(), rpm.feeds.minibatch()], ids=str)
def test_steps_take_new_combinations(params, feed):
    """The loss of a fit: bounds with another key in every step, over all data or the batch."""
    data = rpm.as_data(VIEWS, log_weights=np.linspace(-1.0, 0.0, 400))
    batch = data.batch(jnp.arange(0, 200, 2))
    source = data
    if feed == rpm.feeds.minibatch():
        source = rpm.Data(batch.views, None, jax.nn.log_softmax(data.log_weights[batch.index]))

    @jax.jit
    def both(key):
        terms, _ = rpm.model.batch_terms(MODEL, params, batch, data, feed, (), key=key)
        natural = MODEL.recognise(params, source.all()).natural
        prior, weights = MODEL.prior_of(params), source.log_weights
        integral = implicit_integral(prior, natural, key, log_weights=weights, num_shifts=4)
        return terms.bound, MODEL.log_ratio(params, batch.views) - integral.value + 1.0

    first, following = both(KEY), both(jax.random.key(1))
    np.testing.assert_allclose(*first, rtol=1e-10)
    assert np.all(first[0] != following[0])


def test_feeds_that_have_no_integral():
    for components in (rpm.feeds.queue(4), rpm.feeds.random_subset(4)):
        with pytest.raises(TypeError, match="an ImplicitRPM has no mixtures; its integral is estimated"):
            rpm.fit(MODEL, VIEWS, key=KEY, num_steps=1, components=components)


@pytest.mark.slow
def test_copula():
    """Exponential views of a Gaussian copula: a density on data of its own, and the mutual information."""
    pair = rpm.copulas.joint(
        rpm.copulas.Gaussian(rpm.copulas.equicorrelation(-0.85)),
        [rpm.marginals.Exponential(1.0), rpm.marginals.Exponential(0.5)],
    )
    views, others = pair.sample(KEY, (1000,)), pair.sample(jax.random.key(1), (5000,))
    factors = rpm.factors.per_view(rpm.networks.MLP((10, 10), activation=nn.tanh))
    model = rpm.ImplicitRPM(PRIOR, factors, [pair.view(0), pair.view(1)])
    fit = rpm.fit(model, views, key=KEY, num_steps=2000, batch_size=250, components=rpm.feeds.minibatch())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        integral = rpm.diagnostics.integral(rpm.Fitted(model, fit.params, others), KEY)
    assert abs(integral.value - 1.0) < 0.03
    held_out = model.log_ratio(fit.params, others).mean() - integral.log_value
    assert abs(held_out - pair.mutual_information()) < 0.1 * pair.mutual_information()
    divergence = jnp.mean(pair.log_prob(others) - model.log_density(fit.params, others)) + integral.log_value
    assert 0 < divergence < 0.04


def test_sliced_steps_take_new_projections(params):
    loss, data = SlicedScoreMatching(MODEL), rpm.as_data(VIEWS)
    step = jax.jit(lambda key: loss(params, data.batch(jnp.arange(5)), data, key))
    assert step(KEY) == step(KEY)
    assert step(KEY) != step(jax.random.key(1))


def grid_integral(params):
    """∫ p(x) dx and KL(true‖p/∫p) on a grid."""
    line = np.linspace(-5.0, 5.0, 121)
    x, y = (axis.reshape(-1, 1) for axis in np.meshgrid(line, line, indexing="ij"))
    log_p = np.asarray(MODEL.log_density(params, (x, y)))
    cell = (line[1] - line[0]) ** 2
    true = log_normal(x) + log_normal((y - CORRELATION * x) / np.sqrt(1 - CORRELATION**2))
    true = (true - 0.5 * np.log(1 - CORRELATION**2))[:, 0]
    integral = np.exp(log_p).sum() * cell
    return integral, (np.exp(true) * (true - log_p)).sum() * cell + np.log(integral)


@pytest.mark.parametrize(
    ("loss", "tolerance"),
    [
        (None, 0.05),
        (ScoreMatching(MODEL), 0.3),
        pytest.param(SlicedScoreMatching(MODEL, num_projections=2), 0.3, marks=pytest.mark.slow),
    ],
    ids=["likelihood", "score", "sliced"],
)
def test_fits(loss, tolerance):
    """A correlated pair of Gaussians, for whose density the model is rich enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = rpm.fit(MODEL, VIEWS, key=KEY, num_steps=600, batch_size=100, objective=loss)
    assert fit.history.skipped == 0
    integral, divergence = grid_integral(fit.params)
    assert abs(integral - 1.0) < tolerance
    assert divergence < 0.05  # Independent marginals: −½ log(1 − 0.8²) = 0.51
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate = rpm.diagnostics.integral(rpm.Fitted(MODEL, fit.params, gaussian_views(1, 4000)), KEY)
    assert abs(estimate.value - integral) < 4 * estimate.standard_error + 0.02
    assert any("not normalised" in str(w.message) for w in caught) == bool(estimate.deviates)


def test_warns_where_it_is_no_density(params):
    """Factors that all say the same, certainly and wrongly."""
    prior = jax.tree.map(lambda leaf: leaf - 3.0, params["prior"])
    with pytest.warns(UserWarning, match="the implicit model is not normalised: ∫ p\\(x\\) dx is"):
        rpm.diagnostics.integral(rpm.Fitted(MODEL, {**params, "prior": prior}, VIEWS), KEY)


def test_parameters_serve_an_rpm(params):
    model = rpm.RPM(PRIOR, FACTORS)
    got = rpm.inference.posterior(rpm.Fitted(model, params, VIEWS))
    np.testing.assert_allclose(
        got.mean, rpm.inference.posterior(rpm.Fitted(MODEL, params, VIEWS)).mean, rtol=1e-10
    )


@pytest.mark.slow
def test_discrete_latents_and_sequences():
    """The same code for a hidden Markov prior: (N, T) views."""
    prior = rpm.priors.hidden_markov(2, 5)
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((4,), activation=nn.tanh))
    model = rpm.ImplicitRPM(prior, factors, marginals=[log_normal] * 2)
    views = tuple(np.random.default_rng(j).normal(size=(40, 5)) for j in range(2))
    fit = rpm.fit(model, views, key=KEY, num_steps=20, batch_size=20, steps_per_call=20)
    assert np.isfinite(fit.bound)
    assert fit.history.train[-1] > fit.history.train[0]
    got = model.score_matching(fit.params, views)
    want = score_matching(lambda views: model.log_density(fit.params, views), views)
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_distrax_marginals(params):
    """Scalar distributions give a number per entry, joint ones a number per view."""
    distrax = pytest.importorskip("distrax")
    scalar, joint = distrax.Normal(0.0, 1.0), distrax.MultivariateNormalDiag(jnp.zeros(1), jnp.ones(1))
    model = rpm.ImplicitRPM(PRIOR, FACTORS, marginals=(scalar, joint))
    np.testing.assert_allclose(model.log_density(params, VIEWS), MODEL.log_density(params, VIEWS), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"penalty_weight": -1.0}, ValueError, "penalty_weight must be at least 0 and finite, got -1.0"),
        ({"integral_weight": np.inf}, ValueError, "integral_weight must be at least 0 and finite, got inf"),
        ({"marginals": log_normal}, TypeError, "marginals must be a tuple or list, one for each view"),
        ({"marginals": [3.0]}, TypeError, r"marginals\[0\] must be a function log p0\(x\)"),
    ],
)
def test_errors_of_the_model(options, error, message):
    with pytest.raises(error, match=message):
        rpm.ImplicitRPM(PRIOR, FACTORS, **options)


@pytest.mark.parametrize(
    ("marginals", "message"),
    [
        (None, r"marginals: log p\(X\) and its derivatives need log p0"),
        ([log_normal], "marginals must be one for each of J = 2 views, got 1"),
        ([log_normal, lambda x: jnp.zeros(3)], r"marginals\[1\] must give shape \(400,\)"),
    ],
)
def test_errors_of_marginals(params, marginals, message):
    with pytest.raises(ValueError, match=message):
        rpm.ImplicitRPM(PRIOR, FACTORS, marginals=marginals).log_density(params, VIEWS)


def test_unnormalised_factors():
    """log_scale in the ratio, the integral and the scores; no moment penalty for them."""
    network = rpm.networks.InputConvex((3,))
    factors = rpm.factors.per_view(
        rpm.networks.MLP((6,), activation=nn.tanh), kind="unnormalised", log_partition=network
    )
    data = rpm.as_data(gaussian_views(0, 12))
    model = rpm.ImplicitRPM(PRIOR, factors, marginals=[log_normal, log_normal])

    @jax.jit
    def both():
        params = model.init(KEY, data)
        prior, own = model.prior_of(params), model.recognise(params, data.all())
        ratio = implicit_log_likelihood(prior, own.natural, log_scale=own.log_scale)
        integral = implicit_integral(
            prior, own.natural, KEY, log_scale=own.log_scale, num_blocks=20, num_shifts=4
        )
        mixture = model.mixture(params, rpm.feeds.Lazy(data), KEY)
        inferred = model.infer(params, data.all(), own, mixture)
        bound = model.terms(params, data.all(), own, mixture, inferred).bound
        scores = score_matching(lambda views: model.log_density(params, views), data.views)
        return params, (bound, model.score_matching(params, data.views)), (ratio - integral.value + 1, scores)

    params, got, expected = both()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), got, expected)
    error = rpm.diagnostics.log_partition_error(rpm.Fitted(model, params, data))
    own = model.recognise(params, data.all())
    difference = -own.log_scale - own.natural.log_partition()
    np.testing.assert_allclose(error.mean, difference.mean(0), rtol=1e-10)
    penalised = rpm.ImplicitRPM(PRIOR, factors, penalty_weight=1.0)
    with pytest.raises(ValueError, match=r"penalty_weight must be 0 for unnormalised factors.* got 1\.0"):
        bound(penalised, params, data.all(), data)
