"""Decoders after the fit: against closed forms, shapes, losses, cross-validation, messages."""

import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge

import rpm_jax as rpm
from rpm_jax.decoding import fit_decoder, network, scikit_learn
from rpm_jax.networks import PointwiseMLP

N, T, K, D = 6, 10, 2, 3
KEY = jax.random.key(0)
LINEAR = PointwiseMLP(())


@pytest.fixture(scope="module")
def latents():
    return np.random.default_rng(0).normal(size=(N, T, K)) * np.array([1.0, 5.0]) + 2


@pytest.fixture(scope="module")
def view(latents):
    weights = np.array([[1.0, 0.5, 0.0], [0.2, -0.4, 0.1]])
    return latents @ weights + 3 + 0.5 * np.random.default_rng(1).normal(size=(N, T, D))


def standardised(values):
    rows = values.reshape(N * T, -1)
    return (rows - rows.mean(0)) / rows.std(0)


def test_a_linear_network_is_ridge_regression(latents, view):
    """Loss ½ mean ‖x − r‖² + ½ λ‖W‖² on standardised numbers is that of ridge regression with α = λ N T."""
    way = network(LINEAR, penalties=0.3, num_steps=2000, batch_size=N * T)
    decoder = fit_decoder(latents, view, way, key=KEY)
    ridge = Ridge(alpha=0.3 * N * T).fit(standardised(latents), standardised(view))
    expected = ridge.predict(standardised(latents)) * view.reshape(-1, D).std(0) + view.mean((0, 1))
    np.testing.assert_allclose(decoder(latents).reshape(-1, D), expected, atol=1e-5)


def test_the_score_is_of_sequences_not_seen(latents, view):
    decoder = fit_decoder(latents, view, LinearRegression(), num_folds=3)
    fold = np.random.default_rng(0).permutation(N) % 3
    squares, around = 0.0, 0.0
    for f in range(3):
        seen, out = (values[fold != f].reshape(-1, values.shape[-1]) for values in (latents, view)), fold == f
        model = LinearRegression().fit(*seen)
        squares += ((model.predict(latents[out].reshape(-1, K)) - view[out].reshape(-1, D)) ** 2).sum()
        around += ((view[out] - view[fold != f].mean((0, 1))) ** 2).sum()
    np.testing.assert_allclose(decoder.score, 1 - squares / around)
    everything = LinearRegression().fit(latents.reshape(-1, K), view.reshape(-1, D))
    np.testing.assert_allclose(decoder(latents).reshape(-1, D), everything.predict(latents.reshape(-1, K)))


def test_cross_validation_chooses_the_penalty(latents, view):
    """The weakest where latents say much, the strongest where they say nothing."""
    way = network(LINEAR, penalties=(0.0, 10.0), num_steps=200)
    told = fit_decoder(latents, view, way, key=KEY, num_folds=2)
    assert told.candidate == 0.0
    assert told.score == told.scores[0] > told.scores[1]
    noise = np.random.default_rng(2).normal(size=view.shape)
    assert fit_decoder(latents, noise, way, key=KEY, num_folds=2).candidate == 10.0
    by_ridge = fit_decoder(latents, noise, scikit_learn(Ridge(), {"alpha": (1e-3, 1e5)}))
    assert by_ridge.candidate == (("alpha", 1e5),)
    assert by_ridge.scores.shape == (2,)


def test_counts_and_shares_have_their_own_losses(latents):
    generator = np.random.default_rng(0)
    signal = np.stack([latents[..., 0] - 2, (2 - latents[..., 1]) / 5], axis=-1)
    counts = generator.poisson(np.exp(signal))
    way = network(LINEAR, penalties=1e-4, batch_size=N * T, learning_rate=0.05)
    decoder = fit_decoder(latents, counts, way, key=KEY, loss="poisson", num_folds=2)
    model = PoissonRegressor(alpha=0.0, tol=1e-8).fit(standardised(latents), counts[..., 0].reshape(-1))
    expected = model.predict(standardised(latents))
    np.testing.assert_allclose(decoder(latents)[..., 0].reshape(-1), expected, rtol=5e-3)
    assert (decoder(latents) > 0).all()
    assert 0.05 < decoder.score < 1

    ones = generator.uniform(size=signal.shape) < 1 / (1 + np.exp(-2 * signal))
    decoder = fit_decoder(latents, ones, way, key=KEY, loss="bernoulli", num_folds=2)
    model = LogisticRegression(C=1e4).fit(standardised(latents), ones[..., 1].reshape(-1))
    expected = model.predict_proba(standardised(latents))[:, 1]
    np.testing.assert_allclose(decoder(latents)[..., 1].reshape(-1), expected, atol=5e-3)
    assert 0.05 < decoder.score < 1


