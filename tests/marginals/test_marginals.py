"""Distributions of one number: built-in, empirical, of distrax, and of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpm_jax.marginals import Completed, Exponential, Marginal, Normal, as_marginal, kernel_density

KEY = jax.random.key(0)
DATA = np.random.default_rng(0).normal(size=60) ** 3


class Logistic:
    """Of one's own: nothing but a density and a distribution function."""

    def log_prob(self, x):
        return -x - 2.0 * jax.nn.softplus(-x)

    def cdf(self, x):
        return jax.nn.sigmoid(x)


MARGINALS = {
    "Exponential": Exponential(0.7),
    "Normal": Normal(-1.0, 2.5),
    "kernel density": kernel_density(DATA),
    "Logistic": as_marginal(Logistic()),
}
PROBABILITIES = np.array([1e-12, 1e-3, 0.2, 0.5, 0.9, 0.999])


@pytest.fixture(params=MARGINALS, ids=str)
def marginal(request):
    return MARGINALS[request.param]


def test_definitions_agree(marginal):
    """F(F⁻¹(p)) = p = S(S⁻¹(p)), F' = density, F + S = 1, dF⁻¹/dp = 1/density."""
    assert isinstance(marginal, Marginal)
    x = jax.jit(marginal.quantile)(PROBABILITIES)
    np.testing.assert_allclose(marginal.cdf(x), PROBABILITIES, rtol=1e-9)
    upper = jax.jit(marginal.inverse_survival_function)(PROBABILITIES)
    if not isinstance(marginal, Completed):  # 1 − F has lost the digits of small p
        np.testing.assert_allclose(marginal.survival_function(upper), PROBABILITIES, rtol=1e-9)
    np.testing.assert_allclose(marginal.survival_function(x), 1.0 - PROBABILITIES, atol=1e-12)
    slope = jax.vmap(jax.grad(marginal.cdf))(x)
    np.testing.assert_allclose(slope, jnp.exp(marginal.log_prob(x)), rtol=1e-8)
    slope = jax.vmap(jax.grad(marginal.quantile))(PROBABILITIES[1:])
    np.testing.assert_allclose(slope, jnp.exp(-marginal.log_prob(x[1:])), rtol=1e-8)


def test_derivative_of_the_upper_inverse(marginal):
    x = marginal.inverse_survival_function(PROBABILITIES[1:])
    slope = jax.vmap(jax.grad(marginal.inverse_survival_function))(PROBABILITIES[1:])
    np.testing.assert_allclose(slope, -jnp.exp(-marginal.log_prob(x)), rtol=1e-8)


def test_float32(marginal):
    if marginal is MARGINALS["kernel density"]:
        marginal = kernel_density(DATA.astype(np.float32))
    p = jnp.array([1e-6, 0.3, 0.95], jnp.float32)
    x = marginal.quantile(p)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(marginal.cdf(x), p, rtol=1e-4)


@pytest.mark.parametrize("name", ["Exponential", "Normal", "kernel density"])
def test_samples(name):
    marginal = MARGINALS[name]
    x = marginal.sample(KEY, (3000,))
    assert stats.kstest(np.asarray(x), lambda x: np.asarray(marginal.cdf(x))).pvalue > 0.01


def test_outside_of_the_support():
    assert Exponential(2.0).log_prob(-1.0) == -jnp.inf
    assert Exponential(2.0).cdf(-1.0) == 0.0
    assert Exponential(2.0).survival_function(-1.0) == 1.0


def test_kernel_density_by_scipy():
    """scipy's is the same but for its rule: a factor times the covariance."""
    vectors = np.random.default_rng(1).normal(size=(50, 2)) * [1.0, 3.0]
    got = kernel_density(vectors, bandwidth=[0.3, 0.9])
    points = np.random.default_rng(2).normal(size=(7, 2))
    terms = stats.norm.pdf(points[:, None], vectors, [0.3, 0.9]).prod(-1)
    np.testing.assert_allclose(got.log_prob(points), np.log(terms.mean(1)), rtol=1e-12)
    one = stats.gaussian_kde(DATA, "scott")
    np.testing.assert_allclose(kernel_density(DATA).log_prob(points[:, 0]), one.logpdf(points[:, 0]))
    column = kernel_density(DATA[:, None]).log_prob(points[:, :1])
    np.testing.assert_allclose(column, one.logpdf(points[:, 0]))
    draws = got.sample(KEY, (5000,))
    np.testing.assert_allclose(draws.mean(0), vectors.mean(0), atol=0.15)


def test_distrax():
    """Taken as they are: distributions on half-lines too, whose functions are NaN elsewhere."""
    distrax = pytest.importorskip("distrax")
    gamma = as_marginal(distrax.Gamma(2.0, 0.5))
    p = np.array([1e-3, 0.4, 0.99])
    np.testing.assert_allclose(jax.jit(gamma.quantile)(p), stats.gamma(2.0, scale=2.0).ppf(p), rtol=1e-6)
    with pytest.raises(ValueError, match=r"one number, got MultivariateNormalDiag with event shape \(2,\)"):
        as_marginal(distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)))


def test_own_inverses_are_used():
    class Uniform:
        def log_prob(self, x):
            return jnp.zeros_like(x)

        def cdf(self, x):
            return x

        def icdf(self, p):
            return p + 0.0

    marginal = as_marginal(Uniform())
    np.testing.assert_array_equal(marginal.quantile(PROBABILITIES), PROBABILITIES)
    np.testing.assert_array_equal(marginal.inverse_survival_function(PROBABILITIES), 1 - PROBABILITIES)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: as_marginal(3.0), TypeError, "a marginal must have the methods log_prob and cdf, got float"),
        (lambda: Exponential(-1.0), ValueError, "rate must be positive and finite, got -1.0"),
        (lambda: Normal(0.0, 0.0), ValueError, "scale must be positive and finite, got 0.0"),
        (
            lambda: kernel_density(np.ones((2, 2, 2))),
            ValueError,
            r"values must have shape \(N,\) or \(N, D\)",
        ),
        (lambda: kernel_density(np.ones(5)), ValueError, "bandwidth must be positive, got 0.0"),
        (lambda: kernel_density([1.0, np.nan]), ValueError, "values must be finite"),
        (lambda: kernel_density(np.ones((5, 2)), np.ones(3)), ValueError, r"a number or of shape \(2,\)"),
        (
            lambda: kernel_density(np.eye(3)).cdf(1.0),
            TypeError,
            r"values of shape \(N,\), got shape \(3, 3\); make one for each entry",
        ),
        (lambda: kernel_density(np.eye(3)).log_prob(np.ones(2)), ValueError, r"shape \(..., 3\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
