"""Windows of long sequences: what is cut, and what a window knows of what lies outside of it."""

import jax
import numpy as np
import pytest
from support import init

import rpm_jax as rpm

KEY = jax.random.key(0)
STEPS, LENGTH, STEP = 9, 4, 2
STARTS = (0, 2, 4, 6)
"""The last window has 3 steps."""


def test_windows():
    rng = np.random.default_rng(0)
    views = (rng.normal(size=(2, 7, 2)), rng.normal(size=(2, 7)))
    data = rpm.as_data(views, inputs={"a": np.arange(12.0).reshape(2, 6), "c": np.array([5.0, 6.0])})
    cut = rpm.windows(data, 3)
    np.testing.assert_array_equal(cut.lengths, [3, 3, 1, 3, 3, 1])
    np.testing.assert_array_equal(cut.views[0][1], views[0][0, 3:6])
    np.testing.assert_array_equal(cut.views[1][5, :1], views[1][1, 6:])
    np.testing.assert_array_equal(cut.mask[:, 1, 2], [True, True, False] * 2)
    np.testing.assert_array_equal(cut.inputs["a"][np.array([1, 4])], [[3, 4], [9, 10]])
    np.testing.assert_array_equal(cut.inputs["c"], [5, 5, 5, 6, 6, 6])
    overlapping = rpm.windows(data, 4, step=2)
    assert overlapping.views[0].shape == (6, 4, 2)
    assert rpm.windows(views, 7).mask is None
    short = rpm.windows(rpm.from_sequences([np.arange(5.0), np.arange(2.0)]), 2)
    np.testing.assert_array_equal(short.lengths, [2, 2, 1, 2])
    with pytest.raises(ValueError, match="length must be at most the T = 7 steps"):
        rpm.windows(views, 8)


@pytest.mark.slow
def test_mixtures_of_windows_are_those_of_the_whole():
    """Pooled, F_j has the same N·T components."""
    rng = np.random.default_rng(0)
    view = rng.normal(size=(1, 7, 2))
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))
    whole, cut = rpm.as_data((view,)), rpm.windows((view,), 3)
    models = [rpm.RPM(rpm.priors.hidden_markov(3, sites), factors, pooled=True) for sites in (7, 3)]
    params = init(models[0], KEY, whole)
    values = [
        model.mixture(params, rpm.feeds.Lazy(data)).log_values.logits
        for model, data in zip(models, (whole, cut), strict=True)
    ]
    np.testing.assert_allclose(*values, rtol=1e-12)


PRIORS = {
    "Markov Gaussian process": lambda sites: rpm.priors.gaussian_process(np.arange(sites) / 2, "matern32"),
    "linear Gaussian": lambda sites: rpm.priors.linear_gaussian(2, sites),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_window_is_the_whole_with_nothing_outside(name):
    """Of a stationary prior: posteriors and log-normalisers of overlapping windows, the last one short, are
    those of the whole trajectory, seen only there."""
    rng = np.random.default_rng(0)
    views = tuple(rng.normal(size=(1, STEPS, 2)) for _ in range(2))
    cut = rpm.windows(views, LENGTH, step=STEP)
    np.testing.assert_array_equal(cut.lengths, [4, 4, 4, 3])
    mask = np.zeros((len(STARTS), 2, STEPS), bool)
    for n, start in enumerate(STARTS):
        mask[n, :, start : start + LENGTH] = True
    seen = rpm.as_data(tuple(np.repeat(view, len(STARTS), axis=0) for view in views), mask)
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))
    whole, short = (rpm.RPM(PRIORS[name](sites), factors, pooled=True) for sites in (STEPS, LENGTH))
    params = init(whole, KEY, seen)
    params["prior"] = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape), params["prior"])

    @jax.jit
    def inferred(model, params, data):
        rows = data.all()
        q = model.infer(params, rows, model.recognise(params, rows)).posterior
        return q.log_normalizer, q.mean, q.standard_deviation

    value, *moments = inferred(short, params, cut)
    expected, *others = inferred(whole, params, seen)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    for own, all_of_it in zip(moments, others, strict=True):
        for n, start in enumerate(STARTS):
            length = int(cut.lengths[n])
            np.testing.assert_allclose(
                own[n, :length], all_of_it[n, start : start + length], rtol=1e-9, atol=1e-12
            )


