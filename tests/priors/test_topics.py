"""The Dirichlet prior over topic proportions, against sums over all states, and its derivatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, gammaln, logsumexp
from support import FAMILIES

from rpm_jax import priors
from rpm_jax.expfam import Categorical, Dirichlet
from rpm_jax.priors import DirichletCategorical

TOPICS, SITES, BATCH = 3, 4, 4
CONCENTRATION = np.array([0.7, 1.3, 2.0])
KEY = jax.random.key(0)


def random_potentials(seed=0, scales=(0.3, 1.0, 3.0, 8.0)):
    return np.random.default_rng(seed).normal(size=(BATCH, SITES, TOPICS)) * np.array(scales)[:, None, None]


def prior_of(concentration, sites=SITES):
    return DirichletCategorical(concentration, sites, max_iterations=2000, tolerance=1e-13)


@jax.jit
def condition(concentration, logits):
    return prior_of(concentration, logits.shape[-2]).condition(Categorical(logits))


@pytest.fixture(scope="module")
def conditioned():
    return condition(CONCENTRATION, random_potentials())


def log_probability(concentration, counts):
    """Of one sequence Z with these counts of the states."""
    total = gammaln(concentration.sum()) - gammaln(concentration.sum() + counts.sum(-1))
    return total + np.sum(gammaln(concentration + counts) - gammaln(concentration), axis=-1)


def brute_force(concentration, logits):
    """Log Σ_Z p(Z) exp Σ_t λ_t,z_t over all K^T sequences."""
    sites, topics = logits.shape
    paths = np.array(list(itertools.product(range(topics), repeat=sites)))
    counts = np.eye(topics)[paths].sum(1)
    return logsumexp(log_probability(concentration, counts) + logits[np.arange(sites), paths].sum(1))


# Values.


def test_bound_is_below_the_sum_over_all_sequences(conditioned):
    exact = np.array([brute_force(CONCENTRATION, logits) for logits in random_potentials()])
    gap = exact - conditioned.log_normalizer
    assert np.all(gap > 1e-3)
    assert np.all(gap < 0.8)


def test_bound_is_exact_where_potentials_leave_one_sequence():
    path = np.array([0, 2, 2, 1])
    logits = 60.0 * np.eye(TOPICS)[path]
    posterior = condition(CONCENTRATION, logits)
    counts = np.eye(TOPICS)[path].sum(0)
    expected = 60.0 * SITES + log_probability(CONCENTRATION, counts)
    np.testing.assert_allclose(posterior.log_normalizer, expected, rtol=1e-13)
    np.testing.assert_allclose(brute_force(CONCENTRATION, logits), expected, rtol=1e-13)
    np.testing.assert_allclose(posterior.proportions.concentration, CONCENTRATION + counts, rtol=1e-13)
    np.testing.assert_array_equal(jnp.argmax(posterior.mean, -1), path)


def test_many_sites_against_counts_and_samples_of_the_proportions():
    """Two topics, T = 30: the sum over sequences is one over counts, and ∫ p(θ) ∏_t Σ_k θ_k exp λ_tk dθ."""
    concentration, sites = np.array([0.8, 1.7]), 30
    logits = np.random.default_rng(2).normal(size=(sites, 2))
    coefficients = np.ones(1)
    for first, second in np.exp(logits):
        coefficients = np.convolve(coefficients, [second, first])
    counts = np.stack([np.arange(sites + 1), sites - np.arange(sites + 1)], axis=-1)
    exact = logsumexp(np.log(coefficients) + log_probability(concentration, counts))
    np.testing.assert_allclose(
        brute_force(concentration, logits[:6]),
        logsumexp(
            np.log(functools.reduce(np.convolve, np.exp(logits[:6, ::-1])))
            + log_probability(concentration, np.stack([np.arange(7), 6 - np.arange(7)], axis=-1))
        ),
        rtol=1e-12,
    )

    prior = prior_of(concentration, sites)
    theta = np.asarray(prior.proportions.sample(KEY, (50_000,)))
    weights = np.exp(np.sum(np.log(theta @ np.exp(logits).T), axis=-1) - exact)
    error = weights.std() / np.sqrt(weights.size)
    assert error < 0.05
    assert abs(weights.mean() - 1.0) < 4 * error
    bound = condition(concentration, logits).log_normalizer
    assert exact - 2.0 < bound < exact
    assert bound < exact + np.log(weights.mean() + 4 * error)


def test_posterior_solves_its_equations(conditioned):
    """And Σ_t ⟨λ_t, μ_t⟩ − log_normalizer is the divergence of all of q from the prior."""
    gamma = np.asarray(conditioned.proportions.concentration)
    expected_log = digamma(gamma) - digamma(gamma.sum(-1, keepdims=True))
    logits = random_potentials() + expected_log[:, None]
    probabilities = np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))
    np.testing.assert_allclose(gamma, CONCENTRATION + probabilities.sum(1), rtol=1e-12)
    np.testing.assert_allclose(conditioned.mean, probabilities, rtol=1e-11)
    np.testing.assert_allclose(logsumexp(conditioned.sites.logits, axis=-1), 0.0, atol=1e-14)
    np.testing.assert_allclose(
        conditioned.standard_deviation, np.sqrt(probabilities * (1 - probabilities)), rtol=1e-10
    )
    of_proportions = conditioned.proportions.kl_divergence(Dirichlet.from_concentration(CONCENTRATION))
    of_sites = np.sum(probabilities * (np.log(probabilities) - expected_log[:, None]), axis=(1, 2))
    left = np.sum(random_potentials() * probabilities, axis=(1, 2)) - conditioned.log_normalizer
    np.testing.assert_allclose(left, of_proportions + of_sites, rtol=1e-10)


def test_what_a_posterior_and_a_prior_are(conditioned):
    prior = prior_of(CONCENTRATION)
    assert isinstance(prior, priors.Prior)
    assert isinstance(conditioned, priors.Posterior)
    assert conditioned.exact is False
    assert conditioned.log_normalizer.shape == conditioned.iterations.shape == (BATCH,)
    assert conditioned.sites.batch_shape == (BATCH, SITES)
    assert prior.sites().batch_shape == (SITES,)
    expected = np.log(CONCENTRATION / CONCENTRATION.sum())
    np.testing.assert_allclose(prior.sites().logits, np.tile(expected, (SITES, 1)), rtol=1e-14)


def test_batch_axes_vmap_and_priors(conditioned):
    logits = random_potentials()
    grid = condition(CONCENTRATION, logits.reshape(2, 2, SITES, TOPICS))
    mapped = jax.vmap(condition, in_axes=(None, 0))(CONCENTRATION, logits)
    scales = np.array([1.0, 3.0])
    several = jax.vmap(condition, in_axes=(0, None))(scales[:, None] * CONCENTRATION, logits)
    for name in ("log_normalizer", "mean", "concentration"):
        expected = np.asarray(getattr(conditioned, name))
        for posterior in (grid, mapped):
            got = np.asarray(getattr(posterior, name)).reshape(expected.shape)
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13, err_msg=name)
        np.testing.assert_allclose(getattr(several, name)[0], expected, rtol=1e-10, atol=1e-13)
    assert grid.iterations.shape == grid.residual.shape == (2, 2)
    other = condition(3.0 * CONCENTRATION, logits)
    np.testing.assert_allclose(several.log_normalizer[1], other.log_normalizer, rtol=1e-10)


def test_one_site():
    """Where q(θ) sees one site, the marginal is still between the potential's and certainty."""
    logits = np.array([[0.5, -0.2, 1.0]])
    posterior = condition(CONCENTRATION, logits)
    exact = brute_force(CONCENTRATION, logits)
    np.testing.assert_allclose(exact, logsumexp(np.log(CONCENTRATION / 4.0) + logits[0]), rtol=1e-13)
    assert exact - 0.5 < posterior.log_normalizer < exact
    assert posterior.mean.shape == (1, TOPICS)


