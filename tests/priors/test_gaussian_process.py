"""Conditioning a Gaussian process, against dense matrices and long arithmetic."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats
from support import rbf

from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors import GaussianProcess
from rpm_jax.priors import _conditioning as conditioning

LATENTS, SITES, BATCH = 2, 5, 3


def random_process(seed=0, sites=SITES):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(LATENTS, sites, sites))
    covariance = root @ np.swapaxes(root, 1, 2) / sites + 0.3 * np.eye(sites)
    return rng.normal(size=(LATENTS, sites)), covariance


def random_evidence(seed=1):
    rng = np.random.default_rng(seed)
    linear = rng.normal(size=(BATCH, SITES, LATENTS))
    evidence = rng.gamma(1.0, size=(BATCH, SITES, LATENTS))
    evidence[0, 1] = 0.0
    evidence[1] = 0.0
    return linear, evidence


@jax.jit
def condition(mean, covariance, linear, evidence):
    prior = GaussianProcess(mean, covariance)
    posterior = prior.condition(DiagonalGaussian(linear, -0.5 * evidence))
    return posterior, posterior.sites, posterior.mean, posterior.standard_deviation


def dense(mean, covariance, linear, evidence, np=np):
    """log_normalizer, joint mean and covariance of one latent by inverting everything."""
    precision = np.linalg.inv(covariance)
    total = precision + np.diag(evidence)
    joint_covariance = np.linalg.inv(total)
    joint_mean = joint_covariance @ (precision @ mean + linear)
    log_normalizer = 0.5 * (
        joint_mean @ total @ joint_mean
        - mean @ precision @ mean
        - np.linalg.slogdet(covariance)[1]
        - np.linalg.slogdet(total)[1]
    )
    return log_normalizer, joint_mean, joint_covariance


@pytest.fixture(scope="module")
def conditioned():
    mean, covariance = random_process()
    return condition(mean, covariance, *random_evidence())


@pytest.mark.parametrize("n", range(BATCH))
def test_against_dense_matrices(conditioned, n):
    """Also at sites without evidence (W = 0), of which there are some in every batch entry but one."""
    (mean, covariance), (linear, evidence) = random_process(), random_evidence()
    posterior, sites, site_mean, deviation = conditioned
    expected = [dense(mean[k], covariance[k], linear[n, :, k], evidence[n, :, k]) for k in range(LATENTS)]
    np.testing.assert_allclose(posterior.log_normalizer[n], sum(e[0] for e in expected), rtol=1e-11)
    for k, (_, joint_mean, joint_covariance) in enumerate(expected):
        variance = np.diag(joint_covariance)
        np.testing.assert_allclose(posterior.joint_mean[n, k], joint_mean, rtol=0, atol=1e-11)
        np.testing.assert_allclose(posterior.joint_covariance[n, k], joint_covariance, rtol=0, atol=1e-11)
        np.testing.assert_allclose(site_mean[n, :, k], joint_mean, rtol=0, atol=1e-11)
        np.testing.assert_allclose(deviation[n, :, k] ** 2, variance, rtol=1e-10)
        np.testing.assert_allclose(sites.eta2[n, :, k], -0.5 / variance, rtol=1e-10)
        np.testing.assert_allclose(sites.eta1[n, :, k], joint_mean / variance, rtol=1e-9, atol=1e-11)


def test_divergence_against_the_formula_of_gaussians(conditioned):
    """KL(q‖p) = Σ_t ⟨λ_t, μ_t⟩ − log_normalizer, with the dense formula for the other side."""
    (mean, covariance), (linear, evidence) = random_process(), random_evidence()
    posterior, sites, *_ = conditioned
    first, second = sites.mean_parameters()
    divergence = np.sum(linear * first - 0.5 * evidence * second, axis=(1, 2)) - posterior.log_normalizer
    for n in range(BATCH):
        expected = 0.0
        for k in range(LATENTS):
            precision = np.linalg.inv(covariance[k])
            ratio = precision @ posterior.joint_covariance[n, k]
            shift = posterior.joint_mean[n, k] - mean[k]
            expected += 0.5 * (
                np.trace(ratio) - SITES - np.linalg.slogdet(ratio)[1] + shift @ precision @ shift
            )
        np.testing.assert_allclose(divergence[n], expected, rtol=1e-9, atol=1e-11)


def test_latents_are_independent(conditioned):
    """K = 2 latents are two priors with one."""
    (mean, covariance), (linear, evidence) = random_process(), random_evidence()
    singles = [
        condition(mean[k, None], covariance[k, None], linear[..., k, None], evidence[..., k, None])[0]
        for k in range(LATENTS)
    ]
    total = sum(single.log_normalizer for single in singles)
    np.testing.assert_allclose(conditioned[0].log_normalizer, total, rtol=1e-12)
    for k, single in enumerate(singles):
        np.testing.assert_allclose(conditioned[0].joint_mean[:, k], single.joint_mean[:, 0], atol=1e-13)


def test_constructors():
    mean, covariance = random_process()
    process = jax.jit(GaussianProcess.from_precision)(mean, np.linalg.inv(covariance))
    np.testing.assert_allclose(process.covariance, covariance, rtol=0, atol=1e-12)
    plain = GaussianProcess.from_covariance(mean, covariance)
    np.testing.assert_array_equal(plain.covariance, covariance)
    single = GaussianProcess.from_covariance(mean[0], covariance[0])
    assert single.mean.shape == (1, SITES)
    np.testing.assert_allclose(plain.sites().mean(), mean.T, rtol=1e-14)
    variance = np.diagonal(covariance, axis1=1, axis2=2).T
    np.testing.assert_allclose(plain.sites().variance(), variance, rtol=1e-14)
    assert plain.sites().batch_shape == (SITES,)


# Gradients.


def test_gradients_of_all_orders():
    """First and second derivatives in both modes, by numerical differences."""
    mean, covariance = (x[:1, :3, ...] for x in random_process(3))
    covariance = covariance[..., :3]
    linear, evidence = (x[0, :3, :1] for x in random_evidence(4))
    evidence = evidence + 0.2

    def scalar(arguments):
        mean, matrix, linear, evidence = arguments
        # Directions that keep the covariance symmetric.
        symmetric = 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))
        posterior, sites, *_ = condition(mean, symmetric, linear, evidence)
        return (
            jnp.sum(posterior.log_normalizer)
            + jnp.sum(jnp.sin(posterior.joint_covariance + jnp.arange(9.0).reshape(3, 3)))
            + jnp.sum(jnp.sin(posterior.joint_mean))
            + jnp.sum(sites.eta1 * sites.eta2)
        )

    arguments = (mean, covariance, linear, evidence)
    rng = np.random.default_rng(0)
    first, second = (jax.tree.map(lambda x: rng.normal(size=x.shape), arguments) for _ in range(2))

    def inner(a, b):
        return sum(jnp.vdot(x, y) for x, y in zip(a, b, strict=True))

    def forward(point, direction):
        return jax.jvp(scalar, (point,), (direction,))[1]

    def reverse(point, direction):
        return inner(jax.grad(scalar)(point), direction)

    @jax.jit
    def all_orders(point):
        return {
            "slopes": jnp.stack([forward(point, first), reverse(point, first)]),
            "curvatures": jnp.stack(
                [
                    jax.jvp(lambda x, mode=mode: mode(x, first), (point,), (second,))[1]
                    for mode in (forward, reverse)
                ]
                + [
                    inner(jax.grad(lambda x, mode=mode: mode(x, first))(point), second)
                    for mode in (forward, reverse)
                ]
            ),
        }

    @jax.jit
    def values(point):
        return scalar(point), forward(point, first)

    def difference(direction, which):
        step = 1e-5
        above, below = (
            values(jax.tree.map(lambda x, d, sign=sign: x + sign * step * d, arguments, direction))[which]
            for sign in (1, -1)
        )
        return (above - below) / (2 * step)

    got = all_orders(arguments)
    np.testing.assert_allclose(got["slopes"], difference(first, 0), rtol=1e-6)
    np.testing.assert_allclose(got["curvatures"], difference(second, 1), rtol=1e-6)


def test_gradients_without_evidence():
    """At W = 0 exactly, where √W has no derivative: against automatic differentiation of dense matrices."""
    (mean, covariance), (linear, evidence) = random_process(), random_evidence()

    def own(*arguments):
        posterior, *_ = condition(*arguments)
        joint = jnp.sum(jnp.sin(posterior.joint_covariance)) + jnp.sum(jnp.sin(posterior.joint_mean))
        return jnp.sum(posterior.log_normalizer) + joint

    def reference(mean, covariance, linear, evidence):
        over_latents = jax.vmap(lambda m, c, a, w: dense(m, c, a, w, jnp), in_axes=(0, 0, -1, -1))
        value, joint_mean, joint_covariance = jax.vmap(over_latents, in_axes=(None, None, 0, 0))(
            mean, covariance, linear, evidence
        )
        return jnp.sum(value) + jnp.sum(jnp.sin(joint_covariance)) + jnp.sum(jnp.sin(joint_mean))

    arguments = (mean, covariance, linear, evidence)
    got = jax.jit(jax.grad(own, argnums=(0, 1, 2, 3)))(*arguments)
    # One after the other: the dense reference calls LAPACK.
    expected = jax.jit(jax.grad(reference, argnums=(0, 1, 2, 3)))(*arguments)
    for g, e, name in zip(got, expected, ("mean", "covariance", "linear", "evidence"), strict=True):
        if name == "covariance":  # only symmetric changes mean something
            g, e = (x + np.swapaxes(x, -1, -2) for x in (g, e))
        np.testing.assert_allclose(g, e, rtol=1e-8, atol=1e-9, err_msg=name)


# Singular covariances and single precision.

TIMES = np.linspace(0.0, 1.0, 50)


def trajectory_evidence():
    rng = np.random.default_rng(5)
    evidence = rng.gamma(1.0, 5.0, size=(50, 1))
    evidence[10:15] = 0.0
    return evidence * (np.sin(7 * TIMES)[:, None] + 0.3 * rng.normal(size=(50, 1))), evidence


@jax.jit
def smooth(log_bandwidth, times, linear, evidence):
    def value(log_bandwidth):
        covariance = rbf(times, jnp.exp(log_bandwidth))[None]
        posterior, sites, *_ = condition(jnp.zeros_like(times)[None], covariance, linear, evidence)
        return posterior.log_normalizer, (posterior.mean[:, 0], sites.variance()[:, 0])

    return jax.value_and_grad(value, has_aux=True)(log_bandwidth)


def smooth_at(bandwidth, dtype):
    arguments = (np.log(bandwidth), TIMES, *trajectory_evidence())
    (value, (mean, variance)), gradient = smooth(*(jnp.asarray(a, dtype) for a in arguments))
    assert value.dtype == dtype
    return value, gradient, mean, variance


def test_singular_covariance_against_long_arithmetic():
    """γ = 1 at T = 50: the covariance has rank 10 in float64. In 60 digits, data at 13 times."""
    linear, evidence = trajectory_evidence()
    used = np.arange(0, 50, 4)
    keep = np.isin(np.arange(50), used)[:, None]
    linear, evidence = linear * keep, (evidence + 1.0) * keep
    (value, (mean, variance)), gradient = smooth(jnp.zeros(()), TIMES, linear, evidence)
    assert np.linalg.matrix_rank(np.asarray(rbf(TIMES, 1.0))) < 15

    def exact(bandwidth):
        with mpmath.workdps(60):
            size = len(used)

            def covariance(rows):
                entries = [
                    [mpmath.exp(-bandwidth * (mpmath.mpf(a) - mpmath.mpf(b)) ** 2) for b in TIMES[used]]
                    for a in rows
                ]
                return mpmath.matrix(entries)

            # y = λ1/W is an observation with noise of variance 1/W.
            weight = [mpmath.mpf(w) for w in evidence[used, 0]]
            observed = mpmath.matrix(
                [mpmath.mpf(a) / w for a, w in zip(linear[used, 0], weight, strict=True)]
            )
            noisy = covariance(TIMES[used]) + mpmath.diag([1 / w for w in weight])
            inverse = noisy**-1
            solved = inverse * observed
            scaled = sum(w * y * y for w, y in zip(weight, observed, strict=True))
            log_normalizer = (scaled - (observed.T * solved)[0]) / 2
            log_normalizer -= (mpmath.log(mpmath.det(noisy)) + sum(mpmath.log(w) for w in weight)) / 2
            cross = covariance(TIMES)
            means = cross * solved
            variances = [
                1 - sum(cross[i, a] * inverse[a, b] * cross[i, b] for a in range(size) for b in range(size))
                for i in (0, 13, 49)
            ]
            return log_normalizer, [float(m) for m in means], [float(v) for v in variances]

    expected, means, variances = exact(mpmath.mpf(1))
    np.testing.assert_allclose(value, float(expected), rtol=1e-11)
    np.testing.assert_allclose(mean, means, rtol=0, atol=1e-10)
    np.testing.assert_allclose(variance[np.array([0, 13, 49])], variances, rtol=1e-6)
    with mpmath.workdps(60):
        step = mpmath.mpf(10) ** -20
        slope = (exact(1 + step)[0] - exact(1 - step)[0]) / (2 * step)
    np.testing.assert_allclose(gradient, float(slope), rtol=1e-8)


@pytest.mark.parametrize("bandwidth", [1000.0, 100.0, 40.0, 10.0, 1.0])
def test_single_precision(bandwidth):
    expected = smooth_at(bandwidth, jnp.float64)
    got = smooth_at(bandwidth, jnp.float32)
    for leaf in got:
        assert np.all(np.isfinite(leaf))
    value, gradient, mean, variance = got
    np.testing.assert_allclose(value, expected[0], rtol=1e-4)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-3)
    np.testing.assert_allclose(mean, expected[2], rtol=0, atol=1e-3)
    np.testing.assert_allclose(variance, expected[3], rtol=1e-3)
    assert np.all(variance > 0)


def exact(covariance, linear, evidence):
    """The log-normaliser, mean and joint covariance of a zero-mean process, in float64."""
    root, identity = np.sqrt(evidence), np.eye(len(evidence))
    inner = identity + root[:, None] * covariance * root
    gain = covariance @ (root[:, None] * np.linalg.inv(inner))
    remainder = identity - gain * root
    joint = remainder @ covariance @ remainder.T + gain @ gain.T
    mean = gain @ np.divide(linear, root, out=np.zeros_like(root), where=root > 0)
    return 0.5 * linear @ mean - 0.5 * np.linalg.slogdet(inner)[1], mean, joint


def observe(num_sites, bandwidth, precision, missing=()):
    """An RBF covariance, the evidence of noisy observations of a sine, and the exact posterior."""
    times, rng = np.linspace(0.0, 1.0, num_sites), np.random.default_rng(0)
    covariance = np.exp(-bandwidth * (times[:, None] - times) ** 2)
    evidence = precision * rng.uniform(0.5, 1.5, num_sites)
    linear = evidence * np.sin(3 * times) + np.sqrt(evidence) * rng.normal(size=num_sites)
    evidence[list(missing)] = linear[list(missing)] = 0.0
    return (covariance, linear, evidence), exact(covariance, linear, evidence)


@jax.jit
def single_precision(covariance, linear, evidence, key):
    process = GaussianProcess(jnp.zeros_like(linear)[None], covariance[None])
    posterior = process.condition(DiagonalGaussian(linear[:, None], -0.5 * evidence[:, None]))
    return posterior, posterior.sample(key, (2000,))[..., 0], process.sample(key, (2000,))[..., 0]


@jax.jit
def values_in_single_precision(covariance, linear, evidence):
    process = GaussianProcess(jnp.zeros_like(linear)[None], covariance[None])
    posterior = process.condition(DiagonalGaussian(linear[:, None], -0.5 * evidence[:, None]))
    return posterior.log_normalizer, posterior.mean[:, 0], posterior.joint_covariance[0]


@pytest.mark.parametrize(
    ("num_sites", "bandwidth"),
    [
        *((50, bandwidth) for bandwidth in (1e-2, 1.0, 32.0, 1e3, 1e4)),
        *((200, bandwidth) for bandwidth in (1e-2, 32.0, 1e4)),
        # Between these.
        *(pytest.param(200, bandwidth, marks=pytest.mark.slow) for bandwidth in (1.0, 1e3)),
    ],
)
def test_precise_evidence_in_single_precision(num_sites, bandwidth):
    """A mean once off by 140 standard deviations, a bound by 9600 nats, variances of draws by 1900.

    The mean is as far off as what rounding the inputs costs, or 0.01 standard deviations; the covariance by
    a hundredth of its largest eigenvalue, or 40 rounding errors of the prior's variance, 1.
    """
    for precision in (1.0, 1e2, 1e3, 1e4, 1e5, 1e6):
        arguments, (value, mean, joint) = observe(num_sites, bandwidth, precision)
        rounded = [np.asarray(a, np.float32) for a in arguments]
        _, of_rounded, _ = exact(*(a.astype(float) for a in rounded))
        got = values_in_single_precision(*rounded)
        deviation = np.sqrt(np.diag(joint).max())
        floor = np.abs(of_rounded - mean).max() / deviation
        if floor < 1.0:
            assert abs(got[0] - value) < 1e-4 * (1.0 + abs(value))
            assert np.abs(got[1] - mean).max() / deviation < (0.01 if floor < 0.009 else 4.0 * floor)
        else:
            assert abs(got[0] - value) < 1e-3 * (1.0 + abs(value))
        largest = np.linalg.eigvalsh(joint)[-1]
        error = np.abs(np.linalg.eigvalsh(got[2].astype(float) - joint)).max() / largest
        assert error < max(0.01, min(40.0 * 1.2e-7 / largest, 0.7)), precision
        assert abs(np.trace(got[2]) / np.trace(joint) - 1.0) < 0.1


@pytest.mark.parametrize(
    ("num_sites", "bandwidth", "precision"),
    [(50, 1e-2, 1e4), (50, 1e-2, 1e6), (50, 1.0, 1e6), (200, 1.0, 1e4), (200, 32.0, 1e6), (200, 1e4, 1e6)],
)
def test_covariance_of_draws_in_single_precision(num_sites, bandwidth, precision):
    """The variance of each direction that the posterior leaves free; in all others together next to none."""
    arguments, (_, _, joint) = observe(num_sites, bandwidth, precision)
    posterior, draws, _ = single_precision(
        *(jnp.asarray(a, jnp.float32) for a in arguments), jax.random.key(0)
    )
    residual = np.asarray(draws, np.float64) - np.asarray(posterior.mean[:, 0], np.float64)
    assert np.all(np.isfinite(residual))
    eigenvalues, directions = np.linalg.eigh(joint)
    free = eigenvalues > max(0.03 * eigenvalues[-1], 6.0 * 1.2e-7)
    assert free.any()
    variances = np.mean(np.square(residual @ directions), axis=0)
    np.testing.assert_allclose(variances[free], eigenvalues[free], rtol=0.25)
    assert abs(variances.sum() / eigenvalues.sum() - 1.0) < 0.1


@pytest.mark.parametrize("num_sites", [50, 200])
def test_missing_sites_among_precise_ones_in_single_precision(num_sites):
    arguments, (value, mean, joint) = observe(num_sites, 32.0, 1e3, missing=range(10, 16))
    posterior, draws, _ = single_precision(
        *(jnp.asarray(a, jnp.float32) for a in arguments), jax.random.key(0)
    )
    np.testing.assert_allclose(posterior.log_normalizer, value, rtol=1e-5)
    assert np.abs(posterior.mean[:, 0] - mean).max() < 0.02 * np.sqrt(np.diag(joint).max())
    np.testing.assert_allclose(posterior.variance[:, 0], np.diag(joint), rtol=0.15)
    assert np.all(np.isfinite(draws))


def test_marginal_variances_stay_within_their_bounds():
    """Where float32 knows nothing of them: between K_tt/(1 + tr WK) and 1/W."""
    arguments, _ = observe(200, 1e-2, 1e6)
    evidence = arguments[2]
    posterior, *_ = single_precision(*(jnp.asarray(a, jnp.float32) for a in arguments), jax.random.key(0))
    assert np.all(posterior.variance[:, 0] >= 0.99 / (1.0 + np.sum(evidence)))
    assert np.all(posterior.variance[:, 0] <= np.minimum(1.0, 1.01 / evidence))


@jax.jit
def variances_and_slopes(covariance, linear, evidence):
    def variances(evidence):
        process = GaussianProcess(jnp.zeros_like(linear)[None], covariance[None])
        return process.condition(DiagonalGaussian(linear[:, None], -0.5 * evidence[:, None])).variance[:, 0]

    return variances(evidence), jax.grad(lambda evidence: jnp.sum(jnp.log(variances(evidence))))(evidence)


@pytest.mark.parametrize("bandwidth", [1e-2, 1.0, 32.0, 1e3, 1e4])
def test_marginal_variances_in_single_precision(bandwidth):
    """Once off by a factor of 30, at sites without evidence among precise ones from a precision of 10⁴ on."""
    for precision, error in ((1e2, 0.004), (1e4, 0.03), (1e6, 0.25)):
        arguments, _ = observe(100, bandwidth, precision, missing=range(2, 100, 3))
        rounded = [jnp.asarray(np.asarray(a, np.float32)) for a in arguments]
        # In float64 by the same formulas, which for these need no more than 10⁻⁵ of its digits.
        expected, expected_slopes = variances_and_slopes(*arguments)
        got, slopes = variances_and_slopes(*rounded)
        np.testing.assert_allclose(got, expected, rtol=error)
        largest = np.abs(expected_slopes).max()
        np.testing.assert_allclose(slopes / largest, expected_slopes / largest, atol=error)


def test_variances_by_either_way(monkeypatch):
    """By B and by the factor of S, in float64, with derivatives in covariance and evidence."""

    def both(lost):
        monkeypatch.setattr(conditioning, "LOST", lost)

        @jax.jit
        def own(covariance, evidence):
            factor = conditioning.factorise(covariance, evidence)
            conditioned = conditioning.condition(factor, covariance, evidence, evidence)
            joint, reduction, remainder = conditioning.smoother(factor, covariance, evidence)
            parts = (jnp.sin(conditioned.variance), jnp.sin(joint), jnp.sin(reduction), jnp.sin(remainder))
            return sum(map(jnp.sum, parts)), factor.graded

        (covariance, _, evidence), _ = observe(12, 40.0, 5.0, missing=(3, 4))
        (value, graded), slopes = jax.value_and_grad(own, argnums=(0, 1), has_aux=True)(covariance, evidence)
        assert graded == (lost == 0.0)
        return value, slopes

    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9), both(0.0), both(1.0)
    )


def test_draws_of_a_singular_prior_in_single_precision():
    """As smooth as the process is, whatever the jitter of the factorisation."""
    arguments, _ = observe(200, 1.0, 1.0)
    _, _, draws = single_precision(*(jnp.asarray(a, jnp.float32) for a in arguments), jax.random.key(1))
    assert np.all(np.isfinite(draws))
    covariance = np.cov(draws, rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, arguments[0], atol=0.15)
    steps = np.diff(draws, axis=1)
    # Var[z_t+1 − z_t] = 2 (1 − exp(−γ δ²)): 7e-3 a step, where white jitter alone would make 7e-3 more.
    np.testing.assert_allclose(np.sqrt(np.mean(steps**2)), np.sqrt(2 * (1 - np.exp(-1 / 199**2))), rtol=0.1)


def test_slopes_in_single_precision():
    """Of the log-normaliser in bandwidth, evidence and d, next to those in float64."""

    def value(log_bandwidth, linear, evidence):
        times = jnp.linspace(0.0, 1.0, 50, dtype=linear.dtype)
        covariance = rbf(times, jnp.exp(log_bandwidth))[None]
        process = GaussianProcess(jnp.zeros_like(times)[None], covariance)
        posterior = process.condition(DiagonalGaussian(linear[:, None], -0.5 * evidence[:, None]))
        return posterior.log_normalizer + jnp.sum(jnp.log(posterior.variance))

    slopes = jax.jit(jax.grad(value, argnums=(0, 1, 2)))
    (_, linear, evidence), _ = observe(50, 32.0, 1e3)
    arguments = (np.log(32.0), linear, evidence)
    expected = slopes(*(jnp.asarray(a, jnp.float64) for a in arguments))
    got = slopes(*(jnp.asarray(a, jnp.float32) for a in arguments))
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=5e-3 * np.abs(e).max())


# Sampling.

DRAWS = 20_000


@jax.jit
def draw(mean, covariance, linear, evidence, key):
    posterior = GaussianProcess(mean, covariance).condition(DiagonalGaussian(linear, -0.5 * evidence))
    return posterior.sample(key, (DRAWS,)), posterior


@pytest.mark.parametrize("singular", [False, True])
def test_moments_of_trajectories(singular):
    mean, covariance = random_process()
    if singular:
        covariance = np.exp(-0.1 * (np.arange(5.0)[:, None] - np.arange(5.0)) ** 2 / 100) * np.ones((2, 1, 1))
    z, posterior = draw(mean, covariance, *random_evidence(), jax.random.key(0))
    assert z.shape == (DRAWS, BATCH, SITES, LATENTS)
    z = np.moveaxis(np.asarray(z), -1, 2)
    joint_mean, joint_covariance = np.asarray(posterior.joint_mean), np.asarray(posterior.joint_covariance)
    variance = np.diagonal(joint_covariance, axis1=-2, axis2=-1)
    error = (z.mean(0) - joint_mean) / np.sqrt(variance / DRAWS)
    assert np.abs(error).max() < 5
    centred = z - joint_mean
    second = np.einsum("dbkt,dbks->bkts", centred, centred) / DRAWS
    spread = np.sqrt((variance[..., :, None] * variance[..., None, :] + joint_covariance**2) / DRAWS)
    assert np.abs((second - joint_covariance) / spread).max() < 5


# vmap, and properties on random input.


def test_vmap_over_potentials_and_parameters(conditioned):
    (mean, covariance), (linear, evidence) = random_process(), random_evidence()
    over_batch = jax.jit(jax.vmap(condition, in_axes=(None, None, 0, 0)))(mean, covariance, linear, evidence)
    for got, expected in zip(jax.tree.leaves(over_batch), jax.tree.leaves(conditioned), strict=True):
        np.testing.assert_allclose(
            got, np.broadcast_to(expected, got.shape), rtol=1e-10, atol=1e-12
        )  # the prior's covariance has no axis for the batch, but where vmap made one
    single = over_batch[0]
    np.testing.assert_allclose(single.joint_covariance, conditioned[0].joint_covariance, rtol=0, atol=1e-12)
    assert np.all(np.isfinite(single.sample(jax.random.key(0), (2,))))
    scale = np.array([0.5, 2.0])
    covariances = scale[:, None, None, None] * covariance
    means = scale[:, None, None] * mean
    over_priors = jax.jit(jax.vmap(condition, in_axes=(0, 0, None, None)))(
        means, covariances, linear, evidence
    )
    for i in range(2):
        expected = condition(means[i], covariances[i], linear, evidence)
        for got, plain in zip(jax.tree.leaves(over_priors), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(got[i], plain, rtol=1e-10, atol=1e-12)


@given(
    arrays(float, (LATENTS, SITES, SITES), elements=floats(-2, 2)),
    arrays(float, (BATCH, SITES, LATENTS), elements=floats(-3, 3)),
    arrays(float, (BATCH, SITES, LATENTS), elements=floats(0, 10)),
)
def test_any_covariance_and_evidence(root, linear, evidence):
    covariance = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(SITES)
    mean = root[:, 0]
    posterior, *_ = condition(mean, covariance, linear, evidence)
    for n in range(BATCH):
        expected = [dense(mean[k], covariance[k], linear[n, :, k], evidence[n, :, k]) for k in range(LATENTS)]
        total = sum(e[0] for e in expected)
        np.testing.assert_allclose(posterior.log_normalizer[n], total, rtol=1e-7, atol=1e-7)
        for k in range(LATENTS):
            np.testing.assert_allclose(posterior.joint_covariance[n, k], expected[k][2], rtol=0, atol=1e-7)
    # More evidence never leaves more variance.
    change = np.diagonal(covariance, axis1=1, axis2=2) - np.diagonal(
        posterior.joint_covariance, axis1=-2, axis2=-1
    )
    assert np.all(change > -1e-9)


# Errors.


@pytest.mark.parametrize("build", ["covariance", "precision"])
def test_errors(build):
    constructor = getattr(GaussianProcess, f"from_{build}")
    message = rf"from_{build}: mean and {build} must have shapes \(T,\) and \(T, T\).*got \(3,\) and \(2, 2\)"
    with pytest.raises(ValueError, match=message):
        constructor(np.zeros(3), np.eye(2))
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(3, 3\)"):
        constructor(np.zeros((2, 3)), np.eye(3))
    with pytest.raises(ValueError, match=r"got \(\) and \(\)"):
        constructor(0.0, 1.0)
    with pytest.raises(
        ValueError, match=r"mean must be finite, got 1 NaN .* of 2, the first at index \(1,\)"
    ):
        constructor(np.array([0.0, np.nan]), np.eye(2))
    with pytest.raises(ValueError, match=rf"{build} must be finite.*index \(0, 0\)"):
        constructor(np.zeros(2), np.array([[np.inf, 0.0], [0.0, 1.0]]))
