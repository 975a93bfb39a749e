"""What single families must stand: edges of their domains, far tails, sharp peaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from mpmath import mp

from rpm_jax import expfam
from rpm_jax.expfam import Beta, Categorical, Dirichlet, Gamma, Poisson, VonMises

FIRST = np.array([[0.5, -1.0], [0.2, 0.4], [-0.7, 1.3]])
SECOND = np.array([[1.5, 2.0], [3.0, 1.2], [1.7, 4.5]])


def test_categorical_with_excluded_states():
    inf = np.inf
    one = Categorical([[0.0, -inf, 1.0], [-inf, -inf, 2.0], [0.0, 1.0, -inf]])
    two = Categorical([[0.3, 0.1, 0.2], [0.0, -inf, 1.0], [-inf, 0.0, 0.0]])
    p = scipy.special.softmax(one.logits, axis=-1)
    q = scipy.special.softmax(two.logits, axis=-1)
    np.testing.assert_allclose(one.entropy(), scipy.stats.entropy(p, axis=-1), atol=1e-12)
    np.testing.assert_allclose(one.kl_divergence(two), scipy.stats.entropy(p, q, axis=-1), atol=1e-12)
    assert one.kl_divergence(two)[2] == inf
    np.testing.assert_allclose(one.dot(one.mean_parameters()), np.nansum(p * one.logits, axis=-1), atol=1e-12)
    np.testing.assert_allclose(one.log_prob(jnp.array([0, 2, 2])), [np.log(p[0, 0]), 0.0, -inf], atol=1e-12)
    finite = jax.grad(lambda f: jnp.sum(f[:2].kl_divergence(two[:2]) + f[:2].entropy()))(one)
    assert np.all(np.isfinite(finite.logits))
    assert np.all(np.isnan(one.log_prob(jnp.array([3, -1, 5]))))


def test_categorical_logits_need_no_normalisation():
    family = Categorical(FIRST)
    far = Categorical(FIRST + 1e8)
    np.testing.assert_allclose(far.entropy(), family.entropy(), rtol=1e-6)
    np.testing.assert_allclose(far.kl_divergence(Categorical(FIRST[::-1] - 1e8)).shape, (3,))


def mp_poisson_entropy(rate):
    rate = mp.mpf(rate)
    mass, expectation = mp.exp(-rate), mp.mpf(0)
    for count in range(int(rate + 20 * mp.sqrt(rate) + 40)):
        expectation += mass * mp.loggamma(count + 1)
        mass *= rate / (count + 1)
    return float(rate * (1 - mp.log(rate)) + expectation)


def test_poisson_entropy():
    rates = np.array([1e-6, 0.01, 0.5, 2.0, 9.0, 20.0, 24.99, 25.01, 30.0, 60.0, 300.0])
    with mp.workdps(30):
        expected = [mp_poisson_entropy(float(rate)) for rate in rates]
    family = Poisson.from_rate(rates[:, None])
    np.testing.assert_allclose(family.entropy(), expected, rtol=0, atol=2e-12)
    generic = jax.jit(expfam.ExponentialFamily.entropy)(family)
    np.testing.assert_allclose(generic, expected, rtol=0, atol=1e-11)


def test_poisson_log_prob_at_the_edges():
    family = Poisson.from_rate([3.0])
    np.testing.assert_allclose(family.log_prob(jnp.array([[0], [-1]])), [-3.0, -np.inf])
    gradient = jax.vmap(jax.grad(lambda eta, z: Poisson(eta).log_prob(z)), (None, 0))
    np.testing.assert_allclose(gradient(family.eta, jnp.array([[0.0], [5.0]])), [[-3.0], [2.0]], atol=1e-12)


def test_von_mises_derivatives_at_zero():
    some = VonMises(jnp.ones((1, 2)))

    def log_partition(eta):
        return VonMises(eta).log_partition()

    def natural(mean):
        return VonMises.from_mean((mean,)).eta

    def others(eta):
        family = VonMises(eta)
        divergences = family.kl_divergence(some) + some.kl_divergence(family)
        return divergences + family.entropy() + family.log_prob(jnp.array([0.3])) + family.variance()[0]

    @jax.jit
    def derivatives(zero):
        hessian, third = jax.jvp(jax.hessian(log_partition), (zero,), (jnp.ones_like(zero),))
        value, gradient = jax.value_and_grad(log_partition)(zero)
        return value, gradient, hessian, third, jax.jacfwd(natural)(zero), jax.grad(others)(zero)

    value, gradient, hessian, third, inverse, finite = derivatives(jnp.zeros((1, 2)))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, 0.0)
    np.testing.assert_array_equal(hessian.reshape(2, 2), 0.5 * np.eye(2))
    np.testing.assert_array_equal(third, 0.0)
    np.testing.assert_allclose(inverse.reshape(2, 2), 2.0 * np.eye(2), atol=1e-14)
    assert np.all(np.isfinite(finite))


def test_von_mises_concentrations():
    """Value, mean, variance, entropy and information over the whole range, against mpmath."""
    concentrations = np.array([1e-6, 1e-3, 0.3, 0.999, 1.001, 3.0, 12.0, 29.9, 30.1, 200.0, 1e4])

    @jax.jit
    def quantities(concentration):
        family = VonMises.from_direction_and_concentration(jnp.zeros((1,)), concentration[None])
        information = jax.hessian(lambda e: VonMises(e).log_partition())(family.eta)[0, 0, 0, 0]
        length = jnp.abs(family.mean_parameters()[0][0, 0])
        return family.log_partition(), length, family.variance()[0], family.entropy(), information

    actual = np.stack(jax.vmap(quantities)(jnp.asarray(concentrations)), axis=-1)
    with mp.workdps(40):
        expected = []
        for k in map(mp.mpf, concentrations.tolist()):
            zeroth, ratio = mp.besseli(0, k), mp.besseli(1, k) / mp.besseli(0, k)
            entropy = mp.log(2 * mp.pi * zeroth) - k * ratio
            row = (mp.log(zeroth), ratio, 1 - ratio, entropy, 1 - ratio / k - ratio**2)
            expected.append([float(v) for v in row])
    np.testing.assert_allclose(actual, expected, rtol=5e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_von_mises_samples_at_all_concentrations(dtype):
    concentration = jnp.asarray([0.0, 1e-6, 0.1, 1.0, 30.0, 1e3, 1e6], dtype)
    family = VonMises.from_direction_and_concentration(jnp.full(7, 3.0, dtype), concentration)
    z = jax.jit(lambda family: family.sample(jax.random.key(0), (20_000,)))(family)
    assert z.dtype == dtype
    assert np.all((np.abs(z) <= np.float32(np.pi)) & np.isfinite(z))
    # The circular variance of the sample, scaled by κ, against 1 − I1/I0.
    deviation = np.asarray(z, np.float64) - 3.0
    spread = 2.0 * np.sin(0.5 * deviation) ** 2
    error = 4.5 * spread.std(axis=0) / np.sqrt(len(z))
    assert np.all(np.abs(spread.mean(axis=0) - family.variance()) < error + 1e-12)
    if dtype == jnp.float64:
        for k in (0, 3, 4):
            law = (
                scipy.stats.vonmises(float(concentration[k])) if k else scipy.stats.uniform(-np.pi, 2 * np.pi)
            )
            wrapped = np.remainder(deviation[:, k] + np.pi, 2 * np.pi) - np.pi
            assert scipy.stats.kstest(wrapped, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_von_mises_samples_of_extreme_concentrations(dtype):
    """Rejection once never ended from 10¹⁵ on, and drew 18 % too narrow at 10¹⁴."""
    concentration = jnp.asarray([3e4, 6e4, 1e8, 1e12, 1e14, 1e15, 1e20, 1e30], dtype)
    family = VonMises.from_direction_and_concentration(jnp.zeros(8, dtype), concentration)
    z = np.asarray(jax.jit(lambda family: family.sample(jax.random.key(0), (20_000,)))(family), np.float64)
    scaled = z * np.sqrt(np.asarray(concentration, np.float64))
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=5 / np.sqrt(len(z)))
    np.testing.assert_allclose(scaled.var(axis=0), 1.0, atol=5 * np.sqrt(2 / len(z)))
    np.testing.assert_allclose((scaled**4).mean(axis=0), 3.0, atol=5 * np.sqrt(96 / len(z)))


def test_von_mises_draws_without_a_concentration_end():
    draws = VonMises(jnp.array([[jnp.nan, 1.0], [jnp.inf, 0.0], [0.5, 0.0]])).sample(jax.random.key(0))
    np.testing.assert_array_equal(np.isfinite(draws), [False, False, True])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_von_mises_of_extreme_concentrations(dtype):
    """Squares of concentrations overflow float32 from 2·10¹⁹ on, where all was NaN."""
    concentration = np.array([1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12, 1e18, 1e20, 1e30])

    @jax.jit
    def quantities(concentration):
        family = VonMises(jnp.stack([concentration, jnp.zeros_like(concentration)], axis=-1)[:, None])
        other = VonMises(2.0 * family.eta)
        slope = jax.grad(lambda eta: jnp.sum(VonMises(eta).entropy()))(family.eta)[:, 0, 0]
        (mean,) = family.mean_parameters()
        return (
            family.log_partition(),
            mean[:, 0, 0],
            family.variance()[:, 0],
            family.entropy(),
            family.kl_divergence(other),
            other.kl_divergence(family),
            slope,
        )

    got = np.stack(quantities(jnp.asarray(concentration, dtype)), axis=-1)
    with mp.workdps(60):
        expected = []
        for k in map(mp.mpf, concentration.tolist()):

            def log_bessel(k):
                if k < 1e5:
                    return mp.log(mp.besseli(0, k))
                return k - mp.log(2 * mp.pi * k) / 2 + mp.log(1 + 1 / (8 * k) + 9 / (128 * k**2))

            def ratio(k):
                if k < 1e5:
                    return mp.besseli(1, k) / mp.besseli(0, k)
                return 1 - 1 / (2 * k) - 1 / (8 * k**2) - 1 / (8 * k**3)

            one, two = ratio(k), ratio(2 * k)
            first = log_bessel(2 * k) - log_bessel(k) - k * one
            second = log_bessel(k) - log_bessel(2 * k) + k * two
            slope = -k * (1 - one / k - one**2) if k < 1e5 else -1 / (2 * k) - 1 / (4 * k**2)
            row = (
                log_bessel(k),
                one,
                1 - one,
                mp.log(2 * mp.pi) + log_bessel(k) - k * one,
                first,
                second,
                slope,
            )
            expected.append([float(value) for value in row])
    relative = 2e-5 if dtype == jnp.float32 else 1e-10
    got, expected = got.T, np.array(expected).T
    np.testing.assert_allclose(got[:-1], expected[:-1], rtol=relative, atol=1e-37)
    np.testing.assert_allclose(got[-1], expected[-1], rtol=relative, atol=1e-20)


@pytest.mark.parametrize("name", ["DiagonalGaussian", "Gaussian", "KnownCovarianceGaussian"])
def test_gaussians_far_from_zero_in_single_precision(name):
    """Entropy and divergence know nothing of where the mean is; as A − ⟨η, μ⟩ they lost their digits."""
    scale = np.float32(1e-3)
    precision = np.float32(1e6) * np.array([[2.0, 0.5], [0.5, 1.0]], np.float32)

    def member(mean):
        mean = np.asarray(mean, np.float32)
        if name == "DiagonalGaussian":
            return expfam.DiagonalGaussian.from_mean_and_variance(mean, np.full(2, scale**2))
        if name == "Gaussian":
            return expfam.Gaussian(precision @ mean, -0.5 * precision)
        return expfam.KnownCovarianceGaussian(precision @ mean, np.linalg.inv(precision))

    one, two, here = member([1.0, -2.0]), member([1.0, -2.0 + scale]), member([0.0, 0.0])
    np.testing.assert_allclose(one.entropy(), here.entropy(), rtol=1e-6)
    generic = expfam.ExponentialFamily.entropy(here)
    np.testing.assert_allclose(here.entropy(), generic, rtol=1e-6)
    expected = (
        0.5 if name != "KnownCovarianceGaussian" and name != "Gaussian" else 0.5 * precision[1, 1] * scale**2
    )
    np.testing.assert_allclose(one.kl_divergence(two), expected, rtol=2e-3)
    np.testing.assert_allclose(one.log_prob(one.mean()), here.log_prob(here.mean()), rtol=1e-6)
    slopes = jax.grad(lambda family: family.entropy())(one).natural_parameters
    np.testing.assert_array_equal(slopes[0], 0.0)


def test_log_partition_of_unequal_concentrations_in_single_precision():
    """The logarithm of a proportion close to 1, times its concentration."""
    alpha, beta = np.float32([1e2, 1e-3, 3.0, 1e6]), np.float32([1e6, 1e6, 1e6, 1e2])
    expected = scipy.special.betaln(alpha.astype(float), beta.astype(float))
    beta_family = Beta.from_concentrations(alpha[:, None], beta[:, None])
    concentrations = np.stack([beta_family.eta1, beta_family.eta2], axis=-1)[:, 0].astype(float) + 1.0
    exact = scipy.special.betaln(*concentrations.T)
    np.testing.assert_allclose(exact, expected, rtol=1e-4)
    np.testing.assert_allclose(beta_family.log_partition(), exact, rtol=1e-6, atol=1e-5)
    dirichlet = Dirichlet.from_concentration(np.float32([[1e2, 1e6], [1e-3, 1e6]]))
    exact = scipy.special.betaln(*(np.asarray(dirichlet.eta, float) + 1.0).T)
    np.testing.assert_allclose(dirichlet.log_partition(), exact, rtol=1e-6, atol=1e-5)


def test_poisson_draws_of_large_rates_in_single_precision():
    """Rejection in float32 spread counts 27 % too far at λ = 10⁹."""
    rate = jnp.asarray([2e3, 4e3, 1e5, 1e9], jnp.float32)
    draws = np.asarray(Poisson.from_rate(rate).sample(jax.random.key(0), (20_000,)), np.float64)
    exact = np.exp(np.asarray(jnp.log(rate), np.float64))
    scaled = (draws - exact) / np.sqrt(exact)
    assert np.all(np.abs(scaled.mean(axis=0))[:3] < 0.04)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0, rtol=0.03)
    skewness = (((scaled - scaled.mean(axis=0)) / scaled.std(axis=0)) ** 3).mean(axis=0)
    np.testing.assert_allclose(skewness, 1 / np.sqrt(exact), atol=5 * np.sqrt(6 / len(draws)))
    assert Poisson.from_rate(jnp.asarray([1e30], jnp.float32)).sample(jax.random.key(0)) > 2**30


def test_poisson_entropy_in_single_precision():
    log_rate = np.linspace(-3.0, 5.0, 60)

    def both(eta):
        return Poisson(eta[:, None]).entropy(), jax.grad(lambda e: jnp.sum(Poisson(e[:, None]).entropy()))(
            eta
        )

    low, high = jax.jit(both)(jnp.asarray(log_rate, jnp.float32)), jax.jit(both)(jnp.asarray(log_rate))
    np.testing.assert_allclose(low[0], high[0], rtol=1e-5)
    np.testing.assert_allclose(low[1], high[1], atol=1e-4)


def spread_of(low, high, size, seed):
    return 10.0 ** np.random.default_rng(seed).uniform(low, high, size)


WIDE = {
    "Beta": Beta.from_concentrations(spread_of(-3, 5, (40, 1), 0), spread_of(-3, 5, (40, 1), 1)),
    "Dirichlet": Dirichlet.from_concentration(spread_of(-3, 5, (40, 3), 2)),
    "Gamma": Gamma.from_shape_and_rate(np.logspace(-3, 5, 40)[:, None], spread_of(-3, 3, (40, 1), 3)),
    "VonMises": VonMises.from_direction_and_concentration(
        np.linspace(-3, 3, 40)[:, None], np.logspace(-6, 4, 40)[:, None]
    ),
}


@pytest.mark.parametrize("name", WIDE)
def test_newton_converges_over_the_whole_domain(name):
    """To what rounding of the mean parameters allows: it moves η by the inverse information times itself."""
    family = WIDE[name]

    @jax.jit
    def solve(family):
        mean = family.mean_parameters()
        solution = type(family).from_mean(mean)
        return mean, solution.mean_parameters(), solution, family.kl_divergence(solution)

    mean, again, solution, divergence = solve(family)
    assert np.all(solution.is_valid())
    for actual, expected in zip(again, mean, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(divergence, 0.0, atol=1e-11)
    natural = zip(solution.natural_parameters, family.natural_parameters, strict=True)
    for actual, expected in natural:
        offset = 0.0 if name == "VonMises" else 1.0
        np.testing.assert_allclose(actual + offset, expected + offset, rtol=1e-7)


@pytest.mark.parametrize("name", ["Dirichlet", "Gamma", "VonMises"])
def test_second_derivative_of_from_mean(name):
    """Of Σ sin η(μ) along a line, against central differences of the first derivative."""
    family = {
        "Dirichlet": Dirichlet.from_concentration(np.array([0.7, 2.0, 1.3])),
        "Gamma": Gamma.from_shape_and_rate(SECOND[0], SECOND[1]),
        "VonMises": VonMises.from_direction_and_concentration(FIRST[0], SECOND[0]),
    }[name]
    mean = family.mean_parameters()

    def value(distance):
        member = type(family).from_mean(tuple(m + distance * jnp.cos(m) for m in mean))
        return sum(jnp.sum(jnp.sin(parameter)) for parameter in member.natural_parameters)

    step = 1e-5
    slope, curvature = jax.jit(jax.vmap(lambda x: jax.jvp(jax.grad(value), (x,), (1.0,))))(
        step * jnp.array([-1.0, 0.0, 1.0])
    )
    np.testing.assert_allclose(curvature[1], (slope[2] - slope[0]) / (2 * step), rtol=1e-6)


def test_samples_are_differentiable():
    """The derivative of the mean of samples estimates that of the mean."""

    def mean(family):
        return jnp.mean(family.sample(jax.random.key(0), (20_000,))[..., 0])

    family = Gamma.from_shape_and_rate(SECOND[0], SECOND[1])
    estimate = jax.jit(jax.grad(mean))(family)
    exact = jax.grad(lambda family: family.mean()[0])(family)
    for a, b in zip(jax.tree.leaves(estimate), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)


def test_densities_at_the_boundary():
    edge = jnp.zeros((1,))
    assert Gamma.from_shape_and_rate([1.0], [2.0]).log_prob(edge) == pytest.approx(np.log(2.0))
    assert Gamma.from_shape_and_rate([2.0], [2.0]).log_prob(edge) == -np.inf
    assert Gamma.from_shape_and_rate([0.5], [2.0]).log_prob(edge) == np.inf
    assert Beta.from_concentrations([1.0], [1.0]).log_prob(edge) == pytest.approx(0.0, abs=1e-12)
    assert Beta.from_concentrations([1.0], [2.0]).log_prob(edge) == pytest.approx(np.log(2.0))


def test_density_of_a_beta_with_a_small_and_a_large_concentration():
    """z far above the mean of the small side: once 6e-3 nats off, of terms of 10⁵ that cancel."""
    alpha, beta, z = (np.float32(x) for x in (242445.2, 2e-6, 0.999999))
    natural = np.float32(alpha - 1), np.float32(beta - 1)
    a, b, x = (float(v) + w for v, w in zip((*natural, z), (1.0, 1.0, 0.0), strict=True))
    with mp.workdps(40):
        expected = (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - mp.mpf(x)) - mp.log(mp.beta(a, b))
    got = jax.jit(lambda z: Beta(natural[0][None], natural[1][None]).log_prob(z))(z[None])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [float(expected)], rtol=3e-6)
