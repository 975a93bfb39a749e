"""Kernels: each against its formula, gradients, semi-definiteness, algebra, dimensions, scales."""

import math
import pickle
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.priors import kernels
from rpm_jax.priors.kernels import (
    RBF,
    Matern,
    On,
    Periodic,
    Product,
    RationalQuadratic,
    Scaled,
    Sum,
    White,
    on,
)

TIMES = np.array([0.0, 0.1, 0.35, 0.4, 1.0])
OTHERS = np.array([0.2, 0.4])
PLACES = np.array([[0.0, 0.0], [0.5, 0.1], [0.5, 2.0], [3.0, 1.0]])


def matern(order, d):
    scaled = math.sqrt(2 * order) * d
    return {0.5: 1.0, 1.5: 1 + scaled, 2.5: 1 + scaled + scaled**2 / 3}[order] * np.exp(-scaled)


FORMULAS = {
    "rbf": (RBF(0.3), lambda d: np.exp(-(d**2) / (2 * 0.3**2))),
    "rbf by bandwidth": (kernels.rbf_from_bandwidth(7.0), lambda d: np.exp(-7.0 * d**2)),
    "matern12": (Matern(0.5, 0.3), lambda d: matern(0.5, d / 0.3)),
    "matern32": (Matern(1.5, 0.3), lambda d: matern(1.5, d / 0.3)),
    "matern52": (Matern(2.5, 0.3), lambda d: matern(2.5, d / 0.3)),
    "rational quadratic": (RationalQuadratic(0.3, 0.7), lambda d: (1 + d**2 / (2 * 0.7 * 0.09)) ** -0.7),
    "white": (White(0.4), lambda d: 0.4 * (d == 0)),
    "scaled": (2.5 * RBF(0.3), lambda d: 2.5 * np.exp(-(d**2) / (2 * 0.3**2))),
    "sum": (
        RBF(0.3) + White(0.4) + Matern(0.5, 2.0),
        lambda d: np.exp(-(d**2) / (2 * 0.3**2)) + 0.4 * (d == 0) + np.exp(-d / 2),
    ),
    "product": (RBF(0.3) * Matern(0.5, 2.0), lambda d: np.exp(-(d**2) / (2 * 0.3**2)) * np.exp(-d / 2)),
}
"""Kernels of the distance, and their formulas."""

PERIODIC = Periodic(0.5, 0.2)
ALL = {name: kernel for name, (kernel, _) in FORMULAS.items()} | {
    "periodic": PERIODIC,
    "locally periodic": PERIODIC * RBF(1.0),
}


def distances(x, y):
    if x.ndim == 1:
        return np.abs(x[:, None] - y)
    return np.sqrt(np.sum((x[:, None] - y) ** 2, axis=-1))


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    kernel, formula = FORMULAS[name]
    for x, y in ((TIMES, OTHERS), (PLACES, PLACES[1:3] + np.array([[0.0, 0.0], [0.1, 0.0]]))):
        params = kernel.init(x)
        np.testing.assert_allclose(kernel.covariance(params, x), formula(distances(x, x)), rtol=1e-13)
        cross = kernel.covariance(params, x, y)
        np.testing.assert_allclose(cross, formula(distances(x, y)), rtol=1e-13)


def test_periodic_against_mackay():
    width = 2 * np.pi * 0.2 / 0.5
    expected = np.exp(-2 * np.sin(np.pi * distances(TIMES, OTHERS) / 0.5) ** 2 / width**2)
    np.testing.assert_allclose(PERIODIC.covariance(PERIODIC.init(TIMES), TIMES, OTHERS), expected, rtol=1e-13)


def test_periodic_with_a_long_period_is_a_radial_basis_function():
    kernel = Periodic(1e4, 0.2)
    got = kernel.covariance(kernel.init(TIMES), TIMES)
    np.testing.assert_allclose(got, RBF(0.2).covariance(RBF(0.2).init(TIMES), TIMES), rtol=1e-5)


def test_periodic_in_single_precision_after_many_periods():
    """The sine of a large number in single precision has few digits: 1e-2 off at 10⁵ periods."""
    days = np.array([0.0, 0.25, 1e5, 1e5 + 0.25], np.float32)
    kernel = Periodic(1.0, 0.1)
    got = kernel.covariance(kernel.init(jnp.asarray(days)), jnp.asarray(days))
    period = np.exp(np.float64(np.log(np.float32(1.0))))
    expected = np.exp(
        -0.5 * (np.sin(np.pi * (days[:, None] - days).astype(float) / period) / np.pi / 0.1) ** 2
    )
    np.testing.assert_allclose(got, expected, rtol=2e-5)


@jax.jit
def at(locations, kernel, params):
    """Covariances, and gradients by parameters and locations."""

    def value(params, x):
        covariance = kernel.covariance(params, x)
        return jnp.sum(jnp.sin(covariance)), covariance

    return jax.value_and_grad(value, (0, 1), has_aux=True)(params, locations)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("locations", [TIMES, np.concatenate([PLACES, PLACES[:1]])], ids=["1-d", "2-d"])
