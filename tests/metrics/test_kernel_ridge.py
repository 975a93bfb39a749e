"""R² by kernel ridge regression, and its choices by cross-validation."""

import sys

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import r2_score

from rpm_jax import metrics

N, T = 8, 20


@pytest.fixture(scope="module")
def curved():
    """A latent and a smooth bijection of it, beside one that is linear in another."""
    generator = np.random.default_rng(0)
    latent = generator.uniform(-1, 1, size=(N, T, 2))
    recovered = np.stack([latent[..., 0] ** 3 + 0.3 * latent[..., 0], 40 + 9 * latent[..., 1]], axis=-1)
    return latent, recovered


def test_a_smooth_bijection_is_undone(curved):
    latent, recovered = curved
    linear = metrics.linear_r2(latent, recovered, per_dimension=True)
    found = metrics.kernel_ridge_r2(latent, recovered, per_dimension=True)
    assert linear[0] < 0.95
    assert (found > 0.98).all()
    assert metrics.kernel_ridge_r2(latent, recovered) > metrics.linear_r2(latent, recovered)


def test_with_one_choice_it_is_scikit_learns(curved):
    latent, recovered = curved
    half = N // 2
    found = metrics.kernel_ridge_r2(latent[..., 0], recovered, ridges=(0.1,), length_scales=(2.0,))
    features = recovered.reshape(N, T, 2)
    fitted, scored = features[:half].reshape(-1, 2), features[half:].reshape(-1, 2)
    centre, scale = fitted.mean(0), fitted.std(0)
    target = latent[:half, :, 0].reshape(-1)
    model = KernelRidge(alpha=0.1, kernel="rbf", gamma=1 / 8)
    model.fit((fitted - centre) / scale, (target - target.mean()) / target.std())
    estimate = target.mean() + target.std() * model.predict((scored - centre) / scale)
    np.testing.assert_allclose(found, r2_score(latent[half:, :, 0].reshape(-1), estimate), rtol=1e-9)
    assert found.shape == ()


def test_choices_are_made_by_the_fitted_part(curved):
    """A bad value among those to choose from does no harm; alone it does."""
    latent, recovered = curved
    noisy = latent + np.random.default_rng(1).normal(size=latent.shape)
    overfitted = metrics.kernel_ridge_r2(noisy, recovered, ridges=(1e-9,), length_scales=(0.01,))
    chosen = metrics.kernel_ridge_r2(noisy, recovered, ridges=(1e-9, 1.0), length_scales=(0.01, 2.0))
    assert overfitted < 0.05 < chosen - 0.05
    spoiled = noisy.copy()
    spoiled[N // 2 :] = spoiled[N // 2 :][::-1]
    swapped = metrics.kernel_ridge_r2(
        spoiled, np.concatenate([recovered[: N // 2], recovered[N // 2 :][::-1]])
    )
    np.testing.assert_allclose(swapped, metrics.kernel_ridge_r2(noisy, recovered))


def test_many_points_are_thinned(curved):
    latent, recovered = curved
    found = metrics.kernel_ridge_r2(latent, recovered, max_points=40)
    assert 0.9 < found < metrics.kernel_ridge_r2(latent, recovered)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ridges": ()}, r"ridges must be positive numbers, got \(\)"),
        ({"length_scales": (1.0, 0.0)}, r"length_scales must be positive numbers, got \(1.0, 0.0\)"),
        ({"num_folds": 1}, r"num_folds must be an integer of at least 2, got 1"),
        ({"max_points": 0}, r"max_points must be a positive integer, got 0"),
        ({"fit_fraction": 0.2}, r"at least 2 sequences are needed, one to fit and one held out, got 1"),
        ({"fit_fraction": 1.0}, r"fit_fraction 1.0 of 8 sequences leaves"),
    ],
)
def test_messages(curved, options, message):
    with pytest.raises(ValueError, match=f"kernel_ridge_r2: {message}"):
        metrics.kernel_ridge_r2(*curved, **options)


@pytest.mark.parametrize("function", [metrics.kernel_ridge_r2, metrics.decoding])
def test_without_scikit_learn_the_message_says_what_to_install(function, monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'scikit-learn: pip install "rpm_jax\[experiments\]"'):
        function(np.zeros((4, 5)), np.zeros((4, 5, 1)))
