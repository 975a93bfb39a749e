"""Data that do not fit: the message says what came and what to do."""

import re

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian

RNG = np.random.default_rng(0)
GOOD = (RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2)))


def spoiled(value, index=(4, 1)):
    view = GOOD[0].copy()
    view[index] = value
    return (view, GOOD[1])


CASES = {
    "sizes": (
        (GOOD[0], GOOD[1][:5]),
        ValueError,
        "same number N of data on their first axis, got N = [6, 5]",
    ),
    "empty": ((GOOD[0][:0], GOOD[1][:0]), ValueError, "views must hold at least one datum"),
    "no views": ((), ValueError, "views must hold at least one array, got none"),
    "scalar": ((GOOD[0], 3.0), ValueError, "views[1] must have the data on its first axis, got a scalar"),
    "strings": (
        (GOOD[0], np.array(["a"] * 6)),
        TypeError,
        "views[1] must be an array of real numbers, got dtype <U1",
    ),
    "complex": (
        (GOOD[0] * 1j, GOOD[1]),
        TypeError,
        "views[0] must be an array of real numbers, got dtype complex128",
    ),
    "ragged": (([[1], [2, 3]], GOOD[1]), ValueError, "inhomogeneous"),
    "NaN": (
        spoiled(np.nan),
        ValueError,
        "views[0] must be finite where observed, got 1 NaN or infinite numbers of 18, the first at index "
        "(4, 1); mark missing ones by a mask",
    ),
    "inf": (spoiled(-np.inf), ValueError, "the first at index (4, 1)"),
    "one array": (
        np.zeros((6, 2, 3)),
        TypeError,
        "views must be a tuple or list of J arrays, one per view, got ndarray; if its axis 1 counts the "
        "views, pass tuple(array[:, j]",
    ),
    "a vector": (np.zeros(6), TypeError, "got ndarray"),
    "a word": ("views", TypeError, "views must be a tuple or list of J arrays, one per view, got str"),
    "nothing": (None, TypeError, "got NoneType"),
    "a dictionary": ({"a": GOOD[0]}, TypeError, "got dict"),
}


@pytest.mark.parametrize("case", CASES)
def test_views(case):
    views, error, message = CASES[case]
    with pytest.raises(error, match=re.escape(message)):
        rpm.as_data(views)


MODEL = rpm.RPM(
    rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))),
    rpm.factors.per_view(rpm.networks.MLP((2,))),
)


KEYS = jax.random.split(jax.random.key(0), 2)
FITTED = rpm.Fitted(MODEL, MODEL.init(KEYS[0], GOOD), GOOD)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("views", lambda views: MODEL.init(jax.random.key(0), views)),
        ("views", lambda views: rpm.fit(MODEL, views, key=jax.random.key(0))),
        ("held_out", lambda views: rpm.fit(MODEL, GOOD, key=jax.random.key(0), held_out=views)),
        ("held_out", lambda views: rpm.fit_seeds(MODEL, GOOD, keys=KEYS, held_out=views)),
        ("views", lambda views: rpm.fit_seeds(MODEL, views, keys=KEYS)),
        ("data", lambda views: rpm.Fitted(MODEL, {}, views)),
        ("views", lambda views: rpm.inference.infer(FITTED, views)),
        ("views", lambda views: rpm.inference.evaluate(FITTED, views)),
        ("views", lambda views: rpm.diagnostics.bound_gap(FITTED, views)),
        ("views", lambda views: rpm.diagnostics.log_partition_error(FITTED, views)),
        ("views", lambda views: rpm.generation.predictive_log_weights(FITTED, views, 1, key=KEYS[0])),
    ],
)
def test_every_entrance_checks(name, call):
    with pytest.raises(ValueError, match=rf"{name}\[0\] must be finite where observed"):
        call(spoiled(np.nan))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones((6, 2)), TypeError, "mask must be boolean, got dtype float64"),
        (np.ones((6, 2), int), TypeError, "mask must be boolean, got dtype int64"),
        (
            np.ones(6, bool),
            ValueError,
            "mask must have shape (N, J) or (N, J, T) with N = 6 data and J = 2 views, or be J arrays of the "
            "views' shapes for missing cells, got (6,)",
        ),
        (np.ones((2, 6), bool), ValueError, "got (2, 6)"),
        (np.ones((6, 3), bool), ValueError, "got (6, 3)"),
        (np.ones((6, 2, 1, 1), bool), ValueError, "got (6, 2, 1, 1)"),
    ],
)
def test_mask(mask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        rpm.as_data(GOOD, mask)


def test_what_is_masked_may_be_anything():
    mask = np.ones((6, 2), bool)
    mask[4, 0] = False
    assert rpm.as_data(spoiled(np.nan), mask).size == 6
    mask = np.ones((6, 2, 3), bool)
    mask[4, 0, 1] = False
    sequences = (spoiled(np.inf)[0], RNG.normal(size=(6, 3)))
    assert rpm.as_data(sequences, mask).size == 6
    mask[4, 0, 1], mask[4, 0, 2] = True, False
    with pytest.raises(ValueError, match=r"index \(4, 1\)"):
        rpm.as_data(sequences, mask)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.zeros(5), ValueError, "log_weights must have shape (N,) = (6,), got (5,)"),
        (np.zeros((6, 1)), ValueError, "log_weights must have shape (N,) = (6,), got (6, 1)"),
        (0.0, ValueError, "log_weights must have the data on its first axis"),
        (np.array(["a"] * 6), TypeError, "log_weights must be an array of real numbers"),
        (
            np.array([0, 0, np.nan, 0, 0, 0]),
            ValueError,
            "log_weights must be finite or −inf, and one of them finite, got 1 NaN",
        ),
        (np.full(6, -np.inf), ValueError, "one of them finite, got 0 NaN, 0 +inf and 6 −inf"),
    ],
)
def test_log_weights(weights, error, message):
    with pytest.raises(error, match=re.escape(message)):
        rpm.as_data(GOOD, None, weights)


def test_log_weights_are_normalised():
    data = rpm.as_data(GOOD, None, np.array([3.0, 3.0, -np.inf, 3.0, 3.0, -np.inf]))
    np.testing.assert_allclose(np.exp(data.log_weights), [0.25, 0.25, 0, 0.25, 0.25, 0])


def test_what_is_fine():
    """Lists, integers, booleans, jax arrays, and data that are data already."""
    data = rpm.as_data([list(range(4)), np.arange(4) > 1, jax.numpy.arange(4.0)])
    assert [view.dtype for view in data.views] == [np.float64] * 3
    again = rpm.as_data(data, np.ones((4, 3), bool))
    assert again.mask.shape == (4, 3)
    assert rpm.as_data(again).mask is not None
