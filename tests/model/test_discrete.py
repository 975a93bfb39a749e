"""RPMs with categorical latents: exact bounds, pooled mixtures, closed-form priors."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.clusters import DATA, EVERYTHING, KEY, MODEL, PRIOR, STATES, VIEWS, clustered_views, initial
from support import bound, init

import rpm_jax as rpm
from rpm_jax import objectives
from rpm_jax._record import record
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.factors import Recognition, per_view
from rpm_jax.model import _blocks
from rpm_jax.networks import MLP, PointwiseMLP

REFERENCE = pathlib.Path(__file__).parents[1] / "reference"
PARAMS = initial()


@record
class Given:
    """The views are the logits."""

    def init(self, key, views, sites):
        return {}

    def apply(self, params, views, sites):
        logits = jnp.stack([v if v.ndim == 3 else v[:, None] for v in views], axis=1)
        return Recognition(Categorical(logits))


def test_defaults_are_exact():
    assert isinstance(MODEL.posterior, type(rpm.posteriors.exact()))
    assert isinstance(MODEL.auxiliary, type(rpm.auxiliaries.exact()))
    gaussian = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    assert not rpm.RPM(gaussian, per_view(MLP((4,)))).is_exact
    assert MODEL.is_exact
    assert MODEL.needs_mixture
    for arguments in ((rpm.posteriors.exact(), None), (None, rpm.auxiliaries.exact())):
        with pytest.raises(ValueError, match=r"exact\(\) needs a prior whose sites have one-hot statistics"):
            rpm.RPM(gaussian, per_view(MLP((4,))), *arguments)


@pytest.fixture(scope="module")
def by_hand():
    """The likelihood and posterior of natural parameters that the model's networks give."""
    factors = MODEL.recognise(PARAMS, DATA.all()).natural
    prior = MODEL.prior_of(PARAMS)
    return factors, prior, objectives.exact_posterior(prior, factors, factors)


def test_factors_are_the_networks_alone():
    """No prior is added to logits: with a biased prior and zero networks the factors are uniform."""
    (group,) = PARAMS["factors"]
    group = {**group, "network": jax.tree.map(jnp.zeros_like, group["network"])}
    factors = MODEL.recognise({**PARAMS, "factors": (group,)}, DATA.all())
    np.testing.assert_allclose(factors.natural.probabilities, 1 / STATES)


def test_bound_is_the_likelihood(by_hand):
    factors, prior, posterior = by_hand
    bound = rpm.bound(MODEL, PARAMS, EVERYTHING, DATA)
    np.testing.assert_allclose(bound, objectives.exact_log_likelihood(prior, factors, factors), rtol=1e-12)
    np.testing.assert_allclose(rpm.model.mean_bound(MODEL, PARAMS, DATA, DATA), bound.mean(), rtol=1e-12)
    got = rpm.inference.posterior(rpm.Fitted(MODEL, PARAMS, DATA)).sites.probabilities
    np.testing.assert_allclose(got, posterior.sites.probabilities, atol=1e-12)


@pytest.mark.parametrize("mixture", ["train", "given", "both"])
def test_new_data(mixture, by_hand):
    factors, prior, _ = by_hand
    views = clustered_views(seed=1, size=5)
    new = MODEL.recognise(PARAMS, rpm.as_data(views).all()).natural
    joined = Categorical(jnp.concatenate([factors.logits, new.logits]))
    components = {"train": factors, "given": new, "both": joined}[mixture]
    want = objectives.exact_posterior(prior, new, components)
    got = rpm.inference.infer(rpm.Fitted(MODEL, PARAMS, DATA), views, against=mixture)
    np.testing.assert_allclose(got.sites.probabilities, want.sites.probabilities, atol=1e-12)
    bound = rpm.inference.evaluate(rpm.Fitted(MODEL, PARAMS, DATA), views, against=mixture)
    np.testing.assert_allclose(bound, want.log_normalizer, rtol=1e-12)


def test_posteriors_of_single_views(by_hand):
    """From log-ratios, and the same by a mask that leaves one view."""
    ratios = rpm.inference.log_ratios(rpm.Fitted(MODEL, PARAMS, DATA), VIEWS)
    _, prior, posterior = by_hand
    both = prior.condition(ratios.sum(-2)).sites
    np.testing.assert_allclose(both.probabilities, posterior.sites.probabilities, atol=1e-12)
    alone = prior.condition(ratios[:, 1]).sites
    mask = np.tile([False, True], (DATA.size, 1))
    want = rpm.inference.infer(rpm.Fitted(MODEL, PARAMS, DATA), rpm.as_data(VIEWS, mask))
    np.testing.assert_allclose(alone.probabilities, want.sites.probabilities, atol=1e-12)
    gaussian = rpm.RPM(
        rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))), per_view(MLP((4,)))
    )
    with pytest.raises(TypeError, match="log_ratios needs a prior whose sites have one-hot statistics"):
        rpm.inference.log_ratios(rpm.Fitted(gaussian, {}, DATA), VIEWS)


