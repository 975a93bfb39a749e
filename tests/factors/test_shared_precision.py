"""Factors whose precision all data share, in models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, feed_bound, feed_state, init, recognise, two_views

import rpm_jax as rpm
from rpm_jax.expfam import Categorical, DiagonalGaussian, Gaussian
from rpm_jax.normalizers import SharedPrecision

KEY = jax.random.key(0)
NETWORK = rpm.networks.PointwiseMLP((3,), activation=jnp.tanh)
TIMES = np.array([0.0, 0.4, 1.0])
PRIORS = {
    "Gaussian": rpm.priors.fixed(rpm.priors.Independent(Gaussian(np.zeros(2), -0.5 * np.eye(2)), 3)),
    "process": rpm.priors.gaussian_process(TIMES, "matern32", num_latents=2),
}
DATA = rpm.as_data(two_views(0, 6, 3), np.random.default_rng(0).random((6, 2, 3)) < 0.8)


def without_fast_path(factors):
    """The same factors, whose mixtures do not know that they share something."""

    @rpm.record
    class Plain:
        takes_missing = True

        def init(self, key, views, sites):
            return factors.init(key, views, sites)

        def apply(self, params, views, sites):
            return factors.apply(params, views, sites)

    return Plain()


CASES = {
    "full": ("Gaussian", {"precision": "shared"}, {}),
    "diagonal": ("process", {"precision": "shared"}, {}),
    "by site": ("process", {"precision": "by site", "kind": "scaled"}, {}),
    "pooled": ("Gaussian", {"precision": "shared", "kind": "unnormalised"}, {"pooled": True}),
}


@pytest.mark.parametrize(
    "case",
    ["full", "by site", *(pytest.param(case, marks=pytest.mark.slow) for case in ("diagonal", "pooled"))],
)
def test_bound_is_that_of_the_same_factors(case):
    prior, options, more = CASES[case]
    factors = rpm.factors.per_view(NETWORK, **options)
    model = rpm.RPM(PRIORS[prior], factors, **more)
    plain = rpm.RPM(PRIORS[prior], without_fast_path(factors), **more)
    params = init(model, KEY, DATA)
    noise = jax.random.normal(KEY, params["factors"]["precision"].shape)
    params["factors"]["precision"] = noise

    def mean(model, params):
        return rpm.bound(model, params, DATA.batch(np.arange(4)), DATA).mean()

    got, expected = (jax.jit(jax.value_and_grad(lambda p, m=m: mean(m, p)))(params) for m in (model, plain))
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-11)
    for ours, theirs in zip(jax.tree.leaves(got[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)
    mixture = jax.jit(lambda params: model.mixture(params, rpm.feeds.Lazy(DATA)))(params)
    assert isinstance(mixture.components.natural, SharedPrecision)
    natural = recognise(model, params, DATA.all()).natural
    whole = np.asarray(natural.eta2)[DATA.mask.all((1, 2))]
    assert np.ptp(whole, axis=0).max() < 1e-12


@pytest.mark.parametrize(
    "feed",
    [rpm.feeds.random_subset(3), rpm.feeds.queue(4)],
    ids=lambda f: type(f).__name__,
)
def test_feeds(feed):
    """Held components take the fast path, and a queue's, made with other parameters, the plain one."""
    factors = rpm.factors.per_view(NETWORK, precision="shared")
    models = [rpm.RPM(PRIORS["process"], f) for f in (factors, without_fast_path(factors))]
    params = init(models[0], KEY, DATA)
    batch, values = DATA.batch(np.arange(3)), []
    for model in models:
        state = feed_state(model, params, DATA, feed)
        _, state = feed_bound(model, params, batch, DATA, feed, state)
        moved = jax.tree.map(lambda leaf: leaf + 0.1, params)
        values.append(feed_bound(model, moved, batch, DATA, feed, state)[0])
    np.testing.assert_allclose(*values, rtol=1e-11)


def test_streamed(monkeypatch):
    """Networks inside the stream."""
    factors = rpm.factors.per_view(NETWORK, precision="shared")
    model = rpm.RPM(PRIORS["Gaussian"], factors)
    params = init(model, KEY, DATA)
    expected = bound(model, params, DATA.all(), DATA)
    monkeypatch.setattr(rpm.model._blocks, "STREAMED_INPUTS", 1)
    monkeypatch.setattr(rpm.model._blocks, "BLOCK_INPUTS", 12)
    assert model.mixture(params, rpm.feeds.Lazy(DATA)).is_streamed
    got = jax.jit(lambda params: rpm.bound(model, params, DATA.all(), DATA))(params)
    np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_fit_learns_the_precision():
    factors = rpm.factors.shared(NETWORK, precision="shared")
    fit = rpm.fit(rpm.RPM(PRIORS["process"], factors), DATA, key=KEY, num_steps=30)
    assert fit.params["factors"]["precision"].shape == (1, 1, 2)
    assert np.abs(fit.params["factors"]["precision"]).min() > 0.01
    assert fit.history.train[-1] > fit.history.train[0]


def test_what_does_not_fit():
    states = rpm.RPM(
        rpm.priors.Static(Categorical(np.zeros(2))),
        rpm.factors.per_view(rpm.networks.MLP((2,)), precision="shared"),
    )
    with pytest.raises(TypeError, match=r"precision: factors that share one need .* got Categorical"):
        states.init(KEY, tuple(view[:, :2] for view in DATA.views))
    with pytest.raises(ValueError, match="precision must be one of 'own', 'shared', 'by site'"):
        rpm.factors.per_view(NETWORK, precision="fixed")
    with pytest.raises(ValueError, match="leave output out"):
        rpm.factors.per_view(NETWORK, precision="shared", output=rpm.outputs.SiteOutputs())
    with pytest.raises(ValueError, match="do not go together"):
        rpm.factors.per_view(NETWORK, precision="shared", kind="scaled", log_partition=NETWORK)
    assert DiagonalGaussian(np.zeros(1), -np.ones(1)).num_unconstrained == 2


@pytest.mark.parametrize("size", [8])
def test_drawn_sites(size):
    """Pairs that are drawn have their own weights on the fast path too."""
    factors = rpm.factors.per_view(NETWORK, precision="shared")
    models = [rpm.RPM(PRIORS["Gaussian"], f, pooled=True) for f in (factors, without_fast_path(factors))]
    params = init(models[0], KEY, DATA)
    feed = rpm.feeds.random_sites(size)
    state = feed_state(models[0], params, DATA, feed)
    values = [feed_bound(model, params, DATA.all(), DATA, feed, state)[0] for model in models]
    np.testing.assert_allclose(*values, rtol=1e-11)
