"""The model: posterior, inference for new data, sampling, missing data, EM."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init, recognise, two_views

import rpm_jax as rpm
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP, concatenated, stacked

KEY = jax.random.key(0)
SIZE, SITES = 8, 2
VIEWS = rpm.as_data(two_views(0, size=SIZE, sites=SITES))
NEW = rpm.as_data(two_views(1, size=5, sites=SITES))
PRIOR = rpm.priors.gaussian_process(np.arange(SITES) / 2.0)
FACTORS = rpm.factors.per_view(PointwiseMLP((3,)))

MODELS = {
    "conjugate": rpm.RPM(PRIOR, FACTORS),
    "amortized": rpm.RPM(PRIOR, FACTORS, rpm.posteriors.amortized(stacked(PointwiseMLP((3,))))),
    "saturated": rpm.RPM(PRIOR, FACTORS, rpm.posteriors.saturated(), rpm.auxiliaries.shifted()),
}
STATIC = rpm.RPM(
    rpm.priors.static(DiagonalGaussian(np.array([0.3]), np.array([-0.7])), learnable=True),
    rpm.factors.per_view(MLP((3,))),
    rpm.posteriors.saturated(),
)
STATIC_VIEWS = rpm.as_data(two_views(2, size=SIZE))


def everything(data):
    return data.batch(jnp.arange(data.size))


@pytest.fixture(scope="module")
def params():
    return {name: init(model, KEY, VIEWS) for name, model in MODELS.items()}


# The bound.


def test_bound_is_that_of_the_objective(params):
    """Factors are the prior's marginals plus the networks' potentials; all data are components."""
    model, p = MODELS["conjugate"], params["conjugate"]

    @jax.jit
    def expected(p):
        prior = model.prior_of(p)
        recognition = FACTORS.apply(p["factors"], VIEWS.views, prior.sites())
        factors = prior.sites() + recognition.potentials
        return rpm.objectives.inner_bound(prior, factors, factors)

    np.testing.assert_allclose(bound(model, p, everything(VIEWS), VIEWS), expected(p), rtol=1e-12)


def test_index_picks_rows(params):
    """Of the table; views are the batch's own."""
    p = params["saturated"]
    keys = iter(jax.random.split(KEY, 10))
    moved = {
        **p,
        **{
            part: jax.tree.map(lambda x: x + jax.random.normal(next(keys), x.shape), p[part])
            for part in ("posterior", "auxiliary")
        },
    }
    full = bound(MODELS["saturated"], moved, everything(VIEWS), VIEWS)
    index = jnp.array([6, 0, 6])
    some = bound(MODELS["saturated"], moved, VIEWS.batch(index), VIEWS)
    np.testing.assert_allclose(some, full[index], rtol=1e-12)
    wrong_rows = rpm.Batch(index[::-1] + 1, VIEWS.batch(index).views)
    assert np.all(bound(MODELS["saturated"], moved, wrong_rows, VIEWS) != some)


def test_bound_may_be_transformed(params):
    """vmap over parameters, and jit of what is differentiated: what those need who write their own loop."""
    model = MODELS["conjugate"]
    both = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), params["conjugate"])
    batch = everything(VIEWS)
    got = jax.jit(jax.vmap(lambda p: rpm.bound(model, p, batch, VIEWS)))(both)
    np.testing.assert_allclose(got[0], bound(model, params["conjugate"], batch, VIEWS), rtol=1e-10)
    second = jax.tree.map(lambda x: x[1], both)
    np.testing.assert_allclose(got[1], bound(model, second, batch, VIEWS), rtol=1e-10)


# Posterior and inference.


@pytest.mark.parametrize("name", MODELS)
def test_posterior_of_the_fitted_data(name, params):
    q = rpm.inference.posterior(rpm.Fitted(MODELS[name], params[name], VIEWS))
    assert q.mean.shape == q.standard_deviation.shape == (SIZE, SITES, 1)
    assert q.log_normalizer.shape == (SIZE,)
    assert np.all(q.standard_deviation > 0)
    assert q.sample(KEY, (3,)).shape == (3, SIZE, SITES, 1)
    inferred = rpm.inference.inferred(rpm.Fitted(MODELS[name], params[name], VIEWS))
    np.testing.assert_allclose(q.mean, inferred.posterior.mean, rtol=1e-10)