# Coordinate ascent.


def test_bound_never_decreases(conditioned):
    prior = prior_of(CONCENTRATION)
    history = prior.bound_history(Categorical(random_potentials()), 300)
    assert history.shape == (301, BATCH)
    steps = np.diff(history, axis=0)
    assert steps.min() > -1e-13
    assert np.all(steps[0] > 1e-4)
    np.testing.assert_allclose(history[-1], conditioned.log_normalizer, rtol=1e-13)


def test_iterations_and_residual():
    potentials = Categorical(random_potentials())

    def run(**options):
        return DirichletCategorical(CONCENTRATION, SITES, **options).condition(potentials)

    default = run()
    limit = np.finfo(float).eps ** (2 / 3)
    assert np.all(default.residual <= limit)
    assert 5 < default.iterations[0] < 100
    assert np.all(default.iterations == default.iterations[0])
    cut = run(max_iterations=2)
    assert np.all(cut.iterations == 2)
    assert cut.residual.max() > limit
    change = np.abs(run(max_iterations=3).concentration - cut.concentration).max(-1)
    np.testing.assert_allclose(
        run(max_iterations=3).residual, change / (CONCENTRATION.sum() + SITES), rtol=1e-9
    )
    loose = run(tolerance=1e-3)
    assert loose.iterations[0] < default.iterations[0]
    assert np.all(loose.residual <= 1e-3)


