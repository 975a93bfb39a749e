"""A family, a prior and strategies from outside the package, combined with the built-in ones."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian, ExponentialFamily, pytree_dataclass

KEY = jax.random.key(0)


@pytree_dataclass
class Exponential(ExponentialFamily):
    """K independent waiting times: t(z) = z, A(η) = −Σ log(−η), χ = 1."""

    eta: jax.Array
    natural_ranks: ClassVar[dict[str, int]] = {"eta": 1}

    def _log_partition(self):
        return -jnp.sum(jnp.log(-self.eta), axis=-1)

    def mean_parameters(self):
        return (-1.0 / self.eta,)

    def mean(self):
        return -1.0 / self.eta

    def variance(self):
        return 1.0 / self.eta**2

    def sufficient_statistics(self, z):
        return (z,)

    def log_base_measure(self, z):
        return jnp.zeros(z.shape[:-1])

    def expected_log_base_measure(self):
        return jnp.zeros(self.batch_shape)

    def sample(self, key, shape=()):
        return -jax.random.exponential(key, shape + self.eta.shape) / self.eta

    def is_valid(self):
        return jnp.all(self.eta < 0, axis=-1)

    @property
    def num_unconstrained(self):
        return self.eta.shape[-1]

    def potential(self, raw):
        return self.replace((-jax.nn.softplus(raw),))

    def unconstrained_potential(self):
        return jnp.log(jnp.expm1(-self.eta))


@pytree_dataclass
class MarkovPair:
    """z_1 ~ N(0, 1), z_2 = ρ z_1 + √(1 − ρ²) noise: two sites, conditioned by hand."""

    correlation: jax.Array

    def sites(self):
        return DiagonalGaussian(jnp.zeros((2, 1)), jnp.full((2, 1), -0.5))

    def condition(self, potentials):
        linear, evidence = potentials.eta1[..., 0], -2.0 * potentials.eta2[..., 0]
        remainder = 1.0 - self.correlation**2
        first, second = (1.0 / remainder + evidence[..., t] for t in range(2))
        coupling = self.correlation / remainder
        determinant = first * second - coupling**2
        mean = [
            (second * linear[..., 0] + coupling * linear[..., 1]) / determinant,
            (first * linear[..., 1] + coupling * linear[..., 0]) / determinant,
        ]
        mean, variance = (
            jnp.stack(values, axis=-1)[..., None]
            for values in (mean, [second / determinant, first / determinant])
        )
        gain = 0.5 * jnp.sum(linear * mean[..., 0], axis=-1) - 0.5 * jnp.log(remainder * determinant)
        sites = DiagonalGaussian.from_mean_and_variance(mean, variance)
        # Draws are not needed here: independent ones would be wrong, so there are none.
        return MarkovPosterior(gain, sites)


@pytree_dataclass
class MarkovPosterior:
    log_normalizer: jax.Array
    sites: DiagonalGaussian
    exact: bool = rpm.expfam.static_field(default=True)

    @property
    def mean(self):
        return self.sites.mean()

    def sample(self, key, shape=()):
        raise NotImplementedError


class LearnableMarkovPair:
    """The correlation is learned as its inverse hyperbolic tangent."""

    def init(self, key):
        del key
        return {"raw": jnp.array(0.3)}

    def apply(self, params):
        return MarkovPair(jnp.tanh(params["raw"]))


class Tempered:
    """λ = s Σ_j g_j with a learned 0 < s < 1."""

    group = "networks"

    def init(self, key, data, conjugate, sites):
        del key, data, conjugate, sites
        return {"logit": jnp.zeros(())}

    def potentials(self, params, batch, conjugate, sites):
        del batch, sites
        return conjugate * jax.nn.sigmoid(params["logit"])


class Between:
    """ξ between the prior's and the posterior's marginals, a row for every datum."""

    group = "rows"

    def init(self, key, data, conjugate, sites):
        del key, conjugate, sites
        return {"logits": jnp.zeros(data.size)}

    def auxiliary(self, params, batch, marginals, sites):
        share = jax.nn.sigmoid(params["logits"][batch.index])[:, None, None]
        xi = marginals[..., None, :] * share + sites * (1.0 - share)
        return xi.broadcast_to((len(batch.index), len(batch.views), marginals.batch_shape[-1]))


MLP, POINTWISE = rpm.networks.MLP((3,)), rpm.networks.PointwiseMLP((3,))
SINGLE = tuple(two_views(size=8))
PAIRS = tuple(two_views(size=8, sites=2))
PRIORS = {
    "new prior": (LearnableMarkovPair(), POINTWISE, rpm.networks.stacked(POINTWISE), PAIRS),
    "new family": (
        rpm.priors.static(Exponential(-np.ones(1)), learnable=True),
        MLP,
        rpm.networks.concatenated(MLP),
        SINGLE,
    ),
    "built-in": (
        rpm.priors.gaussian_process(np.arange(2.0)),
        POINTWISE,
        rpm.networks.stacked(POINTWISE),
        PAIRS,
    ),
}
POSTERIORS = {
    "conjugate": lambda every: rpm.posteriors.conjugate(),
    "saturated": lambda every: rpm.posteriors.saturated(),
    "amortized": rpm.posteriors.amortized,
    "tempered": lambda every: Tempered(),
}
AUXILIARIES = {
    "posterior": lambda every: rpm.auxiliaries.posterior(),
    "shifted": lambda every: rpm.auxiliaries.shifted(),
    "free network": rpm.auxiliaries.free,
    "between": lambda every: Between(),
}


def make(prior, posterior, auxiliary):
    spec, network, every, views = PRIORS[prior]
    factors = rpm.factors.per_view(network)
    model = rpm.RPM(spec, factors, POSTERIORS[posterior](every), AUXILIARIES[auxiliary](every))
    return model, rpm.as_data(views)


# The default run has every prior with every posterior and every auxiliary strategy; the rest is slow.
COMBINATIONS = [
    pytest.param(*combination, marks=[] if (i + j + k) % 4 == 0 else pytest.mark.slow)
    for i, prior in enumerate(PRIORS)
    for j, posterior in enumerate(POSTERIORS)
    for k, auxiliary in enumerate(AUXILIARIES)
    if prior != "built-in" or posterior == "tempered" or auxiliary == "between"
    for combination in [(prior, posterior, auxiliary)]
]


@pytest.mark.parametrize(("prior", "posterior", "auxiliary"), COMBINATIONS)
def test_every_combination_learns(prior, posterior, auxiliary):
    """A step along the gradient raises the bound."""
    model, data = make(prior, posterior, auxiliary)
    batch = data.batch(np.arange(data.size))
    params = init(model, KEY, data)

    @jax.jit
    @jax.value_and_grad
    def bound(params):
        return rpm.bound(model, params, batch, data).mean()

    before, slope = bound(params)
    for part in model.groups(params):
        leaves = jax.tree.leaves(slope[part])
        assert not leaves or any(np.any(leaf != 0) for leaf in leaves), part
    length = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(slope)))
    moved = jax.tree.map(lambda p, s: p + 0.02 / length * s, params, slope)
    gain = bound(moved)[0] - before
    # To first order the gain is the length of the step times that of the gradient.
    assert 0.3 * 0.02 * length < gain < 2 * 0.02 * length


def test_a_whole_fit_of_what_is_new():
    model, data = make("new prior", "tempered", "between")
    fit = rpm.fit(model, data, key=KEY, num_steps=40, held_out=two_views(5, size=4, sites=2))
    assert fit.bound > fit.history.train[0]
    assert np.isfinite(fit.held_out_bound)
    assert fit.params["posterior"]["logit"] != 0
    assert fit.params["prior"]["raw"] != 0.3
    assert fit.params["auxiliary"]["logits"].shape == (8,)
    assert fit.posterior().mean.shape == (8, 2, 1)
    assert fit.infer(two_views(5, size=4, sites=2)).mean.shape == (4, 2, 1)


def test_new_prior_against_the_built_in_one():
    """The pair is a Gaussian process over two sites, and the bound does not care which it is given."""
    pair = MarkovPair(jnp.array(0.6))
    process = rpm.priors.GaussianProcess.from_covariance(np.zeros(2), np.array([[1.0, 0.6], [0.6, 1.0]]))
    assert isinstance(pair, rpm.priors.Prior)
    rng = np.random.default_rng(0)
    factors = DiagonalGaussian(rng.normal(size=(5, 3, 2, 1)), -0.5 - rng.gamma(1.0, size=(5, 3, 2, 1)))
    bounds = [jax.jit(rpm.objectives.inner_bound)(prior, factors, factors) for prior in (pair, process)]
    np.testing.assert_allclose(*bounds, rtol=1e-10)


def test_new_family_by_hand():
    """One exponential site: every term of the bound written out in rates."""
    rng = np.random.default_rng(1)
    prior, rates = 0.7, 0.7 + rng.gamma(1.0, size=(5, 2))
    factors = Exponential(-rates[:, :, None, None])
    got = jax.jit(rpm.objectives.inner_bound)(
        rpm.priors.Static(Exponential(np.array([-prior]))), factors, factors
    )
    posterior = rates.sum(axis=1) - prior  # the rate of q ∝ p ∏ f_j/p
    mean = 1.0 / posterior
    divergence = np.log(posterior / prior) + prior * mean - 1.0
    own = np.log(rates) - rates * mean[:, None]
    # ∫ F_j exp(δz) with δ = −(posterior − prior), and E_q[log q − δz].
    delta = posterior - prior
    tilted = np.log(np.mean(rates[None] / (rates[None] + delta[:, None, None]), axis=1))
    upper = tilted + (np.log(posterior) - posterior * mean + delta * mean)[:, None]
    np.testing.assert_allclose(got, -divergence + np.sum(own - upper, axis=1), rtol=1e-10)


def test_new_strategies_by_hand():
    """Tempering with s = ½ and ξ halfway, against the objective with these potentials."""
    model, data = make("built-in", "tempered", "between")

    @jax.jit
    def both():
        params = model.init(KEY, data)
        batch = data.batch(jnp.array([1, 4]))
        factors = model.recognise(params, data.all()).natural
        prior = model.prior_of(params)
        sites = prior.sites()
        index = batch.index
        potentials = (factors[index] - sites).sum(-2) * 0.5
        halfway = (prior.condition(potentials).sites + sites) * 0.5
        expected = rpm.objectives.inner_bound(
            prior,
            factors[index],
            factors,
            potentials=potentials,
            auxiliary=halfway[:, None].broadcast_to((2, 2, 2)),
        )
        return rpm.bound(model, params, batch, data), expected

    np.testing.assert_allclose(*both(), rtol=1e-12)
