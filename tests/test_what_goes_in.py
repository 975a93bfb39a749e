"""Data of every type, scale and offset, masked or with missing cells: the numbers of clean float64 data."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rpm_jax as rpm
from rpm_jax._jit import jit
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.networks import CNN, MLP, GraphNetwork, PointwiseMLP, stacked

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIZE = 12
Z = RNG.normal(size=(SIZE, 1))
STATIC = tuple(Z @ RNG.normal(size=(1, 3)) + 0.5 * RNG.normal(size=(SIZE, 3)) for _ in range(2))
SEQUENCES = tuple(Z + RNG.normal(size=(SIZE, 4)) for _ in range(2))
VECTORS = tuple(Z[:, :, None] + RNG.normal(size=(SIZE, 4, 2)) for _ in range(2))
IMAGES = tuple(Z[:, :, None] + RNG.normal(size=(SIZE, 6, 6)) for _ in range(2))
GRAPHS = tuple((RNG.random((SIZE, 4, 4)) < 0.5).astype(float) for _ in range(2))
GAUSSIAN = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
STATES = rpm.priors.static(Categorical(np.array([0.1, -0.3, 0.4])))
PROCESS = rpm.priors.gaussian_process(np.arange(4) / 2.0)
NODES = rpm.priors.Independent(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)), 4)
per_view, shared = rpm.factors.per_view, rpm.factors.shared
SMALL_CNN = CNN((2,), (3,), kernel_size=3)

MODELS = {
    "Gaussian, per view": (rpm.RPM(GAUSSIAN, per_view(MLP((3,)))), STATIC),
    "categorical, shared": (rpm.RPM(STATES, shared(MLP((3,)))), STATIC),
    "categorical, robust": (rpm.RPM(STATES, per_view(MLP((3,)), standardise="robust")), STATIC),
    "unnormalised": (rpm.RPM(GAUSSIAN, per_view(MLP((3,)), kind="unnormalised")), STATIC),
    "scaled": (rpm.RPM(STATES, per_view(MLP((3,)), kind="scaled")), STATIC),
    "log-partition": (
        rpm.RPM(GAUSSIAN, per_view(MLP((3,)), kind="scaled", log_partition=MLP((3,), activation=jnp.tanh))),
        STATIC,
    ),
    "images": (rpm.RPM(STATES, per_view(SMALL_CNN)), IMAGES),
    "pointwise": (rpm.RPM(PROCESS, per_view(PointwiseMLP((3,)))), SEQUENCES),
    "flat, vectors": (rpm.RPM(PROCESS, shared(MLP((3,)))), VECTORS),
    "graphs": (rpm.RPM(NODES, per_view(GraphNetwork((3,), num_features=2))), GRAPHS),
    "networks of all views": (
        rpm.RPM(
            PROCESS,
            per_view(PointwiseMLP((3,))),
            rpm.posteriors.amortized(stacked(PointwiseMLP((3,)))),
            rpm.auxiliaries.shifted(stacked(PointwiseMLP((3,)))),
        ),
        SEQUENCES,
    ),
}


def moved(views, model):
    """Offsets and scales of features, one for all where an image or a graph has one."""
    if views is IMAGES or views is SEQUENCES:
        return tuple(1e3 * (j + 1) + 10.0 ** (2 * j - 1) * view for j, view in enumerate(views))
    number = views[0].shape[-1]
    offsets, scales = 1e3 * (1 + np.arange(number)), 10.0 ** np.arange(-1, number - 1)
    return tuple(offsets + scales * view for view in views)


def mask_of(views, num_sites):
    shape = (SIZE, 2) if num_sites == 1 else (SIZE, 2, num_sites)
    mask = np.random.default_rng(1).random(shape) < 0.7
    mask[0], mask[1] = True, False
    return mask


@jit
def _evaluate(model, data):
    params = model.init(KEY, data)
    return params, rpm.bound(model, params, data.all(), data)


def evaluate(model, views, mask):
    """Initial parameters, and the bound of every datum."""
    return _evaluate(model, rpm.as_data(views, mask))


@pytest.fixture(scope="module", params=MODELS)
def evaluated(request):
    """A model by its name, its views and mask, parameters and bounds."""
    model, views = MODELS[request.param]
    mask = mask_of(views, 1 if views is STATIC or views is IMAGES else 4)
    return request.param, model, views, mask, *evaluate(model, views, mask)


def test_offsets_and_scales_change_nothing_under_a_mask(evaluated):
    _, model, views, mask, _, expected = evaluated
    _, got = evaluate(model, moved(views, model), mask)
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
    assert np.std(expected) > 1e-3


def test_padding_by_missing_data_changes_nothing(evaluated):
    name, model, views, mask, params, expected = evaluated
    padded = tuple(np.concatenate([view, np.full((20, *view.shape[1:]), 1e4)]) for view in views)
    padding = np.zeros((20, *mask.shape[1:]), bool)
    own, got = evaluate(model, padded, np.concatenate([mask, padding]))
    np.testing.assert_allclose(got[:SIZE], expected, rtol=1e-9, atol=1e-10)
    if name != "networks of all views":  # whose q of nothing at all need not be the prior
        np.testing.assert_allclose(got[SIZE:], 0, atol=1e-9)
    for a, b in zip(jax.tree.leaves(own["factors"]), jax.tree.leaves(params["factors"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_padding_by_missing_steps_changes_nothing():
    results = []
    for steps in (4, 6):
        prior = rpm.priors.gaussian_process(np.arange(steps) / 2.0)
        model = rpm.RPM(prior, per_view(PointwiseMLP((3,))))
        views = tuple(np.pad(view, ((0, 0), (0, steps - 4)), constant_values=-7.0) for view in SEQUENCES)
        mask = np.zeros((SIZE, 2, steps), bool)
        mask[..., :4] = mask_of(SEQUENCES, 4)
        results.append(evaluate(model, views, mask))
    (short, expected), (long, got) = results
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)
    for a, b in zip(jax.tree.leaves(long["factors"]), jax.tree.leaves(short["factors"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_statistics_are_those_of_what_is_observed():
    """Per feature, whatever stands where something is missing."""
    mask = mask_of(STATIC, 1)
    views = tuple(np.where(mask[:, j, None], view, np.nan) for j, view in enumerate(STATIC))
    params, _ = evaluate(MODELS["Gaussian, per view"][0], views, mask)
    statistics = params["factors"][0]["statistics"]
    for j, view in enumerate(STATIC):
        np.testing.assert_allclose(statistics["mean"][j], view[mask[:, j]].mean(0), rtol=1e-12)
        np.testing.assert_allclose(statistics["scale"][j], view[mask[:, j]].std(0), rtol=1e-12)


# Properties.

MODEL = MODELS["Gaussian, per view"][0]
KINDS = {
    "f2": lambda x: x.astype("f2"),
    "f4": lambda x: x.astype("f4"),
    "f8": lambda x: x,
    ">f4": lambda x: x.astype(">f4"),
    "i8": lambda x: np.round(x * 2.0**45).astype("i8"),
    "u1": lambda x: np.round(100 + 25 * x).clip(0, 255).astype("u1"),
    "bool": lambda x: x > 0,
    "list": lambda x: x.tolist(),
    "jax": lambda x: jnp.asarray(x, jnp.float32),
}
SCALABLE = ("f4", "f8", ">f4", "list", "jax")
"""Types that hold numbers of 1e30, and NaN."""

INIT = jax.jit(MODEL.init)


def three_steps(data, like=None):
    """Parameters, and bound and posterior after a fit of three steps from networks like those given."""
    params = INIT(KEY, data)
    if like is not None:
        networks = jax.tree.map(lambda a, b: b.astype(a.dtype), params["factors"], like["factors"])
        own = [
            {**new, "statistics": old["statistics"]}
            for old, new in zip(params["factors"], networks, strict=True)
        ]
        params = {**params, "factors": tuple(own)}
    fit = rpm.fit(MODEL, data, key=KEY, params=params, num_steps=3)
    posterior = fit.infer(data)
    return params, [np.asarray(a) for a in (fit.bound, posterior.mean, posterior.standard_deviation)]


@settings(max_examples=15)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    exponent=st.sampled_from([-30, 0, 30]),
    offset=st.sampled_from([0.0, 1e3, 1e9]),
    missing=st.sampled_from(["nothing", "views", "cells"]),
    seed=st.integers(0, 5),
)
def test_any_numbers_give_those_of_float64(kind, exponent, offset, missing, seed):
    """Within 2 % of what they give in float64, unless an error or a warning names the view."""
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore", invalid="ignore"):
        views = [view * 10.0 ** (exponent * (kind in SCALABLE)) for view in STATIC]
        size = np.abs(views[0]).max()
        views = [view + offset * size for view in views]
        hidden = [random.random(view.shape) < 0.1 for view in views]
        cells = missing == "cells" and kind in SCALABLE
        if cells:
            views = [np.where(h, np.nan, view) for h, view in zip(hidden, views, strict=True)]
        exact = [np.asarray(KINDS[kind](view), np.float64) for view in views]
        views = [KINDS[kind](view) for view in views]
    mask = None
    if missing == "views":
        mask = random.random((SIZE, 2)) < 0.8
        mask[:2] = True
    options = {"missing": "cells"} if cells else {}
    with warnings.catch_warnings(record=True) as caught, jax.enable_x64(False):
        warnings.simplefilter("always")
        try:
            params, got = three_steps(rpm.as_data(views, mask, **options))
        except (ValueError, TypeError) as error:
            message = str(error)
        else:
            message = None
    if message is not None:
        assert re.search(r"views\[\d\]", message)
        return
    assert all(np.isfinite(array).all() for array in got)
    if any("views[" in str(warning.message) for warning in caught):
        return
    _, expected = three_steps(rpm.as_data(exact, mask, **options), params)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2)
