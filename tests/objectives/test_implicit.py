"""Implicit models: the likelihood, its integral and its moment penalty."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FAMILIES, SCALAR_FAMILIES, rbf
from support import random_potentials as make_potentials

from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.objectives import (
    exact_log_likelihood,
    implicit_integral,
    implicit_log_likelihood,
    inner_bound,
    moment_penalty,
    score_matching,
)
from rpm_jax.priors import GaussianProcess, HiddenMarkov, Static

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "torchrpm.npz"
VIEWS = (0, 1)

likelihood = jax.jit(implicit_log_likelihood)
penalty = jax.jit(moment_penalty)
random_potentials = jax.jit(make_potentials, static_argnums=2)
FEW = ("DiagonalGaussian", "VonMises")


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return {
            name.removeprefix("implicit__"): arrays[name] for name in arrays.files if "implicit__" in name
        }


def reference_factors(reference, views):
    """η0 + g_j(x_j), batch shape (N, J, 1), of torchRPM's networks."""
    outputs = []
    for j, x in zip(VIEWS, views, strict=True):
        w = [reference[f"w{j}_{i}"] for i in range(6)]
        a = jnp.tanh(jnp.tanh(x @ w[0] + w[1]) @ w[2] + w[3]) @ w[4] + w[5]
        outputs.append(DiagonalGaussian(a[:, None, :1], -jax.nn.softplus(a[:, None, 1:])))
    first, second = outputs
    stacked = first.replace(
        tuple(
            jnp.stack(pair, 1)
            for pair in zip(first.natural_parameters, second.natural_parameters, strict=True)
        )
    )
    return stacked + reference_prior(reference).sites()


def reference_prior(reference):
    return Static(DiagonalGaussian(reference["eta0"][:1], reference["eta0"][1:]))


def reference_log_density(reference, views):
    log_ratio = likelihood(reference_prior(reference), reference_factors(reference, views))
    rates = reference["rates"]
    return log_ratio + sum(np.log(rates[j]) - rates[j] * views[j][:, 0] for j in VIEWS)


def test_likelihood_of_torchrpm(reference):
    got = reference_log_density(reference, (reference["x0"], reference["x1"]))
    np.testing.assert_allclose(got, reference["log_prob"], rtol=0, atol=1e-10)


def test_penalty_of_torchrpm(reference):
    factors = reference_factors(reference, (reference["x0"], reference["x1"]))
    got = penalty(reference_prior(reference), factors)
    np.testing.assert_allclose(got, reference["copula_penalty"].sum(), rtol=0, atol=1e-10)


def test_score_matching_of_torchrpm(reference):
    """torchRPM leaves out what does not depend on the parameters, ½ ‖∇ log p0‖²."""
    views = (reference["x0"], reference["x1"])
    got = score_matching(lambda views: reference_log_density(reference, views), views)
    constant = 0.5 * np.sum(reference["rates"] ** 2)
    np.testing.assert_allclose(got - constant, reference["score_matching"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in SCALAR_FAMILIES if name not in ("Beta", "Gaussian")])
def test_likelihood_by_quadrature(name):
    """log ∫ p(z) ∏_j f_j(z)/p(z) dz, three views."""
    natural, (points, weights) = SCALAR_FAMILIES[name]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(1, natural, (4, 3, 1), 0.7)

    @jax.jit
    def quadrature(factors):
        log_prior = natural.log_prob(points)
        log_factors = factors[..., 0, None].log_prob(points)
        total = log_prior + jnp.sum(log_factors - log_prior, axis=1)
        return jax.nn.logsumexp(total, axis=1, b=weights)

    want = quadrature(factors)
    got = likelihood(prior, factors)
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-8)


def test_unnormalised_factors_by_quadrature():
    """log ∫ p(z) ∏_j exp(⟨η_j, t⟩ + h_j)/p(z) dz; what is missing is left out."""
    natural, (points, weights) = SCALAR_FAMILIES["DiagonalGaussian"]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(1, natural, (4, 3, 1), 0.7)
    log_scale = jax.random.normal(jax.random.key(0), (4, 3, 1))
    mask = jnp.ones((4, 3, 1), bool).at[0, 1].set(False)

    @jax.jit
    def quadrature(factors, log_scale):
        log_prior = natural.log_prob(points)
        base = natural.log_base_measure(points)
        statistics = natural.sufficient_statistics(points)
        log_factors = factors[..., 0, None].dot(statistics) + log_scale + base
        terms = jnp.where(mask, log_factors - log_prior, 0.0)
        return jax.nn.logsumexp(log_prior + jnp.sum(terms, axis=1), axis=1, b=weights)

    got = likelihood(prior, factors, log_scale=log_scale, mask=mask)
    np.testing.assert_allclose(got, quadrature(factors, log_scale), rtol=1e-8, atol=1e-8)
    normalised = likelihood(prior, factors, log_scale=-factors.log_partition(), mask=mask)
    np.testing.assert_allclose(normalised, likelihood(prior, factors, mask=mask), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"log_scale must have the factors' batch shape \(4, 3, 1\), got"):
        likelihood(prior, factors, log_scale=log_scale[0])