def test_gradients_are_finite_and_covariances_positive_semidefinite(name, locations):
    kernel = ALL[name]
    params = kernel.init(locations)
    (_, covariance), gradients = at(locations, kernel, params)
    chex.assert_tree_all_finite(gradients)
    assert np.all(np.linalg.eigvalsh(covariance) > -1e-12)
    np.testing.assert_array_equal(covariance, covariance.T)
    if params:
        flat, rebuild = jax.flatten_util.ravel_pytree(params)
        slopes, _ = jax.flatten_util.ravel_pytree(gradients[0])
        for i, step in enumerate(1e-6 * np.eye(len(flat))):
            above, below = (at(locations, kernel, rebuild(flat + sign * step))[0][0] for sign in (1, -1))
            np.testing.assert_allclose(slopes[i], (above - below) / 2e-6, atol=1e-7)


def test_algebra_makes_flat_sums_and_products():
    a, b, c = RBF(1.0), Matern(0.5), White()
    assert a + b + c == a + (b + c) == Sum((a, b, c))
    assert a * b * c == Product((a, b, c))
    assert 2 * a == a * 2.0 == np.float32(2) * a == Scaled(a, 2.0)
    assert 2 * (a + b) == Scaled(Sum((a, b)), 2.0)
    assert repr(0.9 * RBF(3.0) + White(0.1)) == (
        "Sum(kernels=(Scaled(kernel=RBF(lengthscale=3.0), variance=0.9), White(variance=0.1)))"
    )
    for nonsense in ("rbf", None, RBF, [1.0], np.ones(2)):
        with pytest.raises(TypeError):
            a + nonsense
        with pytest.raises(TypeError):
            a * nonsense
        with pytest.raises(TypeError):
            nonsense * a
    with pytest.raises(TypeError):
        a + 1.0


@pytest.mark.parametrize("name", ALL)
def test_kernels_are_values(name):
    kernel = ALL[name]
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert jax.tree.leaves(kernel) == []
    hash(kernel)


def test_fixed_hyperparameters_are_no_parameters():
    kernel = RationalQuadratic(0.3, 0.7, fixed=("alpha",))
    assert list(kernel.init(TIMES)) == ["log_lengthscale"]
    learned = RationalQuadratic(0.3, 0.7)
    np.testing.assert_allclose(
        kernel.covariance(kernel.init(TIMES), TIMES),
        learned.covariance(learned.init(TIMES), TIMES),
        rtol=1e-14,
    )
    assert Periodic(0.5, 0.2, fixed=["period", "lengthscale"]).init(TIMES) == {}
    assert Scaled(RBF(), 0.5, fixed=("variance",)).init(TIMES).keys() == {"kernel"}


def test_length_scales_by_dimension():
    kernel = RBF((0.5, 2.0))
    expected = np.exp(-0.5 * np.sum(((PLACES[:, None] - PLACES) / [0.5, 2.0]) ** 2, axis=-1))
    np.testing.assert_allclose(kernel.covariance(kernel.init(PLACES), PLACES), expected, rtol=1e-13)
    product = on(RBF(0.5), 0) * on(RBF(2.0), 1)
    np.testing.assert_allclose(product.covariance(product.init(PLACES), PLACES), expected, rtol=1e-13)
    assert RBF(by_dimension=True).init(PLACES)["log_lengthscale"].shape == (2,)
    with pytest.raises(
        ValueError, match=r"lengthscale must be one number, or one for .* 2 dimensions, got 3"
    ):
        RBF((1.0, 1.0, 1.0)).covariance({"log_lengthscale": jnp.zeros(3)}, PLACES)


def test_kernels_of_some_coordinates():
    kernel = on(RBF(0.7), 1, 0)
    whole = RBF(0.7)
    np.testing.assert_allclose(
        kernel.covariance(kernel.init(PLACES), PLACES, PLACES[:2]),
        whole.covariance(whole.init(PLACES), PLACES, PLACES[:2]),
        rtol=1e-14,
    )
    with pytest.raises(
        ValueError, match=re.escape("dimensions (2,) need locations of shape (T, D) with D > 2")
    ):
        on(RBF(), 2).init(PLACES)
    for wrong in ((), (-1,), (0, 0), (True,), (0.5,)):
        with pytest.raises(ValueError, match="dimensions must be different numbers from 0"):
            On(RBF(), wrong)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e12, 1e30])
