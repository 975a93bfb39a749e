"""Factors with a learned log-partition: exp(⟨η, t⟩ − ψ(η))."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES, init, two_views

import rpm_jax as rpm
from rpm_jax.factors import LogPartitionFactors, per_view, shared
from rpm_jax.model import _blocks
from rpm_jax.networks import MLP, InputConvex, PointwiseMLP

KEY = jax.random.key(0)
NATURAL = rpm.expfam.DiagonalGaussian(jnp.array([0.2]), jnp.array([-0.6]))
VIEWS = jax.tree.map(jnp.asarray, two_views(0, size=9))
DATA = rpm.as_data(VIEWS)
BATCH = DATA.batch(jnp.array([1, 4]))


def static(network, kind="unnormalised", make=per_view, prior=NATURAL, **options):
    factors = make(MLP((5,)), kind=kind, log_partition=network, **options)
    return rpm.RPM(rpm.priors.static(prior, learnable=True), factors)


def close(got, expected, tolerance=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), got, expected)


# Against formulas written out.


def shifted(leaf):
    return leaf + 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)


def log_partition(first, second):
    return -0.25 * first**2 / second - 0.5 * jnp.log(-2.0 * second)


def perceptron(params, vectors):
    """One hidden layer of ReLUs of scaled inputs."""
    layers = params["network"]["params"]["PointwiseMLP_0"]
    hidden = vectors / params["statistics"]["scale"]
    hidden = jax.nn.relu(hidden @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"])
    return (hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"])[:, 0]


def bound_by_hand(model, params, is_correction):
    """The conjugate bound with ξ = ηq, datum by datum, for one real latent."""
    first, second = (
        p[..., 0, 0] for p in model.recognise(params, rpm.as_data(VIEWS).all()).natural.natural_parameters
    )
    prior = model.prior_of(params).sites()
    prior_first, prior_second = prior.eta1[0, 0], prior.eta2[0, 0]
    own = params["factors"]["log_partition"]
    own = {**own, "statistics": jax.lax.stop_gradient(own["statistics"])}
    scales = []
    for j in range(2):
        psi = perceptron(
            jax.tree.map(lambda leaf, j=j: leaf[j], own), jnp.stack([first[:, j], second[:, j]], 1)
        )
        scales.append(-psi - (log_partition(first[:, j], second[:, j]) if is_correction else 0.0))
    bounds = []
    for n in BATCH.index:
        q_first = prior_first + jnp.sum(first[n] - prior_first)
        q_second = prior_second + jnp.sum(second[n] - prior_second)
        q = log_partition(q_first, q_second)
        mean, variance = -0.5 * q_first / q_second, -0.5 / q_second
        moments = (mean, mean**2 + variance)

        def expected(a, b, moments=moments):
            return a * moments[0] + b * moments[1]

        bound = q - log_partition(prior_first, prior_second)
        bound -= expected(q_first - prior_first, q_second - prior_second)
        for j in range(2):
            tilted = log_partition(
                first[:, j] - prior_first + q_first, second[:, j] - prior_second + q_second
            )
            mixture = jax.nn.logsumexp(tilted + scales[j]) - math.log(9)
            mixture += expected(prior_first, prior_second) - q
            bound += expected(first[n, j], second[n, j]) + scales[j][n] - mixture
        bounds.append(bound)
    return jnp.stack(bounds)


@pytest.mark.parametrize("kind", ["unnormalised", pytest.param("scaled", marks=pytest.mark.slow)])
def test_bound_and_gradient_against_the_formula(kind):
    """Values, and gradients by every parameter, the prior's among them."""
    model = static(MLP((4,)), kind)
    is_correction = kind == "scaled"

    @jax.jit
    def both():
        params = model.init(KEY, DATA)
        # A correction starts at zero: any other parameters do.
        moved = jax.tree.map(
            lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), params
        )
        return [
            (function(moved), jax.grad(lambda p, f=function: f(p) @ jnp.array([1.0, -0.5]))(moved))
            for function in (
                lambda p: rpm.bound(model, p, BATCH, DATA),
                lambda p: bound_by_hand(model, p, is_correction),
            )
        ]

    got, expected = both()
    close(got, expected)
    own = got[1]["factors"]["log_partition"]["network"]
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(own)[:-2])


