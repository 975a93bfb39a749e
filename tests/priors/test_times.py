"""Times of every kind become the same numbers, since the first; what cannot is refused by name."""

import datetime
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import priors
from rpm_jax.priors._times import as_locations

STEPS = np.array([0.0, 200.0, 400.0, 1000.0])
START = np.datetime64("2024-02-29T12:00:00", "ns")
DATES = START + STEPS.astype("timedelta64[s]")
ZONE = datetime.timezone(datetime.timedelta(hours=5))


@pytest.fixture
def single_precision():
    with jax.enable_x64(False):
        yield


def pandas():
    return pytest.importorskip("pandas")


SAME = {
    "numbers": lambda: STEPS,
    "list": lambda: STEPS.tolist(),
    "big-endian": lambda: STEPS.astype(">f8"),
    "half precision": lambda: STEPS.astype(np.float16),
    "integers": lambda: STEPS.astype(int),
    "unsigned": lambda: STEPS.astype(np.uint64) + np.uint64(2**63),
    "nanoseconds beyond 2⁵³": lambda: 1_700_000_000_000_000_001 + STEPS.astype(int),
    "from the least integer": lambda: np.iinfo(np.int64).min + STEPS.astype(int),
    "Python's large integers": lambda: [10**30 + int(step) for step in STEPS],
    "Unix seconds": lambda: 1.7e9 + STEPS,
    "dates": lambda: DATES,
    "dates in seconds": lambda: DATES.astype("datetime64[s]"),
    "durations": lambda: STEPS.astype("timedelta64[s]"),
    "durations in minutes": lambda: np.timedelta64(3, "m") + STEPS.astype("timedelta64[s]"),
    "datetime": lambda: DATES.astype("datetime64[us]").tolist(),
    "datetime with a zone": lambda: [
        datetime.datetime(2024, 3, 30, 23, 50, tzinfo=ZONE) + datetime.timedelta(seconds=step)
        for step in STEPS
    ],
    "timedelta": lambda: [datetime.timedelta(seconds=step) for step in STEPS],
    "DatetimeIndex": lambda: pandas().DatetimeIndex(DATES),
    "DatetimeIndex with a zone": lambda: pandas().DatetimeIndex(DATES).tz_localize("Europe/London"),
    "Series of dates": lambda: pandas().Series(DATES),
    "TimedeltaIndex": lambda: pandas().to_timedelta(STEPS, unit="s"),
    "Series of nullable integers": lambda: pandas().Series(STEPS.astype(int), dtype="Int64"),
    "nothing masked": lambda: np.ma.masked_array(STEPS, mask=False),
}


@pytest.mark.parametrize("kind", SAME)
def test_every_kind_of_times(kind, single_precision):
    got = as_locations(SAME[kind]())
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, STEPS)


@pytest.mark.parametrize(
    ("start", "step"),
    [
        (0.0, 200.0),
        (1.7e9, 200.0),
        (2460000.5, 0.25),
        (2460000.5, 1 / 24),
        (1.7e9, 0.02),
        (0.0, 1e-9),
        (0.0, 1e12),
    ],
)
def test_an_offset_of_times_changes_nothing(start, step, single_precision):
    """Rounded to single precision first, Unix seconds and Julian dates have no digits for their steps."""
    times = start + step * np.arange(20)
    spec = priors.gaussian_process(times, priors.kernels.rbf_from_bandwidth(0.4 / step**2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = spec.apply(spec.init(jax.random.key(0))).covariance[0]
    expected = np.exp(-0.4 * (np.arange(20.0)[:, None] - np.arange(20)) ** 2)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    initial = np.exp(priors.gaussian_process(times).init(jax.random.key(0))["kernel"]["log_lengthscale"])
    np.testing.assert_allclose(initial, step * np.sqrt(1.25), rtol=1e-5)


def test_locations_keep_their_order_and_lose_their_offset(single_precision):
    places = np.array([[1.7e9, 1.0], [1.7e9 - 20.0, 3.0], [1.7e9, 1.0]])
    got = as_locations(places)
    np.testing.assert_array_equal(got, [[0, 0], [-20, 2], [0, 0]])
    np.testing.assert_array_equal(as_locations(places.astype(int)), got)


def test_the_type_of_times_is_kept():
    assert as_locations(STEPS).dtype == np.float64
    assert as_locations(STEPS.astype(np.float32)).dtype == np.float32
    assert as_locations(DATES).dtype == np.float64
    assert as_locations(jnp.asarray(STEPS, jnp.bfloat16)).dtype == np.float32


def test_traced_times():
    np.testing.assert_array_equal(jax.jit(as_locations)(jnp.asarray(STEPS) + 5.0), STEPS)


def test_steps_that_are_rounded_much(single_precision):
    with pytest.warns(
        UserWarning, match=r"times: the step after times\[2\] changes by 33.3% when it is rounded"
    ):
        as_locations([0.0, 1.0, 1e8, 1e8 + 12.0])


class Period:
    """Something that is no time."""


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (
            ["2024-01-01", "2024-01-02"],
            TypeError,
            "times must be numbers, dates or durations, got an array of <U10",
        ),
        ([True, False], TypeError, "times must be numbers, dates or durations, got an array of bool"),
        ([0j, 1j], TypeError, "times must be numbers, dates or durations, got an array of complex128"),
        ([Period(), Period()], TypeError, "times must be numbers, dates or durations, got Period"),
        (
            [DATES[1], DATES[0]],
            ValueError,
            "times must be strictly increasing, but times[0] = 2024-02-29T12:03",
        ),
        (
            [DATES[0], np.datetime64("NaT")],
            ValueError,
            "times must be finite, got NaT (no time), the first at index (1,)",
        ),
        (
            [np.nan, 1.0],
            ValueError,
            "times must be finite, got 1 NaN or infinite numbers of 2, the first at index (0,)",
        ),
        (
            [-np.inf, 1.0],
            ValueError,
            "times must be finite, got 1 NaN or infinite numbers of 2, the first at index (0,)",
        ),
        (
            np.ma.masked_array(STEPS, mask=STEPS == 200),
            ValueError,
            "times must all be known, got a masked array",
        ),
        ([0.0, 0.01, 1e9, 1e9 + 1.0], ValueError, "times: the step of 1 after times[2] is lost in float32"),
        (1e-42 * STEPS, ValueError, "is lost in float32"),
        (1e40 * STEPS, ValueError, "times: they range over 1e+43 of their units, more than float32 can hold"),
    ],
)
@pytest.mark.parametrize("build", [priors.gaussian_process, priors.joint_gaussian_process])
def test_what_cannot_be_right_is_refused(build, times, error, message, single_precision):
    with pytest.raises(error, match=re.escape(message)):
        build(times)