def test_networks_in_blocks(monkeypatch):
    """Five data at a time, the last block smaller: value and gradient as with all at once."""
    mask = np.random.default_rng(0).random((DATA.size, 2)) < 0.7
    masked = rpm.as_data(VIEWS, mask)

    def everything():
        jax.clear_caches()  # the limits are read while tracing
        value = jax.value_and_grad(lambda params: rpm.bound(MODEL, params, EVERYTHING, DATA).mean())
        posterior = rpm.inference.posterior(rpm.Fitted(MODEL, PARAMS, DATA)).sites.probabilities
        mean = rpm.model.mean_bound(MODEL, PARAMS, DATA, DATA)
        return jax.jit(value)(PARAMS), posterior, mean, bound(MODEL, PARAMS, EVERYTHING, masked)

    expected = everything()
    monkeypatch.setattr(_blocks, "BLOCK_INPUTS", 5 * 4)
    assert _blocks.block_size(DATA.views) == 5
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), everything(), expected)
    monkeypatch.undo()
    jax.clear_caches()


def test_em_gradient_is_the_gradient_of_the_likelihood():
    """Fisher's identity: with the exact posterior held fixed, the free energy has the same slope."""
    plain, held = (
        jax.jit(jax.grad(lambda params, em=em: rpm.bound(MODEL, params, EVERYTHING, DATA, em=em).mean()))(
            PARAMS
        )
        for em in (False, True)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), plain, held)


@pytest.mark.parametrize("posterior", ["conjugate", "saturated", "amortized"])
def test_other_posteriors_lie_below(posterior):
    strategy = {
        "conjugate": rpm.posteriors.conjugate(),
        "saturated": rpm.posteriors.saturated(),
        "amortized": rpm.posteriors.amortized(rpm.networks.concatenated(MLP((4,)))),
    }[posterior]
    model = rpm.RPM(PRIOR, per_view(MLP((4,))), strategy)
    params = init(model, KEY, DATA)
    likelihood = bound(MODEL, {**params, "posterior": {}}, EVERYTHING, DATA)
    got = bound(model, params, EVERYTHING, DATA)
    if posterior == "saturated":  # its rows start at the exact potentials
        np.testing.assert_allclose(got, likelihood, rtol=1e-10)
        return
    assert np.all(got < likelihood)
    factors, prior = model.recognise(params, DATA.all()).natural, model.prior_of(params)
    if posterior == "conjugate":
        potentials = objectives.conjugate_potentials(factors, prior.sites())
        want = jax.jit(objectives.free_energy)(prior, factors, factors, potentials=potentials)
        # The conjugate potentials of unnormalised logits differ by a constant.
        np.testing.assert_allclose(got, want, rtol=1e-10)
        inner = rpm.RPM(PRIOR, per_view(MLP((4,))), strategy, rpm.auxiliaries.posterior())
        assert np.all(bound(inner, params, EVERYTHING, DATA) <= got + 1e-12)


@pytest.mark.parametrize("kind", ["normalised", "scaled", "unnormalised"])
def test_kinds_of_factors(kind):
    """f = softmax(g), exp(h) softmax(g) and exp(g + h)."""
    model = rpm.RPM(PRIOR, per_view(MLP((4,), STATES + (kind != "normalised")), kind=kind))
    params = init(model, KEY, DATA)
    network = model.factors._prepare(DATA.views, model.prior_of(params).sites())[1][0].network
    outputs = jnp.stack(
        [
            network.apply(jax.tree.map(lambda leaf, j=j: leaf[j], params["factors"][0]), DATA.views[j])
            for j in range(2)
        ],
        axis=1,
    )
    log_f = {
        "normalised": lambda: jax.nn.log_softmax(outputs),
        "scaled": lambda: jax.nn.log_softmax(outputs[..., :-1]) + outputs[..., -1:],
        "unnormalised": lambda: outputs[..., :-1] + outputs[..., -1:],
    }[kind]()
    joint = (
        jnp.sum(log_f - jnp.log(jnp.exp(log_f).mean(0)), axis=1)
        + model.prior_of(params).natural.log_probabilities
    )
    want = jax.nn.logsumexp(joint, axis=1)
    np.testing.assert_allclose(bound(model, params, EVERYTHING, DATA), want, rtol=1e-10)
    with pytest.raises(ValueError, match="kind must be one of 'normalised', 'scaled', 'unnormalised'"):
        per_view(MLP((4,)), kind="free")


def test_generative_side():
    """p(x_j^n|z) is the softmax over the data of log f; draws of views given z follow it."""
    factors = MODEL.recognise(PARAMS, DATA.all()).natural
    weights = rpm.generation.component_log_weights(rpm.Fitted(MODEL, PARAMS, DATA), jnp.array([1]))
    np.testing.assert_allclose(
        weights[..., 0], jax.nn.log_softmax(factors.log_probabilities[:, :, 0, 1], axis=0), rtol=1e-10
    )
    draw = rpm.generation.sample(rpm.Fitted(MODEL, PARAMS, DATA), jax.random.key(3), (4000,))
    assert draw.latents.shape == (4000, 1)
    chosen = draw.indices[draw.latents[:, 0] == 1][:, 0, 0]
    frequency = np.bincount(chosen, minlength=12) / len(chosen)
    np.testing.assert_allclose(frequency, jnp.exp(weights[:, 0, 0]), atol=0.03)


