"""Linear-Gaussian chains as priors."""

import functools

import jax
import numpy as np
import pytest
from cases.dense_chains import dense

import rpm_jax as rpm
from rpm_jax import priors
from rpm_jax.expfam import Gaussian

KEY = jax.random.key(0)
DECAYING = np.array([[0.9, 0.2], [-0.1, 0.7]])
MOMENTS = {
    "initial_mean": np.zeros(2),
    "initial_covariance": np.eye(2),
    "transition": DECAYING,
    "bias": np.zeros(2),
    "noise_covariance": 0.1 * np.eye(2),
}


def test_single_site_is_static():
    prior = priors.LinearGaussian(**MOMENTS, num_sites=1)
    natural = Gaussian.from_mean_and_covariance(MOMENTS["initial_mean"], MOMENTS["initial_covariance"])
    potentials = Gaussian(np.array([[[0.3, -1.0]]]), -0.5 * np.array([[[[2.0, 0.5], [0.5, 1.0]]]]))
    got, expected = (jax.jit(p.condition)(potentials) for p in (prior, priors.Static(natural)))
    np.testing.assert_allclose(got.log_normalizer, expected.log_normalizer, rtol=1e-12)
    np.testing.assert_allclose(got.sites.eta1, expected.sites.eta1, rtol=1e-10)
    assert got.cross_covariance.shape == (1, 0, 2, 2)


def test_varying_by_step_is_the_same_as_repeated():
    varying = {
        name: np.stack([value] * 3) if not name.startswith("initial") else value
        for name, value in MOMENTS.items()
    }
    first, second = (priors.LinearGaussian(**moments, num_sites=4).sites() for moments in (MOMENTS, varying))
    np.testing.assert_allclose(first.eta2, second.eta2, rtol=1e-14)


def test_prior_draws_have_its_marginals():
    prior = priors.LinearGaussian(**(MOMENTS | {"bias": np.array([0.3, -0.2])}), num_sites=6)
    draws = prior.sample(KEY, (20_000,))
    sites = prior.sites()
    draws = np.asarray(draws)
    np.testing.assert_allclose(draws.mean(0), sites.mean(), atol=0.05)
    np.testing.assert_allclose(np.cov(draws[:, -1].T), sites.covariance()[-1], atol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_sites": 0}, "num_sites must be a positive integer, got 0"),
        ({"noise_covariance": np.diag([1.0, -0.1])}, "noise_covariance must be positive semi-definite"),
        ({"initial_covariance": np.array([[1.0, 0.5], [0.0, 1.0]])}, "initial_covariance must be symmetric"),
        ({"transition": np.eye(3)}, r"transition must have shape \(2, 2\) or \(3, 2, 2\) by step"),
        (
            {"transition": np.ones((4, 2, 2))},
            r"transition must have shape .*\(T = 4 sites\), got \(4, 2, 2\)",
        ),
        ({"bias": np.zeros(3)}, r"bias must have shape \(2,\)"),
        ({"bias": np.array([0.0, np.nan])}, "bias must be finite"),
        ({"initial_mean": np.zeros(())}, "initial_mean must have shape"),
        ({"transition": 1.5 * np.eye(2), "num_sites": 1000}, "out of the range of float64: .* modulus 1.5"),
        ({"transition": 1e90 * np.ones((3, 2, 2))}, "out of the range of float64"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        priors.LinearGaussian(**({**MOMENTS, "num_sites": 4} | change))


# Specifications.


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("transition", ["rotations", "full", "diagonal"])
def test_stationary_specifications_are_stationary(transition, size):
    """Whatever the parameters: N(0, I) at every site, a stable A, and Q = I − A Aᵀ."""
    spec = priors.linear_gaussian(size, 5, transition=transition)
    params = jax.tree.map(np.asarray, jax.jit(spec.init)(KEY))
    rng = np.random.default_rng(size)

    @jax.jit
    def chain(params):
        prior = spec.apply(params)
        return prior, prior.sites().covariance()

    for scale in (0.0, 3.0):
        prior, covariance = chain(
            jax.tree.map(lambda x: x + scale * rng.normal(size=x.shape), params)  # noqa: B023
        )
        a = np.asarray(prior.transition)
        assert np.abs(np.linalg.eigvals(a)).max() < 1
        np.testing.assert_allclose(prior.noise_covariance, np.eye(size) - a @ a.T, atol=1e-12)
        np.testing.assert_allclose(covariance, np.stack([np.eye(size)] * 5), atol=1e-9)


@pytest.mark.parametrize(
    ("transition", "start"),
    [
        ("full", 0.9 * DECAYING),
        ("diagonal", np.diag([0.3, 0.99])),
        ("rotations", 0.97 * np.array([[np.cos(2.0), -np.sin(2.0)], [np.sin(2.0), np.cos(2.0)]])),
    ],
)
def test_start_comes_back(transition, start):
    spec = priors.linear_gaussian(2, 5, transition=transition, start=start)
    np.testing.assert_allclose(spec.apply(spec.init(KEY)).transition, start, rtol=1e-9, atol=1e-12)


def test_free_noise_keeps_the_law_invariant():
    spec = priors.linear_gaussian(2, 7, noise="free", learned=("transition", "noise", "mean"))
    params = spec.init(KEY)
    assert set(params) == {"transition", "noise", "mean"}
    np.testing.assert_allclose(spec.apply(params).initial_covariance, np.eye(2), atol=1e-9)
    moved = jax.tree.map(lambda x: x + 0.5, params)

    @jax.jit
    def questions(params):
        sites = spec.apply(params).sites()
        slope = jax.grad(lambda p: spec.apply(p).sites().log_partition().sum())(params)
        return sites.mean(), sites.covariance(), slope

    mean, covariance, gradient = questions(moved)
    np.testing.assert_allclose(covariance, np.stack([covariance[0]] * 7), rtol=1e-9)
    np.testing.assert_allclose(mean, 0.5 * np.ones((7, 2)), rtol=1e-9)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))


