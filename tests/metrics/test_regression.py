import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from rpm_jax.metrics import align_latent, correlation, linear_correlation, linear_r2, torchrpm_r2

N, T, K = 12, 30, 3


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def latents(generator):
    """A true latent and three recovered ones that tell something of it."""
    recovered = generator.normal(size=(N, T, K))
    noise = 0.5 * generator.normal(size=(N, T))
    return recovered @ np.array([1.0, -2.0, 0.3]) + 0.7 + noise, recovered


def test_linear_r2_is_a_held_out_regression(latents):
    latent, recovered = latents
    half = N // 2
    model = LinearRegression().fit(recovered[:half].reshape(-1, K), latent[:half].reshape(-1))
    expected = r2_score(latent[half:].reshape(-1), model.predict(recovered[half:].reshape(-1, K)))
    value = linear_r2(latent, recovered)
    assert value.shape == ()
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_linear_r2_sums_over_the_dimensions(generator):
    recovered = generator.normal(size=(N, T, K))
    latent = recovered @ generator.normal(size=(K, 2)) + generator.normal(size=(N, T, 2))
    model = LinearRegression().fit(recovered[:6].reshape(-1, K), latent[:6].reshape(-1, 2))
    scored = latent[6:].reshape(-1, 2)
    residual = scored - model.predict(recovered[6:].reshape(-1, K))
    expected = 1 - np.sum(residual**2) / np.sum((scored - scored.mean(0)) ** 2)
    np.testing.assert_allclose(linear_r2(latent, recovered), expected, rtol=1e-12)
    np.testing.assert_allclose(linear_r2(latent[..., :1], recovered), linear_r2(latent[..., 0], recovered))


def test_linear_r2_is_invariant_to_affine_maps(latents, generator):
    latent, recovered = latents
    mixed = recovered @ generator.normal(size=(K, K)) + 30.0 * generator.normal(size=K)
    expected = linear_r2(latent, recovered)
    np.testing.assert_allclose(linear_r2(latent, mixed), expected, rtol=1e-9)
    np.testing.assert_allclose(linear_r2(-5.0 * latent + 100.0, recovered), expected, rtol=1e-9)


def test_perfect_recovery_is_one_and_noise_is_nothing(generator):
    latent = generator.normal(size=(40, 50))
    np.testing.assert_allclose(linear_r2(latent, 3.0 - 2.0 * latent[..., None]), 1.0, rtol=1e-14)
    # One regressor of pure noise costs about 2 / 1000 held out.
    assert abs(linear_r2(latent, generator.normal(size=(40, 50, 1)))) < 0.02


