"""What is compiled: once for equal models, whatever the values of keys, rates, lengths and data."""

import logging

import jax
import numpy as np
import optax
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP, concatenated

KEY = jax.random.key(0)


SIZE = 16


@pytest.fixture
def compiled(caplog):
    """A function that says which programs were compiled since it was last called."""
    jax.config.update("jax_log_compiles", True)
    caplog.set_level(logging.WARNING)

    def names():
        found = [
            record.getMessage().split()[1]
            for record in caplog.records
            if record.getMessage().startswith("Compiling ")
        ]
        caplog.clear()
        return found

    yield names
    jax.config.update("jax_log_compiles", False)


def static(**options):
    prior = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), learnable=True)
    return rpm.RPM(prior, rpm.factors.per_view(MLP((3,))), **options)


def amortized():
    networks = concatenated(MLP([3]))
    return static(posterior=rpm.posteriors.amortized(networks), auxiliary=rpm.auxiliaries.free(networks))


def saturated():
    return static(posterior=rpm.posteriors.saturated(), auxiliary=rpm.auxiliaries.shifted())


def temporal():
    times = np.arange(2) / 2.0
    return rpm.RPM(rpm.priors.gaussian_process(times), rpm.factors.per_view(PointwiseMLP((3,))))


def states():
    prior = rpm.priors.static(Categorical(np.zeros(2)), learnable=True)
    return rpm.RPM(prior, rpm.factors.per_view(MLP((3,))))


def joint():
    prior = rpm.priors.static(Categorical(np.zeros(2)))
    return rpm.JointRPM(prior, concatenated(MLP((3,))))


def local():
    prior = rpm.priors.static(Categorical(np.zeros(2)))
    return rpm.LocalLatentRPM(prior, rpm.factors.per_view(MLP((3,))), num_local_states=2)


def implicit():
    prior = rpm.priors.static(Categorical(np.zeros(2)))
    marginals = (rpm.marginals.Normal(), rpm.marginals.Normal())
    return rpm.ImplicitRPM(prior, rpm.factors.per_view(MLP((3,))), marginals, integral_weight=1.0)


OPTIMIZER = optax.adam(1e-3)


def rising(fraction):
    return 0.5 + 0.5 * fraction


def own_loss(params, batch, data, key):
    return -rpm.bound(static(), params, batch, data).mean()


def draws():
    """Made anew for every fit."""
    return rpm.train.ImportanceWeighted(static(), 2)


def halved(params, data, fraction):
    return {**params, "prior": jax.tree.map(lambda leaf: leaf * (1 - 0.5 * fraction), params["prior"])}


MODELS = {
    "static": (static, {"batch_size": 6, "held_out": two_views(1, size=6)}),
    "amortized": (amortized, {"warm_start": rpm.WarmStart(3, 3, 3)}),
    "saturated": (saturated, {"batch_size": 6, "held_out": two_views(1, size=6)}),
    "temporal": (temporal, {"batch_size": 6, "components": rpm.feeds.random_subset(3)}),
    "states": (states, {"batch_size": 6, "components": rpm.feeds.queue(5)}),
    "joint": (joint, {}),
    "local": (local, {}),
    "implicit": (implicit, {}),
    "EM": (static, {"objective": rpm.train.Bound(em=True)}),
    "a function for β": (static, {"objective": rpm.train.Bound(beta=rising)}),
    "turns": (static, {"alternate": rpm.train.alternate(("networks", 2), ("prior", 1))}),
    "a function as objective": (static, {"objective": own_loss}),
    "draws as objective": (static, {"objective": draws}),
    "an optimiser of optax": (static, {"optimizer": OPTIMIZER}),
    "an M-step": (states, {"update": halved, "freeze": ("prior",)}),
}


def views_of(name, seed=0):
    return two_views(seed, SIZE, sites=2 if name == "temporal" else None)


def run(make, name, key=KEY, seed=0, num_steps=40, **options):
    options = {name: value() if value is draws else value for name, value in options.items()}
    return rpm.fit(make(), views_of(name, seed), key=key, num_steps=num_steps, steps_per_call=20, **options)


@pytest.mark.parametrize("name", MODELS)
def test_an_equal_model_compiles_nothing(compiled, name):
    """Nor do another seed, another number of steps, across calls of 256 steps too, or other data."""
    make, options = MODELS[name]
    run(make, name, **options)
    assert compiled()
    run(make, name, **options)
    assert compiled() == []
    run(make, name, key=jax.random.key(1), **options)
    assert compiled() == []
    run(make, name, seed=5, **options)
    assert compiled() == []
    run(make, name, num_steps=33, **options)
    assert compiled() == []


def test_the_length_of_a_call_and_rates_compile_nothing(compiled):
    run(static, "static")
    assert compiled()
    rpm.fit(static(), two_views(), key=KEY, num_steps=300, steps_per_call=290)
    assert compiled() == []
    rates = {"networks": 3e-3, "prior": 1e-3}
    run(static, "static", optimizer=rpm.train.Adam(rates))
    assert compiled() == []
    # Another schedule is another program, once.
    run(static, "static", optimizer=rpm.train.Adam(rates, "constant"))
    assert compiled()
    run(static, "static", optimizer=rpm.train.Adam({}, "constant"))
    assert compiled() == []


def test_sweeps_compile_nothing_again(compiled):
    views = two_views()

    def sweep(seed, rates, **options):
        keys = jax.random.split(jax.random.key(seed), 2)
        hyperparameters = {"networks": np.asarray(rates)}
        return rpm.fit_seeds(static(), views, keys=keys, hyperparameters=hyperparameters, **options)

    sweep(0, [0.01, 0.02], num_steps=4)
    assert compiled()
    sweep(1, [0.03, 0.01], num_steps=7)
    assert compiled() == []


def test_questions_compile_nothing_again(compiled):
    """To an equal model with other parameters and equal shapes of data."""

    def ask(seed):
        fit = run(saturated, "saturated", seed=seed, key=jax.random.key(seed))
        compiled()
        new = two_views(seed + 7, size=5)
        against = rpm.inference.Against("both", num_steps=3 + seed, learning_rate=0.01 + seed)
        return [
            fit.posterior().mean,
            fit.infer(new, against=against).mean,
            fit.evaluate(new, against=against),
            fit.bound_gap(new, jax.random.key(seed), num_samples=8),
            fit.sample(jax.random.key(seed), (3,)),
            fit.predict(new, 1, jax.random.key(seed)),
        ]

    ask(0)
    assert compiled()
    ask(1)
    assert compiled() == []