def test_peaked_potentials_converge_at_once():
    posterior = DirichletCategorical(CONCENTRATION, SITES).condition(
        Categorical(60.0 * np.eye(SITES, TOPICS))
    )
    assert posterior.iterations <= 25


def test_nan_stays_where_it_is(conditioned):
    logits = random_potentials()
    logits[0, 1, 2] = np.nan
    posterior = condition(CONCENTRATION, logits)
    assert np.isnan(posterior.log_normalizer[0])
    np.testing.assert_allclose(posterior.log_normalizer[1:], conditioned.log_normalizer[1:], rtol=1e-13)
    np.testing.assert_allclose(posterior.concentration[1:], conditioned.concentration[1:], rtol=1e-10)


# Derivatives.


def scalar(concentration, logits):
    """Of everything that a posterior holds."""
    posterior = condition(concentration, logits)
    weights = jnp.arange(1.0, logits.size + 1.0).reshape(logits.shape)
    return (
        jnp.sum(posterior.log_normalizer)
        + jnp.sum(jnp.sin(weights * posterior.mean) * posterior.sites.logits)
        + jnp.sum(jnp.cos(3.0 * posterior.proportions.mean()) * jnp.arange(TOPICS))
    )


def test_derivatives():
    """First derivatives in both modes and the second, by numerical differences."""
    arguments = (CONCENTRATION, random_potentials()[:3])
    rng = np.random.default_rng(0)
    first, second = (tuple(rng.normal(size=x.shape) for x in arguments) for _ in range(2))

    @jax.jit
    def forward(*point):
        return jax.jvp(scalar, point, first)

    @jax.jit
    def reverse_and_forward_over_reverse(*point):
        return jax.jvp(jax.grad(scalar, argnums=(0, 1)), point, second)

    def difference(direction, which):
        def at(step):
            return forward(*(x + step * d for x, d in zip(arguments, direction, strict=True)))[which]

        h = 1e-4
        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)

    def inner(a, b):
        return sum(np.vdot(x, y) for x, y in zip(a, b, strict=True))

    gradient, product = reverse_and_forward_over_reverse(*arguments)
    slope = difference(first, 0)
    np.testing.assert_allclose(forward(*arguments)[1], slope, rtol=1e-8)
    np.testing.assert_allclose(inner(gradient, first), slope, rtol=1e-8)
    np.testing.assert_allclose(inner(product, first), difference(second, 1), rtol=1e-8)