def test_deviances_are_twice_the_difference_of_log_likelihoods():
    values, means = jnp.array([0.0, 1.0, 4.0]), jnp.array([0.5, 2.0, 3.0])
    poisson = rpm.decoding.Poisson()
    log_p = jax.scipy.stats.poisson.logpmf
    own = jnp.where(values > 0, log_p(values, jnp.maximum(values, 1e-9)), 0.0)
    np.testing.assert_allclose(poisson.deviance(means, values), 2 * (own - log_p(values, means)), rtol=1e-10)
    bernoulli = rpm.decoding.Bernoulli()
    shares = jnp.array([0.5, 0.2])
    np.testing.assert_allclose(
        bernoulli.deviance(shares, jnp.array([1.0, 0.0])), -2 * jnp.log(jnp.array([0.5, 0.8])), rtol=1e-10
    )
    for loss, outputs in [(poisson, jnp.log(means)), (bernoulli, jnp.array([-1.0, 0.3, 2.0]))]:
        observed = values if loss is poisson else jnp.array([0.0, 1.0, 1.0])
        slope = jax.grad(lambda r, loss=loss, x=observed: loss.loss(r, x, 1.0).sum())(outputs)
        of_deviance = jax.grad(lambda r, loss=loss, x=observed: loss.deviance(loss.mean(r), x).sum())
        np.testing.assert_allclose(slope, 0.5 * of_deviance(outputs), rtol=1e-8)


def test_shapes_of_events_and_of_other_latents(latents):
    images = np.random.default_rng(0).uniform(size=(N, T, 4, 5))
    decoder = fit_decoder(latents, images, LinearRegression(), num_folds=2)
    assert decoder(latents).shape == images.shape
    assert decoder(np.zeros((3, 2, 50, K))).shape == (3, 2, 50, 4, 5)
    assert decoder(np.zeros((7, K))).shape == (7, 4, 5)
    numbers = fit_decoder(latents, images[..., 0, 0], LinearRegression(), num_folds=2)
    assert numbers(latents).shape == (N, T)
    static = fit_decoder(latents[:, :1], images[:, 0], LinearRegression(), num_folds=2)
    assert static(latents[:, :1]).shape == (N, 4, 5)
    for wrong, message in [
        ((N, T, K + 1), rf"latents must have shape \(\.\.\., T, 2\), .* got \({N}, {T}, 3\)"),
        ((K,), r"latents must have shape \(\.\.\., T, 2\), .* got \(2,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            decoder(np.zeros(wrong))
    with pytest.raises(ValueError, match=r"latents must have shape \(\.\.\., 1, 2\)"):
        static(latents)


def test_masked_sites_are_not_seen(latents, view):
    mask = np.ones((N, T), bool)
    mask[0], mask[1, 5:] = False, False
    spoiled = np.where(mask[..., None], view, np.nan)
    decoder = fit_decoder(latents, spoiled, LinearRegression(), mask=mask, num_folds=3)
    expected = LinearRegression().fit(latents[mask], view[mask]).predict(latents.reshape(-1, K))
    np.testing.assert_allclose(decoder(latents).reshape(-1, D), expected)
    way = network(LINEAR, penalties=1e-6, batch_size=N * T, learning_rate=0.05)
    by_network = fit_decoder(latents, spoiled, way, key=KEY, mask=mask, num_folds=3)
    np.testing.assert_allclose(by_network(latents).reshape(-1, D), expected, atol=1e-3)
    np.testing.assert_allclose(by_network.score, decoder.score, atol=1e-3)


def test_a_decoder_is_jitted_differentiated_and_pickled(latents, view):
    decoder = fit_decoder(latents, view, network(num_steps=50, penalties=1e-3), key=KEY, num_folds=2)
    np.testing.assert_allclose(jax.jit(decoder)(latents), decoder(latents), rtol=1e-9)
    assert jnp.isfinite(jax.grad(lambda z: decoder(z).sum())(jnp.asarray(latents))).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(decoder))(latents), decoder(latents))
    again = fit_decoder(latents, view, network(num_steps=50, penalties=1e-3), key=KEY, num_folds=2)
    np.testing.assert_array_equal(again(latents), decoder(latents))
    single = jnp.asarray(latents, jnp.float32), jnp.asarray(view, jnp.float32)
    found = fit_decoder(*single, network(num_steps=50, penalties=1e-3), key=KEY, num_folds=2)
    assert found(single[0]).dtype == jnp.float32


