"""Errors of forecasts by horizon, against persistence and linear autoregressions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import metrics

N, T, H, K = 6, 40, 5, 2
ANGLE = 0.4
ROTATION = 0.97 * np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])


@pytest.fixture(scope="module")
def paths():
    """Noisy rotations with an offset, (N, T + H, K)."""
    generator = np.random.default_rng(0)
    z = np.zeros((N, T + H, K))
    z[:, 0] = generator.normal(size=(N, K)) * 3
    for t in range(1, T + H):
        z[:, t] = z[:, t - 1] @ ROTATION.T + 0.3 + 0.1 * generator.normal(size=(N, K))
    return z


def test_errors_are_those_of_their_definitions(paths):
    observed, truth = paths[:, :T], paths[:, T:]
    forecast = truth + np.arange(1, H + 1)[:, None] * np.array([0.1, -0.2])
    scores = metrics.forecast_error(truth, forecast, observed)
    np.testing.assert_allclose(scores.forecast.mean_squared_error, 0.025 * np.arange(1, H + 1) ** 2)
    spread = ((truth - truth.mean(0)) ** 2).sum((0, 2))
    np.testing.assert_allclose(scores.forecast.r2, 1 - N * 0.05 * np.arange(1, H + 1) ** 2 / spread)
    last = observed[:, -1:]
    np.testing.assert_allclose(scores.persistence.mean_squared_error, ((truth - last) ** 2).mean((0, 2)))
    np.testing.assert_allclose(scores.persistence.r2, 1 - ((truth - last) ** 2).sum((0, 2)) / spread)


@pytest.mark.parametrize("order", [1, 3])
def test_the_autoregression_is_least_squares_iterated(paths, order):
    observed, truth, train = paths[:3, :T], paths[:3, T:], paths[3:]
    scores = metrics.forecast_error(truth, truth, observed, train=train, order=order)
    lagged = np.concatenate(
        [train[:, order - i : train.shape[1] - i] for i in range(1, order + 1)], axis=-1
    ).reshape(-1, order * K)
    design = np.column_stack([lagged, np.ones(len(lagged))])
    weights = np.linalg.lstsq(design, train[:, order:].reshape(-1, K), rcond=None)[0]
    past = [observed[:, -i] for i in range(1, order + 1)]
    squares = []
    for h in range(H):
        newest = np.column_stack([*past, np.ones(3)]) @ weights
        past = [newest, *past[:-1]]
        squares.append(((newest - truth[:, h]) ** 2).mean())
    np.testing.assert_allclose(scores.autoregression.mean_squared_error, squares, rtol=1e-9)


def test_an_autoregression_forecasts_a_linear_system(paths):
    scores = jax.jit(metrics.forecast_error)(paths[:, T:], paths[:, T:], paths[:, :T])
    np.testing.assert_array_equal(scores.forecast.r2, 1.0)
    assert (scores.autoregression.mean_squared_error < 0.5 * scores.persistence.mean_squared_error).all()


def test_latents_are_mapped_like_those_of_training(paths):
    mixed = paths @ np.array([[2.0, 1.0], [0.0, -1.0]]) + 5
    aligned = metrics.align_latent(paths[:3], mixed[:3])
    np.testing.assert_allclose(aligned.apply(mixed[3:]), paths[3:], atol=1e-10)
    single = metrics.align_latent(paths[:3, :, 0], mixed[:3])
    np.testing.assert_allclose(single.apply(mixed[3:]), paths[3:, :, 0], atol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forecast": np.ones((2, 3))}, r"truth and forecast must both have shape \(N, H, K\)"),
        ({"observed": np.ones((3, 4, 2))}, r"observed must have shape .* N = 2, K = 2 .* got \(3, 4, 2\)"),
        ({"observed": np.ones((2, 0, 2))}, r"observed must have shape .* order = 1, got \(2, 0, 2\)"),
        ({"observed": np.ones((2, 1, 2))}, r"observed, which stands for train, must .* order = 1, got"),
        ({"train": np.ones((2, 9, 3))}, r"train must have shape .* K = 2 .* got \(2, 9, 3\)"),
        ({"order": 0}, r"order must be a positive integer, got 0"),
    ],
)
def test_messages(change, message):
    arguments = {"truth": np.ones((2, 3, 2)), "forecast": np.ones((2, 3, 2)), "observed": np.ones((2, 4, 2))}
    with pytest.raises(ValueError, match=f"forecast_error: {message}"):
        metrics.forecast_error(**(arguments | change))


def test_a_single_sequence_has_no_r2_but_an_error(paths):
    scores = metrics.forecast_error(paths[:1, T:], paths[:1, T:] + 1, paths[:1, :T])
    np.testing.assert_allclose(scores.forecast.mean_squared_error, 1.0)
    assert not jnp.isfinite(scores.forecast.r2).any()
