"""Likelihoods by sampling and quadrature against integrals over a grid, and the parts of the bound's gap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import log_softmax, logsumexp
from support import FAMILIES, SCALAR_FAMILIES, random_potentials, rbf

from rpm_jax import expfam, normalizers
from rpm_jax.objectives import (
    estimate_log_likelihood,
    exact_log_likelihood,
    gap_from_quadrature,
    gap_from_weights,
    importance_weighted_bound,
    inner_bound,
    log_importance_weights,
    log_likelihood_quadrature,
    mixture_divergence,
)
from rpm_jax.priors import DirichletCategorical, GaussianProcess, HiddenMarkov, Static

DATA, VIEWS = 4, 2
KEY = jax.random.key(7)
SLOW = ("Beta", "Gaussian", "KnownCovarianceGaussian", "VonMises")
CONTINUOUS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in SCALAR_FAMILIES
    if name not in ("Categorical", "Poisson")
]
MANY = 10_000


@jax.jit
def shifted(natural):
    """Factors of all data and views."""
    return natural + random_potentials(1, natural, (DATA, VIEWS, 1))


@functools.cache
def case(name):
    """A prior, factors, and by brute force log w, the free energy of conjugate q, and KL(F_j‖p)."""
    natural, rule = jax.tree.map(jnp.asarray, SCALAR_FAMILIES[name])
    factors = shifted(natural)

    @jax.jit
    def brute_force(natural, factors, points, weights):
        at = points[:, None, None]
        log_factors = factors[..., 0].log_prob(at)
        log_mixture = jax.nn.logsumexp(log_factors, axis=1, keepdims=True) - np.log(DATA)
        log_prior = natural.log_prob(at)
        log_joint = log_prior[..., 0] + jnp.sum(log_factors - log_mixture, axis=-1)
        log_w = jax.nn.logsumexp(log_joint, axis=0, b=weights[:, None])
        log_q = (natural[None] + (factors - natural[None]).sum(-2))[..., 0].log_prob(points[:, None])
        mass = jnp.exp(log_q) * weights[:, None]
        expected = jnp.sum(jnp.where(mass > 0, mass * (log_joint - log_q), 0.0), axis=0)
        mixture = jnp.exp(log_mixture) * weights[:, None, None]
        divergence = jnp.sum(jnp.where(mixture > 0, mixture * (log_mixture - log_prior), 0.0), axis=(0, 1))
        return log_w, expected, divergence

    return Static(natural), factors, jax.tree.map(np.asarray, brute_force(natural, factors, *rule))


@functools.partial(jax.jit, static_argnames="num_samples")
def sampled(prior, factors, num_samples):
    log_ratios = log_importance_weights(prior, factors, factors, KEY, num_samples=num_samples)
    bound = inner_bound(prior, factors, factors)
    few = estimate_log_likelihood(log_ratios[:10])
    divergence = mixture_divergence(prior, factors, KEY, num_samples=num_samples // 4)
    return estimate_log_likelihood(log_ratios), gap_from_weights(bound, log_ratios), few, divergence


@pytest.mark.parametrize("name", CONTINUOUS)
def test_bound_estimate_exact(name):
    """Inner bound ≤ estimate ≤ exact log w within 3 standard errors; many draws meet the exact value."""
    prior, factors, (log_w, expected, divergence) = case(name)
    many, gap, few, kl = jax.tree.map(np.asarray, sampled(prior, factors, MANY))
    assert np.all(gap.bound <= many.log_likelihood + 3 * many.standard_error)
    assert np.all(many.log_likelihood <= log_w + 3 * many.standard_error)
    assert np.all(np.abs(many.log_likelihood - log_w) <= 3 * many.standard_error)
    assert np.all(many.standard_error < 0.03)
    assert np.all((many.effective_sample_size > 0.1 * MANY) & (many.effective_sample_size <= MANY))
    assert np.all(few.standard_error > many.standard_error)
    # The two parts of the gap.
    integrals = log_likelihood_quadrature(prior, factors, factors)
    assert integrals.error <= 1e-8
    np.testing.assert_allclose(integrals.log_likelihood, log_w, atol=1e-8)
    exact = gap_from_quadrature(gap.bound, integrals)
    np.testing.assert_allclose(exact.posterior_gap, log_w - expected, atol=1e-7)
    assert np.all(exact.posterior_gap > 0)
    assert np.all(exact.auxiliary_gap > 0)
    for part in ("posterior_gap", "auxiliary_gap"):
        error = getattr(gap, f"{part}_error")
        assert np.all(np.abs(getattr(gap, part) - getattr(exact, part)) <= 3.5 * error), part
        assert np.all(error < 0.03)
    # How far F_j is from the prior.
    assert kl.divergence.shape == (VIEWS, 1)
    assert np.all(np.abs(kl.divergence[:, 0] - divergence) <= 3.5 * kl.standard_error[:, 0])
    assert np.all(kl.standard_error < 0.03)


@pytest.mark.parametrize("name", ["Beta", "VonMises"])
def test_quadrature_alone(name):
    """Where drawing takes long to compile, the integrals alone: log w and the posterior's part of the gap."""
    prior, factors, (log_w, expected, _) = case(name)
    integrals = log_likelihood_quadrature(prior, factors, factors)
    np.testing.assert_allclose(integrals.log_likelihood, log_w, atol=1e-8)
    gap = gap_from_quadrature(jax.jit(inner_bound)(prior, factors, factors), integrals)
    np.testing.assert_allclose(gap.posterior_gap, log_w - expected, atol=1e-7)
    assert np.all(gap.auxiliary_gap > 0)


