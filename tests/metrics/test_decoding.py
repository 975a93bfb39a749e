"""Behaviour decoded from latents: predictions of trials that were not seen, and scores of them."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from rpm_jax import metrics

N, T, K = 10, 15, 3


@pytest.fixture(scope="module")
def latents():
    return np.random.default_rng(0).normal(size=(N, T, K))


@pytest.fixture(scope="module")
def speed(latents):
    """Two numbers at every step, linear in the latents with noise."""
    weights = np.array([[1.0, 0.0], [-2.0, 0.5], [0.0, 0.5]])
    return latents @ weights + 0.3 * np.random.default_rng(1).normal(size=(N, T, 2)) + 4


def test_predictions_are_of_trials_not_seen(latents, speed):
    found = metrics.decoding(speed, latents, regressor=LinearRegression(), num_folds=5)
    for fold in range(5):
        held_out = np.random.default_rng(0).permutation(N) % 5 == fold
        model = LinearRegression().fit(latents[~held_out].reshape(-1, K), speed[~held_out].reshape(-1, 2))
        expected = model.predict(latents[held_out].reshape(-1, K)).reshape(-1, T, 2)
        np.testing.assert_allclose(found.prediction[held_out], expected)


def test_scores_are_those_of_their_definitions(latents, speed):
    found = metrics.decoding(speed, latents)
    squares = (found.prediction - speed) ** 2
    np.testing.assert_allclose(found.mean_squared_error, squares.mean(1))
    np.testing.assert_allclose(
        found.r2, 1 - squares.sum(1) / ((speed - speed.mean(1, keepdims=True)) ** 2).sum(1)
    )
    np.testing.assert_allclose(
        found.overall_r2, 1 - squares.sum((0, 1)) / ((speed - speed.mean((0, 1))) ** 2).sum((0, 1))
    )
    for n in range(N):
        for d in range(2):
            r = np.corrcoef(found.prediction[n, :, d], speed[n, :, d])[0, 1]
            np.testing.assert_allclose(found.correlation[n, d], r)
    assert np.isnan(found.accuracy).all()
    assert found.overall_r2[0] > 0.9
    one = metrics.decoding(speed[..., 0], latents)
    assert one.r2.shape == (N,)
    np.testing.assert_allclose(one.overall_r2, found.overall_r2[0], atol=1e-3)


def test_a_perceptron_decodes_what_is_curved(latents):
    curved = np.abs(latents[..., 0])
    by_line = metrics.decoding(curved, latents).overall_r2
    by_network = metrics.decoding(curved[:6], latents[:6], regressor="mlp", num_folds=2).overall_r2
    assert by_line < 0.1
    assert by_network > by_line + 0.3


def test_classes_at_steps_and_of_trials(latents):
    moving = (latents[..., 0] > 0).astype(int)
    found = metrics.decoding(moving, latents, regressor="logistic", num_folds=3)
    assert found.prediction.dtype == int
    np.testing.assert_allclose(found.accuracy, (found.prediction == moving).mean(1))
    np.testing.assert_allclose(found.overall_accuracy, found.accuracy.mean())
    assert found.overall_accuracy > 0.9
    assert np.isnan(found.r2).all()

    choice = np.arange(N) % 2
    shifted = latents + 2.0 * choice[:, None, None]
    found = metrics.decoding(choice, shifted, regressor="logistic", num_folds=2)
    np.testing.assert_array_equal(found.prediction, choice)
    np.testing.assert_array_equal(found.accuracy, 1.0)


def test_one_number_of_each_trial(latents):
    mean = latents[..., 0].mean(1)
    smooth = np.repeat(latents[:, :1], T, axis=1)
    found = metrics.decoding(smooth[:, 0, 0], smooth, num_folds=5)
    assert found.mean_squared_error.shape == (N,)
    assert np.isnan(found.r2).all()
    assert found.overall_r2 > 0.9
    assert metrics.decoding(mean, smooth).overall_r2 < found.overall_r2


def test_masked_steps_are_neither_fitted_nor_scored(latents, speed):
    mask = np.ones((N, T), bool)
    mask[2, :5] = mask[7] = False
    spoiled = np.where(mask[..., None], speed, np.nan)
    found = metrics.decoding(spoiled, latents, mask=mask)
    assert np.isnan(found.prediction[~mask]).all()
    assert np.isnan(found.r2[7]).all()
    assert np.isfinite(found.r2[:7]).all()
    squares = (found.prediction - speed)[2, 5:] ** 2
    np.testing.assert_allclose(found.mean_squared_error[2], squares.mean(0))
    assert found.overall_r2[0] > 0.9


def test_penalties_are_chosen_over_whole_trials():
    """Of many latents, most of them noise that is constant in a trial, a strong penalty is chosen."""
    generator = np.random.default_rng(0)
    noise = np.repeat(generator.normal(size=(12, 1, 10)), 8, axis=1)
    signal = generator.normal(size=(12, 8, 1))
    target = signal[..., 0] + np.repeat(generator.normal(size=(12, 1)), 8, axis=1)
    found = metrics.decoding(target, np.concatenate([signal, noise], axis=-1), num_folds=4)
    plain = metrics.decoding(
        target, np.concatenate([signal, noise], axis=-1), num_folds=4, regressor=LinearRegression()
    )
    assert plain.overall_r2 < found.overall_r2 - 1


@pytest.mark.parametrize(
    ("behaviour", "options", "error", "message"),
    [
        (np.ones((N, T + 1)), {}, ValueError, r"behaviour must have shape .* got \(10, 16\) and \(10, 15, 3"),
        (np.ones((N, T)), {"regressor": "svm"}, ValueError, r"regressor must be one of 'ridge', 'logistic'"),
        (np.ones((N, T)), {"regressor": 3}, TypeError, r"regressor must be one of .* scikit-learn, got 3"),
        (np.ones((N, T)), {"regressor": "logistic"}, TypeError, r"classes must be integers of shape"),
        (np.ones((N, T)), {"mask": np.ones(N, bool)}, ValueError, r"mask must be boolean of shape \(10, 15"),
        (np.ones((N, T)), {"mask": np.zeros((N, T), bool)}, ValueError, r"mask must be True somewhere"),
        (np.full((N, T), np.nan), {}, ValueError, r"behaviour must be finite where it is not masked"),
        (np.ones((N, T)), {"num_folds": 1}, ValueError, r"num_folds must be an integer of at least 2"),
    ],
)
def test_messages(latents, behaviour, options, error, message):
    with pytest.raises(error, match=f"decoding: {message}"):
        metrics.decoding(behaviour, latents, **options)
