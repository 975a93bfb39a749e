"""Fitting: options, determinism, robustness."""

import dataclasses
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.model import batch_terms, mean_bound
from rpm_jax.train import Adam, History

KEY = jax.random.key(0)
VIEWS = two_views(0)
HELD_OUT = two_views(1, size=6)
SIZE = 16


def make_model(**options):
    prior = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True)
    return rpm.RPM(prior, rpm.factors.per_view(rpm.networks.MLP((3,))), **options)


MODEL = make_model()

SATURATED = make_model(
    posterior=rpm.posteriors.saturated(),
    auxiliary=rpm.auxiliaries.shifted(rpm.networks.concatenated(rpm.networks.MLP((3,)))),
)


def bound_loss(params, batch, data):
    """What is minimised where nothing is said."""
    return -rpm.bound(MODEL, params, batch, data).mean()


def fit(key=KEY, model=MODEL, views=VIEWS, **options):
    """With the same number of steps everywhere, so that compiled programs are shared."""
    return rpm.fit(model, views, key=key, **{"num_steps": 50, "steps_per_call": 20, **options})


@pytest.fixture(scope="module")
def start():
    """Initial parameters, those of `KEY`'s fit."""
    return jax.jit(MODEL.init)(jax.random.split(KEY, 5)[0], rpm.as_data(VIEWS))


@pytest.fixture(scope="module")
def saturated_start():
    return jax.jit(SATURATED.init)(KEY, rpm.as_data(VIEWS))