def test_integral_of_unnormalised_factors():
    """A constant h_j − (−A) = c_j multiplies the integral by exp Σ_j c_j."""
    natural = FAMILIES["DiagonalGaussian"]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(0, natural, (24, 2, 1), 0.3)
    offsets = jnp.array([0.3, -0.8])[:, None]

    @jax.jit
    def both():
        scaled = implicit_integral(
            prior, factors, jax.random.key(0), log_scale=offsets - factors.log_partition()
        )
        return scaled.log_value, implicit_integral(prior, factors, jax.random.key(0)).log_value

    scaled, plain = both()
    np.testing.assert_allclose(scaled, plain - 0.5, rtol=1e-10)


@jax.jit
def closed_form(natural, factors):
    """A(Σ η_j − (J − 1) η0) − Σ A(η_j) + (J − 1) A(η0)."""
    others = factors.batch_shape[-2] - 1
    total = factors.sum(-2)[..., 0] - natural * others
    return total.log_partition() - factors.log_partition().sum((-2, -1)) + others * natural.log_partition()


@settings(max_examples=12)
@given(
    st.sampled_from(("DiagonalGaussian", "KnownCovarianceGaussian")),
    st.sampled_from((2, 5)),
    st.integers(0, 2**31 - 1),
)
def test_closed_form_for_any_number_of_views(name, num_views, seed):
    natural = FAMILIES[name]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(seed, natural, (2, num_views, 1))
    got = likelihood(prior, factors)
    np.testing.assert_allclose(got, closed_form(natural, factors), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FEW)
def test_views_that_know_nothing(name):
    """Factors equal to the prior: X is independent. One view: its marginal, whatever the factor is."""
    natural = FAMILIES[name]
    prior = Static(natural)
    nothing = prior.sites().broadcast_to((2, 2, 1))
    np.testing.assert_allclose(likelihood(prior, nothing), 0.0, atol=1e-12)
    one = prior.sites() + random_potentials(0, natural, (2, 1, 1))
    np.testing.assert_allclose(likelihood(prior, one), 0.0, atol=1e-12)


def test_gaussian_process_by_joint_gaussians():
    """T = 3 sites, by explicit matrices."""
    times = np.array([0.0, 0.7, 1.5])
    covariance = np.asarray(rbf(times, 0.8)) + 0.1 * np.eye(3)
    prior = GaussianProcess.from_covariance(jnp.array([0.3, -0.2, 0.1]), covariance)
    sites = prior.sites()
    g = random_potentials(3, sites, (2, 4, 3))
    got = likelihood(prior, g + sites)

    def gaussian(eta1, precision):
        """A of a joint Gaussian."""
        return 0.5 * eta1 @ np.linalg.solve(precision, eta1) - 0.5 * np.linalg.slogdet(precision)[1]

    precision = np.linalg.inv(covariance)
    eta1 = precision @ np.array([0.3, -0.2, 0.1])
    for n in range(2):
        lam1, lam2 = (np.asarray(p)[n].sum(0)[:, 0] for p in g.natural_parameters)
        want = gaussian(eta1 + lam1, precision - 2 * np.diag(lam2)) - gaussian(eta1, precision)
        want -= float((g + sites).log_partition()[n].sum() - 4 * sites.log_partition().sum())
        np.testing.assert_allclose(got[n], want, rtol=1e-10)


def test_hidden_markov_where_the_assumption_holds():
    """With F_jt = p(z_t) exactly, the implicit and the exact likelihood are one."""
    prior = HiddenMarkov(np.zeros(2), np.log(np.array([[0.8, 0.2], [0.2, 0.8]])), 3)
    half = random_potentials(0, prior.sites(), (4, 2, 3))
    (logits,) = half.natural_parameters
    # Uniform marginals, and each factor comes with its mirror image.
    logits = jnp.concatenate([logits, logits[..., ::-1]])
    factors = Categorical(jax.nn.log_softmax(logits))
    got = likelihood(prior, factors)
    np.testing.assert_allclose(got, exact_log_likelihood(prior, factors, factors), atol=1e-12)
    np.testing.assert_allclose(penalty(prior, factors), 0.0, atol=1e-12)


