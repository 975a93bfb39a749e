"""Groups that take turns, and the weight of the divergence along a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.model import batch_terms
from rpm_jax.networks import MLP

KEY = jax.random.key(0)
VIEWS = two_views(0, size=8)
DATA = rpm.as_data(VIEWS)
MODEL = rpm.RPM(
    rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True),
    rpm.factors.per_view(MLP((3,)), standardise=False),
)
START = jax.jit(MODEL.init)(KEY, DATA)
TURNS = rpm.train.alternate(("networks", 3), ("prior", 2))


def fit(**options):
    return rpm.fit(MODEL, VIEWS, key=KEY, params=START, **{"num_steps": 13, **options})


def loss(params):
    return -rpm.bound(MODEL, params, DATA.all(), DATA).mean()


def close(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def by_hand(optimizers, turns, num_steps):
    """Two loops, each with an optimiser and its state, that take turns."""
    params = dict(START)
    states = {part: optimizer.init(START[part]) for part, optimizer in optimizers.items()}
    slope = jax.jit(jax.grad(loss))

    def moved(gradient, state, own, part):
        updates, state = optimizers[part].update(gradient, state, own)
        return optax.apply_updates(own, updates), state

    move = jax.jit(moved, static_argnames="part")
    order = [part for part, steps in turns for _ in range(steps)]
    for step in range(num_steps):
        part = order[step % len(order)]
        params[part], states[part] = move(slope(params)[part], states[part], params[part], part)
    return params


def test_turns_keep_each_groups_state():
    """As two hand-written loops do, over more than two periods."""
    adam = optax.adam(0.03)
    expected = by_hand({"factors": adam, "prior": adam}, [("factors", 3), ("prior", 2)], 13)
    close(fit(optimizer=adam, alternate=TURNS).params, expected)


def test_turns_of_the_default_optimiser():
    """Each group's schedule runs over its own steps: 3 and 2 of 5."""

    def adam(rate, steps):
        warm_up = np.maximum(1.0, np.round(0.05 * steps))

        def factor(step):
            done = jnp.clip((step - warm_up) / (steps - warm_up), 0.0, 1.0)
            return jnp.where(step < warm_up, step / warm_up, 0.5 * (1 + jnp.cos(jnp.pi * done)))

        return optax.chain(optax.clip_by_global_norm(1e3), optax.adam(lambda step: rate * factor(step)))

    optimizers = {"factors": adam(1e-2, 15 * 0.6), "prior": adam(2e-2, 15 * 0.4)}
    expected = by_hand(optimizers, [("factors", 3), ("prior", 2)], 15)
    close(fit(alternate=TURNS, num_steps=15).params, expected)


def test_who_has_no_turn_stays():
    result = fit(alternate=rpm.train.alternate((("networks", "rows"), 2)), num_steps=4)
    close(result.params["prior"], START["prior"])
    pairs = zip(jax.tree.leaves(result.params["factors"]), jax.tree.leaves(START["factors"]), strict=True)
    assert any(np.any(a != b) for a, b in pairs)


@pytest.mark.slow
def test_turns_of_seeds_are_those_of_single_runs():
    keys = jax.random.split(KEY, 2)
    sweep = rpm.fit_seeds(MODEL, VIEWS, keys=keys, num_steps=7, alternate=TURNS)
    for seed in range(2):
        single = rpm.fit(MODEL, VIEWS, key=keys[seed], num_steps=7, alternate=TURNS)
        np.testing.assert_allclose(sweep.bound[seed], single.bound, rtol=1e-9)


# β.


@pytest.mark.parametrize("em", [False, True])
def test_a_schedule_of_beta(em):
    """The weight of KL(q‖p) is that of the fraction of the run that is done."""
    result = fit(objective=rpm.train.Bound(em=em, beta=lambda done: done**2), optimizer=optax.sgd(0.0))

    @jax.jit
    def at_start():
        terms, _ = batch_terms(MODEL, START, DATA.all(), DATA, rpm.feeds.full(), ())
        return terms.bound, terms.divergence, rpm.bound(MODEL, START, DATA.all(), DATA, em=em, beta=0.25)

    bound, divergence, plain = map(np.asarray, at_start())
    assert np.all(divergence > 0)
    weights = (np.arange(13) / 13) ** 2
    expected = [np.mean(bound + (1 - weight) * divergence) for weight in weights]
    np.testing.assert_allclose(result.history.train, expected, rtol=1e-9)
    np.testing.assert_allclose(plain, bound + 0.75 * divergence, rtol=1e-9)


def test_a_constant_beta():
    constant = fit(objective=rpm.train.Bound(beta=0.5))
    scheduled = fit(objective=rpm.train.Bound(beta=lambda done: 0.5 + 0.0 * done))
    close(constant.params, scheduled.params)
    assert abs(constant.bound - fit().bound) > 1e-6


# Rows of held-out data.


def test_held_out_rows_go_on_from_look_to_look():
    """They start at the conjugate potentials once; a look makes 25 steps more on the rows of the last one."""
    model = rpm.RPM(MODEL.prior, MODEL.factors, rpm.posteriors.saturated())
    held_out = rpm.as_data(two_views(1, size=5))
    options = {"num_steps": 3, "steps_per_call": 1, "optimizer": optax.sgd(0.0)}
    result = rpm.fit(model, VIEWS, key=KEY, held_out=held_out, **options)
    params = rpm.inference.new_rows(model, result.params, held_out)
    expected = []
    for _ in range(3):
        steps, rate = np.asarray(25), np.asarray(0.05)
        params = rpm.inference.optimise_rows(model, params, held_out, DATA, steps, rate)
        expected.append(rpm.model.mean_bound(model, params, held_out, DATA))
    np.testing.assert_allclose(result.history.held_out, expected, rtol=1e-9)
    assert np.all(np.diff(result.history.held_out) > 0)
    # The last is taken after 500 steps from the start, as `evaluate` does.
    np.testing.assert_allclose(result.held_out_bound, result.evaluate(held_out).mean(), rtol=1e-9)


def test_held_out_rows_of_seeds():
    model = rpm.RPM(MODEL.prior, MODEL.factors, rpm.posteriors.saturated())
    options = {"num_steps": 2, "steps_per_call": 1, "held_out": two_views(1, size=5)}
    keys = jax.random.split(KEY, 2)
    sweep = rpm.fit_seeds(model, VIEWS, keys=keys, **options)
    for seed in range(2):
        single = rpm.fit(model, VIEWS, key=keys[seed], **options)
        np.testing.assert_allclose(sweep.history.held_out[seed], single.history.held_out, rtol=1e-8)
        np.testing.assert_allclose(sweep.held_out_bound[seed], single.held_out_bound, rtol=1e-8)