def same(a, b, tolerance=0.0):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def changed(a, b):
    return any(np.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.fixture(scope="module")
def fitted():
    return fit(held_out=HELD_OUT)


def test_history(fitted, start):
    history = fitted.history
    assert history.train.shape == (50,)
    np.testing.assert_array_equal(history.held_out_steps, [20, 40, 50])
    assert history.held_out.shape == (3,)
    assert history.skipped == 0
    assert history.stopped == "finished"
    assert fitted.bound > history.train[0] + 0.05
    assert fitted.held_out_bound > mean_bound(MODEL, start, rpm.as_data(HELD_OUT), rpm.as_data(VIEWS))
    np.testing.assert_allclose(fitted.held_out_bound, history.held_out[-1], rtol=1e-12)


def test_bounds_are_those_of_the_parameters(fitted):
    data = rpm.as_data(VIEWS)
    every = jax.jit(rpm.bound)(MODEL, fitted.params, data.batch(jnp.arange(SIZE)), data)
    assert every.shape == (SIZE,)
    np.testing.assert_allclose(fitted.bound, every.mean(), rtol=1e-12)


def test_determined_by_the_key(fitted):
    again = fit(held_out=HELD_OUT)
    same(again.params, fitted.params)
    np.testing.assert_array_equal(again.history.train, fitted.history.train)
    assert changed(fit(jax.random.key(1)).params, fitted.params)


def test_the_length_of_calls_does_not_matter(fitted):
    same(fit(steps_per_call=7).params, fitted.params, 1e-12)


def test_held_out_data_are_never_learned_from(fitted):
    same(fit().params, fitted.params)


# Seeds in parallel.


def test_seeds_under_vmap_are_single_runs():
    """8 seeds, 50 steps, minibatches: equal to 1e-8."""
    keys = jax.random.split(KEY, 8)
    options = {"num_steps": 50, "steps_per_call": 20, "batch_size": 6}
    sweep = rpm.fit_seeds(MODEL, VIEWS, keys=keys, held_out=HELD_OUT, **options)
    assert sweep.size == 8
    assert sweep.history.train.shape == (8, 50)
    singles = [fit(key, held_out=HELD_OUT, **options) for key in keys]
    for i, single in enumerate(singles):
        run = sweep.run(i)
        same(run.params, single.params, 1e-8)
        same(run.bound, single.bound, 1e-8)
        same(run.held_out_bound, single.held_out_bound, 1e-8)
        same(run.history.train, single.history.train, 1e-8)
        same(run.history.held_out, single.history.held_out, 1e-8)
    best = int(np.argmax([single.bound for single in singles]))
    assert sweep.best_index() == best
    same(sweep.best().params, singles[best].params, 1e-8)


def test_best_of_seeds_that_failed():
    sweep = rpm.train.Sweep(MODEL, {}, None, History(*[None] * 5), np.array([np.nan, 1.0, 0.5]))
    assert sweep.best_index() == 1
    with pytest.raises(ValueError, match=r"no seed of . has a finite bound"):
        dataclasses.replace(sweep, bound=np.array([np.nan])).best_index()


def test_hyperparameters_of_an_optimiser_factory(start):
    rates = np.array([0.0, 0.05])
    keys = jnp.stack([KEY, KEY])
    sweep = rpm.fit_seeds(
        MODEL,
        VIEWS,
        keys=keys,
        hyperparameters={"rate": rates},
        optimizer=lambda rate: optax.sgd(rate),
        num_steps=20,
    )
    same(sweep.run(0).params, start, 1e-12)
    single = fit(optimizer=optax.sgd(0.05), params=start, num_steps=20)
    same(sweep.run(1).params, single.params, 1e-10)
    assert changed(single.params, sweep.run(0).params)


def test_hyperparameters_of_the_default_optimiser_are_rates_of_groups(start):
    sweep = rpm.fit_seeds(
        MODEL,
        VIEWS,
        keys=jnp.stack([KEY, KEY]),
        hyperparameters={"prior": np.array([0.0, 0.1])},
        num_steps=20,
    )
    same(sweep.run(0).params["prior"], start["prior"], 1e-12)
    assert changed(sweep.run(1).params["prior"], start["prior"])


@pytest.mark.slow
def test_data_of_ones_own_for_every_seed():
    keys = jax.random.split(KEY, 2)
    datasets = [two_views(seed) for seed in (3, 4)]
    stacked = tuple(np.stack(pair) for pair in zip(*datasets, strict=True))
    sweep = rpm.fit_seeds(MODEL, stacked, keys=keys, stacked_data=True, num_steps=50, steps_per_call=20)
    for i in range(2):
        same(sweep.run(i).params, fit(keys[i], views=datasets[i]).params, 1e-8)


# Compilation.


class Counting:
    """The usual loss, which counts how often it is traced."""

    def __init__(self):
        self.traces = 0

    def __call__(self, params, batch, data, key):
        del key
        self.traces += 1
        return bound_loss(params, batch, data)


def test_steps_are_compiled_once(fitted):
    """Not again from step to step, at the shorter last call, for another key or for other data."""
    loss = Counting()
    seen = []
    first = fit(objective=loss, callback=lambda progress: seen.append(loss.traces))
    assert len(seen) == 3
    assert seen[0] > 0
    assert len(set(seen)) == 1
    fit(jax.random.key(7), objective=loss, views=two_views(9))
    assert loss.traces == seen[0]
    same(first.params, fitted.params, 1e-12)


# What is learned, and how.


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (("networks",), {"factors", "auxiliary"}),
        (("rows", "factors"), {"posterior", "factors"}),
    ],
)
def test_freeze(freeze, frozen, saturated_start):
    """By groups and by parts of the model."""
    result = fit(
        model=SATURATED, params=saturated_start, freeze=freeze, num_steps=20, warm_start=rpm.WarmStart()
    )
    same_parts = {name for name in saturated_start if not changed(saturated_start[name], result.params[name])}
    assert same_parts == frozen


@pytest.mark.slow
def test_freeze_with_a_given_optimiser(start):
    result = fit(params=start, freeze=("factors",), optimizer=optax.adam(1e-2), num_steps=20)
    same(result.params["factors"], start["factors"])
    assert changed(result.params["prior"], start["prior"])


def test_learning_rates_and_schedule(start):
    """A group with a tiny rate hardly moves; a schedule of one's own is a factor on all rates."""
    options = {"params": start, "num_steps": 20}
    rates = {"prior": 1e-9}
    result = fit(**options, optimizer=Adam(rates, lambda step: step / 20))
    same(result.params["prior"], start["prior"], 1e-7)
    assert changed(result.params["prior"], start["prior"])
    for part in ("factors", "prior"):
        moves = [
            np.abs(a - b).max()
            for a, b in zip(jax.tree.leaves(result.params[part]), jax.tree.leaves(start[part]), strict=True)
        ]
        assert (max(moves) > 1e-3) == (part == "factors")
    same(fit(**options, optimizer=Adam(rates, lambda step: 0.0 * step)).params, start)


def test_initial_parameters_are_the_users_own(start):
    """They may be used again after the fit: their buffers are not donated."""
    before = jax.tree.map(np.array, start)
    result = fit(params=start)
    same(start, before)
    assert changed(result.params, before)
    same(fit(params=start).params, result.params)