@pytest.mark.parametrize("name", ["conjugate", "amortized"])
def test_inference_without_rows_needs_nothing_but_the_views(name, params):
    model = MODELS[name]
    q = rpm.inference.infer(rpm.Fitted(model, params[name], VIEWS), VIEWS.views)
    np.testing.assert_allclose(
        q.mean, rpm.inference.posterior(rpm.Fitted(model, params[name], VIEWS)).mean, rtol=1e-10
    )
    q = rpm.inference.infer(rpm.Fitted(model, params[name], VIEWS), NEW.views)
    assert q.mean.shape == (5, SITES, 1)


def test_conjugate_posterior_by_hand(params):
    model, p = MODELS["conjugate"], params["conjugate"]
    factors = recognise(model, p, VIEWS.all()).natural
    prior = model.prior_of(p)
    potentials = (factors - prior.sites()).sum(-2)
    precision = np.linalg.inv(prior.covariance[0])
    q = rpm.inference.posterior(rpm.Fitted(model, p, VIEWS))
    for n in range(SIZE):
        total = precision - 2.0 * np.diag(potentials.eta2[n, :, 0])
        np.testing.assert_allclose(
            q.mean[n, :, 0], np.linalg.solve(total, potentials.eta1[n, :, 0]), rtol=1e-9
        )