def test_a_curved_view_needs_a_network(latents):
    curved = np.sin(latents)
    way = network(PointwiseMLP((32,)), num_steps=500, penalties=(1e-4, 1e-2))
    assert fit_decoder(latents, curved[..., :1], way, key=KEY, num_folds=2).score > 0.6
    assert fit_decoder(latents, curved[..., :1], Ridge(), num_folds=2).score < 0.6


@dataclass(frozen=True)
class NearestNeighbour:
    """A regressor of one's own: the observation of the nearest latents."""

    candidates = (0,)

    def fit(self, inputs, values, weights, loss, candidate, key):
        known = np.flatnonzero(weights)

        def predict(rows):
            squares = ((rows[:, None] - inputs[known]) ** 2).sum(-1)
            return values[known][squares.argmin(1)]

        return predict


def test_a_regressor_of_ones_own(latents, view):
    decoder = fit_decoder(latents, view, NearestNeighbour(), num_folds=2)
    np.testing.assert_array_equal(decoder(latents), view)
    assert decoder.score < 1


def test_the_model_is_not_touched():
    balls = rpm.datasets.poisson_balls(jax.random.key(0), num_sequences=8, num_steps=10, num_pixels=3)
    model = rpm.RPM(rpm.priors.gaussian_process(balls.times), rpm.factors.per_view(PointwiseMLP((8,))))
    fitted = rpm.Fitted(model, model.init(jax.random.key(1), balls.views), balls.views)
    before = jax.tree.map(np.array, fitted.params)
    mean = rpm.inference.posterior(fitted).mean
    decoder = fit_decoder(mean, balls.views[0], network(num_steps=20), key=KEY, loss="poisson", num_folds=2)
    assert decoder(mean).shape == balls.views[0].shape
    jax.tree.map(np.testing.assert_array_equal, fitted.params, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"latents": np.ones((N, K))}, ValueError, r"latents must have shape \(N, T, K\)"),
        ({"view": np.ones((N, T + 1))}, ValueError, r"view must have shape \(N, T\) or .* got \(6, 11\)"),
        ({"view": np.full((N, T), np.nan)}, ValueError, r"view must hold numbers that the loss Squared"),
        ({"view": -np.ones((N, T)), "loss": "poisson"}, ValueError, r"the loss Poisson allows, got -1.0"),
        ({"view": 2 * np.ones((N, T)), "loss": "bernoulli"}, ValueError, r"the loss Bernoulli allows, got 2"),
        (
            {"loss": "gauss"},
            ValueError,
            r"loss must be one of 'squared', .* got 'gauss'",
        ),
        ({"loss": 3}, TypeError, r"loss must be one of .* with the methods"),
        ({"mask": np.ones(N, bool)}, ValueError, r"mask must be boolean of shape \(6, 10\)"),
        ({"mask": np.zeros((N, T), bool)}, ValueError, r"0 of them True"),
        ({"num_folds": 1}, ValueError, r"num_folds must be an integer of at least 2, got 1"),
        ({"key": None}, TypeError, r"key must be a random key"),
        ({"regressor": 3}, TypeError, r"network must be a network"),
        ({"regressor": LogisticRegression()}, TypeError, r"must be a regressor, got the classifier Logistic"),
        ({"regressor": PointwiseMLP((4,), 7)}, ValueError, r"got outputs of shape \(1, 7\) for n = 1"),
    ],
)
def test_messages(latents, view, change, error, message):
    arguments = {"latents": latents, "view": view, "key": KEY} | change
    with pytest.raises(error, match=message):
        fit_decoder(**arguments)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"penalties": ()}, ValueError, "penalties must hold at least one number"),
        ({"penalties": -1.0}, ValueError, "penalties must be at least 0"),
        ({"num_steps": 0}, ValueError, "num_steps must be a positive integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be positive"),
    ],
)
def test_messages_of_networks(options, error, message):
    with pytest.raises(error, match=message):
        network(**options)


def test_messages_of_scikit_learn():
    with pytest.raises(ValueError, match=r"grid must give at least one value to parameters of Ridge, got"):
        scikit_learn(Ridge(), {"gamma": (1.0,)})
    with pytest.raises(ValueError, match=r"grid must give at least one value"):
        scikit_learn(Ridge(), {"alpha": ()})
    with pytest.raises(TypeError, match=r"estimator must be a regressor of scikit-learn, got <class"):
        scikit_learn(Ridge)