def test_linear_r2_scores_only_what_it_did_not_fit(latents, generator):
    latent, recovered = latents
    spoiled = recovered.copy()
    spoiled[N // 2 :] = generator.normal(size=(N - N // 2, T, K))
    assert linear_r2(latent, spoiled) < 0
    # The scored half decides nothing about the map: swapping its sequences changes nothing.
    order = [*range(N // 2), *reversed(range(N // 2, N))]
    np.testing.assert_allclose(linear_r2(latent[order], recovered[order]), linear_r2(latent, recovered))
    # The fitted half decides the map only: moving both by a constant there costs accuracy.
    moved = latent.copy()
    moved[: N // 2] += 10.0
    assert linear_r2(moved, recovered) < -1.0


@pytest.mark.parametrize(("fraction", "num_fit"), [(0.5, 6), (0.25, 3), (0.3, 3), (0.99, 11)])
def test_fit_fraction_counts_whole_sequences(latents, fraction, num_fit):
    latent, recovered = latents
    aligned = align_latent(latent, recovered, fit_fraction=fraction)
    model = LinearRegression().fit(recovered[:num_fit].reshape(-1, K), latent[:num_fit].reshape(-1))
    np.testing.assert_allclose(aligned.slope, model.coef_, rtol=1e-10)
    np.testing.assert_allclose(aligned.intercept, model.intercept_, rtol=1e-10)
    scored = latent[num_fit:].reshape(-1)
    expected = r2_score(scored, np.asarray(aligned.mean[num_fit:]).reshape(-1))
    np.testing.assert_allclose(linear_r2(latent, recovered, fit_fraction=fraction), expected, rtol=1e-10)


def test_redundant_and_constant_latents_change_nothing(latents):
    latent, recovered = latents
    expected = linear_r2(latent, recovered)
    redundant = np.concatenate(
        [np.full((N, T, 1), 0.1), recovered, recovered[..., :1] - 3 * recovered[..., 1:2], recovered], axis=-1
    )
    np.testing.assert_allclose(linear_r2(latent, redundant), expected, rtol=1e-9)
    single = jnp.asarray(redundant, jnp.float32)
    np.testing.assert_allclose(linear_r2(jnp.asarray(latent, jnp.float32), single), expected, rtol=1e-4)
    np.testing.assert_array_equal(align_latent(latent, redundant).slope[jnp.array([0, 4, 5, 6, 7])], 0.0)


def test_nearly_collinear_latents_are_resolved(generator):
    base = generator.normal(size=(N, T, 1))
    difference = generator.normal(size=(N, T, 1))
    recovered = np.concatenate([base, base + 1e-7 * difference], axis=-1)
    np.testing.assert_allclose(linear_r2(difference, recovered), 1.0, rtol=1e-12)


def test_nan_is_not_hidden(latents):
    latent, recovered = latents
    recovered[0, 0, 1] = np.nan
    assert jnp.isnan(linear_r2(latent, recovered))


def test_metrics_can_be_jitted_and_mapped(latents):
    latent, recovered = latents
    seeds = jnp.stack([recovered, recovered[::-1]])
    values = jax.jit(jax.vmap(linear_r2, (None, 0)))(latent, seeds)
    np.testing.assert_allclose(values, [linear_r2(latent, s) for s in seeds], rtol=1e-10)


def test_align_latent_regresses_all_sequences(latents):
    latent, recovered = latents
    mean, slope, intercept = align_latent(latent, recovered)
    assert mean.shape == latent.shape
    assert slope.shape == (K,)
    assert intercept.shape == ()
    np.testing.assert_allclose(mean, recovered @ slope + intercept, rtol=1e-10)
    residual = latent - mean
    np.testing.assert_allclose(np.sum(residual), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.einsum("nt,ntk->k", residual, recovered), 0.0, atol=1e-9)


def test_align_latent_keeps_the_dimensions_of_the_truth(latents):
    latent, recovered = latents
    pair = np.stack([latent, -2 * latent], axis=-1)
    aligned = align_latent(pair, recovered)
    assert aligned.mean.shape == (N, T, 2)
    assert aligned.slope.shape == (K, 2)
    assert aligned.intercept.shape == (2,)
    np.testing.assert_allclose(aligned.mean[..., 1], -2 * aligned.mean[..., 0], rtol=1e-9)


def test_standard_deviations_are_carried_over(latents, generator):
    latent, recovered = latents
    aligned = align_latent(latent, recovered)
    deviation = generator.uniform(0.1, 1.0, size=(N, T, K))
    expected = np.sqrt(np.sum((np.asarray(aligned.slope) * deviation) ** 2, -1))
    np.testing.assert_allclose(aligned.standard_deviation(deviation), expected, rtol=1e-12)
    draws = recovered[0, 0] + deviation[0, 0] * generator.normal(size=(20_000, K))
    spread = np.std(draws @ np.asarray(aligned.slope))
    assert abs(spread / expected[0, 0] - 1) < 5 / np.sqrt(2 * 20_000)


@pytest.mark.parametrize(("num_latents", "expected"), [(2, 0.8593344228881711), (1, 0.8407315021174276)])
def test_torchrpm_r2_is_torchrpms_number(num_latents, expected):
    # linear_regression_1D_latent of torchRPM, run in float64 on these arrays.
    n, t = np.arange(4)[:, None], np.arange(6)
    latent = np.cos(0.7 * n + 0.9 * t)
    recovered = np.stack([3 * np.cos(0.7 * n + 0.9 * t + 0.4) + 1, np.sin(1.3 * n * t + 0.2)], axis=-1)
    value = torchrpm_r2(latent, recovered[..., :num_latents])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(torchrpm_r2(latent[..., None], recovered[..., :num_latents]), expected)


def test_torchrpm_r2_is_in_sample_and_shrunk(latents):
    latent, recovered = latents
    perfect = torchrpm_r2(latent, latent[..., None])
    assert 1 - 1e-4 < perfect < 1
    rows = recovered.reshape(-1, K)
    in_sample = LinearRegression().fit(rows, latent.reshape(-1)).score(rows, latent.reshape(-1))
    np.testing.assert_allclose(torchrpm_r2(latent, recovered), in_sample, rtol=1e-5)


@pytest.mark.parametrize("function", [align_latent, linear_r2, torchrpm_r2])
@pytest.mark.parametrize(
    ("latent", "recovered", "message"),
    [
        ((4,), (4, 5, 1), r"latent must have shape \(N, T\) or \(N, T, D\), got \(4,\)"),
        ((4, 5), (4, 5), r"recovered must have shape \(N, T, K\), got \(4, 5\); add a last axis"),
        ((4, 5), (4,), r"recovered must have shape \(N, T, K\), got \(4,\)$"),
        ((4, 5), (4, 6, 1), r"the same numbers N .* got shapes \(4, 5\) and \(4, 6, 1\)"),
        ((4, 5, 1), (3, 5, 1), r"the same numbers N .* got shapes \(4, 5, 1\) and \(3, 5, 1\)"),
        ((4, 5), (4, 5, 0), r"must not be empty, got shapes \(4, 5\) and \(4, 5, 0\)"),
    ],
)
def test_shapes_that_do_not_match(function, latent, recovered, message):
    with pytest.raises(ValueError, match=rf"{function.__name__}: .*{message}"):
        function(np.zeros(latent), np.zeros(recovered))


def test_torchrpm_r2_takes_one_dimension():
    with pytest.raises(
        ValueError, match=r"latent must have shape .*got \(4, 5, 2\); linear_r2 takes several"
    ):
        torchrpm_r2(np.zeros((4, 5, 2)), np.zeros((4, 5, 2)))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_fractions_out_of_range(fraction):
    with pytest.raises(ValueError, match="linear_r2: fit_fraction must lie between 0 and 1, got"):
        linear_r2(np.zeros((4, 5)), np.zeros((4, 5, 1)), fit_fraction=fraction)


@pytest.mark.parametrize(("num_sequences", "fraction"), [(1, 0.5), (4, 0.2), (4, 1.0)])
def test_nothing_left_to_fit_or_to_score(num_sequences, fraction):
    message = (
        rf"linear_r2: fit_fraction {fraction} of {num_sequences} sequences leaves \d to fit and \d others"
    )
    with pytest.raises(ValueError, match=message):
        linear_r2(np.zeros((num_sequences, 5)), np.zeros((num_sequences, 5, 1)), fit_fraction=fraction)


def test_whole_numbers_are_taken_as_floats():
    latent = np.arange(20).reshape(4, 5)
    np.testing.assert_allclose(linear_r2(latent, 2 * latent[..., None]), 1.0, rtol=1e-6)


def test_r2_and_correlation_of_every_dimension(generator):
    recovered = generator.normal(size=(N, T, K))
    noise = np.array([0.1, 2.0]) * generator.normal(size=(N, T, 2))
    latent = recovered @ generator.normal(size=(K, 2)) + noise
    found = linear_r2(latent, recovered, per_dimension=True)
    np.testing.assert_allclose(found, [linear_r2(latent[..., d], recovered) for d in range(2)], rtol=1e-9)
    model = LinearRegression().fit(recovered[:6].reshape(-1, K), latent[:6].reshape(-1, 2))
    estimate = model.predict(recovered[6:].reshape(-1, K))
    expected = [np.corrcoef(estimate[:, d], latent[6:].reshape(-1, 2)[:, d])[0, 1] for d in range(2)]
    np.testing.assert_allclose(linear_correlation(latent, recovered), expected, rtol=1e-9)
    np.testing.assert_allclose(linear_correlation(latent[..., 0], recovered), expected[0], rtol=1e-9)
    np.testing.assert_allclose(correlation(latent[6:], estimate.reshape(6, T, 2)), expected, rtol=1e-9)
    with pytest.raises(ValueError, match=r"correlation: truth and estimate must .* got \(3,\) and \(3,\)"):
        correlation(np.ones(3), np.ones(3))
