"""Runs that turn NaN: what is kept, what is returned, and what is said."""

import dataclasses
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.model import Terms
from rpm_jax.train import _guard
from rpm_jax.train._not_finite import find_not_finite

KEY = jax.random.key(0)
VIEWS = two_views(0, size=12)
PRIOR = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))


@dataclasses.dataclass(frozen=True)
class Fragile:
    """A linear network that turns NaN at data above a level once its weights have grown."""

    limit: float
    level: float = -np.inf
    num_outputs: int | None = None

    def with_outputs(self, number):
        return dataclasses.replace(self, num_outputs=number)

    def init(self, key, inputs):
        return {"weights": 0.1 * jax.random.normal(key, (inputs.shape[-1], self.num_outputs))}

    def apply(self, params, inputs):
        weights = params["weights"]
        broken = (jnp.max(jnp.abs(weights)) > self.limit) & (inputs[:, :1] > self.level)
        return jnp.where(broken, jnp.nan, inputs @ weights)


def make(limit, level=-np.inf):
    return rpm.RPM(PRIOR, rpm.factors.per_view(Fragile(limit, level)))


def fit(model, expect=True, **options):
    options = {"key": KEY, "num_steps": 60, "steps_per_call": 20, **options}
    rates = options.pop("rates", {})
    options = {"optimizer": rpm.train.Adam(rates, "constant"), **options}
    fit_ = rpm.fit if "keys" not in options else rpm.fit_seeds
    if fit_ is rpm.fit_seeds:
        options.pop("key")
    if not expect:
        return fit_(model, VIEWS, **options)
    with pytest.warns(RuntimeWarning) as caught:
        result = fit_(model, VIEWS, **options)
    assert tuple(str(w.message) for w in caught) == result.history.warnings
    return result


def test_the_last_parameters_with_a_finite_bound_are_returned():
    """Those before the step that broke the network, with the bound that the history has there."""
    result = fit(make(0.5))
    history = result.history
    last = np.flatnonzero(~np.isnan(history.train))[-1]
    assert 1 < last < 40
    assert history.stopped == "not finite"
    np.testing.assert_allclose(result.bound, history.train[last], rtol=1e-10)
    weights = result.params["factors"][0]["network"]["weights"]
    assert 0.4 < np.abs(weights).max() < 0.5
    (text,) = [w for w in history.warnings if "steps" in w]
    assert "The run was ended, its last finite parameters are kept" in text
    assert "first those of view 0, site 0, datum 0" in text
    assert "Lower learning rates (optimizer=rpm_jax.train.Adam({...}))" in text
    assert any(
        "returned are those before the step after which no other could be made" in w for w in history.warnings
    )


def test_a_bound_lost_by_the_last_step():
    """Nothing was left out, and the bound of the last parameters is NaN: those before it are kept."""
    longer = fit(make(0.5))
    number = int(np.flatnonzero(~np.isnan(longer.history.train))[-1]) + 1
    result = fit(make(0.5), num_steps=number)
    assert result.history.skipped == 0
    np.testing.assert_allclose(result.bound, result.history.train[-1], rtol=1e-10)
    (text,) = result.history.warnings
    assert "returned are those before the last step" in text
    assert "In the end the natural parameters of" in text


def test_early_stopping_returns_the_best_finite():
    result = fit(make(0.5), stopping=rpm.EarlyStopping(patience=50))
    assert np.isfinite(result.bound)
    np.testing.assert_allclose(result.bound, np.nanmax(result.history.train), rtol=1e-3)


def test_early_stopping_by_a_held_out_bound_that_is_not_finite():
    """It is no improvement, whatever came before; the best finite one counts."""
    result = fit(
        make(0.5),
        held_out=two_views(1, size=5),
        stopping=rpm.EarlyStopping(patience=3),
        steps_per_call=5,
    )
    best = np.nanargmax(result.history.held_out)
    assert np.isnan(result.history.held_out[best + 1 :]).any()
    np.testing.assert_allclose(result.held_out_bound, result.history.held_out[best], rtol=1e-10)
    assert np.isfinite(result.bound)


def test_one_datum_that_is_lost_later():
    """Minibatches without it go on; the parameters returned are from before it was lost."""
    standardised = [(view - view.mean(0)) / view.std(0) for view in VIEWS]
    level = 0.99 * max(float(view[:, 0].max()) for view in standardised)
    result = fit(
        make(0.5, level), batch_size=3, num_steps=120, steps_per_call=10, components=rpm.feeds.minibatch()
    )
    assert result.history.skipped > 0
    assert result.history.stopped == "finished"
    assert np.isfinite(result.bound)


