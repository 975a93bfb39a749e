"""Models and fits as records: copied, compared, printed; equal ones share compiled programs."""

import copy
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import init, two_views

import rpm_jax as rpm
from rpm_jax._jit import jit
from rpm_jax.expfam import Categorical, DiagonalGaussian

KEY = jax.random.key(0)
DATA = rpm.as_data(two_views(0, size=12))


def standard():
    return rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))


def factors():
    return rpm.factors.per_view(rpm.networks.MLP([3]))


def every():
    return rpm.networks.concatenated(rpm.networks.MLP((3,)))


STATES = rpm.priors.static(Categorical(np.zeros(3)))
MAKERS = {
    "RPM": lambda: rpm.RPM(standard(), factors()),
    "process": lambda: rpm.RPM(
        rpm.priors.gaussian_process(np.arange(2.0)), rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))
    ),
    "amortized": lambda: rpm.RPM(
        standard(), factors(), rpm.posteriors.amortized(every()), rpm.auxiliaries.shifted()
    ),
    "implicit": lambda: rpm.ImplicitRPM(standard(), factors(), [rpm.marginals.Normal()] * 2),
    "joint": lambda: rpm.JointRPM(STATES, every()),
    "local": lambda: rpm.LocalLatentRPM(STATES, factors(), 2),
}


@pytest.mark.parametrize("name", MAKERS)
def test_models(name):
    """Equal to another one of the same parts, to a copy, and to what pickle makes of it."""
    model, again = MAKERS[name](), MAKERS[name]()
    assert model == again
    assert hash(model) == hash(again)
    assert model != MAKERS["RPM" if name != "RPM" else "joint"]()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other == model
        assert jax.tree.structure(other) == jax.tree.structure(model)
    text = repr(model)
    assert text.startswith(f"{type(model).__name__}(")
    assert "object at 0x" not in text
    with pytest.raises(AttributeError):
        model.prior = None


def test_a_model_differs_by_the_values_of_its_arrays():
    """But not in its structure, so that it shares the programs."""
    other = rpm.RPM(
        rpm.priors.gaussian_process(3.0 * np.arange(2.0)),
        rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))),
    )
    model = MAKERS["process"]()
    assert other != model
    assert jax.tree.structure(other) == jax.tree.structure(model)


@pytest.fixture(scope="module")
def fit():
    return rpm.fit(MAKERS["RPM"](), DATA, key=KEY, num_steps=4, steps_per_call=4)


def test_fits_and_what_is_fitted(fit):
    fitted = rpm.Fitted(fit.model, fit.params, fit.data)
    assert fitted == rpm.Fitted(MAKERS["RPM"](), fit.params, two_views(0, size=12))
    for record in (fit, fitted):
        for other in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
            assert other == record
            mean = rpm.inference.posterior(other).mean
            np.testing.assert_array_equal(mean, rpm.inference.posterior(record).mean)
    assert repr(fit).startswith("Fit(bound ")
    assert "4 steps" in repr(fit)
    with pytest.raises(TypeError, match="model must be a model such as"):
        rpm.Fitted(rpm.RPM, fit.params, fit.data)
    with pytest.raises(ValueError, match=r"data\[0\] must be finite where observed"):
        rpm.Fitted(fit.model, fit.params, (np.full((3, 2), np.nan), np.zeros((3, 2))))


def test_equal_models_share_a_program():
    """And equal shapes of other data, parameters and fixed priors."""
    traced = chex.assert_max_traces(lambda *arguments: rpm.bound(*arguments), n=1)
    compiled = jit(traced)
    other = rpm.as_data(two_views(1, size=12))
    for mean, data in ((0.0, DATA), (0.0, other), (0.7, other)):
        prior = rpm.priors.static(DiagonalGaussian(np.full(1, mean), -0.5 * np.ones(1)))
        model = rpm.RPM(prior, factors())
        assert np.isfinite(compiled(model, init(model, KEY, data), data.batch(jnp.arange(4)), data)).all()
    wider = rpm.RPM(standard(), rpm.factors.per_view(rpm.networks.MLP((4,))))
    with pytest.raises(AssertionError, match="traced > 1 times"):
        compiled(wider, init(wider, KEY, DATA), DATA.batch(jnp.arange(4)), DATA)


def test_questions_of_equal_models_share_a_program(monkeypatch):
    traces = []
    infer = rpm.RPM.infer

    def counted(self, *arguments):
        traces.append(self)
        return infer(self, *arguments)

    monkeypatch.setattr(rpm.RPM, "infer", counted)
    questions = {
        "posterior": rpm.inference.posterior,
        "infer": lambda fitted: rpm.inference.infer(fitted, DATA.views),
        "evaluate": lambda fitted: rpm.inference.evaluate(fitted, DATA.views),
        "fit_rows": lambda fitted: rpm.inference.fit_rows(
            fitted, DATA.views, against=rpm.inference.Against(num_steps=len(traces))
        ),
    }
    jax.clear_caches()
    saturated = rpm.posteriors.saturated
    for question in questions.values():
        lengths = []
        for _ in range(3):
            model = rpm.RPM(standard(), factors(), saturated())
            question(rpm.Fitted(model, init(model, KEY, DATA), DATA))
            lengths.append(len(traces))
        assert lengths[0] == lengths[1] == lengths[2], question
    assert traces