def test_another_loss(start):
    """Any pure function of parameters, batch, data and a key."""

    def loss(params, batch, data, key):
        del data, key
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params["factors"])) * batch.views[0].shape[1]

    result = fit(params=start, objective=loss, num_steps=20)
    same(result.params["prior"], start["prior"])
    history = result.history.train
    np.testing.assert_allclose(history[0], -loss(start, rpm.as_data(VIEWS).batch(jnp.arange(2)), None, None))
    assert history[-1] > history[0]


def test_em(start):
    result = fit(params=start, objective=rpm.train.Bound(em=True))
    assert result.bound > result.history.train[0]
    assert changed(result.params, fit(params=start).params)


def test_mixture_over_the_batch(start):
    """F_j over the minibatch: the bound with the batch's own views, mask and weights as the data."""
    rng = np.random.default_rng(0)
    data = rpm.as_data(VIEWS, rng.uniform(size=(SIZE, 2, 1)) < 0.8, rng.normal(size=SIZE))
    params = start
    index = jnp.array([3, 1, 8, 12])
    batch = data.batch(index)
    inside = rpm.Data(batch.views, batch.mask, jax.nn.log_softmax(data.log_weights[index]))

    @jax.jit
    def both():
        terms, _ = batch_terms(MODEL, params, batch, data, rpm.feeds.minibatch(), ())
        return terms.bound, rpm.bound(MODEL, params, batch, inside)

    got, expected = both()
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    result = fit(components=rpm.feeds.minibatch(), batch_size=6)
    assert np.isfinite(result.bound)
    assert changed(result.params, fit(batch_size=6).params)


# When to stop.


def test_early_stopping_keeps_the_best():
    result = fit(
        held_out=HELD_OUT,
        num_steps=400,
        stopping=rpm.EarlyStopping(patience=2),
        optimizer=Adam({"networks": 0.3, "prior": 0.3}, "constant"),
    )
    history = result.history
    assert history.stopped == "early stopping"
    assert len(history.train) < 400
    best = history.held_out.argmax()
    assert best == len(history.held_out) - 3
    np.testing.assert_allclose(result.held_out_bound, history.held_out[best], rtol=1e-12)


def test_early_stopping_by_the_training_bound():
    """Without held-out data; nothing counts as an improvement of a million nats."""
    result = fit(stopping=rpm.EarlyStopping(patience=1, min_delta=1e6))
    assert result.history.stopped == "early stopping"
    assert result.history.train.shape == (40,)


def test_callback_may_stop(fitted):
    seen = []

    def callback(progress):
        seen.append((progress.step, progress.num_steps, float(progress.train), float(progress.held_out)))
        return progress.step == 40

    result = fit(held_out=HELD_OUT, callback=callback)
    assert result.history.stopped == "callback"
    assert result.history.train.shape == (40,)
    assert [step for step, *_ in seen] == [20, 40]
    np.testing.assert_allclose(seen[1][2], fitted.history.train[20:40].mean())
    np.testing.assert_allclose([s[3] for s in seen], fitted.history.held_out[:2])


# What goes wrong.


def sometimes_not_a_number(params, batch, data, key):
    """The usual loss, NaN for batches with the first datum."""
    del key
    return jnp.where(jnp.any(batch.index == 0), jnp.nan, bound_loss(params, batch, data))


def test_steps_that_are_not_finite_are_left_out():
    with pytest.warns(RuntimeWarning, match=r"12 of 48 steps had a NaN .* left out.*learning rates"):
        result = fit(objective=sometimes_not_a_number, batch_size=4, num_steps=48)
    history = result.history
    assert history.skipped == 12
    assert history.stopped == "finished"
    assert np.isnan(history.train).sum() == 12
    assert np.all(np.isnan(history.train).reshape(12, 4).sum(axis=1) == 1)  # once an epoch
    assert np.isfinite(result.bound)
    assert np.nanmean(history.train[-8:]) > np.nanmean(history.train[:8])


