"""What every prior promises, swept over all of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES, random_potentials

from rpm_jax import priors
from rpm_jax.expfam import DiagonalGaussian

TIMES = np.array([0.0, 0.3, 0.7, 1.1])
BATCH = 3

SPECS = {
    **{f"static {name}": priors.static(family) for name, family in FAMILIES.items()},
    "independent": priors.fixed(priors.Independent(FAMILIES["VonMises"], 4)),
    "rbf": priors.gaussian_process(TIMES, num_latents=2),
    "matern32": priors.gaussian_process(TIMES, "matern32", num_latents=2, solver=priors.solvers.markov()),
    "mixed": priors.mixed_gaussian_process(TIMES, ["matern32", "matern12"]),
    "tridiagonal": priors.tridiagonal_gaussian_process(4, num_latents=2),
    "joint": priors.joint_gaussian_process(TIMES),
    "hidden Markov": priors.hidden_markov(3, 4),
    "linear Gaussian": priors.linear_gaussian(2, 4),
    "linear Gaussian of steps": priors.linear_gaussian(2, 4, varies="transition"),
    "free linear Gaussian": priors.linear_gaussian(2, 4, stationary=False),
}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(spec, key):
    prior = spec.apply(spec.init(key))
    sites = prior.sites()
    potentials = random_potentials(1, sites, (BATCH, *sites.batch_shape))

    def total(potentials):
        posterior = prior.condition(potentials)
        return jnp.sum(posterior.log_normalizer), posterior

    (_, posterior), gradient = jax.value_and_grad(total, has_aux=True)(potentials)
    unconditioned = prior.condition(potentials.zeros())
    means = tuple(family.mean_parameters() for family in (posterior.sites, prior.sites()))
    mean, prior_mean = means
    divergence = jnp.sum(potentials.dot(mean), axis=-1) - posterior.log_normalizer
    conditioned = prior.sites() + potentials
    normalizers = jnp.sum(conditioned.log_partition() - prior.sites().log_partition(), axis=-1)
    return potentials, (
        posterior,
        gradient,
        unconditioned,
        prior.sites(),
        mean,
        prior_mean,
        divergence,
        conditioned,
        normalizers,
        posterior.sites,
        posterior.sites.is_valid(),
    )


@pytest.fixture(scope="module", params=SPECS)
def case(request):
    return evaluate(SPECS[request.param], jax.random.key(0))


def test_gradient_of_the_log_normalizer_is_the_mean(case):
    """∂/∂λ_t log ∫ p(Z) exp Σ_t ⟨λ_t, t(z_t)⟩ dZ = E_q[t(z_t)]."""
    _, (_, gradient, _, _, mean, *_) = case
    for got, expected in zip(gradient.natural_parameters, mean, strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)


def test_shapes(case):
    potentials, (posterior, _, _, sites, *_, conditioned, valid) = case
    assert isinstance(posterior, priors.Posterior)
    assert posterior.exact is True
    assert posterior.log_normalizer.shape == (BATCH,)
    assert type(conditioned) is type(potentials) is type(sites)
    assert conditioned.batch_shape == potentials.batch_shape == (BATCH, *sites.batch_shape)
    assert np.all(valid)


def test_zero_potentials_give_the_prior(case):
    _, (_, _, unconditioned, sites, _, prior_mean, *_) = case
    np.testing.assert_allclose(unconditioned.log_normalizer, 0.0, atol=1e-12)
    means = jax.jit(lambda family: family.mean_parameters())(unconditioned.sites)
    for got, expected in zip(means, prior_mean, strict=True):
        np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), rtol=1e-9, atol=1e-10)
    assert unconditioned.sites.batch_shape == (BATCH, *sites.batch_shape)


def test_divergence_is_positive(case):
    """KL(q‖p) = Σ_t ⟨λ_t, μ_t⟩ − log_normalizer."""
    assert np.all(case[1][6] > 0)


def test_static_is_conjugate(case):
    """log_normalizer = A(η0 + λ) − A(η0), and q = η0 + λ."""
    _, (posterior, *_, conditioned, normalizers, _, _) = case
    if not isinstance(posterior, priors.SitePosterior):
        chains = priors.HiddenMarkovPosterior | priors.LinearGaussianPosterior
        processes = priors.MarkovGaussianProcessPosterior | priors.MixedGaussianProcessPosterior
        chains = chains | processes
        assert isinstance(posterior, priors.GaussianProcessPosterior | chains)
        return
    np.testing.assert_allclose(posterior.log_normalizer, normalizers, rtol=1e-12, atol=1e-12)
    for got, expected in zip(posterior.sites.natural_parameters, conditioned.natural_parameters, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_static_posterior_moments_and_samples():
    natural = FAMILIES["DiagonalGaussian"]
    potentials = random_potentials(4, natural, (BATCH, 1))
    posterior = jax.jit(priors.Static(natural).condition)(potentials)
    np.testing.assert_allclose(posterior.mean, posterior.sites.mean())
    np.testing.assert_allclose(posterior.standard_deviation**2, posterior.sites.variance())
    z = posterior.sample(jax.random.key(0), (20_000,))
    assert z.shape == (20_000, BATCH, 1, 2)
    error = np.abs(z.mean(0) - posterior.mean) / posterior.standard_deviation * np.sqrt(20_000)
    assert np.all(error < 5)


def test_any_family_may_be_learned():
    """Unconstrained parameters: the initial prior comes back, and any numbers are valid."""

    @jax.jit
    def learned():
        found = {}
        for name, family in FAMILIES.items():
            spec = priors.static(family, learnable=True)
            params = spec.init(jax.random.key(0))
            moved = spec.apply(jax.tree.map(lambda x: x - 3.0, params))
            found[name] = spec.apply(params).natural.natural_parameters, moved.natural.is_valid()
        return found

    for name, (natural, valid) in learned().items():
        for got, expected in zip(natural, FAMILIES[name].natural_parameters, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        assert valid
        assert priors.static(FAMILIES[name]).init(jax.random.key(0)) == {}


def test_static_errors():
    with pytest.raises(TypeError, match=r"Static: natural must be a member of an exponential family.*list"):
        priors.Static([1.0])
    with pytest.raises(ValueError, match=r"without batch axes, got batch shape \(2,\)"):
        priors.Static(DiagonalGaussian(np.zeros((2, 1)), -np.ones((2, 1))))
    with pytest.raises(ValueError, match="natural must be a valid DiagonalGaussian"):
        priors.static(DiagonalGaussian(np.zeros(1), np.ones(1)))


def test_independent_errors():
    with pytest.raises(TypeError, match=r"Independent: natural must be a member of an exponential family"):
        priors.Independent([1.0], 3)
    with pytest.raises(ValueError, match=r"Independent: natural .* got batch shape \(2,\)"):
        priors.Independent(DiagonalGaussian(np.zeros((2, 1)), -np.ones((2, 1))), 3)
    with pytest.raises(ValueError, match="Independent: num_sites must be a positive integer, got 0"):
        priors.Independent(FAMILIES["VonMises"], 0)


@pytest.mark.parametrize("prior", ["static DiagonalGaussian", "rbf"])
def test_potentials_that_do_not_fit(prior):
    prior = SPECS[prior].apply(SPECS[prior].init(jax.random.key(0)))
    name = type(prior).__name__
    with pytest.raises(
        TypeError, match=f"{name}.condition takes potentials of the sites' family DiagonalGaussian, got Gamma"
    ):
        prior.condition(FAMILIES["Gamma"][None])
    with pytest.raises(TypeError, match="got ndarray"):
        prior.condition(np.zeros((3, 4)))
    sites = prior.sites()
    with pytest.raises(ValueError, match=rf"{name}.condition: .* must end in the shapes .*got .*\(7, 2\)"):
        prior.condition(DiagonalGaussian(np.zeros((7, 2)), np.zeros((7, 2))))
    wrong = (*sites.batch_shape, 5)
    with pytest.raises(ValueError, match="must end in the shapes"):
        prior.condition(DiagonalGaussian(np.zeros(wrong), np.zeros(wrong)))


def test_what_is_a_prior():
    static = priors.Static(FAMILIES["Gamma"])
    assert priors.as_spec(static).apply({}) is static
    assert priors.fixed(static).init(jax.random.key(0)) == {}
    spec = SPECS["rbf"]
    assert priors.as_spec(spec) is spec
    with pytest.raises(TypeError, match=r"prior must be a prior .* or a specification of one .*got str"):
        priors.as_spec("rbf")