class Exact:
    """The family's own A of vectors that are not scaled."""

    def __init__(self, family):
        self.family = family

    def init(self, key, inputs):
        return {}

    def apply(self, params, inputs):
        shapes = [parameter.shape for parameter in self.family.natural_parameters]
        cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        parts = jnp.split(inputs, cuts, axis=-1)
        pairs = zip(parts, shapes, strict=True)
        natural = self.family.replace(tuple(part.reshape(-1, *shape) for part, shape in pairs))
        return natural.log_partition()[:, None]


@pytest.mark.parametrize(
    "name", ["Categorical", *(pytest.param(n, marks=pytest.mark.slow) for n in ("Gaussian", "VonMises"))]
)
def test_a_learned_log_partition_that_is_exact(name):
    """ψ = A: value and gradient of normalised factors, whatever the shapes of η."""
    prior = FAMILIES[name]
    normalised, learned = static(None, "normalised", prior=prior), static(Exact(prior), prior=prior)

    @jax.jit
    def both():
        params = normalised.init(KEY, DATA)
        size = normalised.recognise(params, rpm.as_data(VIEWS).all()).natural.as_vectors().shape[-1]
        own = {"statistics": {"scale": jnp.ones((2, size))}, "network": {}}

        def value(model, params):
            return rpm.bound(model, params, BATCH, DATA) @ jnp.array([1.0, -0.5])

        def as_learned(params):
            return {**params, "factors": {"factors": params["factors"], "log_partition": own}}

        return [
            jax.value_and_grad(lambda p: value(normalised, p))(params),
            jax.value_and_grad(lambda p: value(learned, as_learned(p)))(params),
        ]

    close(*both())


def test_a_correction_starts_at_the_family():
    """Sequences: ψ = A at first, in the bound and its gradient; then A plus the network, site by site."""
    data = rpm.as_data(two_views(0, size=8, sites=3))
    prior = rpm.priors.gaussian_process(np.arange(3.0))
    options = {"kind": "scaled", "log_partition": MLP((4,))}
    normalised = rpm.RPM(prior, per_view(PointwiseMLP((3,))))
    scaled = rpm.RPM(prior, per_view(PointwiseMLP((3,)), **options))
    batch = data.batch(jnp.arange(8))

    @jax.jit
    def both():
        params = scaled.init(KEY, data)
        plain = {**params, "factors": params["factors"]["factors"]}
        got, expected = (
            jax.value_and_grad(lambda p, m=m: rpm.bound(m, p, batch, data).sum())(p)
            for m, p in ((scaled, params), (normalised, plain))
        )
        own = params["factors"]["log_partition"]
        own = {**own, "network": jax.tree.map(shifted, own["network"])}
        moved = {**params, "factors": {**params["factors"], "log_partition": own}}
        factors = scaled.recognise(moved, data.all())
        vectors = jnp.concatenate(factors.natural.natural_parameters, axis=-1)
        corrections = [
            [perceptron(jax.tree.map(lambda leaf, j=j: leaf[j], own), vectors[:, j, t]) for t in range(3)]
            for j in range(2)
        ]
        psi = factors.natural.log_partition() + jnp.moveaxis(jnp.array(corrections), -1, 0)
        return got, expected, (factors.log_scale, -psi)

    (value, gradient), (plain, plain_gradient), (log_scale, by_hand) = both()
    close(value, plain)
    close(gradient["factors"]["factors"], plain_gradient["factors"])
    close(gradient["prior"], plain_gradient["prior"])
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient["factors"]["log_partition"])) > 1e-3
    assert log_scale.shape == (8, 2, 3)
    close(log_scale, by_hand)


# What the rest of the library makes of it.