def test_seeds_are_kept_and_chosen_one_by_one():
    """Two of three break; each is what the single run is."""
    model = make(0.45)
    keys = jax.random.split(KEY, 3)
    rates = {"networks": np.array([1e-2, 1e-6, 2e-2])}
    sweep = fit(model, keys=keys, hyperparameters=rates)
    assert np.isfinite(sweep.bound).all()
    for seed in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            single = fit(model, False, key=keys[seed], rates={"networks": float(rates["networks"][seed])})
        np.testing.assert_allclose(sweep.bound[seed], single.bound, rtol=1e-6)
    assert "in 2 of 3 runs" in sweep.history.warnings[0]


def test_sweep_of_which_nothing_is_left():
    sweep = fit(make(0.0), keys=jax.random.split(KEY, 2))
    assert sweep.history.stopped == "not finite"
    with pytest.raises(ValueError, match=r"no seed of 2 has a finite bound.* ended: not finite"):
        sweep.best()
    assert "2 without a finite bound" in repr(sweep)
    assert any("The bound is not finite in 2 of 2 runs" in text for text in sweep.history.warnings)


def test_lost_at_step_0():
    """Lower learning rates would not help."""
    result = fit(make(0.0))
    assert not np.isfinite(result.bound)
    text = result.history.warnings[0]
    assert "The first step failed already, so learning rates are not the cause" in text
    assert "Lower learning rates" not in text


MODEL = rpm.RPM(PRIOR, rpm.factors.per_view(rpm.networks.MLP((3,))))


def poisonous(step_of_nan):
    """Adam whose update is NaN at one step."""

    def update(updates, state, params=None):
        del params
        scale = jnp.where(state == step_of_nan, jnp.nan, 1.0)
        return jax.tree.map(lambda u: u * scale, updates), state + 1

    return optax.chain(
        optax.adam(1e-2), optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
    )


def test_an_update_that_is_not_finite_is_left_out():
    """Whose state would be the same at the next step: the run is ended, its parameters are finite."""
    result = fit(MODEL, optimizer=poisonous(7))
    history = result.history
    assert np.isfinite(result.bound)
    assert np.isfinite(history.train[:7]).all()
    assert np.isnan(history.train[7:]).all()
    assert history.stopped == "not finite"
    assert "since optimizer or schedule gave NaN or infinity" in history.warnings[0]
    assert "Lower learning rates of the optimizer" in history.warnings[0]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))


def test_an_optimiser_whose_memory_overflows():
    """Adam's second moment of a gradient of 10³⁰ is infinite in float32: nothing would ever move again."""
    views = tuple(np.asarray(view, np.float32) for view in VIEWS)

    @dataclasses.dataclass(frozen=True)
    class Steep:
        def __call__(self, params, batch, data, key):
            bias = params["prior"]["unconstrained"]
            steep = jnp.where(batch.index[0] == 3, 1e30, 1.0).astype(bias.dtype)
            return -jnp.mean(rpm.bound(model, params, batch, data)) + steep * jnp.sum(bias)

    natural = DiagonalGaussian(jnp.zeros(1, jnp.float32), -0.5 * jnp.ones(1, jnp.float32))
    model = rpm.RPM(rpm.priors.static(natural, learnable=True), rpm.factors.per_view(rpm.networks.MLP((3,))))
    options = {"optimizer": optax.adam(1e-3), "batch_size": 4, "num_steps": 60}
    with pytest.warns(RuntimeWarning, match="since optimizer or schedule gave NaN or infinity"):
        result = rpm.fit(model, views, key=KEY, objective=Steep(), **options)
    assert 0 < result.history.skipped < 20
    without = rpm.fit(model, views, key=KEY, num_steps=1, optimizer=optax.sgd(0.0))
    moved = result.params["prior"]["unconstrained"] - without.params["prior"]["unconstrained"]
    assert np.all(moved < -0.02)  # at 1e-3 a step for 40 steps and more


def test_update_that_is_not_finite_is_undone():
    def update(params, data, fraction):
        return jax.tree.map(lambda leaf: jnp.where(fraction > 0.5, jnp.nan, leaf), params)

    with pytest.warns(RuntimeWarning, match="update gave parameters that are not finite 2 times"):
        result = rpm.fit(MODEL, VIEWS, key=KEY, num_steps=60, steps_per_call=20, update=update)
    plain = rpm.fit(MODEL, VIEWS, key=KEY, num_steps=60, steps_per_call=20)
    np.testing.assert_allclose(result.bound, plain.bound, rtol=1e-12)


