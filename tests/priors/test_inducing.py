"""Gaussian processes through inducing locations, against dense covariances and the joint Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import priors
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.priors import kernels, solvers

SITES, LATENTS, BATCH = 9, 2, 3
RNG = np.random.default_rng(0)
TIMES = np.cumsum(RNG.gamma(1.0, size=SITES))
PLACES = RNG.normal(size=(SITES, 2)) * (1.0, 100.0)
KERNELS = {"rbf": kernels.RBF(2.0), "rough": 0.8 * kernels.Matern(1.5, 2.0) + kernels.White(0.2)}


def potentials(seed=0):
    """Some without evidence."""
    rng = np.random.default_rng(seed)
    evidence = rng.gamma(1.0, size=(BATCH, SITES, LATENTS)) * (rng.random((BATCH, SITES, LATENTS)) > 0.3)
    return DiagonalGaussian(jnp.asarray(rng.normal(size=evidence.shape)), jnp.asarray(-0.5 * evidence))


def process(solver, kernel=KERNELS["rough"], locations=TIMES, mean="free"):
    return priors.gaussian_process(locations, kernel, num_latents=LATENTS, mean=mean, solver=solver)


def parameters(spec):
    params = spec.init(jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.1 * jnp.sin(jnp.arange(float(x.size))).reshape(x.shape), params)


@jax.jit
def evaluate(spec, params, evidence):
    """The posterior, and the gradient of something that depends on all of it."""

    def summary(params, evidence):
        posterior = spec.apply(params).condition(evidence)
        return (
            jnp.sum(posterior.log_normalizer)
            + jnp.sum(jnp.sin(posterior.mean + jnp.arange(LATENTS)))
            + jnp.sum(jnp.cos(posterior.variance))
        )

    posterior = spec.apply(params).condition(evidence)
    return posterior, jax.grad(summary, (0, 1))(params, evidence), posterior.joint_covariance


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("locations", [TIMES, PLACES], ids=["times", "places"])
def test_all_locations_give_the_dense_process(name, locations):
    dense = process(solvers.dense(), KERNELS[name], locations)
    params = parameters(dense)
    expected, gradient, covariance = evaluate(dense, params, potentials())
    sparse = process(solvers.inducing(SITES), KERNELS[name], locations)
    got, own_gradient, own_covariance = evaluate(sparse, params, potentials())
    np.testing.assert_allclose(got.log_normalizer, expected.log_normalizer, rtol=1e-10)
    np.testing.assert_allclose(got.mean, expected.mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(got.variance, expected.variance, rtol=1e-9)
    np.testing.assert_allclose(own_covariance, covariance, rtol=1e-8, atol=1e-10)
    for a, b in zip(jax.tree.leaves(own_gradient), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert expected.exact
    assert not got.exact


def test_few_locations_against_the_joint_gaussian():
    """Of q(Z, u) = p(Z|u) q(u): log-normaliser, moments, and KL(q‖p) = Σ⟨λ, μ⟩ − log_normalizer."""
    spec = process(solvers.inducing(4), KERNELS["rbf"])
    params, evidence = parameters(spec), potentials()
    posterior = spec.apply(params).condition(evidence)
    prior = spec.apply(params)
    own = np.asarray(prior.inducing)
    linear, weight = np.asarray(evidence.eta1), -2.0 * np.asarray(evidence.eta2)
    total, divergence = np.zeros(BATCH), np.zeros(BATCH)
    for k in range(LATENTS):
        hyperparameters = jax.tree.map(lambda leaf, k=k: leaf[k], prior.params)
        covariance = lambda x, y: np.asarray(prior.kernel.covariance(hyperparameters, x, y))  # noqa: B023, E731
        inner, across, whole = (
            covariance(own, own),
            covariance(prior.times, own),
            covariance(prior.times, None),
        )
        gain = across @ np.linalg.inv(inner)
        left = np.diag(whole - gain @ across.T)
        for n in range(BATCH):
            w, d = weight[n, :, k], linear[n, :, k] - weight[n, :, k] * np.asarray(prior.mean[k])
            precision = np.linalg.inv(inner) + gain.T @ (w[:, None] * gain)
            moments = np.linalg.inv(precision)
            mean = moments @ gain.T @ d
            np.testing.assert_allclose(posterior.mean[n, :, k], prior.mean[k] + gain @ mean, rtol=1e-7)
            variance = left + np.diag(gain @ moments @ gain.T)
            np.testing.assert_allclose(posterior.variance[n, :, k], variance, rtol=1e-7)
            m = np.asarray(prior.mean[k])
            total[n] += linear[n, :, k] @ m - 0.5 * m @ (w * m) - 0.5 * w @ left
            total[n] += 0.5 * mean @ precision @ mean - 0.5 * np.linalg.slogdet(precision @ inner)[1]
            ratio = np.linalg.solve(inner, moments)
            divergence[n] += 0.5 * (np.trace(ratio) - 4 + mean @ np.linalg.solve(inner, mean))
            divergence[n] -= 0.5 * np.linalg.slogdet(ratio)[1]
    np.testing.assert_allclose(posterior.log_normalizer, total, rtol=1e-8)
    statistics = posterior.sites.mean_parameters()
    np.testing.assert_allclose(evidence.dot(statistics).sum(-1) - total, divergence, rtol=1e-7)


def test_the_bound_rises_with_the_locations():
    params, evidence = parameters(process(solvers.dense())), potentials()
    exact = process(solvers.dense()).apply(params).condition(evidence).log_normalizer
    # Of these each holds the one before.
    bounds = [
        process(solvers.inducing(m)).apply(params).condition(evidence).log_normalizer for m in (2, 3, 5, 9)
    ]
    steps = np.diff(np.stack(bounds), axis=0)
    assert np.all(steps > -1e-10)
    assert np.all(bounds[0] < exact - 0.1)


def test_draws_have_the_moments():
    spec = process(solvers.inducing(4), KERNELS["rbf"])
    params = parameters(spec)
    posterior, _, covariance = evaluate(spec, params, potentials())
    draws = np.asarray(posterior.sample(jax.random.key(1), (20_000,)))
    assert draws.shape == (20_000, BATCH, SITES, LATENTS)
    centred = draws - posterior.mean
    got = np.einsum("sbtk,sbuk->bktu", centred, centred) / len(draws)
    np.testing.assert_allclose(got, covariance, atol=0.06)
    np.testing.assert_allclose(centred.mean(0), 0.0, atol=0.05)
    prior = spec.apply(params)
    draws = np.asarray(prior.sample(jax.random.key(2), (20_000,)))
    np.testing.assert_allclose(draws.mean(0), prior.mean.T, atol=0.05)
    np.testing.assert_allclose(draws.var(0), prior.sites().variance(), atol=0.06)


def test_locations_are_spread_and_learned():
    grid = jnp.arange(9.0)
    np.testing.assert_array_equal(
        solvers.inducing(3).prior(KERNELS["rbf"], {}, grid, jnp.zeros((1, 9))).inducing, [0, 4, 8]
    )
    square = jnp.asarray([[x, 100.0 * y] for x in range(3) for y in range(3)])
    corners = solvers.inducing(4).prior(KERNELS["rbf"], {}, square, jnp.zeros((1, 9))).inducing
    assert {tuple(map(float, place)) for place in corners} == {(0, 0), (0, 200), (2, 0), (2, 200)}

    spec = process(solvers.inducing(3), KERNELS["rbf"], mean="constant")
    params = spec.init(jax.random.key(0))

    def bound(params):
        return jnp.sum(spec.apply(params).condition(potentials()).log_normalizer)

    slope = jax.grad(bound)(params)["solver"]["shift"]
    moved = params | {"solver": {"shift": params["solver"]["shift"] + 0.02 * slope / jnp.max(jnp.abs(slope))}}
    assert bound(moved) > bound(params)
    # A forecast keeps them where they are.
    longer, _ = priors.extended(spec, priors.Future(4))
    np.testing.assert_allclose(longer.apply(moved).inducing, spec.apply(moved).inducing)


def in_precision(dtype, number, evidence):
    """Conditioned on values 1.3 next to this evidence, in one type or the other."""
    times = jnp.linspace(0, 1, len(evidence), dtype=dtype)
    weights = jnp.asarray(evidence, dtype)[None, :, None]
    solver = solvers.inducing(number, learned=False)
    kernel = kernels.RBF(0.3)
    hyperparameters = jax.tree.map(lambda x: jnp.asarray(x, dtype)[None], kernel.init(times))
    prior = solver.prior(kernel, hyperparameters, times, jnp.zeros((1, len(evidence)), dtype))
    return jax.jit(prior.condition)(DiagonalGaussian(1.3 * weights, -0.5 * weights))


@pytest.mark.parametrize(("strength", "tolerance"), [(1e4, 0.03), (1e6, 0.3)])
def test_float32_next_to_strong_evidence(strength, tolerance):
    """What is left of variances is no rounding error, which next to evidence of 10⁶ would be most of them."""
    evidence = np.full(100, strength)
    exact, got = (in_precision(dtype, 25, evidence) for dtype in (jnp.float64, jnp.float32))
    np.testing.assert_allclose(got.log_normalizer, exact.log_normalizer, rtol=1e-4)
    np.testing.assert_allclose(got.variance, exact.variance, rtol=tolerance)
    np.testing.assert_allclose(got.mean, exact.mean, atol=3e-3)


@pytest.mark.parametrize("number", [20, 8])
def test_float32_where_it_cannot_hold_the_evidence(number):
    """Next to sites without evidence: a lower bound still, and means that are not those of other evidence."""
    evidence = np.zeros(20)
    evidence[7:9] = 1e8, 5e7
    exact, got = (in_precision(dtype, number, evidence) for dtype in (jnp.float64, jnp.float32))
    rounding = 16 * float(exact.log_normalizer[0]) * np.finfo(np.float32).eps
    assert -1e-5 * exact.log_normalizer[0] < got.log_normalizer[0] - exact.log_normalizer[0] < rounding
    np.testing.assert_allclose(got.mean, exact.mean, atol=0.05)
    assert np.all(got.variance > 0)


def test_refusals():
    with pytest.raises(
        ValueError, match=r"inducing\(10\) has more inducing locations than there are sites, 9"
    ):
        process(solvers.inducing(10)).apply(process(solvers.dense()).init(jax.random.key(0)))
    with pytest.raises(ValueError, match="inducing: number"):
        solvers.inducing(0)
    with pytest.raises(ValueError, match="inducing: num_sites must be a positive integer, got 0"):
        solvers.Inducing(3, num_sites=0)
    with pytest.raises(ValueError, match="learned where all data have the same times"):
        priors.gaussian_process(num_sites=5, solver=solvers.inducing(3, learned=True))
    positive = DiagonalGaussian(jnp.zeros((1, SITES, LATENTS)), jnp.ones((1, SITES, LATENTS)))
    spec = process(solvers.inducing(4))
    assert jnp.isnan(spec.apply(spec.init(jax.random.key(0))).condition(positive).log_normalizer).all()