def test_streamed_pooled_masked_and_weighted(monkeypatch):
    """In blocks of data as all at once; what is missing does not matter."""
    rng = np.random.default_rng(1)
    mask, weights = rng.random((8, 2, 3)) < 0.7, rng.normal(size=8)
    views = two_views(0, size=8, sites=3)
    data = rpm.as_data(views, mask, weights)
    factors = shared(PointwiseMLP((3,)), kind="unnormalised", log_partition=InputConvex((3,)))
    model = rpm.RPM(rpm.priors.gaussian_process(np.arange(3) / 2.0), factors, pooled=True)
    params = init(model, KEY, data)

    def value(params, data):
        return rpm.bound(model, params, data.batch(jnp.array([1, 4])), data).mean()

    evaluate = jax.jit(jax.value_and_grad(value))
    expected = evaluate(params, data)
    spoiled = tuple(np.where(mask[:, j], view, 1e3) for j, view in enumerate(views))
    close(evaluate(params, rpm.as_data(spoiled, mask, weights)), expected)
    monkeypatch.setattr(_blocks, "STREAMED_INPUTS", 1)
    monkeypatch.setattr(_blocks, "BLOCK_INPUTS", 2 * 2 * 3)
    assert isinstance(
        model.mixture(params, rpm.feeds.Lazy(data)).components.natural, rpm.normalizers.Components
    )
    evaluate = jax.jit(jax.value_and_grad(lambda params, data: value(params, data)))
    close(evaluate(params, data), expected, 1e-11)


@pytest.mark.slow
def test_likelihood_by_quadrature():
    """∫ p(z) ∏_j f_j / F_j dz on a grid, with f = exp(⟨η, t⟩ − ψ)."""
    model = static(InputConvex((4,)))
    grid = np.linspace(-12.0, 12.0, 2001)

    @jax.jit
    def brute_force():
        params = model.init(KEY, DATA)
        factors = model.recognise(params, rpm.as_data(VIEWS).all())
        first, second = (p[..., 0, 0, None] for p in factors.natural.natural_parameters)
        log_f = first * grid + second * grid**2 + factors.log_scale
        log_mixture = jax.nn.logsumexp(log_f, axis=0) - math.log(9)
        log_prior = model.prior_of(params).sites()[0].log_prob(grid[:, None])
        log_joint = log_prior + jnp.sum(log_f - log_mixture, axis=1)
        return params, jax.nn.logsumexp(log_joint, axis=1) + math.log(grid[1] - grid[0])

    params, expected = brute_force()
    got = rpm.diagnostics.log_likelihood_quadrature(rpm.Fitted(model, params, VIEWS), VIEWS).log_likelihood
    np.testing.assert_allclose(got, expected, atol=1e-8)
    assert np.all(rpm.inference.evaluate(rpm.Fitted(model, params, VIEWS), VIEWS) <= got)


def test_parameters_and_their_groups(monkeypatch):
    """One ψ for every view, or one for all; scales are those of some data, and not learned."""
    monkeypatch.setattr("rpm_jax.factors._log_partition.MOST_FOR_STATISTICS", 3)
    model, common = static(MLP((4,))), static(MLP((4,)), make=shared)
    params = init(model, KEY, DATA)
    groups = model.groups(params)["factors"]["log_partition"]
    assert set(jax.tree.leaves(groups["statistics"])) == {"none"}
    assert set(jax.tree.leaves(groups["network"])) == {"networks"}
    single = jax.eval_shape(common.init, KEY, DATA)["factors"]["log_partition"]
    assert single["statistics"]["scale"].shape == (2,)

    @jax.jit
    def scales(params):
        """η of all data, and h of one view taken twice, with all parameters of the first view."""
        first = jax.tree.map(lambda leaf: leaf[0], params["factors"])
        same = common.recognise({**params, "factors": first}, rpm.as_data((VIEWS[0], VIEWS[0])).all())
        return model.recognise(params, rpm.as_data(VIEWS).all()), same.log_scale

    factors, same = scales(params)
    vectors = jnp.concatenate([factors.natural.eta1, factors.natural.eta2], -1)[np.array([0, 4, 8]), :, 0]
    scale = params["factors"]["log_partition"]["statistics"]["scale"]
    close(scale, jnp.sqrt((vectors**2).mean(0)))
    close(same, jnp.repeat(factors.log_scale[:, :1], 2, axis=1))


