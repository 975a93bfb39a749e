"""From outside the package: a feed, a kind of model, a question; each in under 40 lines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax._jit import jit
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.feeds import Held, Lazy
from rpm_jax.model import Terms
from rpm_jax.networks import MLP

KEY = jax.random.key(0)
VIEWS = two_views(0)
MODEL = rpm.RPM(
    rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True),
    rpm.factors.per_view(MLP((3,))),
)


# A feed: the batch and the one before it.


class Previous:
    """F_j over the minibatch and the one before it, whose factors are evaluated anew."""

    def __init__(self, dtype=int):
        self.dtype = dtype

    def init(self, key, own, data):
        return jnp.zeros((4,), self.dtype), jnp.zeros((), bool)

    def rows(self, state, batch, data):
        previous, _ = state
        return rpm.normalizers.join_rows([batch, data.batch(previous)]), state

    def source(self, state, seen, rows, data, devices):
        _, is_filled = state
        old = jnp.where(is_filled, 0.0, -jnp.inf)
        log_weights = jax.nn.log_softmax(jnp.concatenate([jnp.zeros(4), jnp.full(4, old)]))
        return Held(seen, log_weights, rows), (rows.index[:4], jnp.ones((), bool))


PREVIOUS = Previous()


def test_a_feed():
    options = {"key": KEY, "num_steps": 60, "batch_size": 4}
    fit = rpm.fit(MODEL, VIEWS, components=PREVIOUS, **options)
    assert fit.bound > fit.history.train[0] + 0.05
    assert fit.history.skipped == 0
    # The first step has no batch before it.
    plain = rpm.fit(MODEL, VIEWS, components=rpm.feeds.minibatch(), **options)
    np.testing.assert_allclose(fit.history.train[0], plain.history.train[0], rtol=1e-9)
    assert abs(fit.history.train[1] - plain.history.train[1]) > 1e-6
    keys = jax.random.split(KEY, 2)
    sweep = rpm.fit_seeds(MODEL, VIEWS, keys=keys, components=PREVIOUS, num_steps=6, batch_size=4)
    single = rpm.fit(MODEL, VIEWS, key=keys[1], components=PREVIOUS, num_steps=6, batch_size=4)
    np.testing.assert_allclose(sweep.bound[1], single.bound, rtol=1e-9)


def test_a_feed_whose_memory_changes_its_type():
    message = r"what .*components remember must keep .*memory\[0\] must be int32\[4\], got int64\[4\]"
    with pytest.raises(TypeError, match=message):
        rpm.fit(MODEL, VIEWS, key=KEY, components=Previous(jnp.int32), batch_size=4, num_steps=3)


# A kind of model: InfoNCE between two views, whose "mixture" are the other data.


class Contrastive:
    """Log of f(x_1, x_2) over its mean over the components' x_2, with f = exp(x_1ᵀ W x_2)."""

    def init(self, key, data):
        shape = (data.views[0].shape[1], data.views[1].shape[1])
        return {"weights": 0.1 * jax.random.normal(key, shape)}

    def groups(self, params):
        return {"weights": "networks"}

    def recognise(self, params, rows):
        return rows.views[0] @ params["weights"], rows.views[1]

    def mixture(self, params, source, key=None):
        source = getattr(source, "source", source)
        if isinstance(source, Lazy):
            return self.recognise(params, source.data.all())[1]
        return source.factors[1]

    def infer(self, params, rows, own, mixture):
        return None

    def terms(self, params, rows, own, mixture, inferred):
        first, second = own
        scores = first @ mixture.T
        bound = jnp.sum(first * second, axis=1) - jax.nn.logsumexp(scores, axis=1) + jnp.log(len(mixture))
        return Terms(bound, jnp.zeros_like(bound))


@pytest.mark.parametrize("components", [None, rpm.feeds.minibatch(), rpm.feeds.queue(6), PREVIOUS])
def test_a_kind_of_model(components):
    fit = rpm.fit(Contrastive(), VIEWS, key=KEY, num_steps=80, batch_size=4, components=components)
    start = rpm.fit(Contrastive(), VIEWS, key=KEY, num_steps=1)
    assert fit.bound > start.bound + 0.1


def test_a_kind_of_model_with_all_that_a_fit_can_do():
    model = Contrastive()
    options = {
        "num_steps": 40,
        "held_out": two_views(1, size=6),
        "stopping": rpm.EarlyStopping(patience=2, min_delta=1e3),
        "steps_per_call": 5,
    }
    keys = jax.random.split(KEY, 3)
    sweep = rpm.fit_seeds(model, VIEWS, keys=keys, **options)
    assert sweep.history.stopped == "early stopping"
    for seed in range(3):
        single = rpm.fit(model, VIEWS, key=keys[seed], **options)
        np.testing.assert_allclose(sweep.bound[seed], single.bound, rtol=1e-8)
        np.testing.assert_allclose(sweep.history.held_out[seed], single.history.held_out, rtol=1e-8)
    best = sweep.best()
    new = two_views(2, size=5)
    evaluated = best.evaluate(new)
    components = best.data
    data = rpm.as_data(new)
    np.testing.assert_allclose(evaluated, rpm.bound(model, best.params, data.all(), components), rtol=1e-9)
    with pytest.raises(TypeError, match="em=True needs a model whose posterior can be held fixed"):
        rpm.fit(model, VIEWS, key=KEY, objective=rpm.train.Bound(em=True))
    with pytest.raises(TypeError, match="not defined for Contrastive"):
        rpm.train.ImportanceWeighted(model)


# A question.


@jit
def difference(model, params, new, data):
    full, without = (rpm.bound(model, params, new.all(), data, beta=beta) for beta in (1.0, 0.0))
    return without - full


def distance_to_prior(fitted, views):
    """KL(q‖p) of other data, in nats: what the bound and its variant without it differ by."""
    return difference(fitted.model, fitted.params, rpm.as_data(views), rpm.as_data(fitted.data))


def test_a_question():
    """Of a fit, of a run of a sweep, and of parameters of one's own."""
    fit = rpm.fit(MODEL, VIEWS, key=KEY, num_steps=3)
    new = two_views(2, size=5)
    distances = distance_to_prior(fit, new)
    np.testing.assert_allclose(distances, distance_to_prior(rpm.Fitted(MODEL, fit.params, VIEWS), new))
    expected = fit.infer(new).sites.kl_divergence(fit.prior.sites()).sum(-1)
    np.testing.assert_allclose(distances, expected, rtol=1e-9)
    sweep = rpm.fit_seeds(MODEL, VIEWS, keys=jax.random.split(KEY, 2), num_steps=3)
    assert np.all(distance_to_prior(sweep.best(), new) > 0)