@jax.jit
def gradient_of_log_normalizer(concentration, logits):
    return jax.grad(lambda *a: jnp.sum(condition(*a).log_normalizer), argnums=(0, 1))(concentration, logits)


def test_gradient_of_the_log_normalizer_is_the_mean(conditioned):
    """∂/∂λ_t is E_q[t(z_t)], ∂/∂α is E_q[log θ] − E_p[log θ]; numerical differences of the bound agree."""
    logits = random_potentials()
    of_concentration, of_potentials = gradient_of_log_normalizer(CONCENTRATION, logits)
    np.testing.assert_allclose(of_potentials, conditioned.mean, rtol=1e-13)
    gap = conditioned.proportions.mean_parameters()[0] - (
        digamma(CONCENTRATION) - digamma(CONCENTRATION.sum())
    )
    np.testing.assert_allclose(of_concentration, gap.sum(0), rtol=1e-12)
    direction = np.random.default_rng(1).normal(size=logits.shape)
    above, below = (
        condition(CONCENTRATION, logits + step * direction).log_normalizer.sum() for step in (1e-5, -1e-5)
    )
    np.testing.assert_allclose((above - below) / 2e-5, np.sum(of_potentials * direction), rtol=1e-8)


def test_excluded_states():
    """Potentials of −∞ are the limit of very negative ones, in value and gradient; one site is certain."""
    logits = random_potentials()
    logits[0, 0, 1] = logits[1, 2, :2] = -np.inf
    logits[2, :, 0] = -np.inf
    limit = np.maximum(logits, -1e3)
    got, expected = condition(CONCENTRATION, logits), condition(CONCENTRATION, limit)
    np.testing.assert_allclose(got.log_normalizer, expected.log_normalizer, rtol=1e-12)
    np.testing.assert_allclose(got.mean, expected.mean, atol=1e-13)
    np.testing.assert_allclose(got.mean[1, 2], [0.0, 0.0, 1.0], atol=0)
    exact = np.array([brute_force(CONCENTRATION, row) for row in logits])
    assert np.all(got.log_normalizer < exact)

    @jax.jit
    @jax.grad
    def gradient(arguments):
        posterior = condition(*arguments)
        return (
            jnp.sum(posterior.log_normalizer)
            + jnp.sum(jnp.sin(3.0 * posterior.mean))
            + jnp.sum(jnp.cos(posterior.proportions.mean()))
            + jnp.sum(posterior.standard_deviation)
        )

    for g, e in zip(gradient((CONCENTRATION, logits)), gradient((CONCENTRATION, limit)), strict=True):
        assert np.all(np.isfinite(g))
        np.testing.assert_allclose(g, e, rtol=1e-10, atol=1e-12)


def test_saddle_point_of_equal_potentials():
    """With equal α < ½ equal potentials are stationary and no maximum: the derivative is one update's."""
    concentration, logits = np.full(TOPICS, 0.1), np.zeros((SITES, TOPICS))
    direction = np.random.default_rng(3).normal(size=logits.shape)

    @jax.jit
    def derivative(concentration):
        return jax.jvp(lambda x: condition(concentration, x).concentration, (logits,), (direction,))

    value, change = derivative(concentration)
    np.testing.assert_allclose(value, 0.1 + SITES / TOPICS, rtol=1e-12)
    expected = np.sum(direction - direction.mean(-1, keepdims=True), axis=0) / TOPICS
    np.testing.assert_allclose(change, expected, rtol=1e-10)
    nearby = DirichletCategorical(concentration, SITES).condition(Categorical(1e-3 * direction))
    assert nearby.log_normalizer > condition(concentration, logits).log_normalizer + 0.5
    # A strict maximum again for α > ½, where the derivative is amplified.
    _, amplified = derivative(np.full(TOPICS, 1.0))
    expected_ratio = 1.0 / (
        1.0 - SITES / TOPICS * float(jax.scipy.special.polygamma(1, 1.0 + SITES / TOPICS))
    )
    np.testing.assert_allclose(amplified, expected_ratio * expected, rtol=1e-9)