def test_divergence_of_unnormalised_mixtures_is_that_of_their_normalised_form():
    """exp⟨η, t⟩ + h with h = −A + log v is a mixture with weights v."""
    prior, factors, _ = case("DiagonalGaussian")
    log_masses = jnp.log(jnp.asarray([0.5, 1.0, 2.0, 0.1]))
    scale = -factors.log_partition() + log_masses[:, None, None]
    kl = jax.jit(functools.partial(mixture_divergence, num_samples=500))
    first = kl(prior, factors, KEY, mixture_log_scale=scale)
    second = kl(prior, factors, KEY, log_weights=jax.nn.log_softmax(log_masses))
    np.testing.assert_allclose(first.divergence, second.divergence, atol=1e-12)


@pytest.mark.parametrize("name", ["Gaussian", pytest.param("Dirichlet", marks=pytest.mark.slow)])
def test_quadrature_in_the_plane(name):
    """Many draws meet the integral over two dimensions, and the bound is below."""
    natural = jax.tree.map(jnp.asarray, FAMILIES[name])
    prior, factors = Static(natural), shifted(natural)
    result = log_likelihood_quadrature(prior, factors, factors, tolerance=1e-6)
    many, gap, _, _ = sampled(prior, factors, MANY)
    assert len(result.num_points) == 2
    assert np.all(np.abs(many.log_likelihood - result.log_likelihood) <= 3 * many.standard_error)
    assert np.all(gap.bound <= result.expected_log_weight)
    assert np.all(result.expected_log_weight <= result.log_likelihood)


def test_masks_weights_and_scales_by_quadrature_and_sampling():
    """Missing views leave; both ways agree about unnormalised, weighted, partly missing components."""
    prior, factors, _ = case("DiagonalGaussian")
    mask = jnp.asarray([[True, True], [True, False], [False, True], [False, False]])[..., None]
    scale = -factors.log_partition() + 0.3 * jnp.arange(DATA)[:, None, None]
    options = {
        "log_scale": scale,
        "mixture_log_scale": scale,
        "log_weights": jax.nn.log_softmax(jnp.arange(4.0)),
        "mask": mask,
        "mixture_mask": mask,
    }
    exact = log_likelihood_quadrature(prior, factors, factors, **options)

    @jax.jit
    def both(options):
        ratios = log_importance_weights(prior, factors, factors, KEY, num_samples=4000, **options)
        return estimate_log_likelihood(ratios), inner_bound(prior, factors, factors, **options)

    estimate, bound = both(options)
    error = np.abs(estimate.log_likelihood - exact.log_likelihood)
    assert np.all(error <= 3 * estimate.standard_error + 1e-8)
    assert np.all(bound <= exact.log_likelihood + 1e-8)
    np.testing.assert_allclose(exact.log_likelihood[3], 0.0, atol=1e-8)  # nothing observed