def test_free_chains_and_what_is_learned():
    spec = priors.linear_gaussian(2, 4, stationary=False, start=1.1 * np.eye(2))
    params = spec.init(KEY)
    assert set(params) == {"transition", "noise", "initial"}
    np.testing.assert_array_equal(spec.apply(params).transition, 1.1 * np.eye(2))
    held = priors.linear_gaussian(2, 4, learned=())
    assert held.init(KEY) == {}
    started = priors.linear_gaussian(2, 4, initial="free")
    assert set(started.init(KEY)) == {"transition", "initial"}
    np.testing.assert_allclose(started.apply(started.init(KEY)).initial_covariance, np.eye(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"start": 1.2 * np.eye(2)},
            "start must be stable for a stationary chain.* got a largest modulus of 1.2",
        ),
        ({"start": np.array([[0.5, 3.0], [0.0, 0.5]]), "transition": "full"}, "singular values below 1"),
        ({"start": DECAYING, "transition": "diagonal"}, "start must be of the form 'diagonal'"),
        ({"start": np.eye(3)}, r"start must have shape \(2, 2\)"),
        ({"transition": "dense"}, "transition must be one of 'full', 'diagonal', 'rotations', got 'dense'"),
        ({"noise": "white"}, "noise must be one of"),
        ({"initial": "zero"}, "initial must be one of"),
        ({"learned": ("A",)}, "learned must be one of"),
        ({"stationary": False, "noise": "invariant"}, "stationary=False needs noise='free'"),
        ({"num_sites": 0}, "num_sites must be a positive integer, got 0"),
        ({"num_latents": 0}, "num_latents must be a positive integer, got 0"),
    ],
)
def test_specification_errors(options, message):
    with pytest.raises(ValueError, match=message):
        priors.linear_gaussian(**({"num_latents": 2, "num_sites": 4} | options))


# Steps that differ.

VARYING = {
    "stationary": {"transition": "full", "varies": "transition"},
    "free": {"stationary": False, "varies": ("transition", "mean", "noise")},
}


@pytest.mark.parametrize("name", VARYING)
def test_steps_of_their_own_are_those_of_the_dense_gaussian(name):
    """Posterior moments and the gradient of the log-normaliser in what each step has of its own."""
    spec = priors.linear_gaussian(2, 4, **VARYING[name])
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape), jax.jit(spec.init)(KEY))
    root = rng.normal(size=(4, 2, 2))
    linear, precision = rng.normal(size=(4, 2)), root @ np.swapaxes(root, -1, -2)

    def ours(params):
        posterior = spec.apply(params).condition(Gaussian(linear, -0.5 * precision))
        moments = posterior.mean, posterior.covariance, posterior.cross_covariance
        return posterior.log_normalizer, moments

    def expected(params):
        value, *moments = dense(spec.apply(params).chain, linear, precision, None)
        return value, tuple(moments[:3])

    got, wanted = (jax.jit(jax.value_and_grad(f, has_aux=True))(params) for f in (ours, expected))
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10)
    for part in np.atleast_1d(VARYING[name]["varies"]):
        slope = np.asarray(got[1][part])
        assert slope.shape[0] == 3
        assert np.all(np.abs(np.diff(slope, axis=0)).max(axis=tuple(range(1, slope.ndim))) > 1e-3), part


