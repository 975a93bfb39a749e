"""Likelihoods, gaps, densities and predictions of whole models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.one_latent import GRID, KEY, NEW, TRAIN, grid_densities, model, network, params
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.expfam import Beta, Categorical, VonMises


@pytest.fixture(scope="module")
def brute_force():
    """log w of NEW with F_j over TRAIN."""
    own = model()

    @jax.jit
    def integral(p):
        log_f, log_mixture, log_prior = grid_densities(own, p, NEW)
        log_joint = log_prior[:, None] + jnp.sum(log_f - log_mixture[:, None], axis=-1)
        return jax.nn.logsumexp(log_joint, axis=0) + np.log(GRID[1] - GRID[0])

    return np.asarray(integral(params()))


def test_bound_estimate_quadrature_of_new_data(brute_force):
    own, p = model(), params()
    exact = rpm.diagnostics.log_density_ratio(rpm.Fitted(own, p, TRAIN), NEW, method="quadrature")
    np.testing.assert_allclose(exact, brute_force, atol=1e-8)
    bound = rpm.diagnostics.log_density_ratio(rpm.Fitted(own, p, TRAIN), NEW)
    np.testing.assert_allclose(bound, rpm.inference.evaluate(rpm.Fitted(own, p, TRAIN), NEW))
    estimate = rpm.diagnostics.log_likelihood_estimate(
        rpm.Fitted(own, p, TRAIN), NEW, KEY, num_samples=10_000
    )
    assert np.all(bound <= exact)
    assert np.all(np.abs(estimate.log_likelihood - exact) <= 3 * estimate.standard_error)
    assert np.all(estimate.standard_error < 0.06)
    ratio = rpm.diagnostics.log_density_ratio(
        rpm.Fitted(own, p, TRAIN), NEW, method="estimate", key=KEY, num_samples=10_000
    )
    np.testing.assert_array_equal(ratio, estimate.log_likelihood)
    dependence = rpm.diagnostics.total_correlation(rpm.Fitted(own, p, TRAIN), NEW, method="quadrature")
    np.testing.assert_allclose(dependence.total_correlation, np.mean(exact))
    np.testing.assert_allclose(dependence.standard_error, np.std(exact, ddof=1) / np.sqrt(5))


def test_parts_of_the_gap(brute_force):
    own, p = model(), params()
    exact = rpm.diagnostics.bound_gap(rpm.Fitted(own, p, TRAIN), NEW)
    drawn = rpm.diagnostics.bound_gap(rpm.Fitted(own, p, TRAIN), NEW, KEY, num_samples=10_000)
    np.testing.assert_allclose(exact.log_likelihood, brute_force, atol=1e-8)
    total = exact.posterior_gap + exact.auxiliary_gap
    np.testing.assert_allclose(exact.log_likelihood - exact.bound, total, atol=1e-10)
    for part in ("posterior_gap", "auxiliary_gap"):
        error = getattr(drawn, f"{part}_error")
        assert np.all(getattr(exact, part) > 0)
        assert np.all(np.abs(getattr(drawn, part) - getattr(exact, part)) <= 3.5 * error)


def test_density_integrates_to_one():
    """Σ over all pairs of values of p0 p0 w is 1, under the training mixture."""
    pairs = np.stack(np.meshgrid(np.arange(12), np.arange(12))).reshape(2, -1)
    views = tuple(view[index] for view, index in zip(TRAIN, pairs, strict=True))
    log_w = rpm.diagnostics.log_density_ratio(
        rpm.Fitted(model(), params(), TRAIN), views, method="quadrature"
    )
    np.testing.assert_allclose(np.mean(np.exp(log_w)), 1.0, atol=1e-8)


def test_categorical_latents_are_exact():
    own, p = model(None, "categorical"), params(None, "categorical")
    exact = rpm.inference.evaluate(rpm.Fitted(own, p, TRAIN), NEW)
    estimate = rpm.diagnostics.log_likelihood_estimate(rpm.Fitted(own, p, TRAIN), NEW, KEY, num_samples=7)
    np.testing.assert_allclose(estimate.log_likelihood, exact, atol=1e-12)
    np.testing.assert_allclose(estimate.effective_sample_size, 7.0)
    gap = rpm.diagnostics.bound_gap(rpm.Fitted(own, p, TRAIN), NEW, KEY, num_samples=7)
    np.testing.assert_allclose(gap.posterior_gap, 0.0, atol=1e-12)
    np.testing.assert_allclose(gap.auxiliary_gap, 0.0, atol=1e-12)
    # p(x_1|x_0) = Σ_k p(k|x_0) p(x_1|k).
    ratios = rpm.inference.log_ratios(rpm.Fitted(own, p, TRAIN), TRAIN).logits[:, :, 0]
    given = rpm.inference.log_ratios(rpm.Fitted(own, p, TRAIN), NEW).logits[:, 0, 0]
    expected = jax.nn.softmax(given) @ jnp.exp(ratios[:, 1]).T / 12
    log_weights = rpm.generation.predictive_log_weights(rpm.Fitted(own, p, TRAIN), NEW, 1)
    np.testing.assert_allclose(np.exp(log_weights[..., 0]), expected, atol=1e-12)
    divergence = rpm.diagnostics.mixture_divergence(rpm.Fitted(own, p, TRAIN), KEY)
    assert divergence.divergence.shape == (2, 1)
    assert np.all(divergence.divergence >= 0)


def test_saturated_posteriors_keep_or_get_rows():
    own, p = model("saturated"), params("saturated")
    conjugate, same = model(), params()
    p = {**p, "prior": same["prior"], "factors": same["factors"]}
    data = rpm.as_data(TRAIN)
    # Rows start at the conjugate potentials.
    np.testing.assert_allclose(
        rpm.diagnostics.log_density_ratio(rpm.Fitted(own, p, data), data),
        rpm.diagnostics.log_density_ratio(rpm.Fitted(conjugate, same, data), data),
        atol=1e-6,
    )
    start = rpm.diagnostics.bound_gap(rpm.Fitted(conjugate, same, TRAIN), NEW)
    moved = rpm.diagnostics.bound_gap(
        rpm.Fitted(own, p, TRAIN), NEW, against=rpm.inference.Against("train", num_steps=200)
    )
    np.testing.assert_allclose(moved.log_likelihood, start.log_likelihood, atol=1e-8)
    assert np.mean(moved.bound) >= np.mean(start.bound)


def test_sequences_with_missing_views():
    own, p = model(prior="process"), params(prior="process")
    train, new = two_views(0, 12, sites=4), two_views(1, 70, sites=4)
    mask = np.random.default_rng(0).random((70, 2, 4)) < 0.8
    data = rpm.Data(tuple(np.where(mask[:, j], v, np.nan) for j, v in enumerate(new)), jnp.asarray(mask))
    gap = rpm.diagnostics.bound_gap(rpm.Fitted(own, p, train), data, KEY, num_samples=100)
    assert gap.bound.shape == (70,)
    np.testing.assert_allclose(gap.bound, rpm.inference.evaluate(rpm.Fitted(own, p, train), data), atol=1e-10)
    assert np.all(gap.auxiliary_gap >= -3.5 * gap.auxiliary_gap_error)
    assert np.all(gap.posterior_gap >= -3.5 * gap.posterior_gap_error)
    log_weights = rpm.generation.predictive_log_weights(
        rpm.Fitted(own, p, train), data, 0, key=KEY, num_samples=100
    )
    assert log_weights.shape == (70, 12, 4)
    np.testing.assert_allclose(jax.nn.logsumexp(log_weights, axis=1), 0.0, atol=1e-10)
    assert rpm.diagnostics.mixture_divergence(
        rpm.Fitted(own, p, train), KEY, num_samples=50
    ).divergence.shape == (2, 4)


def test_distinct_values_change_nothing():
    """Where the components are the distinct values, of which there are few, each with its mass."""
    counts = np.random.default_rng(0).integers(0, 3, size=(2, 200, 1)).astype(float)
    own, data = model(), rpm.as_data(tuple(counts))
    p = init(own, KEY, data)
    prepared = own.prepare(data)
    assert prepared.distinct is not None
    new = tuple(view[:3] for view in counts)
    plain, few = (rpm.diagnostics.bound_gap(rpm.Fitted(own, p, d), new) for d in (data, prepared))
    np.testing.assert_allclose(few.bound, plain.bound, atol=1e-10)
    np.testing.assert_allclose(few.log_likelihood, plain.log_likelihood, atol=1e-8)
    weights = [
        rpm.generation.predictive_log_weights(rpm.Fitted(own, p, d), new, 0, key=KEY, num_samples=20)
        for d in (data, prepared)
    ]
    assert weights[1].shape == (3, 200, 1)
    np.testing.assert_allclose(*weights, atol=1e-10)


def test_importance_weighted_training():
    """The fit rises by the exact likelihood, and the loss is minus the estimate."""
    own, data = model(), rpm.as_data(TRAIN)
    loss = rpm.train.ImportanceWeighted(own, num_samples=8)
    fit = rpm.fit(own, data, key=KEY, num_steps=60, objective=loss, params=params(), batch_size=12)
    before = rpm.diagnostics.log_density_ratio(rpm.Fitted(own, params(), data), data, method="quadrature")
    after = rpm.diagnostics.log_density_ratio(rpm.Fitted(own, fit.params, data), data, method="quadrature")
    assert np.mean(after) > np.mean(before) + 0.05
    many = rpm.train.ImportanceWeighted(own, num_samples=10_000)
    value = jax.jit(many)(params(), data.batch(jnp.arange(12)), data, KEY)
    assert abs(-value - np.mean(before)) < 0.03


def test_errors():
    own, p = model(), params()
    implicit = rpm.Fitted(rpm.ImplicitRPM(own.prior, own.factors), p, TRAIN)
    for question in (rpm.diagnostics.log_likelihood_estimate, rpm.diagnostics.bound_gap):
        with pytest.raises(TypeError, match="is not defined for ImplicitRPM, which has no evidence"):
            question(implicit, NEW, KEY)
    with pytest.raises(ValueError, match="key: method='estimate' draws latents"):
        rpm.diagnostics.log_density_ratio(rpm.Fitted(own, p, TRAIN), NEW, method="estimate")
    with pytest.raises(ValueError, match="method must be"):
        rpm.diagnostics.log_density_ratio(rpm.Fitted(own, p, TRAIN), NEW, method="exact")
    with pytest.raises(ValueError, match=r"view must be one of the views 0\.\.1, got 2"):
        rpm.generation.predictive_log_weights(rpm.Fitted(own, p, TRAIN), NEW, 2, key=KEY)
    with pytest.raises(ValueError, match=r"given must be some of the views 0\.\.1 without"):
        rpm.generation.predictive_log_weights(rpm.Fitted(own, p, TRAIN), NEW, 1, key=KEY, given=(1,))
    with pytest.raises(ValueError, match="this model's predictions draw latents"):
        rpm.generation.predictive_log_weights(rpm.Fitted(own, p, TRAIN), NEW, 1)
    with pytest.raises(ValueError, match="num_samples must be a positive integer"):
        rpm.train.ImportanceWeighted(own, num_samples=0)
    for natural in (VonMises(jnp.zeros((1, 2))), Categorical(jnp.zeros(3))):
        discrete = rpm.RPM(rpm.priors.Static(natural), rpm.factors.per_view(network(), 2))
        with pytest.raises(TypeError, match="need differentiable draws of q"):
            rpm.train.ImportanceWeighted(discrete)
    betas = rpm.RPM(
        rpm.priors.Static(Beta.from_concentrations(jnp.ones(1), jnp.ones(1))),
        rpm.factors.per_view(network(), 2),
    )
    assert rpm.train.ImportanceWeighted(betas).num_samples == 10