def test_missing_views_leave_the_model_of_the_others():
    natural = FAMILIES["DiagonalGaussian"]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(0, natural, (3, 3, 1))
    mask = jnp.array([[True, False, True]] * 3)[..., None]
    spoiled = factors.replace(
        tuple(jnp.where(mask[..., None], p, jnp.nan) for p in factors.natural_parameters)
    )
    others = factors[:, jnp.array([0, 2])]
    want = likelihood(prior, others)
    np.testing.assert_allclose(likelihood(prior, spoiled, mask=mask), want, rtol=1e-12)
    gradient = jax.jit(jax.grad(lambda f: implicit_log_likelihood(prior, f, mask=mask).sum()))(spoiled)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    want = penalty(prior, others)
    np.testing.assert_allclose(penalty(prior, spoiled, mask=mask), want, rtol=1e-10)


def test_penalty_averages_over_what_is_seen():
    natural = FAMILIES["DiagonalGaussian"]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(0, natural, (3, 3, 1))
    mask = jnp.ones((3, 3, 1), bool).at[0, 1].set(False)
    got = penalty(prior, factors, mask=mask)
    want = penalty(prior, factors[1:, 1:2]) + penalty(prior, factors[:, jnp.array([0, 2])])
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize(
    "name",
    ["Categorical", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Dirichlet", "Gaussian"))],
)
def test_penalty_is_zero_where_moments_match(name):
    natural = FAMILIES[name]
    prior = Static(natural)
    both = jax.jit(jax.value_and_grad(lambda factors: moment_penalty(prior, factors)))
    value, gradient = both(prior.sites().broadcast_to((5, 2, 1)))
    np.testing.assert_allclose(value, 0.0, atol=1e-9)
    value, gradient = both(prior.sites() + random_potentials(0, natural, (5, 2, 1)))
    assert value > 1e-3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", ["DiagonalGaussian", "Gamma"])
def test_penalty_and_the_divergence_of_the_mixture(name):
    """KL(F‖p) − KL(F‖F̄) = KL(F̄‖p), by quadrature."""
    natural, (points, weights) = SCALAR_FAMILIES[name]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(2, natural, (4, 1, 1), 0.5)
    log_weights = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))

    @jax.jit
    def quadrature(factors):
        log_mixture = jax.nn.logsumexp(factors[:, 0].log_prob(points) + log_weights[:, None], axis=0)
        mean = tuple(
            jnp.tensordot(jnp.exp(log_weights), moment[:, 0, 0], 1) for moment in factors.mean_parameters()
        )
        closest = type(natural).from_mean(mean, **natural.shared)
        difference = closest.log_prob(points) - natural.log_prob(points)
        mixture = jnp.exp(log_mixture)
        return jnp.sum(jnp.where(mixture > 0, mixture * weights * difference, 0.0))

    want = quadrature(factors)
    got = penalty(prior, factors, log_weights=log_weights)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


def test_penalty_of_weights_is_that_of_repeated_data():
    natural = FAMILIES["DiagonalGaussian"]
    prior = Static(natural)
    factors = prior.sites() + random_potentials(2, natural, (3, 2, 1))
    repeated = factors[jnp.array([0, 0, 1, 2])]
    got = penalty(prior, factors, log_weights=jnp.log(jnp.array([0.5, 0.25, 0.25])))
    np.testing.assert_allclose(got, penalty(prior, repeated), rtol=1e-12)


def binary_views(key, size, agreement):
    """Two ±1 views that agree with some probability."""
    first, second = jax.random.split(key)
    x = jax.random.rademacher(first, (size,), float)
    y = jnp.where(jax.random.bernoulli(second, agreement, (size,)), x, -x)
    return jnp.stack([x, y], axis=1)


def binary_factors(x, sharpness=1.0, bias=0.0):
    """P(z = 1|x) = logistic(sharpness x + bias)."""
    logits = jnp.stack([jnp.zeros_like(x), sharpness * x + bias], axis=-1)
    return Categorical(logits[:, :, None])