REFERENCE_HMM = np.load(REFERENCE / "rpm_hmm.npz")


def test_hidden_markov_model_with_pooled_mixtures():
    """The AISTATS-2023 code's chain: J = 1, F over time; likelihood and marginals."""
    ref = REFERENCE_HMM
    prior = rpm.priors.HiddenMarkov(np.log(ref["initial"]), np.log(ref["transition"]), len(ref["logits"]))
    model = rpm.RPM(prior, Given(), pooled=True)
    data = rpm.Data((jnp.asarray(ref["logits"])[None],))
    params = {"prior": {}, "factors": {}, "posterior": {}, "auxiliary": {}}
    got = bound(model, params, data.batch(jnp.arange(1)), data)
    np.testing.assert_allclose(got, ref["free_energy"], rtol=1e-10)
    posterior = rpm.inference.posterior(rpm.Fitted(model, params, data))
    np.testing.assert_allclose(posterior.sites.probabilities[0], ref["marginals"], atol=1e-10)
    np.testing.assert_allclose(posterior.pairwise()[0], ref["pairwise"], atol=1e-10)


def test_pooled_mixtures_with_missing_view_times_by_hand():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 3, STATES))  # J, N, T, K
    mask = rng.random((4, 2, 3)) < 0.7
    weights = jax.nn.log_softmax(jnp.asarray(rng.normal(size=4)))
    prior = rpm.priors.HiddenMarkov(np.zeros(STATES), rng.normal(size=(STATES, STATES)), 3)
    model = rpm.RPM(prior, Given(), pooled=True)
    data = rpm.as_data(tuple(logits), mask, weights)
    params = {"prior": {}, "factors": {}, "posterior": {}, "auxiliary": {}}
    got = bound(model, params, data.batch(jnp.arange(4)), data)
    f = np.asarray(jax.nn.softmax(logits))
    evidence = np.zeros((4, 3, STATES))
    for j in range(2):
        w = np.exp(weights)[:, None] * mask[:, j]
        mixture = np.einsum("nt,ntk->k", w / w.sum(), f[j])
        evidence += np.where(mask[:, j, :, None], np.log(f[j] / mixture), 0.0)
    want = jax.jit(prior.condition)(Categorical(evidence)).log_normalizer
    np.testing.assert_allclose(got, want, rtol=1e-10)


def switching_views(seed=0, size=6, sites=8):
    """Sequences of three sticky states, seen with noise, (N, T, 2)."""
    rng = np.random.default_rng(seed)
    z = np.cumsum(rng.random((size, sites)) < 0.3, axis=1) % STATES
    return (np.eye(STATES)[z] @ rng.normal(size=(STATES, 2)) + 0.1 * rng.normal(size=(size, sites, 2)),)


def test_closed_form_prior_between_steps():
    """Baum-Welch for the prior and gradient steps for the networks; no M-step lowers the likelihood."""
    views = switching_views()
    data = rpm.as_data(views)
    model = rpm.RPM(rpm.priors.hidden_markov(STATES, 8), per_view(PointwiseMLP((4,))), pooled=True)
    params = init(model, KEY, data)
    update = rpm.train.maximise_prior(model)
    values = [float(rpm.model.mean_bound(model, params, data, data))]
    for _ in range(4):
        params = update(params, data, jnp.asarray(0.0))
        values.append(float(rpm.model.mean_bound(model, params, data, data)))
    assert np.all(np.diff(values) >= -1e-9)
    assert values[-1] > values[0]


@pytest.mark.slow
def test_fit_with_closed_form_prior():
    views = switching_views()
    data = rpm.as_data(views)
    model = rpm.RPM(rpm.priors.hidden_markov(STATES, 8), per_view(PointwiseMLP((4,))), pooled=True)
    start = model.init(KEY, data)
    fit = rpm.fit(
        model,
        views,
        key=KEY,
        num_steps=40,
        steps_per_call=20,
        freeze=("prior",),
        update=rpm.train.maximise_prior(model, perturbation=0.4),
    )
    assert fit.bound > rpm.model.mean_bound(model, start, data, data)
    assert not np.allclose(fit.params["prior"]["transition"], start["prior"]["transition"])


def test_what_has_no_closed_form():
    model = rpm.RPM(rpm.priors.hidden_markov(STATES, 8), per_view(PointwiseMLP((4,))), pooled=True)
    gaussian = rpm.RPM(rpm.priors.gaussian_process(np.arange(8.0)), per_view(PointwiseMLP((4,))))
    with pytest.raises(TypeError, match="has no closed-form M-step"):
        rpm.train.maximise_prior(gaussian)
    with pytest.raises(ValueError, match="perturbation in"):
        rpm.train.maximise_prior(model, perturbation=1.5)


@pytest.mark.slow
def test_sweep_picks_by_likelihood():
    sweep = rpm.fit_seeds(MODEL, VIEWS, keys=jax.random.split(KEY, 3), num_steps=20)
    assert sweep.bound.shape == (3,)
    assert sweep.best().bound == sweep.bound.max()
