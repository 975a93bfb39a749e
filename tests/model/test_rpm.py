"""The model: posterior, inference for new data, sampling, missing data, EM."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.sequences import (
    FACTORS,
    KEY,
    MODELS,
    PRIOR,
    SITES,
    SIZE,
    STATIC,
    STATIC_VIEWS,
    VIEWS,
    initial,
)
from support import bound, init, recognise

import rpm_jax as rpm
from rpm_jax.expfam import Categorical
from rpm_jax.networks import MLP, concatenated


def everything(data):
    return data.batch(jnp.arange(data.size))


@pytest.fixture(scope="module")
def params():
    return initial()


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