def test_gaussian_process_with_a_single_component():
    """Where F_jt = f_jt for the only datum, log w = 0 exactly, whatever q is."""
    prior = GaussianProcess.from_covariance(jnp.zeros(5), rbf(jnp.arange(5.0), 0.3))
    sites = prior.sites()
    factors = sites + random_potentials(3, sites, (1, VIEWS, 5))
    draw = jax.jit(log_importance_weights, static_argnames="num_samples")
    weak = 0.2 * random_potentials(4, sites, (1, 5))
    log_ratios = draw(prior, factors, factors, KEY, num_samples=MANY, potentials=weak)
    estimate = estimate_log_likelihood(log_ratios)
    assert estimate.standard_error < 0.05
    assert np.all(np.abs(estimate.log_likelihood) <= 3 * estimate.standard_error)
    # The weights are those of densities of whole trajectories.
    potentials = random_potentials(4, sites, (1, 5), scale=0.3)
    posterior, z = jax.jit(lambda given: (q := prior.condition(given), q.sample(KEY, (6,))))(potentials)
    z = np.asarray(z)[:, 0, :, 0]

    def log_density(mean, covariance):
        return scipy.stats.multivariate_normal.logpdf(z, mean, covariance)

    expected = log_density(prior.mean[0], prior.covariance[0])
    expected -= log_density(posterior.joint_mean[0, 0], posterior.joint_covariance[0, 0])
    got = draw(prior, factors, factors, KEY, num_samples=6, potentials=potentials)
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-5)


def test_discrete_sites_agree_with_the_exact_likelihood():
    prior = HiddenMarkov(jnp.zeros(3), jnp.eye(3), 4)
    sites = prior.sites()
    factors = sites + random_potentials(5, sites, (DATA, VIEWS, 4))
    draw = jax.jit(functools.partial(log_importance_weights, num_samples=4000))
    estimate = estimate_log_likelihood(draw(prior, factors, factors, KEY))
    exact = jax.jit(exact_log_likelihood)(prior, factors, factors)
    assert np.all(np.abs(estimate.log_likelihood - exact) <= 3.5 * estimate.standard_error)
    divergence = jax.jit(mixture_divergence)(prior, factors, KEY)
    mixture = logsumexp(log_softmax(factors.logits, axis=-1), axis=0) - np.log(DATA)
    expected = np.sum(np.exp(mixture) * (mixture - log_softmax(sites.logits, axis=-1)), axis=-1)
    np.testing.assert_allclose(divergence.divergence, expected, atol=1e-12)
    assert np.all(divergence.standard_error == 0)


@pytest.mark.parametrize("name", ["DiagonalGaussian", "Gamma"])
def test_gradient_by_reparametrised_draws(name):
    """At K = 1 its mean is the derivative of the free energy, through F_j at the draws, within 3.5 errors."""
    natural = jax.tree.map(jnp.asarray, SCALAR_FAMILIES[name][0])
    prior = Static(natural)
    raw = jax.random.normal(jax.random.key(1), (DATA, VIEWS, 1, natural.num_unconstrained))
    direction = jax.random.normal(jax.random.key(2), raw.shape)

    @jax.jit
    def factors(raw):
        return natural + natural.potential(raw)

    def free_energy(raw):
        return log_likelihood_quadrature(prior, factors(raw), factors(raw)).expected_log_weight

    def weights(raw):
        return log_importance_weights(prior, factors(raw), factors(raw), KEY, num_samples=4000)

    step = 1e-4
    expected = (free_energy(raw + step * direction) - free_energy(raw - step * direction)) / (2 * step)
    _, slopes = jax.jit(lambda raw: jax.jvp(weights, (raw,), (direction,)))(raw)
    error = jnp.std(slopes, axis=0) / np.sqrt(4000)
    assert np.all(np.abs(jnp.mean(slopes, axis=0) - expected) <= 3.5 * error + 1e-5)
    assert np.all(error < 0.05)