@pytest.mark.parametrize(("bias", "normalised"), [(0.0, True), (1.0, False)])
def test_integral(bias, normalised):
    """Two binary views, for which the sum over X is known."""
    prior = Static(Categorical(np.zeros(2)))
    factors = binary_factors(binary_views(jax.random.key(0), 4000, 0.9), bias=bias)
    cells = binary_factors(jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]), bias=bias)
    want = jnp.mean(jnp.exp(likelihood(prior, cells)))
    got = jax.jit(implicit_integral)(prior, factors, jax.random.key(1))
    assert abs(got.value - want) < 4 * got.standard_error + 1e-12
    assert 0 < got.standard_error < 0.05
    assert bool(got.deviates) == (not normalised)
    assert (abs(want - 1.0) < 1e-12) == normalised


def test_integral_of_weighted_data():
    """Weights make one value of each view more probable than the other."""
    prior = Static(Categorical(np.zeros(2)))
    x = binary_views(jax.random.key(0), 4000, 0.9)
    log_weights = jax.nn.log_softmax(jnp.where(x[:, 0] > 0, jnp.log(4.0), 0.0))
    got = jax.jit(implicit_integral)(prior, binary_factors(x), jax.random.key(1), log_weights=log_weights)
    shares = jnp.exp(log_weights) @ (x > 0)
    values = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    cells = jnp.where(values > 0, shares, 1 - shares).prod(1)
    want = jnp.sum(cells * jnp.exp(likelihood(prior, binary_factors(values))))
    assert abs(want - 1.0) > 0.05
    assert abs(got.value - want) < 4 * got.standard_error


def test_standard_error_of_the_integral():
    """It is the spread over data sets."""
    prior = Static(Categorical(np.zeros(2)))

    def one(key):
        data_key, shift_key = jax.random.split(key)
        views = binary_views(data_key, 200, 0.9)
        return implicit_integral(prior, binary_factors(views, bias=1.0), shift_key)

    results = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 200))
    ratio = jnp.std(results.value) / jnp.mean(results.standard_error)
    assert 0.8 < ratio < 1.25


def test_integral_never_pairs_a_datum_with_itself():
    """Sharp factors of views that agree always: paired with itself, every datum would have ratio 2."""
    prior = Static(Categorical(np.zeros(2)))
    factors = binary_factors(binary_views(jax.random.key(0), 8, 1.0), sharpness=40.0)
    got = implicit_integral(prior, factors, jax.random.key(1), num_blocks=2, num_shifts=200)
    x = binary_views(jax.random.key(0), 8, 1.0)[:, 0]
    order = jax.random.permutation(jax.random.split(jax.random.key(1))[0], 8).reshape(2, 4)
    agree = (x[order][:, :, None] == x[order][:, None, :]).sum((1, 2)) - 4
    np.testing.assert_allclose(got.value, jnp.mean(2.0 * agree / 12), atol=0.1)


def test_inner_bound_with_the_prior_as_mixture():
    """With F_j the prior exactly, the conjugate inner bound is the implicit likelihood."""
    prior = Static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    factors = prior.sites() + random_potentials(0, prior.natural, (5, 3, 1))
    mixture = prior.sites().broadcast_to((7, 3, 1))
    np.testing.assert_allclose(inner_bound(prior, factors, mixture), likelihood(prior, factors), rtol=1e-10)


PRIOR = Static(FAMILIES["DiagonalGaussian"])
FACTORS = PRIOR.sites().broadcast_to((6, 2, 1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: implicit_log_likelihood(PRIOR, FAMILIES["Gamma"].broadcast_to((6, 2, 1))),
            TypeError,
            "factors must be natural parameters of the prior's sites, DiagonalGaussian, got Gamma",
        ),
        (
            lambda: implicit_log_likelihood(PRIOR, FACTORS[:, 0, 0]),
            ValueError,
            "factors must have batch shape",
        ),
        (
            lambda: implicit_log_likelihood(PRIOR, FACTORS, mask=jnp.ones((6, 1, 1), bool)),
            ValueError,
            "mask must have the factors' batch shape",
        ),
        (
            lambda: moment_penalty(PRIOR, FACTORS[0]),
            ValueError,
            r"factors must have batch shape \(N, J, T\) to average over N data, got \(2, 1\)",
        ),
        (
            lambda: moment_penalty(PRIOR, FACTORS, log_weights=jnp.zeros(5)),
            ValueError,
            r"log_weights must have shape \(N,\) = \(6,\), got \(5,\)",
        ),
        (
            lambda: implicit_integral(PRIOR, FACTORS, jax.random.key(0)),
            ValueError,
            "N ≥ 4 J data",
        ),
        (
            lambda: implicit_integral(PRIOR, FACTORS[:, :1], jax.random.key(0), num_shifts=0),
            ValueError,
            "num_shifts must be a positive integer, got 0",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