@pytest.mark.parametrize("step", [LENGTH, STEP])
def test_steps_count_in_mixtures_as_often_as_in_windows(step):
    """Bounds of a minibatch of windows, with F_j over windows, and over steps with weights."""
    rng = np.random.default_rng(1)
    views = tuple(rng.normal(size=(1, STEPS, 2)) for _ in range(2))
    cut = rpm.windows(views, LENGTH, step=step)
    model = rpm.RPM(
        PRIORS["linear Gaussian"](LENGTH), rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))), pooled=True
    )
    params = init(model, KEY, cut)
    times = np.zeros(STEPS)
    for start, length in zip(range(0, STEPS, step), cut.lengths, strict=False):
        times[start : start + int(length)] += 1
    assert times.max() == (1 if step == LENGTH else 2)
    batch = cut.batch(np.array([1, 0]))
    one_by_one = rpm.as_data(
        tuple(np.pad(view[0][:, None], ((0, 0), (0, LENGTH - 1), (0, 0))) for view in views),
        np.tile(np.arange(LENGTH) < 1, (STEPS, 2, 1)),
        np.log(times / times.sum()),
    )
    got = rpm.bound(model, params, batch, cut)
    expected = rpm.bound(model, params, batch, one_by_one)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


DRIVEN = {
    "linear Gaussian": lambda sites: rpm.priors.driven_linear_gaussian(
        rpm.priors.linear_gaussian(2, sites), rpm.priors.InputTable(2)
    ),
    "hidden Markov": lambda sites: rpm.priors.hidden_markov(3, sites, inputs=rpm.priors.InputTable(2)),
}


@pytest.mark.parametrize("name", DRIVEN)
@pytest.mark.parametrize("sites", [3, 8])
def test_parameters_of_driven_windows_are_for_all_lengths(name, sites):
    """What factors are relative to: marginals under the windows' inputs, again and again."""
    rng = np.random.default_rng(3)
    actions = rng.integers(0, 2, size=(5, LENGTH - 1))
    params = DRIVEN[name](LENGTH).init(KEY, actions)
    params["map"] = params["map"] + rng.normal(size=params["map"].shape)
    spec = DRIVEN[name](sites)
    again = {**params, "statistics": {"examples": np.tile(actions, (1, 3))[:, : sites - 1]}}
    got, expected = (jax.jit(spec.reference)(each) for each in (params, again))
    assert got.batch_shape == (sites,)
    for ours, theirs in zip(got.natural_parameters, expected.natural_parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert not np.allclose(got.natural_parameters[0][1], got.natural_parameters[0][2])


@pytest.mark.slow
def test_a_fit_of_overlapping_windows_in_minibatches():
    """Driven by actions, whose windows go along: the whole is known from the parameters of windows."""
    rng = np.random.default_rng(2)
    steps = 240
    actions = rng.integers(0, 2, size=(1, steps))
    z = np.zeros(steps)
    for t in range(steps - 1):
        z[t + 1] = 0.8 * z[t] + 1.5 * (actions[0, t] - 0.5) + 0.3 * rng.normal()
    views = tuple(
        (np.tanh(z[:, None] + shift) + 0.2 * rng.normal(size=(steps, 2)))[None] for shift in (0.0, 0.5)
    )
    recording = rpm.as_data(views, inputs=actions)
    cut = rpm.windows(recording, 20, step=10)
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((10,)))

    def model(sites):
        base = rpm.priors.linear_gaussian(1, sites, transition="diagonal", noise="free")
        return rpm.RPM(
            rpm.priors.driven_linear_gaussian(base, rpm.priors.InputTable(2)), factors, pooled=True
        )

    fit = rpm.fit(model(20), cut, key=KEY, num_steps=200, steps_per_call=200, batch_size=8)
    assert fit.history.skipped == 0
    whole = rpm.Fitted(model(steps), fit.params, recording)
    mean = np.asarray(rpm.inference.posterior(whole).mean)[0, :, 0]
    assert np.corrcoef(mean, z)[0, 1] ** 2 > 0.8
