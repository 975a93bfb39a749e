"""Copulas against torchRPM, quadrature, scipy, and their own samples."""

import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

import rpm_jax as rpm
from rpm_jax.copulas import Clayton, Gaussian, Probabilities, Student, equicorrelation, joint
from rpm_jax.copulas._student_quantile import lower_quantile, lower_tail
from rpm_jax.marginals import Exponential, Normal

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "torchrpm.npz"
KEY = jax.random.key(0)
THREE = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.1], [-0.3, 0.1, 1.0]])

PAIRS = {
    "Gaussian": Gaussian(equicorrelation(-0.7)),
    "Student": Student(equicorrelation(0.5), 3.0),
    "Clayton": Clayton(1.5),
}
TRIPLES = {"Gaussian": Gaussian(THREE), "Student": Student(THREE, 5.0), "Clayton": Clayton(0.8, 3)}


def probabilities(u):
    return Probabilities(u, 1.0 - u)


def test_torchrpm():
    with np.load(REFERENCE) as arrays:
        correlation, rates, x, want = (
            arrays[f"copula__{name}"] for name in ("correlation", "rates", "x", "log_prob")
        )
    distribution = joint(Gaussian(correlation), [Exponential(rate) for rate in rates])
    got = jax.jit(distribution.log_prob)((x[:, :1], x[:, 1:]))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PAIRS)
def test_density_integrates_to_one(name):
    """∫ c(u) g(u1) du by quadrature, in x = logit u: for g = 1 and for powers of u1, whose mean is known."""
    number = 80 if name == "Student" else 160  # its quantiles are slower
    line, weights = np.polynomial.legendre.leggauss(number)
    y = 18.0 * line
    u = np.asarray(jax.nn.sigmoid(y))
    upper = np.asarray(jax.nn.sigmoid(-y))
    weights = weights * 18.0 * u * upper
    grid = [np.stack(np.meshgrid(a, a, indexing="ij"), -1).reshape(-1, 2) for a in (u, upper)]
    density = jnp.exp(jax.jit(PAIRS[name].log_density)(Probabilities(*grid))).reshape(number, number)
    marginal = density @ weights
    for power in range(4):
        np.testing.assert_allclose(np.sum(weights * u**power * marginal), 1 / (power + 1), rtol=2e-4)
    information = np.sum(weights[:, None] * weights * density * jnp.log(density))
    np.testing.assert_allclose(information, PAIRS[name].total_correlation(), rtol=2e-3)


@pytest.mark.parametrize("name", TRIPLES)
def test_samples(name):
    """Uniform marginals by Kolmogorov-Smirnov, and E[log c] = total correlation, D = 3."""
    copula = TRIPLES[name]
    number = 1000 if name == "Student" else 4000  # its quantiles are slower
    draws = jax.jit(lambda: copula.sample(KEY, (number,)))()
    assert draws.lower.shape == (number, 3)
    np.testing.assert_allclose(draws.lower + draws.upper, 1.0, atol=1e-12)
    for column in np.asarray(draws.lower).T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
    log_density = jax.jit(copula.log_density)(draws)
    error = log_density.std() / np.sqrt(number)
    assert abs(log_density.mean() - copula.total_correlation()) < 4 * error
    assert error < 0.04


@pytest.mark.slow
def test_kendall():
    """Rank correlations: (2/π) asin ρ of elliptical copulas, θ/(θ + 2) of Clayton's."""
    for copula, want in (
        (PAIRS["Gaussian"], 2 / np.pi * np.arcsin(-0.7)),
        (PAIRS["Student"], 2 / np.pi * np.arcsin(0.5)),
        (PAIRS["Clayton"], 1.5 / 3.5),
    ):
        got = stats.kendalltau(*np.asarray(copula.sample(KEY, (4000,)).lower).T).statistic
        assert abs(got - want) < 0.04


def test_densities_by_scipy():
    u = np.random.default_rng(0).uniform(size=(20, 3))
    z = stats.norm.ppf(u)
    want = stats.multivariate_normal(cov=THREE).logpdf(z) - stats.norm.logpdf(z).sum(1)
    np.testing.assert_allclose(Gaussian(THREE).log_density(probabilities(u)), want, atol=1e-10)
    z = stats.t.ppf(u, 5.0)
    want = stats.multivariate_t(shape=THREE, df=5.0).logpdf(z) - stats.t.logpdf(z, 5.0).sum(1)
    np.testing.assert_allclose(jax.jit(TRIPLES["Student"].log_density)(probabilities(u)), want, atol=1e-10)