@pytest.mark.parametrize("transition", ["full", "rotations", "diagonal"])
def test_steps_of_their_own_keep_an_invariant_law(transition):
    """N(μ, I) at every site, with Q_t = I − A_t A_tᵀ."""
    spec = priors.linear_gaussian(
        3, 4, transition=transition, varies="transition", learned=("transition", "mean")
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + rng.normal(size=x.shape), spec.init(KEY))

    @jax.jit
    def chain(params):
        prior = spec.apply(params)
        return prior.transition, prior.sites().mean(), prior.sites().covariance()

    a, mean, covariance = chain(params)
    assert a.shape == (3, 3, 3)
    assert np.abs(np.diff(a, axis=0)).max() > 0.1
    np.testing.assert_allclose(mean, np.stack([params["mean"]] * 4), rtol=1e-9)
    np.testing.assert_allclose(covariance, np.stack([np.eye(3)] * 4), atol=1e-9)


@pytest.mark.parametrize("stationary", [True, False])
def test_steps_of_their_own_start_alike_or_from_those_given(stationary):
    options = {"transition": "full", "stationary": stationary}
    alike = priors.linear_gaussian(2, 4, **options)
    varying = priors.linear_gaussian(2, 4, **options, varies="transition")
    first, second = (jax.jit(spec.apply)(jax.jit(spec.init)(KEY)).sites() for spec in (alike, varying))
    np.testing.assert_allclose(second.eta2, first.eta2, rtol=1e-9, atol=1e-12)
    start = np.stack([0.9 * DECAYING, 0.5 * DECAYING, -0.2 * np.eye(2)])
    given = priors.linear_gaussian(2, 4, **options, varies=("transition",), start=start)
    np.testing.assert_allclose(given.apply(given.init(KEY)).transition, start, rtol=1e-9, atol=1e-12)
    assert set(varying.init(KEY)) == set(alike.init(KEY))
    free = priors.linear_gaussian(2, 4, **options, noise="free", initial="free", varies="noise")
    noise = jax.jit(free.apply)(jax.jit(free.init)(KEY)).noise_covariance
    assert noise.shape == (3, 2, 2)
    np.testing.assert_allclose(noise, np.stack([noise[0]] * 3), rtol=1e-12)


def test_steps_behind_the_last_are_not_known():
    spec = priors.linear_gaussian(2, 4, varies="transition")
    message = "horizon: each step of this linear_gaussian has its own transition .*mask the future"
    with pytest.raises(ValueError, match=message):
        priors.extended(spec, priors.Future(2))