def test_whether_factors_look_at_one_site():
    sites = rpm.expfam.DiagonalGaussian(jnp.zeros((3, 1)), jnp.full((3, 1), -0.5))
    views = two_views(0, size=4, sites=3)
    for network, expected in ((PointwiseMLP((2,)), True), (MLP((2,)), False)):
        factors = per_view(network, kind="unnormalised", log_partition=MLP((2,)))
        assert isinstance(factors, LogPartitionFactors)
        assert factors.is_sitewise(views, sites) is expected
    own = dataclasses.replace(factors, factors=object())
    assert own.is_sitewise(views, sites) is False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "network", "slack"),
    [
        ("unnormalised", MLP((20, 20), activation=nn.softplus), 0.05),
        ("unnormalised", InputConvex((20, 20)), 0.05),
        ("scaled", MLP((20, 20), activation=nn.softplus), 0.02),
        ("scaled", InputConvex((20, 20)), 0.02),
    ],
)
def test_fit(kind, network, slack, tmp_path):
    """Two Gaussian views: the bound of normalised factors, and ψ near A."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(500, 1))
    views = tuple(latent + 0.7 * rng.normal(size=(500, 1)) for _ in range(2))
    fits = {}
    for name, options in (("A", {}), ("ψ", {"kind": kind, "log_partition": network})):
        prior = rpm.priors.static(NATURAL, learnable=True)
        model = rpm.RPM(prior, per_view(MLP((20, 20)), **options))
        fits[name] = rpm.fit(model, views, key=KEY, num_steps=1500)
    assert abs(fits["ψ"].bound - fits["A"].bound) < slack
    params = init(model, KEY, rpm.as_data(views))
    again = rpm.fit(model, views, key=KEY, num_steps=20, params=params).params["factors"]["log_partition"]
    before = params["factors"]["log_partition"]
    close(again["statistics"], before["statistics"], 0.0)
    for old, new in zip(*(jax.tree.leaves(own["network"]) for own in (before, again)), strict=True):
        assert np.any(old != new)
    rpm.train.save_checkpoint(tmp_path / "fit", fits["ψ"].params)
    loaded = rpm.train.load_checkpoint(tmp_path / "fit", like=params).params
    jax.tree.map(np.testing.assert_array_equal, loaded, fits["ψ"].params)
    error = rpm.diagnostics.log_partition_error(rpm.Fitted(model, fits["ψ"].params, views))
    start = rpm.diagnostics.log_partition_error(rpm.Fitted(model, params, views))
    assert np.all(error.standard_deviation < 0.15 * np.std(error.exact, axis=0))
    assert np.all(error.correlation > 0.99)
    assert kind == "scaled" or np.all(start.correlation < 0.99)


# Errors.


class Wide(MLP):
    """Two outputs, whoever asks."""

    def with_outputs(self, number):
        return self.clone(num_outputs=2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"log_partition": MLP()},
            ValueError,
            "log_partition: .* kind='unnormalised' .* kind='scaled' .* got kind='normalised'",
        ),
        ({"kind": "scaled", "log_partition": 3}, TypeError, "log_partition must be a network.*got int"),
        (
            {"kind": "scaled", "log_partition": Wide((3,))},
            ValueError,
            r"log_partition: the network .* shape \(m, 1\) for inputs \(9, 2\), got \(9, 2\)",
        ),
        ({"kind": "log_partition", "log_partition": MLP()}, ValueError, "kind must be"),
    ],
)
@pytest.mark.parametrize("make", [per_view, shared])
def test_errors(options, error, message, make):
    def build_and_apply():
        model = rpm.RPM(rpm.priors.static(NATURAL), make(MLP((3,)), **options))
        jax.eval_shape(lambda: model.recognise(model.init(KEY, DATA), rpm.as_data(VIEWS).all()))

    if make is shared:
        message = message.replace(r"\(9, 2\)", r"\(18, 2\)")
    with pytest.raises(error, match=message):
        build_and_apply()


def test_local_latents_take_no_learned_log_partition():
    factors = per_view(MLP((3,)), kind="scaled", log_partition=MLP((3,)))
    with pytest.raises(TypeError, match="factors must be normalised and made by"):
        rpm.LocalLatentRPM(rpm.expfam.Categorical(jnp.zeros(2)), factors, num_local_states=2)
