"""A family whose members share a field (a known covariance) goes every way that components take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import COVARIANCE, bound, feed_bound, feed_state, init, two_views

import rpm_jax as rpm
from rpm_jax.expfam import KnownCovarianceGaussian
from rpm_jax.model import _blocks, _evaluation

SIZE = 12
KEY = jax.random.key(0)
NATURAL = KnownCovarianceGaussian(np.array([0.3, -0.2]), COVARIANCE)
WEIGHTS = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(1).normal(size=SIZE)))
MODELS = {
    "static": (
        rpm.RPM(rpm.priors.static(NATURAL), rpm.factors.per_view(rpm.networks.MLP((3,)))),
        two_views(0, size=SIZE),
    ),
    "pooled": (
        rpm.RPM(
            rpm.priors.Independent(NATURAL, 4),
            rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)), kind="unnormalised"),
            pooled=True,
        ),
        two_views(0, size=SIZE, sites=4),
    ),
}


@pytest.fixture(params=MODELS)
def case(request):
    model, views = MODELS[request.param]
    data = rpm.as_data(views, log_weights=WEIGHTS)
    return model, data, init(model, KEY, data)


def bounds(model, params, data):
    return bound(model, params, data.batch(jnp.arange(SIZE)), data)


def test_queue(case):
    """With all data in batch and queue, F is that over all data."""
    model, data, params = case
    queue = rpm.feeds.queue(8)
    batches = [data.batch(jnp.arange(i, i + 4)) for i in (0, 4, 8)]
    state = feed_state(model, params, data, queue)
    for batch in batches:
        got, state = feed_bound(model, params, batch, data, queue, state)
    np.testing.assert_allclose(got, bounds(model, params, data)[8:], rtol=1e-12)
    np.testing.assert_array_equal(state.factors.natural.covariance, COVARIANCE)


def test_subset(case):
    """F over the batch and what is drawn, with their weights."""
    model, data, params = case
    batch, feed = data.batch(jnp.arange(3)), rpm.feeds.random_subset(7)
    state = feed_state(model, params, data, feed)
    rows, _ = feed.rows(state, batch, data)
    joined = rpm.Data(rows.views, None, rows.log_weights)
    got, _ = feed_bound(model, params, batch, data, feed, state)
    np.testing.assert_allclose(got, bound(model, params, batch, joined), rtol=1e-12)


@pytest.mark.parametrize("case", [pytest.param("static", marks=pytest.mark.slow), "pooled"], indirect=True)
def test_blocks_and_streams(case, monkeypatch):
    """Blocks of data that do not come out even: bounds, posteriors, and gradients of the streamed mixture."""
    model, data, params = case

    def everything():
        jax.clear_caches()  # the limits are read while tracing
        mean = jax.value_and_grad(lambda p: jnp.mean(rpm.bound(model, p, data.batch(jnp.arange(5)), data)))
        evaluated = rpm.inference.evaluate(rpm.Fitted(model, params, data), data)
        return (
            *jax.jit(mean)(params),
            evaluated,
            rpm.inference.posterior(rpm.Fitted(model, params, data)).mean,
        )

    expected = everything()
    monkeypatch.setattr(_blocks, "BLOCK_INPUTS", 5 * sum(view[0].size for view in data.views))
    monkeypatch.setattr(_evaluation, "EVALUATED_AT_ONCE", 5)
    blocks = everything()
    monkeypatch.setattr(_blocks, "STREAMED_INPUTS", 1)
    for got in (blocks, everything()):
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("components", [rpm.feeds.queue(6), rpm.feeds.random_subset(5)], ids=str)
@pytest.mark.parametrize("case", ["static", pytest.param("pooled", marks=pytest.mark.slow)], indirect=True)
def test_fit(case, components):
    model, data, _ = case
    options = {"num_steps": 40, "batch_size": 4, "optimizer": rpm.train.Adam({"networks": 0.05})}
    fit = rpm.fit(model, data, key=KEY, components=components, **options)
    assert fit.history.skipped == 0
    assert fit.bound > fit.history.train[0]