def test_clayton_by_its_distribution_function():
    """c = ∂³C/∂u1∂u2∂u3, by automatic differentiation."""
    theta = 0.8

    def cumulative(a, b, c):
        return (a**-theta + b**-theta + c**-theta - 2.0) ** (-1.0 / theta)

    density = jax.vmap(jax.grad(lambda c, a, b: jax.grad(jax.grad(cumulative), 1)(a, b, c)))
    u = np.random.default_rng(0).uniform(0.05, 0.95, size=(20, 3))
    got = TRIPLES["Clayton"].log_density(probabilities(u))
    np.testing.assert_allclose(got, jnp.log(density(u[:, 2], u[:, 0], u[:, 1])), atol=1e-9)


@pytest.mark.parametrize(
    "freedom", [pytest.param(1.0, marks=pytest.mark.slow), 2.5, pytest.param(30.0, marks=pytest.mark.slow)]
)
def test_student_quantiles(freedom):
    p = np.array([1e-100, 1e-30, 1e-8, 0.01, 0.3, 0.499999, 0.5])
    z = jax.jit(lambda p: lower_quantile(p, freedom))(p)
    np.testing.assert_allclose(z[1:], stats.t.ppf(p[1:], freedom), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(lower_tail(z, freedom), p, rtol=1e-10)
    slope = jax.jit(jax.vmap(jax.grad(lambda p: lower_quantile(p, freedom))))(p[2:])
    np.testing.assert_allclose(slope, 1 / stats.t.pdf(z[2:], freedom), rtol=1e-8)
    single = jax.jit(lambda p: lower_quantile(p, freedom))(jnp.asarray(p[2:], jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, z[2:], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_student_becomes_gaussian():
    u = probabilities(np.random.default_rng(0).uniform(size=(10, 3)))
    far = Student(THREE, 1e6)
    np.testing.assert_allclose(far.log_density(u), Gaussian(THREE).log_density(u), atol=1e-4)
    np.testing.assert_allclose(far.total_correlation(), Gaussian(THREE).total_correlation(), atol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_extreme_numbers_stay_finite(name):
    """Probabilities 0 and 1, and their derivatives, in both precisions."""

    @jax.jit
    def everything(copula, u):
        def log_density(copula, u):
            return copula.log_density(probabilities(u))

        value, slope = jax.vmap(jax.value_and_grad(log_density, 1), (None, 0))(copula, u)
        return value, slope, jax.grad(lambda copula: log_density(copula, u).sum())(copula)

    for dtype in (jnp.float32, jnp.float64):
        copula = jax.tree.map(functools.partial(jnp.asarray, dtype=dtype), PAIRS[name])
        u = jnp.array(list(itertools.product([0.0, 1e-30, 0.3, 1.0], repeat=2)), dtype)
        value, slope, of_copula = everything(copula, u)
        assert value.dtype == dtype
        assert np.isfinite(value).all()
        ordinary = (u[:, 0] == 0.3) & (u[:, 1] == 0.3)
        assert np.isfinite(slope[ordinary]).all()
        assert not np.isnan(slope).any()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(of_copula))


def test_upper_tails_keep_their_digits():
    """Exponential numbers whose F is 1 in float32."""
    distribution = joint(Gaussian(equicorrelation(0.5).astype(jnp.float32)), [Exponential(1.0)] * 2)
    x = jnp.full((1, 1), 30.0, jnp.float32)
    z = stats.norm.isf(np.exp(-30.0))
    want = -60.0 - 0.5 * np.log(0.75) - 0.5 * (z**2 * (2 - 2 * 0.5) / 0.75 - 2 * z**2)
    np.testing.assert_allclose(distribution.log_prob((x, x)), want, rtol=1e-4)


VECTOR = joint(Gaussian(THREE), [Exponential(2.0), Normal(1.0, 0.5)], dims=(2, 1))


def test_vector_valued_views():
    """A view of two numbers and a view of one; shared marginals of a view's entries."""
    first, second = jax.jit(lambda: VECTOR.sample(KEY, (4000,)))()
    assert (first.shape, second.shape) == ((4000, 2), (4000, 1))
    for column in np.asarray(first).T:
        assert stats.kstest(column, "expon", args=(0, 0.5)).pvalue > 0.01
    assert stats.kstest(np.asarray(second)[:, 0], "norm", args=(1.0, 0.5)).pvalue > 0.01

    @jax.jit
    def log_ratio(first, second):
        alone = VECTOR.view(0).log_prob(first) + VECTOR.view(1).log_prob(second)
        return VECTOR.log_prob((first, second)) - alone

    ratio = log_ratio(first, second)
    information = VECTOR.mutual_information()
    determinant = np.linalg.det
    np.testing.assert_allclose(
        information, -0.5 * np.log(determinant(THREE) / determinant(THREE[:2, :2])), rtol=1e-10
    )
    assert abs(ratio.mean() - information) < 4 * ratio.std() / np.sqrt(4000)
    np.testing.assert_allclose(VECTOR.view(1).log_prob(second), Normal(1.0, 0.5).log_prob(second)[:, 0])
    alone, scalar = jax.eval_shape(lambda: (VECTOR.view(0).sample(KEY, (5,)), VECTOR.view(1).sample(KEY)))
    assert alone[0].shape == (5, 2)
    assert scalar[0].shape == (1,)


def test_mutual_information_of_a_gaussian_pair():
    """−½ log(1 − ρ²), whatever the marginals are."""
    for rho in (0.3, 0.6, -0.85):
        pair = joint(Gaussian(equicorrelation(rho)), [Exponential(1.0), Exponential(0.5)])
        np.testing.assert_allclose(pair.mutual_information(), -0.5 * np.log(1 - rho**2), rtol=1e-12)


def test_outside_of_the_support():
    x = jnp.array([[1.0], [-1.0]])
    pair = joint(PAIRS["Gaussian"], [Exponential(1.0), Normal()])
    value, slope = jax.jit(jax.value_and_grad(lambda x: pair.log_prob((x, x))[0]))(x)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert jax.jit(pair.log_prob)((x, x))[1] == -jnp.inf


@pytest.mark.slow
def test_gradients_by_the_data():
    views = VECTOR.sample(KEY, (5,))
    check_grads(lambda *v: VECTOR.log_prob(v), views, order=1, modes=("rev",), rtol=1e-4)


@pytest.mark.slow
def test_distrax_marginals():
    distrax = pytest.importorskip("distrax")
    ours = joint(PAIRS["Clayton"], [Normal(1.0, 2.0), Exponential(0.5)])
    theirs = joint(PAIRS["Clayton"], [distrax.Normal(1.0, 2.0), distrax.Gamma(1.0, 0.5)])
    views = ours.sample(KEY, (20,))
    np.testing.assert_allclose(theirs.log_prob(views), ours.log_prob(views), rtol=1e-6)
    for a, b in zip(jax.jit(theirs.sample, static_argnums=1)(KEY, (20,)), views, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_as_marginals_of_an_implicit_model():
    """View by view, a density of n data."""
    views = VECTOR.sample(KEY, (40,))
    factors = rpm.factors.per_view(rpm.networks.MLP((3,)))
    prior = rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    model = rpm.ImplicitRPM(prior, factors, [VECTOR.view(0), VECTOR.view(1)])
    got = model.log_marginals(views)
    assert got.shape == (40, 2)
    np.testing.assert_allclose(got[:, 0], VECTOR.view(0).log_prob(views[0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Gaussian(0.5), ValueError, r"correlation must be a matrix \(D, D\), got shape \(\)"),
        (lambda: Gaussian(np.array([[1.0, 0.2], [0.3, 1.0]])), ValueError, "must be symmetric with ones"),
        (
            lambda: Gaussian(np.array([[1.0, 1.2], [1.2, 1.0]])),
            ValueError,
            "positive definite, got the eigen",
        ),
        (lambda: equicorrelation(-0.6, 3), ValueError, r"between −1/\(D − 1\) = -0.5 and 1 for D = 3"),
        (
            lambda: Student(np.eye(2), 0.5),
            ValueError,
            "degrees_of_freedom must be a fixed number of at least 1",
        ),
        (lambda: Clayton(-1.0), ValueError, "theta must be positive and finite, got -1.0"),
        (lambda: joint(np.eye(2), [Normal()] * 2), TypeError, "copula must have the methods"),
        (lambda: joint(PAIRS["Gaussian"], [Normal()]), ValueError, "D = 2 distributions, or of J = 2"),
        (lambda: joint(PAIRS["Gaussian"], [Normal()] * 2, dims=(2, 1)), ValueError, "dims must add up to"),
        (lambda: joint(PAIRS["Gaussian"], [Normal(), 3.0]), TypeError, "a marginal must have the methods"),
        (
            lambda: VECTOR.log_prob((np.ones((3, 1)), np.ones((3, 1)))),
            ValueError,
            r"last axes have \(2, 1\) entries, got shapes \[\(3, 1\), \(3, 1\)\]",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("indices", [(0, 5), (-1, 0), (1, 1)])
def test_a_subset_of_numbers_that_are_not_there_is_refused(indices):
    """JAX would take the last row for one beyond it, and give another copula without a word."""
    correlation = equicorrelation(0.4, 3)
    for copula in (Gaussian(correlation), Student(correlation, 4.0)):
        with pytest.raises(ValueError, match="subset: indices must be different numbers from 0 to 2"):
            copula.subset(indices)