@jax.jit
def default_condition(concentration, logits):
    def value(concentration, logits):
        posterior = DirichletCategorical(concentration, SITES).condition(Categorical(logits))
        return jnp.sum(posterior.log_normalizer) + jnp.sum(jnp.sin(posterior.concentration)), posterior

    return jax.grad(value, argnums=(0, 1), has_aux=True)(concentration, logits)


@pytest.mark.parametrize("scale", [0.02, 1.0, 100.0])
def test_single_precision(scale):
    concentration, logits = scale * CONCENTRATION, random_potentials(scales=(1.0, 2.0, 4.0, 30.0))
    logits = logits + 3.0 * np.eye(SITES, TOPICS)
    slopes, got = default_condition(jnp.float32(concentration), jnp.float32(logits))
    expected_slopes, expected = default_condition(concentration, logits)
    for leaf in (got.log_normalizer, got.concentration, got.sites.logits, got.residual, *slopes):
        assert leaf.dtype == jnp.float32
    np.testing.assert_allclose(got.log_normalizer, expected.log_normalizer, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got.mean, expected.mean, atol=1e-3)
    assert np.all(got.residual < 3e-5)
    assert got.iterations[0] <= expected.iterations[0]
    for g, e in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(g, e, rtol=3e-3, atol=1e-3)


# Sampling.

DRAWS = 8_000


def within_error(frequencies, probabilities, draws=DRAWS):
    error = np.sqrt(probabilities * (1 - probabilities) / draws)
    return np.abs(np.asarray(frequencies) - probabilities).max() < 5 * error.max()


def test_draws_of_the_prior_are_correlated():
    """The frequencies of all sequences are their Dirichlet-multinomial probabilities."""
    z = np.asarray(prior_of(CONCENTRATION, 2).sample(KEY, (DRAWS,)))
    assert z.shape == (DRAWS, 2)
    pairs = np.array(list(itertools.product(range(TOPICS), repeat=2)))
    probabilities = np.exp(log_probability(CONCENTRATION, np.eye(TOPICS)[pairs].sum(1)))
    np.testing.assert_allclose(probabilities.sum(), 1.0)
    frequencies = np.bincount(TOPICS * z[:, 0] + z[:, 1], minlength=9) / DRAWS
    assert within_error(frequencies, probabilities)
    independent = np.outer(*[CONCENTRATION / CONCENTRATION.sum()] * 2).ravel()
    assert not within_error(frequencies, independent)


def test_draws_of_small_concentrations_do_not_underflow():
    prior = DirichletCategorical(np.full(4, 1e-4, np.float32), 5)
    z = np.asarray(prior.sample(KEY, (2000,)))
    assert np.mean(z == z[:, :1]) > 0.99
    frequencies = np.bincount(z[:, 0], minlength=4) / 2000
    assert within_error(frequencies, np.full(4, 0.25), 2000)


def test_draws_of_the_posterior(conditioned):
    z = np.asarray(conditioned.sample(KEY, (DRAWS,)))
    assert z.shape == (DRAWS, BATCH, SITES)
    frequencies = np.stack([np.mean(z == k, axis=0) for k in range(TOPICS)], axis=-1)
    assert within_error(frequencies, np.asarray(conditioned.mean))
    theta = np.asarray(conditioned.sample_proportions(KEY, (DRAWS,)))
    assert theta.shape == (DRAWS, BATCH, TOPICS)
    error = np.sqrt(conditioned.proportions.variance() / DRAWS)
    assert np.all(np.abs(theta.mean(0) - conditioned.proportions.mean()) < 5 * error)


# The specification.