def test_inference_with_rows(params):
    """New rows maximise the bound with the model held fixed: more steps, a better bound."""
    model, p = MODELS["saturated"], params["saturated"]
    values = [
        rpm.inference.evaluate(
            rpm.Fitted(model, p, VIEWS), NEW, against=rpm.inference.Against(num_steps=steps)
        ).mean()
        for steps in (1, 40, 400)
    ]
    assert values[0] < values[1] < values[2]
    conjugate = bound(MODELS["conjugate"], {**p, "posterior": {}, "auxiliary": {}}, everything(NEW), VIEWS)
    assert values[2] > conjugate.mean()
    q = rpm.inference.infer(rpm.Fitted(model, p, VIEWS), NEW, against=rpm.inference.Against(num_steps=40))
    assert q.mean.shape == (5, SITES, 1)
    fitted = rpm.inference.fit_rows(
        rpm.Fitted(model, p, VIEWS), NEW, against=rpm.inference.Against(num_steps=40)
    )
    np.testing.assert_allclose(
        q.mean, rpm.inference.posterior(rpm.Fitted(model, fitted, NEW)).mean, rtol=1e-10
    )
    for part in ("prior", "factors"):
        for a, b in zip(jax.tree.leaves(p[part]), jax.tree.leaves(fitted[part]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_inference_of_the_fitted_data_finds_their_rows(params):
    """Rows learned with the model held fixed, and rows found by infer for the same data, agree."""
    model = MODELS["saturated"]
    fit = rpm.fit(
        model,
        VIEWS,
        key=KEY,
        params=params["saturated"],
        num_steps=600,
        freeze=("prior", "networks"),
    )
    found = rpm.inference.evaluate(
        rpm.Fitted(model, fit.params, VIEWS), VIEWS, against=rpm.inference.Against(num_steps=600)
    )
    before = fit.history.train[0]
    assert fit.bound - before > 0.1
    np.testing.assert_allclose(found.mean(), fit.bound, atol=0.01)


@pytest.mark.parametrize("mixture", ["train", "given", "both"])
def test_whose_components(mixture, params):
    components = {
        "train": VIEWS,
        "given": NEW,
        "both": rpm.as_data([np.concatenate(pair) for pair in zip(VIEWS.views, NEW.views, strict=True)]),
    }
    model, p = MODELS["conjugate"], params["conjugate"]
    got = rpm.inference.evaluate(rpm.Fitted(model, p, VIEWS), NEW, against=mixture)
    np.testing.assert_allclose(got, bound(model, p, everything(NEW), components[mixture]), rtol=1e-10)


def test_union_of_weighted_and_masked_data():
    """Weights are shared out by number of data, and missing view-times stay missing."""
    mask = np.random.default_rng(0).uniform(size=(SIZE, 2)) < 0.7
    old = rpm.as_data(VIEWS, mask, np.arange(8.0))
    union = rpm.data.choose_mixture(NEW, old, "both")
    weights = np.exp(union.log_weights)
    np.testing.assert_allclose(weights.sum(), 1.0)
    np.testing.assert_allclose(weights[SIZE:], 1 / 13)
    np.testing.assert_allclose(weights[:SIZE] / weights[0], np.exp(np.arange(8.0)), rtol=1e-10)
    np.testing.assert_array_equal(union.mask[:SIZE, :, 0], mask)
    assert np.all(union.mask[SIZE:])


def test_many_data_are_evaluated_in_pieces(params):
    """More than are evaluated at once: the same numbers."""
    many = rpm.as_data(two_views(5, size=70, sites=SITES))
    model, p = MODELS["conjugate"], params["conjugate"]
    got = rpm.inference.evaluate(rpm.Fitted(model, p, VIEWS), many)
    np.testing.assert_allclose(got, bound(model, p, everything(many), VIEWS), rtol=1e-9)


# A generative model.


@pytest.fixture(scope="module")
def draws(params):
    model, p = MODELS["conjugate"], params["conjugate"]
    draw = rpm.generation.sample(rpm.Fitted(model, p, VIEWS), KEY, (10_000,))
    return draw, rpm.generation.component_log_weights(rpm.Fitted(model, p, VIEWS), draw.latents)


def test_component_weights(params, draws):
    """log p(x_j^n | z_t), against densities."""
    draw, log_weights = draws
    assert draw.latents.shape == (10_000, SITES, 1)
    assert log_weights.shape == (10_000, SIZE, 2, SITES)
    np.testing.assert_allclose(np.exp(log_weights).sum(1), 1.0, rtol=1e-10)
    model = MODELS["conjugate"]
    factors = recognise(model, params["conjugate"], VIEWS.all()).natural
    z = draw.latents[:5, None, None]
    log_density = factors.log_prob(z)
    expected = log_density - jax.nn.logsumexp(log_density, axis=1, keepdims=True)
    np.testing.assert_allclose(log_weights[:5], expected, rtol=1e-8, atol=1e-8)


def test_drawn_indices_follow_the_weights(draws):
    draw, log_weights = draws
    assert draw.indices.shape == (10_000, 2, SITES)
    probabilities = np.exp(log_weights)
    hits = np.asarray(draw.indices)[:, None] == np.arange(SIZE)[:, None, None]
    deviation = np.sqrt(np.sum(probabilities * (1 - probabilities), axis=0))
    assert np.abs(np.sum(hits - probabilities, axis=0) / deviation).max() < 5


def test_drawn_latents_follow_the_prior(params, draws):
    z = np.asarray(draws[0].latents)[..., 0]
    covariance = MODELS["conjugate"].prior_of(params["conjugate"]).covariance[0]
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(10_000)
    assert np.abs(z.T @ z / 10_000 - covariance).max() < 5 * np.sqrt(2 / 10_000)


def test_mixture_density_integrates_to_one(params):
    """F_jt is a density over z, weighted and with missing components too."""
    points = np.linspace(-12, 12, 2001)
    latents = np.broadcast_to(points[:, None, None], (2001, SITES, 1))
    mask = np.random.default_rng(0).uniform(size=(SIZE, 2, SITES)) < 0.7
    for data in (VIEWS, rpm.as_data(VIEWS, mask, np.arange(8.0))):
        log_density = rpm.generation.mixture_log_density(
            rpm.Fitted(MODELS["conjugate"], params["conjugate"], data), latents
        )
        assert log_density.shape == (2001, 2, SITES)
        np.testing.assert_allclose(np.exp(log_density).sum(0) * (points[1] - points[0]), 1.0, rtol=1e-6)


# Missing data, pooled sites, a single view.


def test_missing_data_from_end_to_end():
    """NaN where masked: a fit, its posterior, inference and draws know nothing of it."""
    mask = np.random.default_rng(3).uniform(size=(SIZE, 2, SITES)) < 0.75
    mask[0] = False  # nothing at all
    mask[1, 0] = False
    views = tuple(np.where(mask[:, j], view, np.nan) for j, view in enumerate(VIEWS.views))
    model = MODELS["conjugate"]
    fits = [
        rpm.fit(model, v, key=KEY, num_steps=20, mask=mask)
        for v in (views, tuple(np.where(mask[:, j], v, 7.0) for j, v in enumerate(VIEWS.views)))
    ]
    for a, b in zip(*(jax.tree.leaves(fit.params) for fit in fits), strict=True):
        np.testing.assert_array_equal(a, b)
    fit = fits[0]
    assert np.isfinite(fit.bound)
    assert fit.history.skipped == 0
    data = rpm.as_data(views, mask)
    q = rpm.inference.posterior(rpm.Fitted(model, fit.params, data))
    assert np.all(np.isfinite(q.mean))
    np.testing.assert_allclose(q.mean[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(q.standard_deviation[0], 1.0, rtol=1e-10)
    draw = rpm.generation.sample(rpm.Fitted(model, fit.params, data), KEY, (200,))
    j, t = np.meshgrid(np.arange(2), np.arange(SITES), indexing="ij")
    assert np.all(mask[np.asarray(draw.indices), j, t])


def test_mask_of_whole_views():
    """(N, J) is (N, J, T) with the same at every site."""
    mask = np.random.default_rng(4).uniform(size=(SIZE, 2)) < 0.7
    wide = np.repeat(mask[..., None], SITES, axis=2)
    model = MODELS["amortized"]
    bounds = []
    for m in (mask, wide):
        data = rpm.as_data(VIEWS, m)
        p = init(model, KEY, data)
        bounds.append(bound(model, p, everything(data), data))
    np.testing.assert_allclose(*bounds, rtol=1e-12)


def test_pooled_model():
    """F_j over data and sites: N·T components for every site."""
    model = rpm.RPM(PRIOR, FACTORS, pooled=True)
    data = rpm.as_data(VIEWS, None, np.arange(8.0))
    p = init(model, KEY, data)
    mixture = jax.jit(lambda p: model.mixture(p, rpm.feeds.Lazy(data)))(p).components
    assert mixture.natural.batch_shape == (SIZE * SITES, 2, 1)
    weights = np.exp(mixture.log_weights)
    np.testing.assert_allclose(weights.reshape(SIZE, SITES).sum(1), np.exp(data.log_weights), rtol=1e-10)
    factors = recognise(model, p, data.all()).natural
    np.testing.assert_array_equal(mixture.natural.eta1[3 * SITES + 1, 1, 0], factors.eta1[3, 1, 1])
    assert np.all(np.isfinite(bound(model, p, everything(data), data)))
    z = np.zeros((SITES, 1))
    log_weights = rpm.generation.component_log_weights(rpm.Fitted(model, p, data), z)
    assert log_weights.shape == (SIZE * SITES, 2, SITES)
    assert np.all(
        np.asarray(rpm.generation.sample(rpm.Fitted(model, p, data), KEY, (50,)).indices) < SIZE * SITES
    )


def test_a_single_view():
    """Nothing to learn from with one site; a sequence explains itself."""
    with pytest.raises(ValueError, match=r"views: a static model .* needs at least J = 2 views, got 1"):
        STATIC.init(KEY, STATIC_VIEWS.views[:1])
    model = MODELS["conjugate"]
    data = rpm.as_data(VIEWS.views[:1])
    assert np.all(np.isfinite(bound(model, init(model, KEY, data), everything(data), data)))


# EM.


@functools.partial(jax.jit, static_argnames="em")
def em_gradient(params, em):
    batch = everything(STATIC_VIEWS)
    return jax.value_and_grad(lambda p: rpm.bound(STATIC, p, batch, STATIC_VIEWS, em=em).mean())(params)


@pytest.fixture(scope="module")
def em_params():
    p = init(STATIC, KEY, STATIC_VIEWS)
    rows = p["posterior"]["rows"]
    return {**p, "posterior": {"rows": rows + 0.3 * jax.random.normal(KEY, rows.shape)}}


def test_em_changes_gradients_but_not_values(em_params):
    (plain, gradient), (em, em_slope) = (em_gradient(em_params, em=em) for em in (False, True))
    np.testing.assert_allclose(em, plain, rtol=1e-12)
    differences = [
        np.abs(a - b).max()
        for part in ("prior", "factors")
        for a, b in zip(jax.tree.leaves(gradient[part]), jax.tree.leaves(em_slope[part]), strict=True)
    ]
    assert max(differences) > 1e-3


def test_m_step_by_hand(em_params):
    """E_q[log p(z) + Σ_j log f_j] − Σ_j U_j, with q's moments and ξ as plain numbers."""
    data = STATIC_VIEWS

    @jax.jit
    def by_hand(p):
        batch = everything(data)
        own = STATIC.recognise(em_params, batch)
        inferred = jax.lax.stop_gradient(STATIC.infer(em_params, batch, own, None))
        q = inferred.posterior.sites
        first, second = (m[:, None] for m in q.mean_parameters())  # (N, 1, 1, 1)

        def expected(family):  # E_q[⟨η, t⟩] − A(η)
            linear = jnp.sum(family.eta1 * first + family.eta2 * second, axis=-1)
            return linear - family.log_partition()

        def m_step(p):
            sites = STATIC.prior_of(p).sites()
            factors = STATIC.recognise(p, data.all()).natural
            xi = q[:, None]
            tilted = factors[None] + (xi - sites)[:, None]
            log_mixture = jax.nn.logsumexp(
                tilted.log_partition() - factors.log_partition(), axis=1
            ) - jnp.log(SIZE)
            upper = log_mixture + jnp.sum(sites.eta1 * first + sites.eta2 * second, axis=-1)
            return jnp.mean(jnp.sum(expected(factors) - upper, axis=(1, 2)) + expected(sites[None])[:, 0, 0])

        return jax.grad(m_step)(p)

    expected = by_hand(em_params)
    _, got = em_gradient(em_params, em=True)
    for part in ("prior", "factors"):
        for a, b in zip(jax.tree.leaves(got[part]), jax.tree.leaves(expected[part]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_e_step_is_the_plain_gradient_of_the_rows(em_params):
    gradients = [em_gradient(em_params, em=em)[1]["posterior"]["rows"] for em in (False, True)]
    np.testing.assert_allclose(*gradients, rtol=1e-9, atol=1e-12)


# Errors.


def test_errors(params):
    saturated = rpm.Fitted(MODELS["saturated"], params["saturated"], VIEWS)
    conjugate = rpm.Fitted(MODELS["conjugate"], params["conjugate"], VIEWS)
    with pytest.raises(
        ValueError, match=r"data must be the 8 data of the fit.*got 5; use infer\(fitted, views"
    ):
        rpm.inference.posterior(dataclasses.replace(saturated, data=NEW))
    with pytest.raises(ValueError, match=r"against .*must be one of 'train', 'given', 'both', got 'test'"):
        rpm.inference.infer(saturated, NEW, against="test")
    with pytest.raises(ValueError, match=r"views must hold the J = 2 views of the fit, got 1"):
        rpm.inference.evaluate(conjugate, NEW.views[:1], against="both")
    with pytest.raises(ValueError, match=r"views must be as many .* got J = 1 views"):
        rpm.inference.infer(conjugate, NEW.views[:1])
    with pytest.raises(
        ValueError, match=r"mask must have shape .* with T = 2 sites as in the prior, got \(8, 2, 3\)"
    ):
        MODELS["conjugate"].init(KEY, rpm.as_data(VIEWS, np.ones((SIZE, 2, 3), bool)))
    for options, message in (
        ({"num_steps": 0}, "against.num_steps must be a positive integer, got 0"),
        ({"learning_rate": 0.0}, "against.learning_rate must be positive and finite, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            rpm.inference.Against(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rbf", FACTORS), "prior must be a prior .* got str"),
        ((PRIOR, MLP((3,))), "factors must be recognition factors, got the network MLP: pass .*per_view"),
        ((PRIOR, np.zeros(3)), "factors must satisfy rpm_jax's FactorSpec protocol, got ndarray"),
        (
            (PRIOR, FACTORS, rpm.posteriors.conjugate),
            r"posterior must satisfy .* got function: call it, as in",
        ),
        ((PRIOR, FACTORS, rpm.auxiliaries.posterior()), "posterior must satisfy rpm_jax's PosteriorStrategy"),
        (
            (PRIOR, FACTORS, None, rpm.posteriors.saturated()),
            "auxiliary must satisfy rpm_jax's AuxiliaryStrategy",
        ),
    ],
)
def test_what_a_model_is_made_of(arguments, message):
    with pytest.raises(TypeError, match=message):
        rpm.RPM(*arguments)


def test_other_families_fit_in():
    """A discrete latent, with amortized posterior and auxiliary."""
    every = concatenated(MLP((3,)))
    model = rpm.RPM(
        rpm.priors.static(Categorical(np.zeros(3)), learnable=True),
        rpm.factors.per_view(MLP((3,))),
        rpm.posteriors.amortized(every),
        rpm.auxiliaries.free(every),
    )
    fit = rpm.fit(model, STATIC_VIEWS, key=KEY, num_steps=20, warm_start=rpm.WarmStart())
    assert np.isfinite(fit.bound)
    assert rpm.inference.posterior(rpm.Fitted(model, fit.params, STATIC_VIEWS)).mean.shape == (SIZE, 1, 3)