@pytest.mark.parametrize(
    "kernel", [RBF(), Matern(0.5), Matern(2.5), RationalQuadratic(), RBF(by_dimension=True)]
)
@pytest.mark.parametrize("locations", [TIMES, PLACES], ids=["1-d", "2-d"])
def test_the_unit_of_locations_does_not_matter(kernel, scale, locations):
    """In single precision: squares of differences of 1e-30 would underflow, those of 1e30 overflow."""

    def evaluate(locations):
        locations = jnp.asarray(locations, jnp.float32)
        return at(locations, kernel, kernel.init(locations))

    (_, covariance), (by_params, by_locations) = evaluate(locations * scale)
    (_, expected), (expected_by_params, _) = evaluate(locations)
    np.testing.assert_allclose(covariance, expected, atol=3e-5)
    chex.assert_trees_all_close(by_params, expected_by_params, rtol=1e-3, atol=1e-4)
    chex.assert_tree_all_finite((by_params, by_locations))


@pytest.mark.parametrize(
    "kernel", [RBF(1e-9), Matern(1.5, 1e-9), RationalQuadratic(1e-9), Periodic(1e-8, 1e-9)]
)
def test_locations_far_beyond_the_length_scale(kernel):
    """(1e12/1e-9)² overflows in single precision; infinity times exp(−infinity) in its gradient is NaN."""
    locations = jnp.array([0.0, 1e12, 3e12], jnp.float32)
    (_, covariance), gradients = at(locations, kernel, kernel.init(locations))
    chex.assert_tree_all_finite((covariance, gradients))


def test_initial_length_scales():
    spacing = np.sqrt(1.25)
    for locations, expected in (
        (TIMES[::-1], 0.175),
        (np.array([0.0, 0.0, 1.0, 1.0, 2.0]), 1.0),
        (PLACES, np.median([0.5099019513592785, 0.5099019513592785, 1.9, 2.6925824035672520])),
    ):
        got = np.exp(RBF().init(jnp.asarray(locations))["log_lengthscale"])
        np.testing.assert_allclose(got, spacing * expected, rtol=1e-12)
    for alone in (np.zeros(1), np.zeros(3), np.zeros((2, 2))):
        assert RBF().init(jnp.asarray(alone))["log_lengthscale"] == 0
    stretched = RBF(by_dimension=True).init(PLACES * [1.0, 1e6])["log_lengthscale"]
    np.testing.assert_allclose(
        stretched - RBF(by_dimension=True).init(PLACES)["log_lengthscale"], [0, np.log(1e6)], atol=1e-9
    )


def test_learned_values_are_described_in_units_of_time():
    kernel = 0.5 * RBF(3.0) + Periodic(24.0, 2.0, fixed=("lengthscale",))
    described = kernels.describe(kernel.init(TIMES))
    assert list(described) == ["0.kernel.lengthscale", "0.variance", "1.period"]
    np.testing.assert_allclose(list(described.values()), [3.0, 0.5, 24.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RBF(0), "RBF: lengthscale must be positive and finite, got 0"),
        (lambda: RBF((1.0, -1.0)), "RBF: lengthscale must be positive and finite, got (1.0, -1.0)"),
        (lambda: RBF(()), "RBF: lengthscale must be positive and finite, got ()"),
        (lambda: RBF(math.nan), "RBF: lengthscale must be positive and finite, got nan"),
        (lambda: RBF("a"), "RBF: lengthscale must be positive and finite, got 'a'"),
        (lambda: Matern(2.0), "order must be 0.5, 1.5 or 2.5, got 2.0"),
        (lambda: Matern(0.5, math.inf), "Matern: lengthscale must be positive and finite, got inf"),
        (lambda: Periodic(-1), "Periodic: period must be positive and finite, got -1"),
        (lambda: Periodic(None), "Periodic: period must be positive and finite, got None"),
        (lambda: RationalQuadratic(alpha=0.0), "alpha must be positive and finite, got 0.0"),
        (lambda: White(-0.1), "White: variance must be positive and finite, got -0.1"),
        (lambda: -1 * RBF(), "Scaled: variance must be positive and finite, got -1.0"),
        (lambda: kernels.rbf_from_bandwidth(0), "bandwidth must be positive and finite, got 0"),
        (lambda: RBF(1.0, fixed=("bandwidth",)), "RBF: fixed must name some of lengthscale, got 'bandwidth'"),
        (lambda: RBF(fixed=("lengthscale",)), "RBF: lengthscale is to be fixed, so it needs a value"),
        (lambda: Sum(()), "Sum: kernels must be a tuple of one kernel or more, got ()"),
        (lambda: kernels.as_kernel("gaussian"), "kernel must be one of 'rbf', 'matern12'"),
        (lambda: RBF().covariance(RBF().init(TIMES), TIMES, PLACES), "locations x and y must have shapes"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


def test_errors_of_types():
    with pytest.raises(TypeError, match="fixed must be a tuple of names"):
        RBF(1.0, fixed="lengthscale")
    for wrong in (RBF, 3, None):
        with pytest.raises(TypeError, match="kernel must be an object with init"):
            kernels.as_kernel(wrong)
