"""Sequences of unequal lengths: every one has the bound of its own, and answers come back as long."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian

LENGTHS = (4, 2, 5, 3, 5)
SITES = max(LENGTHS)
SHORT = 3
TIMES = np.array([0.0, 0.3, 0.7, 1.5, 1.9])
NORMAL = DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))
KEY = jax.random.key(0)


def ragged(seed=0, lengths=LENGTHS):
    rng = np.random.default_rng(seed)
    paths = [np.cumsum(rng.normal(size=(length, 1)), axis=0) for length in lengths]
    return [tuple(path + 0.3 * rng.normal(size=(len(path), width)) for width in (2, 1)) for path in paths]


SEQUENCES = ragged()

PRIORS = {
    "Gaussian process": lambda sites: rpm.priors.gaussian_process(TIMES[:sites], "matern32"),
    "hidden Markov": lambda sites: rpm.priors.hidden_markov(3, sites),
    "independent": lambda sites: rpm.priors.fixed(rpm.priors.Independent(NORMAL, sites)),
    "independent, pooled": lambda sites: rpm.priors.fixed(rpm.priors.Independent(NORMAL, sites)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "independent" else name for name in PRIORS],
)
def test_bound_is_that_of_the_sequence_alone(name):
    """F_jt over the sequences that reach t; values and gradients in the sequence and in its parameters."""
    pooled = "pooled" in name
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,), activation=jnp.tanh))
    data = rpm.from_sequences(SEQUENCES)
    model = rpm.RPM(PRIORS[name](SITES), factors, pooled=pooled)
    params = init(model, KEY, data)

    @jax.jit
    def padded(params, views):
        one = data._replace(views=views)
        return rpm.bound(model, params, one.batch(jnp.array([SHORT])), one)[0]

    # Alone: a model of as many sites, F_jt over the data that reach t (pooled: over all of their steps).
    length = LENGTHS[SHORT]
    own = rpm.RPM(PRIORS[name](length), factors, pooled=pooled)
    one = model if pooled else own

    @jax.jit
    def alone(params, view):
        mixed = tuple(x.at[SHORT, :length].set(v) for x, v in zip(data.views, view, strict=True))
        if not pooled:
            mixed = tuple(x[:, :length] for x in mixed)
        seen = one.recognise(params, rpm.Batch(np.arange(5), mixed, data.mask[..., : mixed[0].shape[1]]))
        rows = rpm.Batch(np.array([0]), tuple(v[None] for v in view))
        mixture, factor = one.mixture(params, rpm.feeds.Held(seen)), own.recognise(params, rows)
        inferred = own.infer(params, rows, factor, mixture)
        return own.terms(params, rows, factor, mixture, inferred).bound[0]

    view = tuple(jnp.asarray(v) for v in SEQUENCES[SHORT])
    got = jax.value_and_grad(padded, argnums=(0, 1))(params, data.views)
    expected = jax.value_and_grad(alone, argnums=(0, 1))(params, view)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-10, atol=1e-11)
    wrong = data._replace(mask=None)
    assert not np.allclose(got[0], bound(model, params, wrong.batch(np.array([SHORT])), wrong))
    for ours, theirs in zip(jax.tree.leaves(got[1][0]), jax.tree.leaves(expected[1][0]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)
    for ours, theirs in zip(got[1][1], expected[1][1], strict=True):
        np.testing.assert_allclose(ours[SHORT, :length], theirs, rtol=1e-8, atol=1e-10)
        assert not np.any(ours[SHORT, length:])


@pytest.mark.slow
def test_what_comes_out_is_as_long_as_what_went_in():
    data = rpm.from_sequences(SEQUENCES)
    assert [view.shape for view in data.views] == [(5, 5, 2), (5, 5, 1)]
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))
    model = rpm.RPM(PRIORS["Gaussian process"](SITES), factors, pooled=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = rpm.fit(model, data, key=KEY, num_steps=2)
    means = rpm.unpad(fit.posterior().mean, fit)
    assert [mean.shape for mean in means] == [(length, 1) for length in LENGTHS]
    new = rpm.from_sequences(ragged(1, (3, 2)), num_sites=SITES)
    q = fit.infer(new)
    for got, n in zip(rpm.unpad(q.mean, new), (0, 1), strict=True):
        np.testing.assert_array_equal(got, q.mean[n, : len(got)])
    draws = rpm.unpad({"z": q.sample(KEY, (7,))}, new, axis=1)
    assert [draw["z"].shape for draw in draws] == [(7, 3, 1), (7, 2, 1)]
    kept = rpm.as_data(data)
    np.testing.assert_array_equal(kept.lengths, LENGTHS)
    assert rpm.unpad(np.zeros((4, 6)), rpm.as_data((np.zeros((4, 6)), np.ones((4, 6)))))[3].shape == (6,)


def test_everything_that_a_datum_has_is_padded():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 2)) for length in LENGTHS]
    sequences[0][1, 0] = np.nan
    sequences[2] = np.ma.masked_greater(sequences[2], 1.5)
    inputs = [
        {"action": np.arange(length - 1), "dose": rng.normal(size=(length, 3)), "context": np.array([1.0, n])}
        for n, length in enumerate(LENGTHS)
    ]
    mask = [None] * 5
    mask[3] = np.array([True, False, True])
    times = [2.0 * np.arange(length) + n for n, length in enumerate(LENGTHS)]
    data = rpm.from_sequences(
        sequences,
        mask=mask,
        inputs=inputs,
        times=times,
        missing="cells",
        num_sites=7,
        log_weights=np.zeros(5),
    )
    (view,) = data.views
    assert isinstance(view, rpm.Incomplete)
    assert view.shape == (5, 7, 2)
    assert not view.observed[0, 1, 0]
    np.testing.assert_array_equal(np.asarray(view.observed[2, :5]), ~sequences[2].mask)
    expected = np.arange(7) < np.array(LENGTHS)[:, None]
    expected[3, 1] = False
    np.testing.assert_array_equal(data.mask[:, 0], expected)
    shapes = {name: leaf.shape for name, leaf in data.inputs.items()}
    assert shapes == {"action": (5, 6), "dose": (5, 7, 3), "context": (5, 2), "times": (5, 7)}
    np.testing.assert_array_equal(data.inputs["action"][1], 0)
    np.testing.assert_array_equal(data.inputs["times"][1], 2.0 * np.arange(7))
    whole = rpm.from_sequences([np.ones(3), np.arange(3)])
    assert whole.mask is None
    assert whole.views[0].shape == (2, 3)


@pytest.mark.parametrize(
    "of", [lambda t: 1.7e9 + t, lambda t: np.datetime64("2024-01-01") + (1e3 * t).astype("m8[ms]")]
)
def test_times_far_from_zero(of):
    """Unix seconds in single precision are multiples of 128; dates become seconds."""
    steps = [np.array([0.0, 1.5, 4.0]), np.array([0.0, 2.0])]
    with jax.enable_x64(False):
        data = rpm.from_sequences([np.zeros(3), np.zeros(2)], times=[of(own) for own in steps])
        times = data.inputs["times"]
    assert times.dtype == jnp.float32
    np.testing.assert_allclose(times, [[0.0, 1.5, 4.0], [0.0, 2.0, 4.0]], atol=1e-6)
    views = (np.zeros((4, 3)), np.zeros((4, 2)))
    common, _ = rpm.on_common_times(views, [of(own) for own in steps])
    np.testing.assert_array_equal(common, of(np.array([0.0, 1.5, 2.0, 4.0])))


def test_views_sampled_at_different_times():
    """A model on common sites has the bound that the views have with a mask made by hand."""
    rng = np.random.default_rng(0)
    views = (rng.normal(size=(6, 3)), rng.normal(size=(6, 4, 2)))
    own = ([0.0, 1.0, 2.0], [0.5, 1.0, 1.5, 3.0])
    times, data = rpm.on_common_times(views, own)
    np.testing.assert_array_equal(times, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
    np.testing.assert_array_equal(data.mask[0], [[1, 0, 1, 0, 1, 0], [0, 1, 1, 1, 0, 1]])
    np.testing.assert_array_equal(data.views[0][:, [0, 2, 4]], views[0])
    np.testing.assert_array_equal(data.views[1][:, [1, 2, 3, 5]], views[1])
    rounded, _ = rpm.on_common_times(views, ([0.0, 1.004, 2.0], own[1]))
    assert len(rounded) == 7
    rounded, _ = rpm.on_common_times(views, ([0.0, 1.004, 2.0], own[1]), decimals=2)
    assert len(rounded) == 6
    with pytest.raises(ValueError, match=r"times\[1\] must be finite and increase"):
        rpm.on_common_times(views, (own[0], [0.5, 0.4, 1.5, 3.0]))
    with pytest.raises(ValueError, match=r"times\[0\] must have a time for every step"):
        rpm.on_common_times(views, (own[1], own[1]))


def test_few_components_are_warned_of():
    lengths = [3] * 19 + [5]
    data = rpm.from_sequences([np.random.default_rng(n).normal(size=(t, 2)) for n, t in enumerate(lengths)])
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((2,)))
    prior = rpm.priors.gaussian_process(np.arange(5.0), "matern32")
    with pytest.warns(RuntimeWarning, match=r"only 1 of 20 data at site t = 3 .*first t = 3.*pooled=True"):
        rpm.RPM(prior, factors).prepare(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rpm.RPM(prior, factors, pooled=True).prepare(data)


BAD = {
    "no list": (lambda: rpm.from_sequences(np.zeros((3, 4))), TypeError, "sequences must be a list of N"),
    "none": (lambda: rpm.from_sequences([]), ValueError, "at least one sequence"),
    "empty": (
        lambda: rpm.from_sequences([np.zeros((3, 2)), np.zeros((0, 2))]),
        ValueError,
        r"sequences\[1\] must hold at least one step, got a length of 0",
    ),
    "width": (
        lambda: rpm.from_sequences([np.zeros((3, 2)), np.zeros((3, 1))]),
        ValueError,
        r"sequences\[1\], view 0, must have steps of shape \(2,\)",
    ),
    "number of views": (
        lambda: rpm.from_sequences([(np.zeros(3), np.zeros(3)), (np.zeros(3),)]),
        ValueError,
        r"sequences\[1\] must have J = 2 views",
    ),
    "views of two lengths": (
        lambda: rpm.from_sequences([(np.zeros(3), np.zeros(4))]),
        ValueError,
        r"sequences\[0\] must have views of one length, got \[3, 4\]; .*on_common_times",
    ),
    "too long": (
        lambda: rpm.from_sequences([np.zeros(3), np.zeros(7)], num_sites=5),
        ValueError,
        r"num_sites must be at least the longest sequence's 7 steps \(sequence 1\)",
    ),
    "inputs": (
        lambda: rpm.from_sequences(SEQUENCES, inputs=[np.zeros(9)] + [np.zeros(t) for t in LENGTHS[1:]]),
        ValueError,
        r"inputs\[0\] must have its sequence's 4 steps \(or 3 transitions\)",
    ),
    "number of inputs": (
        lambda: rpm.from_sequences(SEQUENCES, inputs=[np.zeros(9)]),
        ValueError,
        "inputs must have an entry for each of the N = 5 sequences, got 1",
    ),
    "decreasing times": (
        lambda: rpm.from_sequences([np.zeros(3)], times=[[0.0, 2.0, 1.0]]),
        ValueError,
        r"times\[0\]: times must be strictly increasing",
    ),
    "mask": (
        lambda: rpm.from_sequences([np.zeros(3)], mask=[np.ones(2, bool)]),
        ValueError,
        r"mask\[0\] must have shape \(T_n,\) = \(3,\)",
    ),
    "unpad": (lambda: rpm.unpad(np.zeros((5, 4)), rpm.from_sequences(SEQUENCES)), ValueError, "T = 5 sites"),
    "NaN": (
        lambda: rpm.from_sequences([np.array([1.0, np.nan])]),
        ValueError,
        r"sequences\[0\] must be finite where observed",
    ),
    "to a fit": (
        lambda: rpm.as_data([np.zeros((5, 3)), np.zeros((7, 3))]),
        ValueError,
        r"got N = \[5, 7\]; if views are sequences of unequal lengths, pass rpm_jax.from_sequences",
    ),
    "as a view": (
        lambda: rpm.as_data([[np.zeros((5, 3)), np.zeros((7, 3))]]),
        ValueError,
        r"ragged list .*rpm_jax.from_sequences\(\[sequence, ...\]\)",
    ),
    "as a view of objects": (
        lambda: rpm.as_data([np.array([np.zeros(5), np.zeros(7)], dtype=object)]),
        TypeError,
        "rpm_jax.from_sequences",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