def test_one_bad_batch_does_not_end_a_run_with_a_look_at_every_step():
    """A call of one step that is left out is no run of steps that are."""

    def loss(params, batch, data, key):
        bad = jnp.any(batch.index == 0)
        return jnp.where(bad, jnp.nan, -jnp.mean(rpm.bound(MODEL, params, batch, data)))

    with pytest.warns(RuntimeWarning, match="3 of 9 steps"):
        result = rpm.fit(MODEL, VIEWS, key=KEY, num_steps=9, batch_size=4, steps_per_call=1, objective=loss)
    assert result.history.stopped == "finished"
    assert len(result.history.train) == 9


def test_initial_parameters_that_are_not_finite():
    params = jax.jit(MODEL.init)(KEY, rpm.as_data(VIEWS))
    params["factors"][0]["network"]["params"]["PointwiseMLP_0"]["Dense_0"]["bias"] = jnp.full((2, 3), jnp.nan)
    message = r"params: the initial parameters must be finite.*\['Dense_0'\]\['bias'\]; correct them"
    with pytest.raises(ValueError, match=message):
        rpm.fit(MODEL, VIEWS, key=KEY, num_steps=1, params=params)


# What is not finite.


def test_what_is_not_finite_of_data_on_a_mesh():
    """Named as without one."""
    texts = [fit(make(0.5), **mesh).history.warnings for mesh in ({}, {"mesh": jax.make_mesh((1,), ("a",))})]
    assert "first those of view 0, site 0, datum 0" in texts[1][0]
    assert texts[0] == texts[1]


def test_find_not_finite():
    model = rpm.RPM(PRIOR, rpm.factors.per_view(Fragile(1.0, 0.5), standardise=False))
    views = (np.full((4, 1), 0.1), np.array([[0.2], [0.3], [0.9], [0.8]]))
    data = rpm.as_data(views)
    params = model.init(KEY, data)
    assert find_not_finite(model, params, data) is None
    grown = jax.tree.map(lambda leaf: leaf + 2.0, params)
    found = find_not_finite(model, grown, data)
    assert found.startswith(
        "the natural parameters of 2 of 8 factors are not finite, first those of view 1, site 0"
    )
    assert "datum 2 (views[1][2], from 0.9 to 0.9)" in found
    grown["factors"][0]["weights"] = jnp.full((2, 1, 2), jnp.inf)
    assert (
        find_not_finite(model, grown, data) == "the parameter params['factors'][0]['weights'] is not finite"
    )


def test_find_not_finite_bounds_and_gradients():
    class Model:
        """A model without factors to look into, whose bound is a function of one number."""

        def __init__(self, function):
            self.function = function

        def init(self, key, data):
            return {"a": jnp.zeros(())}

        def groups(self, params):
            return {"a": "networks"}

        def recognise(self, params, rows):
            return rows.index

        def mixture(self, params, source, key=None):
            return None

        def infer(self, params, rows, own, mixture):
            return None

        def terms(self, params, rows, own, mixture, inferred):
            value = jnp.where(own == 2, self.function(params["a"]), params["a"])
            return Terms(value, jnp.zeros_like(value))

    data, params = rpm.as_data(VIEWS), {"a": jnp.zeros(())}
    assert "the bound of 1 of 12 data is not finite, first that of datum 2 (-inf)" in find_not_finite(
        Model(jnp.log), params, data
    )
    assert re.match(
        r"the bound's gradient by params\['a'\] is not finite", find_not_finite(Model(jnp.sqrt), params, data)
    )


# The pieces.


@pytest.mark.parametrize("size", [3, 5000])
def test_states_that_stay_finite(size):
    old = {"best": jnp.full(size, jnp.inf), "count": jnp.zeros((), jnp.int32), "mean": jnp.zeros((2, size))}
    stays = jax.jit(_guard.stays_finite)
    assert stays(old, old)
    assert stays({**old, "best": jnp.zeros(size)}, old)
    for bad in (jnp.nan, jnp.inf):
        assert not stays({**old, "mean": old["mean"].at[1, 2].set(bad)}, old)
    weights = {"log_weights": jnp.full(size, -jnp.inf)}
    assert _guard.gains_no_nan(weights, {"log_weights": jnp.zeros(size)})
    assert not _guard.gains_no_nan({"log_weights": jnp.full(size, jnp.nan)}, weights)