@pytest.mark.slow
def test_a_fit_learns_the_steps():
    """Latents that turn in one step, and not at all in the next; filtering is the posterior at the end."""
    rng = np.random.default_rng(0)
    angles = np.cumsum(np.concatenate([rng.uniform(0, 6, size=(40, 1)), np.tile([1.2, 0.0], (40, 2))], 1), 1)
    orbit = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    views = tuple(orbit @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(40, 5, 3)) for _ in range(2))
    start = np.tile(0.9 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]), (4, 1, 1))
    prior = priors.linear_gaussian(2, 5, varies="transition", start=start)
    model = rpm.RPM(prior, rpm.factors.per_view(rpm.networks.PointwiseMLP((8,))))
    fit = rpm.fit(model, views, key=KEY, num_steps=200, steps_per_call=200)
    turns = np.abs(np.asarray(fit.params["prior"]["transition"]["angle"])[:, 0])
    assert turns[[0, 2]].min() > turns[[1, 3]].max() + 0.2
    belief = fit.filter_init(2)
    for t in range(5):
        belief, site = rpm.forecasting.filter_step(belief, [view[:2, t] for view in views])
    np.testing.assert_allclose(site.mean(), fit.posterior().mean[:2, -1], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"varies": "initial"}, "varies must be one of 'transition', 'mean', 'noise', got 'initial'"),
        ({"varies": "mean"}, "varies='mean' needs stationary=False"),
        ({"varies": "noise"}, "varies='noise' needs noise='free'"),
        ({"varies": "noise", "noise": "free"}, "needs initial='free', since steps that differ"),
        ({"varies": "transition", "num_sites": 1}, "needs num_sites of at least 2"),
        (
            {"varies": "transition", "start": np.zeros((2, 2, 2))},
            r"start must have shape \(2, 2\) or \(3, 2, 2\) by step for 2 latents, got \(2, 2, 2\)",
        ),
        ({"start": np.zeros((3, 2, 2))}, r"start must have shape \(2, 2\) for 2 latents, got \(3, 2, 2\)"),
        (
            {
                "varies": "transition",
                "transition": "full",
                "start": np.stack([np.eye(2) * r for r in (0.5, 0.1, 1.1)]),
            },
            "start must be stable .* modulus of 1.1",
        ),
        (
            {
                "varies": "transition",
                "transition": "diagonal",
                "start": np.stack([0.5 * np.eye(2)] * 2 + [DECAYING]),
            },
            "start must be of the form 'diagonal'",
        ),
    ],
)
def test_errors_of_steps_of_their_own(options, message):
    with pytest.raises(ValueError, match=message):
        priors.linear_gaussian(**({"num_latents": 2, "num_sites": 4} | options))


def test_inputs_do_not_drive_steps_of_their_own():
    with pytest.raises(
        ValueError, match=r"base must have steps that are alike .* got varies=\('transition',\)"
    ):
        priors.driven_linear_gaussian(priors.linear_gaussian(2, 4, varies="transition"), priors.InputTable(2))


# Fits.


@functools.cache
def rotating(size=12, steps=6):
    """Two views of a noisy rotation, (N, T, 3) each."""
    rng = np.random.default_rng(0)
    angle = 0.5
    turn = 0.98 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    z = [rng.normal(size=(size, 2))]
    for _ in range(steps - 1):
        z.append(z[-1] @ turn.T + np.sqrt(1 - 0.98**2) * rng.normal(size=(size, 2)))
    z = np.stack(z, axis=1)
    return tuple(z @ rng.normal(size=(2, 3)) + 0.2 * rng.normal(size=(size, steps, 3)) for _ in range(2))


@pytest.mark.slow
def test_a_fit_with_missing_view_times_em_and_new_data():
    views = rotating()
    mask = np.random.default_rng(1).random((12, 2, 6)) < 0.8
    model = rpm.RPM(priors.linear_gaussian(2, 6), rpm.factors.per_view(rpm.networks.PointwiseMLP((4,))))
    options = {"mask": mask, "num_steps": 20, "steps_per_call": 20, "batch_size": 6}
    fit = rpm.fit(model, views, key=KEY, **options)
    assert fit.history.skipped == 0
    assert fit.history.train[-1] > fit.history.train[0]
    posterior = fit.posterior()
    assert posterior.covariance.shape == (12, 6, 2, 2)
    assert posterior.cross_covariance.shape == (12, 5, 2, 2)
    assert posterior.sample(KEY, (3,)).shape == (3, 12, 6, 2)
    assert np.isfinite(fit.evaluate(tuple(view[:3] for view in views))).all()
    # At the same parameters, EM's value is the bound's; β weighs the divergence.
    data = rpm.as_data(views, mask)
    values = [rpm.bound(model, fit.params, data.all(), data, em=em) for em in (False, True)]
    np.testing.assert_allclose(*values, rtol=1e-9)


@pytest.mark.slow
def test_a_noisy_rotation_is_found():
    """64 × 15 × 6 numbers: the eigenvalue to 0.015, the bound above that of independent processes."""
    views = rotating(64, 15)
    factors = rpm.factors.per_view(rpm.networks.PointwiseMLP((20,)))
    chain = rpm.fit(rpm.RPM(priors.linear_gaussian(2, 15), factors), views, key=KEY)
    eigenvalues = np.linalg.eigvals(np.asarray(chain.prior.transition))
    expected = 0.98 * np.exp(0.5j)
    assert np.abs(eigenvalues - expected).min() < 0.015
    process = priors.gaussian_process(np.arange(15.0), "matern32", num_latents=2)
    independent = rpm.fit(rpm.RPM(process, factors), views, key=KEY)
    assert chain.bound > independent.bound + 5
