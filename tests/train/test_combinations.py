"""Every posterior strategy with every auxiliary one, static and temporal, and their warm starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP, concatenated, stacked
from rpm_jax.train._batches import draw_batch
from rpm_jax.train._objectives import MatchAuxiliary, MatchPosterior

KEY = jax.random.key(0)
SITES = 2


def make(kind, posterior, auxiliary):
    """A model by the names of its strategies, and its data."""
    if kind == "static":
        prior = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True)
        network, every, views = MLP((3,)), concatenated(MLP((3,))), two_views(size=8)
    else:
        prior = rpm.priors.gaussian_process(np.arange(SITES) / 2.0)
        network, every, views = (
            PointwiseMLP((3,)),
            stacked(PointwiseMLP((3,))),
            two_views(size=8, sites=SITES),
        )
    posteriors = {
        "conjugate": rpm.posteriors.conjugate,
        "saturated": rpm.posteriors.saturated,
        "amortized": lambda: rpm.posteriors.amortized(every),
    }
    auxiliaries = {
        "posterior": rpm.auxiliaries.posterior,
        "shifted": rpm.auxiliaries.shifted,
        "shifted_network": lambda: rpm.auxiliaries.shifted(every),
        "free": rpm.auxiliaries.free,
        "free_network": lambda: rpm.auxiliaries.free(every),
    }
    model = rpm.RPM(prior, rpm.factors.per_view(network), posteriors[posterior](), auxiliaries[auxiliary]())
    return model, rpm.as_data(views)


def climb(model, data):
    """Bounds along three steps of gradient ascent, and the first gradient."""
    batch = data.batch(np.arange(data.size))
    params = jax.jit(model.init)(KEY, data)
    ascend = jax.jit(jax.value_and_grad(lambda params: rpm.bound(model, params, batch, data).mean()))
    bounds, slopes = [], []
    for _ in range(3):
        bound, slope = ascend(params)
        bounds.append(float(bound))
        slopes.append(slope)
        # A small step of fixed length goes up whatever the scale of the gradient.
        length = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(slope)))
        params = jax.tree.map(lambda p, s, rate=0.02 / length: p + rate * s, params, slope)
    return bounds, slopes[0]


# The default run has both kinds with every posterior and every auxiliary strategy; the other pairs are slow.
COMBINATIONS = [
    pytest.param(kind, posterior, auxiliary, marks=[] if (i + j + k) % 3 == 0 else pytest.mark.slow)
    for i, kind in enumerate(["static", "temporal"])
    for j, posterior in enumerate(["conjugate", "saturated", "amortized"])
    for k, auxiliary in enumerate(["posterior", "shifted", "shifted_network", "free", "free_network"])
]


@pytest.mark.parametrize(("kind", "posterior", "auxiliary"), COMBINATIONS)
def test_a_few_steps_raise_the_bound(kind, posterior, auxiliary):
    model, data = make(kind, posterior, auxiliary)
    bounds, gradient = climb(model, data)
    assert np.all(np.diff(bounds) > 0)
    groups = model.groups(gradient)
    for part in ("prior", "factors", "posterior", "auxiliary"):
        assert (
            set(jax.tree.leaves(groups[part]))
            <= {
                "prior": {"prior"},
                "factors": {"networks", "none"},
                "posterior": {model.posterior.group, "none"},
                "auxiliary": {model.auxiliary.group, "none"},
            }[part]
        )
        # Whatever has parameters learns.
        leaves = jax.tree.leaves(gradient[part])
        assert not leaves or any(np.any(leaf != 0) for leaf in leaves), part
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


# Warm starts.


def loss_of(loss, params, data):
    return float(jax.jit(loss)(params, data.batch(jnp.arange(data.size)), data, KEY))


def test_warm_starts_lower_their_losses():
    """Each of the three its own; prior and factors stay as they are."""
    model, data = make("static", "amortized", "shifted_network")
    start = jax.jit(model.init)(KEY, data)
    losses = {
        "match_posterior": MatchPosterior(model),
        "match_auxiliary": MatchAuxiliary(model),
        "bound": lambda params, batch, data, key: -rpm.bound(model, params, batch, data).mean(),
    }
    moving = {
        "match_posterior": {"posterior"},
        "match_auxiliary": {"auxiliary"},
        "bound": {"posterior", "auxiliary"},
    }
    for name, loss in losses.items():
        # The first step of the fit proper has a learning rate of zero.
        fit = rpm.fit(model, data, key=KEY, params=start, num_steps=1, warm_start=rpm.WarmStart(**{name: 60}))
        before, after = (loss_of(loss, params, data) for params in (start, fit.params))
        if name == "bound":
            assert after < before - 0.01
        else:
            assert after < 0.5 * before
        moved = {
            part
            for part in start
            if any(
                np.any(a != b)
                for a, b in zip(jax.tree.leaves(start[part]), jax.tree.leaves(fit.params[part]), strict=True)
            )
        }
        assert moved == moving[name]


def test_saturated_strategies_start_matched():
    """Potentials at the conjugate ones; ξ at ηq, or for shifts a hundredth of ηq − η0 away from it."""
    for auxiliary in ("shifted", "free"):
        model, data = make("temporal", "saturated", auxiliary)

        @jax.jit
        def infer(model=model, data=data):
            params = model.init(KEY, data)
            batch = data.all()
            inferred = model.infer(params, batch, model.recognise(params, batch))
            return inferred, model.reference(params)

        inferred, sites = infer()
        for got, expected in zip(
            inferred.potentials.natural_parameters, inferred.conjugate.natural_parameters, strict=True
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
        if auxiliary == "free":
            start = inferred.posterior.sites
        else:
            start = inferred.posterior.sites * 1.01 - sites * 0.01
        for got, expected in zip(
            inferred.auxiliary.natural_parameters, start.natural_parameters, strict=True
        ):
            expected = np.broadcast_to(expected[:, None], got.shape)
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


# Minibatches.


def indices(batch_size, size, replacement, num_steps, key=KEY):
    def step(order, i):
        return draw_batch(key, order, i, batch_size, replacement=replacement)

    return np.asarray(jax.jit(lambda: jax.lax.scan(step, jnp.arange(size), jnp.arange(num_steps))[1])())


def test_an_epoch_visits_every_datum_once():
    index = indices(3, 12, False, 12).reshape(3, 12)
    for epoch in index:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(12))
    assert np.any(index[0] != index[1])
    np.testing.assert_array_equal(index.reshape(12, 3), indices(3, 12, False, 12))
    assert np.any(index.reshape(12, 3) != indices(3, 12, False, 12, jax.random.key(1)))


def test_epochs_that_do_not_come_out_even_drop_another_rest_each_time():
    index = indices(5, 12, False, 40).reshape(20, 10)
    assert all(len(set(epoch)) == 10 for epoch in index)
    assert set(index.ravel()) == set(range(12))


def test_all_data_in_order():
    np.testing.assert_array_equal(indices(6, 6, False, 2), [np.arange(6)] * 2)


def test_replacement():
    """Independent draws, repetitions included, batches larger than the data too."""
    index = indices(30, 10, True, 100)
    assert all(len(set(batch)) < 30 for batch in index)
    counts = np.bincount(index.ravel(), minlength=10)
    assert np.abs(counts - 300).max() < 5 * np.sqrt(300 * 0.9)
    model, data = make("static", "conjugate", "posterior")
    assert np.isfinite(rpm.fit(model, data, key=KEY, num_steps=3, batch_size=20, replacement=True).bound)
