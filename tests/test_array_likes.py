"""Arrays of every origin: each is taken for the numbers it holds, or the error names it and a remedy."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax._arrays import as_floating
from rpm_jax.expfam import Categorical, DiagonalGaussian, Poisson

X = np.random.default_rng(0).normal(size=(6, 3)).astype("f4")
MODEL = rpm.RPM(
    rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))),
    rpm.factors.per_view(rpm.networks.MLP((2,))),
)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0), rpm.as_data((X, X)))
FITTED = rpm.Fitted(MODEL, PARAMS, (X, X))


def only(view, **options):
    return np.asarray(rpm.as_data((view,), **options).views[0])


@pytest.mark.parametrize(
    "array",
    [X.astype(">f4"), X.astype("f2"), X.tolist(), np.asfortranarray(X), X.astype(object), jnp.asarray(X)],
)
def test_numbers(array):
    got = only(array)
    assert got.dtype in (np.float32, np.float64)
    np.testing.assert_allclose(got, np.asarray(array, float), rtol=1e-6)


@pytest.mark.parametrize(
    "values", [[2**40, 2**40 + 2**33, 7], [3_000_000_000, 1], [2**63, 5], [2**70, 1], [-(2**62), 3]]
)
def test_integers_do_not_wrap(values):
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(only(np.array(values)), np.array(values, float), rtol=1e-6)


def test_half_precision_is_promoted():
    for half in (jnp.float16, jnp.bfloat16):
        assert only(jnp.asarray(X, half)).dtype == np.float32
        assert jax.eval_shape(lambda x: rpm.as_data((x,)).views[0], jnp.asarray(X, half)).dtype == np.float32


def test_torch():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X)
    for given in (tensor, tensor.clone().requires_grad_(), tensor.t().contiguous().t()):
        np.testing.assert_array_equal(only(given), X)
    np.testing.assert_allclose(only(tensor.bfloat16()), X, rtol=1e-2)


def test_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": pandas.array([3, 4], "Int64"), "c": [True, False]})
    np.testing.assert_array_equal(only(frame), [[1, 3, 1], [2, 4, 0]])
    missing = pandas.Series([1, None, 3], dtype="Int64")
    with pytest.raises(ValueError, match=r"views\[0\] must be finite.*missing='cells'"):
        only(missing)
    assert rpm.as_data((missing,), missing="cells").mask[:, 0].tolist() == [True, False, True]
    with pytest.raises(TypeError, match=r"views\[0\], column 'k'.*categorical.*one-hot"):
        only(pandas.DataFrame({"k": pandas.Series(["u", "v"], dtype="category")}))
    with pytest.raises(TypeError, match=r"got DataFrame; pass the columns of every view"):
        rpm.as_data(frame)


@pytest.mark.parametrize(
    ("view", "error", "message"),
    [
        ([[1, 2], [3]], ValueError, r"views\[0\] must be a rectangular array.*pad.*mask"),
        (np.array([1, 2], "m8[s]"), TypeError, r"views\[0\].*timedelta64.*np.timedelta64\(1, 's'\)"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, r"views\[0\].*datetime64.*seconds"),
        (np.array([["a"]], object), TypeError, r"views\[0\].*the str 'a'; turn names into numbers"),
        (np.zeros((6, 0)), ValueError, r"views\[0\] must hold at least one number per datum"),
        (jax.random.split(jax.random.key(0), 3), TypeError, r"views\[0\] must be an array of real numbers"),
    ],
)
def test_what_is_refused(view, error, message):
    with pytest.raises(error, match=message):
        rpm.as_data((view,))


def test_beyond_the_range_of_float32():
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=r"views\[0\].*beyond the range of float32.*x64"),
    ):
        only(np.array([[1e300], [1.0]]))
    assert only(np.array([[1e300], [1.0]])).max() == 1e300


def test_digits_that_a_cast_loses():
    view = np.stack([np.arange(6.0), 1.7e9 + np.arange(6.0)], axis=1)
    with (
        jax.enable_x64(False),
        pytest.warns(RuntimeWarning, match=r"views\[0\], column 1: rounding to float32"),
    ):
        only(view)


def test_outliers_and_constants_are_named():
    view = np.random.default_rng(0).normal(size=(50, 3))
    view[4:7, 1], view[5, 2] = -9999.0, 1e20
    with pytest.warns(RuntimeWarning, match=r"views\[0\], column 1 \(-9999\), 2 \(1e\+20\): outliers"):
        MODEL.init(jax.random.key(0), (view, X[:1] + np.arange(50.0)[:, None]))
    with pytest.warns(RuntimeWarning, match=r"views\[1\] says nothing.*constant"):
        MODEL.init(jax.random.key(0), (X, np.ones_like(X)))


def test_records_of_data_sets_are_no_views():
    balls = rpm.datasets.poisson_balls(jax.random.key(0), num_sequences=2, num_steps=3, num_pixels=2)
    with pytest.raises(TypeError, match=r"got the record BouncingBalls; pass its field \.views"):
        rpm.as_data(balls)


def test_a_view_with_one_feature_is_not_spread_over_three():
    for narrow in (X[:, :1], X[:, 0]):
        with pytest.raises(ValueError, match=r"views\[0\] must have the 3 features"):
            rpm.inference.infer(FITTED, (narrow, narrow))
    with pytest.raises(ValueError, match=r"views\[1\] must have shape \(n, 3\) like the data of the fit"):
        rpm.inference.evaluate(FITTED, (X, X[:, :2]))
    with pytest.raises(ValueError, match=r"held_out\[0\] must have shape \(n, 3\)"):
        rpm.fit(MODEL, (X, X), key=jax.random.key(0), held_out=(X[:, :2], X))


def test_rows_beyond_the_data():
    data = rpm.as_data((X, X))
    for index in ([6], np.array([0, -7]), jnp.array([9])):
        with pytest.raises(IndexError, match="rows of the N = 6 data"):
            data.batch(index)
    assert data.batch([-1]).index.tolist() == [5]
    with pytest.raises(TypeError, match="index must be integers"):
        data.batch(np.ones(6, bool))


def test_families_end_where_they_end():
    """JAX takes the nearest entry for one that there is not; a loop over a family would never end."""
    family = Categorical(np.zeros((3, 2)))
    for index in (3, np.array([0, 5]), (slice(None), 0)):
        with pytest.raises(IndexError):
            family[index]
    assert len(list(family)) == 3


def test_lists_in_the_place_of_data():
    data = rpm.as_data((X, X))
    with pytest.raises(TypeError, match=re.escape("batch must be an rpm_jax.Batch, got list")):
        rpm.bound(MODEL, PARAMS, [X, X], data)
    with pytest.raises(TypeError, match=re.escape("data must be rpm_jax.Data, got tuple")):
        rpm.bound(MODEL, PARAMS, data.batch([0]), (X, X))


def test_other_entrances():
    """Parameters of families, moments, scores: no integer wraps, no half precision is kept."""
    with jax.enable_x64(False):
        assert float(Poisson.from_rate(np.array([3_000_000_000])).mean()[0]) == pytest.approx(3e9)
        assert Poisson(np.array([1], "f2")).dtype == np.float32
        covariance = np.array([[5_000_000_000]])
        prior = rpm.priors.GaussianProcess.from_covariance(np.zeros(1), covariance)
        assert float(prior.covariance[0, 0, 0]) == pytest.approx(5e9)
        with pytest.raises(ValueError, match="labels must be at most 2147483647"):
            rpm.metrics.matched_accuracy(np.array([2**32, 0]), np.array([0, 1]))
    with pytest.raises(TypeError, match="real numbers"):
        as_floating("mean", "abc")


def test_log_weights_far_from_zero():
    with jax.enable_x64(False):
        weights = np.exp(rpm.as_data((X,), None, 1e9 + np.log(np.arange(1.0, 7.0))).log_weights)
    np.testing.assert_allclose(weights, np.arange(1, 7) / 21, rtol=1e-5)


def test_one_long_sequence():
    views = tuple(np.random.default_rng(j).normal(size=(1, 30)) for j in range(2))
    chain, network = rpm.priors.hidden_markov(2, 30), rpm.networks.PointwiseMLP((3,))
    pooled = rpm.RPM(chain, rpm.factors.per_view(network), pooled=True)
    fit = rpm.fit(pooled, views, key=jax.random.key(0), num_steps=3)
    assert np.isfinite(fit.bound)
    with pytest.raises(ValueError, match=r"at least 2 components.*pooled=True"):
        rpm.fit(rpm.RPM(chain, rpm.factors.per_view(network)), views, key=jax.random.key(0), num_steps=3)