def test_specification():
    spec = priors.dirichlet_topics(
        TOPICS, SITES, concentration=CONCENTRATION, max_iterations=7, tolerance=0.1
    )
    assert isinstance(spec, priors.PriorSpec)
    assert priors.as_spec(spec) is spec
    params = spec.init(KEY)
    np.testing.assert_allclose(params["log_concentration"], np.log(CONCENTRATION))
    prior = spec.apply(params)
    np.testing.assert_allclose(prior.concentration, CONCENTRATION, rtol=1e-14)
    assert (prior.num_sites, prior.max_iterations, prior.tolerance) == (SITES, 7, 0.1)
    fixed = priors.dirichlet_topics(TOPICS, SITES, concentration=0.3, learnable=False)
    assert fixed.init(KEY) == {}
    np.testing.assert_allclose(fixed.apply({}).concentration, [0.3] * 3, rtol=1e-14)


def test_symmetric_specification():
    options = {"max_iterations": 2000, "tolerance": 1e-13}
    spec = priors.dirichlet_topics(TOPICS, SITES, concentration=0.4, symmetric=True, **options)
    params = spec.init(KEY)
    assert params["log_concentration"].shape == ()

    def value(params):
        return jnp.sum(spec.apply(params).condition(Categorical(random_potentials())).log_normalizer)

    got = jax.jit(jax.grad(value))(params)["log_concentration"]
    each, _ = gradient_of_log_normalizer(np.full(TOPICS, 0.4), random_potentials())
    np.testing.assert_allclose(got, 0.4 * np.sum(each), rtol=1e-9)


# Errors.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: DirichletCategorical(np.ones((2, 3)), 4),
            r"vector \(K,\) of at least two.*got shape \(2, 3\)",
        ),
        (lambda: DirichletCategorical(np.ones(1), 4), r"at least two topics, got shape \(1,\)"),
        (lambda: DirichletCategorical(1.0, 4), r"at least two topics, got shape \(\)"),
        (lambda: DirichletCategorical([1.0, 0.0], 4), r"concentration must be positive, got \[1. 0.\]"),
        (lambda: DirichletCategorical([1.0, -2.0], 4), r"concentration must be positive"),
        (lambda: DirichletCategorical([1.0, np.nan], 4), r"concentration must be finite.*index \(1,\)"),
        (lambda: DirichletCategorical([1.0, 2.0], 0), r"num_sites must be a positive integer, got 0"),
        (
            lambda: DirichletCategorical([1.0, 2.0], 4, max_iterations=2.5),
            r"max_iterations must be a positive integer, got 2.5",
        ),
        (lambda: DirichletCategorical([1.0, 2.0], 4, tolerance=-1.0), r"tolerance must be None.*got -1.0"),
        (
            lambda: prior_of(CONCENTRATION).bound_history(Categorical(random_potentials()), 0),
            r"num_iterations must be a positive integer, got 0",
        ),
        (lambda: priors.dirichlet_topics(1, 4), r"num_topics must be at least 2, got 1"),
        (lambda: priors.dirichlet_topics(2.0, 4), r"num_topics must be a positive integer, got 2.0"),
        (lambda: priors.dirichlet_topics(3, -1), r"num_sites must be a positive integer, got -1"),
        (
            lambda: priors.dirichlet_topics(3, 4, concentration=np.ones(2)),
            r"one for each of the 3 topics, shape \(3,\), got shape \(2,\)",
        ),
        (
            lambda: priors.dirichlet_topics(3, 4, concentration=0.0),
            r"concentration must be positive, got 0.0",
        ),
        (
            lambda: priors.dirichlet_topics(3, 4, concentration=CONCENTRATION, symmetric=True),
            r"same for all topics with symmetric=True, got \[0.7 1.3 2. \]",
        ),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_potentials_that_do_not_fit():
    prior = prior_of(CONCENTRATION)
    with pytest.raises(
        TypeError, match=r"DirichletCategorical.condition takes potentials.*Categorical, got Gamma"
    ):
        prior.condition(FAMILIES["Gamma"][None])
    for shape in ((SITES + 1, TOPICS), (SITES, TOPICS + 1)):
        with pytest.raises(ValueError, match=r"must end in the shapes \[\(4, 3\)\]"):
            prior.condition(Categorical(np.zeros(shape)))
