"""How far factors are from normalised: moments over data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES, init, random_potentials, two_views

import rpm_jax as rpm
from rpm_jax.objectives import log_partition_error

NATURAL = FAMILIES["DiagonalGaussian"]
FACTORS = NATURAL[None] + random_potentials(0, NATURAL, (7, 2, 3))
RNG = np.random.default_rng(0)
LOG_SCALE = jnp.asarray(RNG.normal(size=(7, 2, 3)) - FACTORS.log_partition())
WEIGHTS = RNG.dirichlet(np.ones(7))
MASK = RNG.random((7, 2, 3)) < 0.7
MASK[:, 1, 2] = False


def test_moments():
    """Weighted, with missing views left out, against loops; NaN where there is nothing."""
    error = jax.jit(log_partition_error)(FACTORS, LOG_SCALE, log_weights=jnp.log(WEIGHTS), mask=MASK)
    learned, exact = -np.asarray(LOG_SCALE), np.asarray(FACTORS.log_partition())
    np.testing.assert_array_equal(error.learned, np.where(MASK, learned, np.nan))
    np.testing.assert_allclose(error.exact, np.where(MASK, exact, np.nan), rtol=1e-12)
    for j, t in np.ndindex(2, 3):
        seen = MASK[:, j, t]
        got = [field[j, t] for field in error[:3]]
        if not seen.any():
            assert np.isnan(got).all()
            continue
        psi, a, w = learned[seen, j, t], exact[seen, j, t], WEIGHTS[seen] / WEIGHTS[seen].sum()
        covariance = np.cov(psi, a, aweights=w, ddof=0)
        mean = np.sum(w * (psi - a))
        deviation = np.sqrt(np.sum(w * (psi - a - mean) ** 2))
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        np.testing.assert_allclose(got, [mean, deviation, correlation], rtol=1e-10)


def test_what_does_not_matter():
    """A constant changes the mean alone; normalised factors have no error."""
    error, shifted = (log_partition_error(FACTORS, LOG_SCALE + c) for c in (0.0, 2.5))
    np.testing.assert_allclose(shifted.mean, error.mean - 2.5, rtol=1e-10)
    np.testing.assert_allclose(shifted.standard_deviation, error.standard_deviation, rtol=1e-10)
    np.testing.assert_allclose(shifted.correlation, error.correlation, rtol=1e-10)
    none = log_partition_error(FACTORS)
    np.testing.assert_array_equal(none.standard_deviation, 0.0)
    np.testing.assert_array_equal(none.mean, 0.0)
    np.testing.assert_allclose(none.correlation, 1.0, rtol=1e-12)


@pytest.mark.slow
def test_of_a_model():
    """The model's own η and h, with the data's weights and mask."""
    views = two_views(0, size=7, sites=3)
    data = rpm.as_data(views, MASK, np.log(WEIGHTS))
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)), kind="unnormalised")
    model = rpm.RPM(rpm.priors.gaussian_process(np.arange(3.0)), factors)
    params = init(model, jax.random.key(0), data)
    own = model.recognise(params, data.all())
    got = rpm.diagnostics.log_partition_error(rpm.Fitted(model, params, data))
    want = log_partition_error(own.natural, own.log_scale, log_weights=data.log_weights, mask=own.mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), got, want)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((FACTORS[0],), {}, r"factors must have batch shape \(N, J, T\), got \(2, 3\)"),
        ((FACTORS, LOG_SCALE[0]), {}, r"log_scale must have the factors' batch shape .*, got \(2, 3\)"),
        (
            (FACTORS,),
            {"log_weights": jnp.zeros(3)},
            r"log_weights must have shape \(N,\) = \(7,\), got",
        ),
        ((FACTORS,), {"mask": MASK[:, :1]}, r"mask must .*got .*\(7, 1, 3\)"),
    ],
)
def test_errors(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        log_partition_error(*arguments, **options)