def test_gradient_of_the_bound():
    """In reverse, against finite differences at common random numbers."""
    prior, factors, _ = case("DiagonalGaussian")

    @jax.jit
    def value(shift):
        moved = factors.replace((factors.eta1 + shift, factors.eta2))
        return jnp.mean(importance_weighted_bound(prior, moved, moved, KEY, num_samples=5))

    shift = jax.random.normal(jax.random.key(1), factors.eta1.shape)
    step = 1e-5
    gradient = jnp.sum(jax.jit(jax.grad(value))(shift) * shift)
    expected = (value((1 + step) * shift) - value((1 - step) * shift)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7, 2, 1), (7, 1, 3)])
def test_mixture_at_points_in_blocks(shape):
    """Value and gradient don't depend on the blocks, of which the last may be shorter; T and J may be 1."""
    natural = jax.tree.map(jnp.asarray, FAMILIES["Gaussian"])

    @jax.jit
    def values(natural, z, weights):
        eta = natural + random_potentials(2, natural, shape)
        statistics = natural.sufficient_statistics(z)

        def value(eta, block_size):
            components = normalizers.ArrayComponents(eta)
            result = normalizers.log_mixture_at(
                components, statistics, log_weights=weights, block_size=block_size
            )
            return jnp.sum(jnp.sin(result)), result

        results = [jax.value_and_grad(value, has_aux=True)(eta, b) for b in (None, 3)]
        (_, whole), gradient = results[0]
        (_, blocks), gradient_of_blocks = results[1]
        density = eta.log_prob(z[:, None, None]) - natural.log_base_measure(z[:, None, None])
        expected = jax.nn.logsumexp(density + weights[:, None, None], axis=1)
        whole, blocks = (jnp.broadcast_to(x, expected.shape) for x in (whole, blocks))
        return expected, whole, blocks, gradient.eta1, gradient_of_blocks.eta1

    arguments = natural, jax.random.normal(KEY, (6, 3, 2)), jax.nn.log_softmax(jnp.arange(7.0))
    expected, whole, blocks, gradient, gradient_of_blocks = values(*arguments)
    np.testing.assert_allclose(whole, expected, atol=1e-12)
    np.testing.assert_allclose(blocks, expected, atol=1e-12)
    np.testing.assert_allclose(gradient, gradient_of_blocks, atol=1e-12)


def test_errors():
    prior, factors, _ = case("DiagonalGaussian")
    with pytest.raises(ValueError, match="num_samples must be a positive integer, got 0"):
        log_importance_weights(prior, factors, factors, KEY, num_samples=0)
    with pytest.raises(ValueError, match="max_points: the integral needs a grid of"):
        log_likelihood_quadrature(prior, factors, factors, max_points=100)
    wide = expfam.DiagonalGaussian(jnp.zeros(3), jnp.full(3, -0.5))
    three = wide + random_potentials(1, wide, (2, 2, 1))
    with pytest.raises(ValueError, match="one site of one or two dimensions, got 1 sites of 3"):
        log_likelihood_quadrature(Static(wide), three, three)
    discrete = expfam.Categorical(jnp.zeros((2, 2, 1, 3)))
    with pytest.raises(TypeError, match="quadrature is for continuous latents, got Categorical"):
        log_likelihood_quadrature(Static(discrete[0, 0, 0]), discrete, discrete)
    counts = FAMILIES["Poisson"] + random_potentials(1, FAMILIES["Poisson"], (2, 2, 1))
    with pytest.raises(TypeError, match="knows no coordinates of Poisson"):
        log_likelihood_quadrature(Static(FAMILIES["Poisson"]), counts, counts)
    topics = DirichletCategorical(jnp.ones(3), 1)
    with pytest.raises(TypeError, match="condition is variational"):
        log_importance_weights(topics, discrete, discrete, KEY, num_samples=2)
