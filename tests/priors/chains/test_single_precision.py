"""Float32 against float64 over long sequences, smooth and densely sampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.priors import chains

LENGTH = 1000


def matern52(spacing):
    """A and the invariant covariance of a Matérn-5/2 process of unit length scale and its derivatives."""
    rate = np.sqrt(5.0)
    drift = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-(rate**3), -3 * rate**2, -3 * rate]])
    nilpotent = drift + rate * np.eye(3)
    step = np.eye(3) + spacing * nilpotent + 0.5 * spacing**2 * nilpotent @ nilpotent
    variance = rate**2 / 3
    invariant = np.array([[1.0, 0.0, -variance], [0.0, variance, 0.0], [-variance, 0.0, rate**4]])
    return np.exp(-rate * spacing) * step, invariant


def evaluate(spacing, dtype, parallel, gradient):
    """Log-normaliser, KL(q‖p), moments, and if asked for the log-normaliser's gradient; 30 % missing."""
    transition, invariant = matern52(spacing)
    noise = invariant - transition @ invariant @ transition.T
    rng = np.random.default_rng(0)
    weight = np.where(rng.random(LENGTH) < 0.3, 0.0, rng.uniform(0.5, 20.0, LENGTH))
    signal = np.sin(spacing * np.arange(LENGTH)) + rng.normal(size=LENGTH) / np.sqrt(np.maximum(weight, 0.1))
    chain = chains.GaussianChain(np.zeros(3), invariant, transition[None], np.zeros((1, 3)), noise[None])
    arrays = chain, weight * signal, weight, np.array([[1.0, 0.0, 0.0]])
    chain, linear, weight, emission = jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)

    def value(linear, weight):
        smoothed = chains.smooth(chain, linear[:, None], weight[:, None, None], emission, parallel=parallel)
        return smoothed.log_normalizer, smoothed

    function = jax.value_and_grad(value, (0, 1), has_aux=True) if gradient else lambda *a: (value(*a), ())
    (log_normalizer, smoothed), slopes = jax.jit(function)(linear, weight)
    mean, variance = smoothed.mean[:, 0], smoothed.covariance[:, 0, 0]
    per_site = linear * mean - 0.5 * weight * (mean**2 + variance) - smoothed.log_normalizers
    return log_normalizer, jnp.sum(per_site), mean, variance, slopes


@pytest.mark.parametrize(
    ("spacing", "parallel", "gradient"),
    [
        (0.01, False, True),
        (0.01, True, False),
        # Long to compile; by the other form both are in the default run.
        pytest.param(0.01, True, True, marks=pytest.mark.slow),
        pytest.param(0.05, False, True, marks=pytest.mark.slow),
        pytest.param(0.05, True, True, marks=pytest.mark.slow),
    ],
)
def test_long_smooth_sequences(spacing, parallel, gradient):
    """Within 10⁻³ nats for 1000 steps."""
    expected = evaluate(spacing, jnp.float64, False, gradient)
    got = evaluate(spacing, jnp.float32, parallel, gradient)
    assert got[0].dtype == jnp.float32
    assert abs(got[0] - expected[0]) < 1e-3 * LENGTH / 1000
    assert abs(got[1] - expected[1]) < 2e-4 * LENGTH / 1000
    np.testing.assert_allclose(got[2], expected[2], atol=5e-6)
    np.testing.assert_allclose(got[3], expected[3], rtol=2e-5)
    for x, y in zip(got[4], expected[4], strict=True):
        np.testing.assert_allclose(x, y, atol=5e-6)
