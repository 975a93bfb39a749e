"""The pieces of docs/extending.md are right, not only run: the page's own classes against the package's."""

import ast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, feed_bound, init, recognise, two_views
from test_documentation import blocks

import rpm_jax as rpm
from rpm_jax import expfam

KEY = jax.random.key(0)
SOURCE = "\n".join(blocks("docs/extending.md"))
IS_DEFINITION = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
DEFINITIONS = [node for node in ast.parse(SOURCE).body if isinstance(node, IS_DEFINITION)]
PAGE = {"__name__": __name__}
exec(compile(ast.Module(DEFINITIONS, []), "docs/extending.md", "exec"), PAGE)


@pytest.fixture(scope="module")
def gaussian():
    """A model with one Gaussian latent, parameters and data."""
    prior = rpm.priors.static(expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    model = rpm.RPM(prior, rpm.factors.per_view(rpm.networks.MLP((3,))))
    data = rpm.as_data(two_views(size=8))
    return model, init(model, KEY, data), data


def test_each_takes_under_forty_lines():
    for node in DEFINITIONS:
        assert node.end_lineno - node.lineno < 40, ast.unparse(node).splitlines()[:2]


def test_a_feed_gives_the_bound_over_its_components(gaussian):
    """F_j over minibatch and window is F_j over these rows as data; the window goes round."""
    model, params, data = gaussian
    feed = PAGE["Window"](3)
    state = feed.init(KEY, None, data)
    batch = data.batch(np.array([1, 0]))
    for window in ([0, 1, 2], [3, 4, 5], [6, 7, 0]):
        got, state = feed_bound(model, params, batch, data, feed, state)
        rows = np.array([1, 0, *window])
        some = rpm.as_data(tuple(view[rows] for view in data.views))
        expected = bound(model, params, some.batch(np.arange(2)), some)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def categorical(outliers):
    prior = rpm.priors.Static(expfam.Categorical(np.array([0.2, -0.3, 0.5])))
    factors = rpm.factors.per_view(rpm.networks.MLP((3,)))
    return PAGE["OutlierRPM"](prior, factors, outliers), rpm.RPM(prior, factors)


def test_a_model_kind_without_outliers_is_the_built_in_one():
    data = rpm.as_data(two_views(size=8))
    own, built_in = categorical(0.0)
    params = init(built_in, KEY, data)
    bounds = [bound(model, params, data.all(), data) for model in (own, built_in)]
    np.testing.assert_allclose(*bounds, rtol=1e-12)


def test_a_model_kind_is_a_density():
    """The mean of p(X)/∏_j p0(x_j) over all combinations of views is 1, and 1 where all are outliers."""
    data = rpm.as_data(two_views(size=5))
    first, second = np.divmod(np.arange(25), 5)
    grid = rpm.as_data((data.views[0][first], data.views[1][second]))
    for outliers in (0.0, 0.3, 1.0):
        model, _ = categorical(outliers)
        params = init(model, KEY, data)
        ratios = np.exp(bound(model, params, grid.all(), data))
        np.testing.assert_allclose(ratios.mean(), 1.0, rtol=1e-12)
        assert (np.ptp(ratios) < 1e-12) == (outliers == 1.0)


def test_a_prior_with_inputs_by_hand():
    inputs = np.random.default_rng(0).normal(size=(8, 1))
    data = rpm.as_data(two_views(size=8), inputs=inputs)
    model = rpm.RPM(PAGE["Regression"](), rpm.factors.per_view(rpm.networks.MLP((3,))))
    params = init(model, KEY, data)
    params["prior"]["weights"] = jnp.array([1.5])
    assert model.groups(params)["prior"] == {"weights": "prior", "statistics": "none"}
    sites = model.reference(params)
    np.testing.assert_allclose(sites.mean()[0, 0], 1.5 * inputs.mean(), rtol=1e-12)
    np.testing.assert_allclose(sites.variance()[0, 0], 1 + 1.5**2 * inputs.var(), rtol=1e-12)
    own = recognise(model, params, data.all())
    linear, quadratic = (leaf[:, 0, 0] for leaf in own.conjugate().natural_parameters)
    expected = (1.5 * inputs[:, 0] + linear) / (1.0 - 2.0 * quadratic)
    posterior = rpm.inference.posterior(rpm.Fitted(model, params, data))
    np.testing.assert_allclose(posterior.mean[:, 0, 0], expected, rtol=1e-12)


def test_a_question_is_silent_of_missing_views(gaussian):
    model, params, data = gaussian
    mask = np.array([[True, False]] * 4 + [[True, True]] * 4)
    answer = PAGE["influence"](rpm.Fitted(model, params, data), rpm.as_data(data.views, mask))
    np.testing.assert_allclose(answer[:4, 1], 0.0, atol=1e-12)
    assert np.all(answer[4:] > 0)
    assert np.all(answer[:4, 0] > 0)


def test_an_objective_weighs_the_divergence(gaussian):
    model, params, data = gaussian
    batch, moment = data.all(), rpm.train.Moment(KEY, jnp.zeros(()))
    value, divergence = rpm.model.batch_terms(model, params, batch, data, rpm.feeds.full(), ())[0]
    for nats, later in ((0.5 * divergence.mean(), 0.1), (2 * divergence.mean(), 0.0)):
        objective = PAGE["Capacity"](model, float(nats))
        memory = objective.init(KEY, params, data)
        loss, memory = objective.loss(params, batch, data, memory, moment)
        np.testing.assert_allclose(loss, -value.mean(), rtol=1e-12)
        np.testing.assert_allclose(memory[1], later)
        loss, _ = objective.loss(params, batch, data, memory, moment)
        expected = -(value - (np.exp(later) - 1.0) * divergence).mean()
        np.testing.assert_allclose(loss, expected, rtol=1e-12)


def test_factors_and_an_auxiliary_strategy_by_hand():
    """A view that counts nothing says nothing; with all of its share ξ is the posterior's."""
    counts = np.random.default_rng(0).poisson(2.0, size=(2, 6, 3))
    counts[0, 0] = 0
    data = rpm.as_data(tuple(counts))
    prior = rpm.priors.gaussian_process(np.arange(3.0))
    factors = PAGE["Counts"]()
    model = rpm.RPM(prior, factors, auxiliary=PAGE["Between"]())
    params = init(model, KEY, data)
    own = recognise(model, params, data.all()).potentials.natural_parameters
    np.testing.assert_allclose(own[0][0, :, :, 0], counts[:, 0])
    np.testing.assert_allclose(own[1][0, :, :, 0], -0.5 * counts[:, 0])
    params["auxiliary"]["logits"] = jnp.full(2, 50.0)
    default = rpm.RPM(prior, factors)
    bounds = [bound(each, params, data.all(), data) for each in (model, default)]
    np.testing.assert_allclose(*bounds, rtol=1e-12)


@pytest.mark.slow
def test_equal_pieces_share_programs(caplog):
    """A fit of an equal model of such pieces, from another seed and of other data, compiles nothing."""

    def fit(seed):
        views = two_views(seed, size=8)
        inputs = np.random.default_rng(seed).normal(size=(8, 1))
        factors = rpm.factors.per_view(PAGE["Quadratic"]())
        model = rpm.RPM(PAGE["Regression"](), factors, PAGE["Tempered"](), PAGE["Between"]())
        options = {"num_steps": 2, "batch_size": 4, "warm_start": rpm.WarmStart()}
        key = jax.random.key(seed)
        rpm.fit(model, views, inputs=inputs, key=key, components=PAGE["Window"](3), **options)
        rpm.fit(model, views, inputs=inputs, key=key, objective=PAGE["Capacity"](model, 1.0), **options)

    with jax.log_compiles(), caplog.at_level("WARNING"):
        fit(0)
        assert any(record.getMessage().startswith("Compiling") for record in caplog.records)
        caplog.clear()
        fit(1)
    assert not [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling")]
