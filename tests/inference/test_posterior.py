"""Posteriors, bounds and rows of the data of a fit and of others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.sequences import (
    KEY,
    MODELS,
    NEW,
    SITES,
    SIZE,
    VIEWS,
    initial,
)
from support import bound, recognise, two_views

import rpm_jax as rpm


def everything(data):
    return data.batch(jnp.arange(data.size))


@pytest.fixture(scope="module")
def params():
    return initial()


@pytest.mark.parametrize("name", MODELS)
def test_posterior_of_the_fitted_data(name, params):
    q = rpm.inference.posterior(rpm.Fitted(MODELS[name], params[name], VIEWS))
    assert q.mean.shape == q.standard_deviation.shape == (SIZE, SITES, 1)
    assert q.log_normalizer.shape == (SIZE,)
    assert np.all(q.standard_deviation > 0)
    assert q.sample(KEY, (3,)).shape == (3, SIZE, SITES, 1)
    inferred = rpm.inference.inferred(rpm.Fitted(MODELS[name], params[name], VIEWS))
    np.testing.assert_allclose(q.mean, inferred.posterior.mean, rtol=1e-10)


@pytest.mark.parametrize("name", ["conjugate", "amortized"])
def test_inference_without_rows_needs_nothing_but_the_views(name, params):
    model = MODELS[name]
    q = rpm.inference.infer(rpm.Fitted(model, params[name], VIEWS), VIEWS.views)
    np.testing.assert_allclose(
        q.mean, rpm.inference.posterior(rpm.Fitted(model, params[name], VIEWS)).mean, rtol=1e-10
    )
    q = rpm.inference.infer(rpm.Fitted(model, params[name], VIEWS), NEW.views)
    assert q.mean.shape == (5, SITES, 1)


def test_conjugate_posterior_by_hand(params):
    model, p = MODELS["conjugate"], params["conjugate"]
    factors = recognise(model, p, VIEWS.all()).natural
    prior = model.prior_of(p)
    potentials = (factors - prior.sites()).sum(-2)
    precision = np.linalg.inv(prior.covariance[0])
    q = rpm.inference.posterior(rpm.Fitted(model, p, VIEWS))
    for n in range(SIZE):
        total = precision - 2.0 * np.diag(potentials.eta2[n, :, 0])
        np.testing.assert_allclose(
            q.mean[n, :, 0], np.linalg.solve(total, potentials.eta1[n, :, 0]), rtol=1e-9
        )


def test_inference_with_rows(params):
    """New rows maximise the bound with the model held fixed: more steps, a better bound."""
    model, p = MODELS["saturated"], params["saturated"]
    values = [
        rpm.inference.evaluate(
            rpm.Fitted(model, p, VIEWS), NEW, against=rpm.inference.Against(num_steps=steps)
        ).mean()
        for steps in (1, 40, 400)
    ]
    assert values[0] < values[1] < values[2]
    conjugate = bound(MODELS["conjugate"], {**p, "posterior": {}, "auxiliary": {}}, everything(NEW), VIEWS)
    assert values[2] > conjugate.mean()
    q = rpm.inference.infer(rpm.Fitted(model, p, VIEWS), NEW, against=rpm.inference.Against(num_steps=40))
    assert q.mean.shape == (5, SITES, 1)
    fitted = rpm.inference.fit_rows(
        rpm.Fitted(model, p, VIEWS), NEW, against=rpm.inference.Against(num_steps=40)
    )
    np.testing.assert_allclose(
        q.mean, rpm.inference.posterior(rpm.Fitted(model, fitted, NEW)).mean, rtol=1e-10
    )
    for part in ("prior", "factors"):
        for a, b in zip(jax.tree.leaves(p[part]), jax.tree.leaves(fitted[part]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_inference_of_the_fitted_data_finds_their_rows(params):
    """Rows learned with the model held fixed, and rows found by infer for the same data, agree."""
    model = MODELS["saturated"]
    fit = rpm.fit(
        model,
        VIEWS,
        key=KEY,
        params=params["saturated"],
        num_steps=600,
        freeze=("prior", "networks"),
    )
    found = rpm.inference.evaluate(
        rpm.Fitted(model, fit.params, VIEWS), VIEWS, against=rpm.inference.Against(num_steps=600)
    )
    before = fit.history.train[0]
    assert fit.bound - before > 0.1
    np.testing.assert_allclose(found.mean(), fit.bound, atol=0.01)


@pytest.mark.parametrize("mixture", ["train", "given", "both"])
def test_whose_components(mixture, params):
    components = {
        "train": VIEWS,
        "given": NEW,
        "both": rpm.as_data([np.concatenate(pair) for pair in zip(VIEWS.views, NEW.views, strict=True)]),
    }
    model, p = MODELS["conjugate"], params["conjugate"]
    got = rpm.inference.evaluate(rpm.Fitted(model, p, VIEWS), NEW, against=mixture)
    np.testing.assert_allclose(got, bound(model, p, everything(NEW), components[mixture]), rtol=1e-10)


def test_union_of_weighted_and_masked_data():
    """Weights are shared out by number of data, and missing view-times stay missing."""
    mask = np.random.default_rng(0).uniform(size=(SIZE, 2)) < 0.7
    old = rpm.as_data(VIEWS, mask, np.arange(8.0))
    union = rpm.data.choose_mixture(NEW, old, "both")
    weights = np.exp(union.log_weights)
    np.testing.assert_allclose(weights.sum(), 1.0)
    np.testing.assert_allclose(weights[SIZE:], 1 / 13)
    np.testing.assert_allclose(weights[:SIZE] / weights[0], np.exp(np.arange(8.0)), rtol=1e-10)
    np.testing.assert_array_equal(union.mask[:SIZE, :, 0], mask)
    assert np.all(union.mask[SIZE:])


def test_many_data_are_evaluated_in_pieces(params):
    """More than are evaluated at once: the same numbers."""
    many = rpm.as_data(two_views(5, size=70, sites=SITES))
    model, p = MODELS["conjugate"], params["conjugate"]
    got = rpm.inference.evaluate(rpm.Fitted(model, p, VIEWS), many)
    np.testing.assert_allclose(got, bound(model, p, everything(many), VIEWS), rtol=1e-9)


def test_errors(params):
    saturated = rpm.Fitted(MODELS["saturated"], params["saturated"], VIEWS)
    conjugate = rpm.Fitted(MODELS["conjugate"], params["conjugate"], VIEWS)
    with pytest.raises(
        ValueError, match=r"data must be the 8 data of the fit.*got 5; use infer\(fitted, views"
    ):
        rpm.inference.posterior(dataclasses.replace(saturated, data=NEW))
    with pytest.raises(ValueError, match=r"against .*must be one of 'train', 'given', 'both', got 'test'"):
        rpm.inference.infer(saturated, NEW, against="test")
    with pytest.raises(ValueError, match=r"views must hold the J = 2 views of the fit, got 1"):
        rpm.inference.evaluate(conjugate, NEW.views[:1], against="both")
    with pytest.raises(ValueError, match=r"views must be as many .* got J = 1 views"):
        rpm.inference.infer(conjugate, NEW.views[:1])
    with pytest.raises(
        ValueError, match=r"mask must have shape .* with T = 2 sites as in the prior, got \(8, 2, 3\)"
    ):
        MODELS["conjugate"].init(KEY, rpm.as_data(VIEWS, np.ones((SIZE, 2, 3), bool)))
    for options, message in (
        ({"num_steps": 0}, "against.num_steps must be a positive integer, got 0"),
        ({"learning_rate": 0.0}, "against.learning_rate must be positive and finite, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            rpm.inference.Against(**options)