def test_a_run_that_is_lost_is_ended_and_its_parameters_kept(start):
    """A loss that is finite, with a gradient that is not."""

    def loss(params, batch, data, key):
        zero = jnp.sum(params["prior"]["unconstrained"]) * 0.0
        return bound_loss(params, batch, data) + jnp.sqrt(zero)

    with pytest.warns(RuntimeWarning, match="20 of 20 steps"):
        result = fit(params=start, objective=loss, num_steps=20)
    same(result.params, start)
    assert result.history.skipped == 20

    def loss(params, batch, data, key):
        return jnp.nan * params["prior"]["unconstrained"].sum()

    with pytest.warns(
        RuntimeWarning, match=r"20 of 20 steps .*The run was ended, its last finite parameters"
    ):
        result = fit(params=start, objective=loss)
    assert result.history.stopped == "not finite"
    same(result.params, start)
    assert np.isfinite(result.bound)


def test_no_warning_without_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit()


def test_progress_bar(capsys):
    fit(progress=True)
    shown = capsys.readouterr().err
    assert "fit" in shown
    assert "50/50" in shown
    assert "bound" in shown


def test_progress_without_tqdm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    fit(progress=True)
    shown = capsys.readouterr().err
    assert "fit: compiling" in shown
    assert "fit: 50/50 steps" in shown


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_steps": 0}, ValueError, "num_steps must be a positive integer, got 0"),
        ({"num_steps": 1.5}, ValueError, "num_steps must be a positive integer, got 1.5"),
        (
            {"batch_size": 17},
            ValueError,
            "batch_size must be at most the number of data N = 16 .* got 17; pass repl",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
        ({"steps_per_call": -1}, ValueError, "steps_per_call must be a positive integer, got -1"),
        ({"components": "all"}, TypeError, "components must be an rpm_jax Feed such as .* got 'all'"),
        (
            {"freeze": ("kernel",)},
            ValueError,
            "freeze: name must be one of 'networks', 'prior', .* got 'kernel'",
        ),
        (
            {"optimizer": 1e-3},
            TypeError,
            r"optimizer must be rpm_jax.train.Adam\(...\), an optax optimiser.*got 0.001",
        ),
        ({"held_out": VIEWS[:1]}, ValueError, "held_out must hold the J = 2 views of the fit, got 1"),
        ({"optimizer": optax.sgd}, TypeError, "optimizer must be rpm_jax.train.Adam.* an optax optimiser"),
        ({"stopping": 3}, TypeError, "stopping must be an rpm_jax EarlyStopping, got 3"),
        ({"warm_start": 100}, TypeError, "warm_start must be an rpm_jax WarmStart, got 100"),
        ({"alternate": ("prior", 3)}, TypeError, "alternate must be an rpm_jax Alternation, got"),
        (
            {"alternate": rpm.train.alternate(("factors", 3))},
            ValueError,
            "alternate: group must be one of 'networks', .* got 'factors'",
        ),
        (
            {"objective": sometimes_not_a_number, "components": rpm.feeds.minibatch()},
            ValueError,
            "components are a part of the bound",
        ),
        ({"views": two_views(size=1)}, ValueError, "F_j needs at least 2 components, got 1"),
        ({"freeze": "prior"}, TypeError, r"freeze must be a tuple or list of names, got 'prior'"),
    ],
)
def test_option_errors(options, error, message):
    with pytest.raises(error, match=message):
        fit(**options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rpm.train.HeldOut(VIEWS, "test"), ValueError, "must be one of 'train', 'given', 'both'"),
        (lambda: Adam(schedule="linear"), ValueError, "schedule must be one of 'cosine', 'constant', got"),
        (lambda: Adam({"factors": 1.0}), ValueError, "rates: group must be one of 'networks', .*'factors'"),
        (lambda: Adam({"prior": -1.0}), ValueError, r"learning_rates\['prior'\] must be positive"),
    ],
)
def test_option_groups_check_themselves(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_fit_seeds_errors():
    keys = jax.random.split(KEY, 3)
    with pytest.raises(TypeError, match=r"fit_seeds has no option \['steps'\]"):
        rpm.fit_seeds(MODEL, VIEWS, keys=keys, steps=10)
    with pytest.raises(
        ValueError, match=r"hyperparameters\['prior'\] must have one value per key, first axis 3"
    ):
        rpm.fit_seeds(MODEL, VIEWS, keys=keys, hyperparameters={"prior": np.zeros(2)})
    with pytest.raises(ValueError, match=r"views\[0\] must have shape \(seeds, N, ...\) with 3 seeds"):
        rpm.fit_seeds(MODEL, VIEWS, keys=keys, stacked_data=True)
    with pytest.raises(ValueError, match=r"keys must have shape \(S,\)"):
        rpm.fit_seeds(MODEL, VIEWS, keys=KEY)
