"""A prior of the user's own that depends on inputs of every datum, through all that a model is asked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, feed_bound, feed_state, init, recognise, two_views

import rpm_jax as rpm
from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.expfam import Categorical, DiagonalGaussian, pytree_dataclass

KEY = jax.random.key(0)
SIZE = 16


@pytree_dataclass
class Shifted:
    """z_n ~ N(m_n, 1), one site for each datum."""

    mean: jax.Array

    def sites(self):
        return DiagonalGaussian(self.mean[:, None, None], jnp.full((*self.mean.shape, 1, 1), -0.5))

    def condition(self, potentials):
        own = self.sites()
        sites = own + potentials
        gain = sites.log_partition() - own.log_partition()
        return rpm.priors.SitePosterior(gain.sum(-1), sites)


@record
class Driven:
    """m_n = b a_n; factors are relative to N(0, 1 + b² v), v the second moment of the examples."""

    def init(self, key, inputs):
        del key
        examples = jnp.zeros(4) if inputs is None else inputs["action"][:4]
        return {"slope": jnp.array(0.8), "statistics": {"examples": examples}}

    def apply(self, params, inputs):
        return Shifted(params["slope"] * inputs["action"])

    def reference(self, params):
        spread = 1.0 + params["slope"] ** 2 * jnp.mean(params["statistics"]["examples"] ** 2)
        return DiagonalGaussian(jnp.zeros((1, 1)), -0.5 / spread * jnp.ones((1, 1)))


ACTIONS = np.random.default_rng(3).normal(size=SIZE)
VIEWS = tuple(view + 0.5 * ACTIONS[:, None] for view in two_views(0, SIZE))
DATA = rpm.as_data(VIEWS, inputs={"action": ACTIONS})
MODEL = rpm.RPM(Driven(), rpm.factors.per_view(rpm.networks.MLP((3,))))
GRID = np.linspace(-12.0, 12.0, 2401)


@pytest.fixture(scope="module")
def params():
    return init(MODEL, KEY, DATA)


@pytest.fixture(scope="module")
def by_hand(params):
    """Log w and the moments of q on a grid, from densities."""

    @jax.jit
    def moments(params):
        natural = recognise(MODEL, params, DATA.all()).natural
        log_f = natural.log_prob(GRID[:, None, None, None, None])[..., 0]
        log_mixture = jax.nn.logsumexp(log_f, axis=1) - np.log(SIZE)
        log_prior = -0.5 * (GRID[:, None] - 0.8 * ACTIONS) ** 2 - 0.5 * np.log(2 * np.pi)
        log_joint = log_prior + jnp.sum(log_f - log_mixture[:, None], axis=-1)
        log_w = jax.nn.logsumexp(log_joint, axis=0) + np.log(GRID[1] - GRID[0])
        log_reference = DiagonalGaussian.log_prob(MODEL.reference(params)[0], GRID[:, None])
        weights = jax.nn.softmax(log_prior + jnp.sum(log_f - log_reference[:, None, None], axis=-1), axis=0)
        mean = weights.T @ GRID
        return log_w, mean, jnp.sqrt(weights.T @ GRID**2 - mean**2)

    return jax.tree.map(np.asarray, moments(params))


def test_bound_is_below_the_likelihood_and_the_posterior_right(params, by_hand):
    log_w, mean, deviation = by_hand
    q = rpm.inference.posterior(rpm.Fitted(MODEL, params, DATA))
    np.testing.assert_allclose(q.mean[:, 0, 0], mean, rtol=1e-8)
    np.testing.assert_allclose(q.standard_deviation[:, 0, 0], deviation, rtol=1e-8)
    value = bound(MODEL, params, DATA.all(), DATA)
    assert np.all(value < log_w)
    other = rpm.as_data(VIEWS, inputs={"action": -ACTIONS})
    assert np.all(bound(MODEL, params, other.all(), other) != value)


def test_diagnostics(params, by_hand):
    fitted = rpm.Fitted(MODEL, params, DATA)
    gap = rpm.diagnostics.bound_gap(fitted, DATA)
    np.testing.assert_allclose(gap.log_likelihood, by_hand[0], atol=1e-7)
    np.testing.assert_allclose(gap.bound, bound(MODEL, params, DATA.all(), DATA), rtol=1e-12)
    assert np.all(gap.posterior_gap > 0)
    assert np.all(gap.auxiliary_gap > 0)
    estimate = rpm.diagnostics.log_likelihood_estimate(fitted, DATA, KEY, num_samples=4000)
    assert np.all(np.abs(estimate.log_likelihood - by_hand[0]) < 4 * estimate.standard_error)
    assert np.all(rpm.diagnostics.mixture_divergence(fitted, KEY, num_samples=200).divergence > -0.1)
    assert rpm.train.ImportanceWeighted(MODEL).num_samples == 10


def test_generation(params):
    fitted = rpm.Fitted(MODEL, params, DATA)
    draw = rpm.generation.sample(fitted, KEY, (2000,))
    assert draw.latents.shape == (2000, SIZE, 1, 1)
    assert draw.indices.shape == (2000, SIZE, 2, 1)
    np.testing.assert_allclose(draw.latents.mean(0)[:, 0, 0], 0.8 * ACTIONS, atol=5 / np.sqrt(2000))
    log_weights = rpm.generation.predictive_log_weights(fitted, DATA, 1, key=KEY, num_samples=20)
    assert log_weights.shape == (SIZE, SIZE, 1)
    np.testing.assert_allclose(jax.nn.logsumexp(log_weights, axis=1), 0.0, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_objective_takes_the_reference(params, masked):
    """`inner_bound` of a prior that says what factors are relative to: the model's numbers."""
    mask = np.ones((SIZE, 2, 1), bool)
    mask[[1, 5, 9], [0, 1, 0]] = not masked
    data = rpm.as_data(VIEWS, mask, inputs={"action": ACTIONS}) if masked else DATA
    own = recognise(MODEL, params, data.all())
    prior = jax.jit(MODEL.relative_prior)(params, data.inputs)
    masks = {"mask": own.mask, "mixture_mask": own.mask}
    got = jax.jit(rpm.objectives.inner_bound)(prior, own.natural, own.natural, **masks)
    np.testing.assert_allclose(got, bound(MODEL, params, data.all(), data), rtol=1e-12)
    weighted = functools.partial(rpm.objectives.importance_weighted_bound, num_samples=2000)
    weights = jax.jit(weighted)(prior, own.natural, own.natural, KEY, **masks)
    assert np.all(weights > got - 0.2)
    with pytest.raises(ValueError, match=r"batch shape \(T,\), the same for all data, got \(16, 1\)"):
        rpm.objectives.inner_bound(prior.prior, own.natural, own.natural, **masks)


@pytree_dataclass
class EachItsOwn:
    """A categorical site with logits of its own for each datum."""

    natural: Categorical

    def sites(self):
        return self.natural

    def condition(self, potentials):
        sites = self.natural + potentials
        gain = sites.log_partition() - self.natural.log_partition()
        return rpm.priors.SitePosterior(gain.sum(-1), sites)


def test_exact_likelihood_takes_the_reference():
    """Categorical sites with a prior of each datum: Σ_k p(k|n) ∏_j f_j/F_j."""
    rng = np.random.default_rng(0)
    logits, factors = rng.normal(size=(5, 1, 3)), Categorical(rng.normal(size=(5, 2, 1, 3)))
    prior = rpm.priors.RelativePrior(EachItsOwn(Categorical(logits)), Categorical(np.zeros((1, 3))))
    got = jax.jit(rpm.objectives.exact_log_likelihood)(prior, factors, factors)
    f = np.asarray(factors.probabilities)[:, :, 0]
    ratios = np.prod(f / f.mean(0), axis=1)
    np.testing.assert_allclose(got, np.log(np.sum(jax.nn.softmax(logits[:, 0]) * ratios, -1)), rtol=1e-10)


@record
class Chosen:
    """State 0, 1 or 2 as the input says, or one of them with known probabilities."""

    def init(self, key, inputs):
        del key, inputs
        return {"logits": jnp.log(jnp.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], MIXED]) + 1e-30)}

    def apply(self, params, inputs):
        return EachItsOwn(Categorical(params["logits"][inputs["choice"].astype(int)][:, None]))

    def reference(self, params):
        return Categorical(jnp.zeros((1, 3)) * params["logits"][:1, :3])


MIXED = [0.5, 0.3, 0.2]


@pytest.mark.parametrize(
    "model",
    [
        rpm.RPM(Chosen(), rpm.factors.per_view(rpm.networks.MLP((3,)))),
        rpm.JointRPM(Chosen(), rpm.networks.concatenated(rpm.networks.MLP((3,)))),
        rpm.LocalLatentRPM(Chosen(), rpm.factors.per_view(rpm.networks.MLP((3,))), num_local_states=2),
    ],
    ids=["RPM", "JointRPM", "LocalLatentRPM"],
)
def test_likelihoods_are_linear_in_the_prior_of_each_datum(model):
    """p(X) = Σ_k π_k p(X|k), each by the inputs, while the mixtures F_j stay as they are."""

    def data(choice):
        return rpm.as_data(VIEWS, inputs={"choice": np.full(SIZE, choice)})

    own = init(model, KEY, data(0))
    each = jnp.stack([bound(model, own, data(k).all(), data(k)) for k in range(3)])
    assert np.abs(each[0] - each[1]).max() > 0.01
    expected = jax.nn.logsumexp(each + jnp.log(jnp.array(MIXED))[:, None], axis=0)
    np.testing.assert_allclose(bound(model, own, data(3).all(), data(3)), expected, rtol=1e-10)


@pytest.mark.parametrize("feed", [rpm.feeds.queue(12), rpm.feeds.random_subset(3)], ids=str)
def test_em_with_feeds(params, feed):
    """Where the batch is all data, so that F_j is the same: values and gradients of EM with all data."""

    @jit
    def slope(params, feed, state):
        def value(params):
            return rpm.model.em_terms(MODEL, params, DATA.all(), DATA, feed, state)[0].bound.mean()

        return jax.value_and_grad(value)(params)

    expected = slope(params, rpm.feeds.full(), ())
    got = slope(params, feed, feed_state(MODEL, params, DATA, feed))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), got, expected)


@pytest.mark.parametrize("feed", [rpm.feeds.minibatch(), rpm.feeds.queue(12), rpm.feeds.random_subset(3)])
def test_feeds_carry_inputs(params, feed):
    """Whatever the feed, a batch that is all data has the bound of all data, in its own order."""
    order = jnp.asarray(np.random.default_rng(1).permutation(SIZE))
    state = feed_state(MODEL, params, DATA, feed)
    got, _ = feed_bound(MODEL, params, DATA.batch(order), DATA, feed, state)
    np.testing.assert_allclose(got, bound(MODEL, params, DATA.all(), DATA)[order], rtol=1e-10)


@pytest.mark.parametrize(
    "components",
    [
        None,
        rpm.feeds.queue(6),
        pytest.param(rpm.feeds.minibatch(), marks=pytest.mark.slow),
        pytest.param(rpm.feeds.random_subset(3), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_fits(components):
    mask = np.random.default_rng(2).random((SIZE, 2)) < 0.9
    options = {"mask": mask, "num_steps": 20, "steps_per_call": 20, "batch_size": 6, "components": components}
    fit = rpm.fit(MODEL, VIEWS, key=KEY, inputs={"action": ACTIONS}, **options)
    assert fit.history.skipped == 0
    assert np.isfinite(fit.bound)
    assert fit.params["prior"]["slope"] != 0.8
    np.testing.assert_array_equal(fit.params["prior"]["statistics"]["examples"], ACTIONS[:4])
    assert fit.posterior().mean.shape == (SIZE, 1, 1)
    assert fit.prior.sites().batch_shape == (SIZE, 1)
    new = rpm.as_data(tuple(view[:3] for view in VIEWS), inputs={"action": ACTIONS[:3]})
    for against in ("train", "given", "both"):
        assert np.isfinite(fit.evaluate(new, against=against)).all()
    with pytest.raises(ValueError, match="inputs: the prior Driven depends on inputs of every datum"):
        fit.evaluate(new.views)


def test_seeds():
    keys = jax.random.split(KEY, 2)
    inputs = {"action": ACTIONS}
    sweep = rpm.fit_seeds(MODEL, VIEWS, keys=keys, inputs=inputs, num_steps=10, batch_size=8, held_out=DATA)
    one = sweep.run(1)
    np.testing.assert_allclose(
        [sweep.bound[1], one.held_out_bound], bound(MODEL, one.params, DATA.all(), DATA).mean(), rtol=1e-6
    )
    stacked = rpm.fit_seeds(
        MODEL,
        tuple(np.stack([view, view]) for view in VIEWS),
        keys=keys,
        inputs={"action": np.stack([ACTIONS, ACTIONS])},
        stacked_data=True,
        num_steps=10,
        batch_size=8,
    )
    np.testing.assert_allclose(stacked.bound, sweep.bound, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"inputs\['action'\] must have shape \(seeds, N, ...\) with 2 seeds"
    ):
        rpm.fit_seeds(
            MODEL,
            tuple(np.stack([view, view]) for view in VIEWS),
            keys=keys,
            inputs=inputs,
            stacked_data=True,
            num_steps=1,
        )


def test_saturated_rows_and_em(params):
    """New rows know the new data's inputs; EM's values are the bound's."""
    model = rpm.RPM(Driven(), MODEL.factors, rpm.posteriors.saturated())
    own = init(model, KEY, DATA)
    new = rpm.as_data(tuple(view[:3] for view in VIEWS), inputs={"action": ACTIONS[:3]})
    found = [
        rpm.inference.evaluate(rpm.Fitted(model, own, DATA), new, against=rpm.inference.Against(num_steps=n))
        for n in (1, 100)
    ]
    assert found[1].mean() > found[0].mean()
    both = jax.jit(lambda p: [rpm.bound(model, p, DATA.all(), DATA, em=em) for em in (False, True)])
    np.testing.assert_allclose(*both(own), rtol=1e-12)


def test_inputs_that_do_not_fit(params):
    with pytest.raises(ValueError, match=r"inputs\['action'\] must have the N = 16 data on its first axis"):
        rpm.fit(MODEL, VIEWS, key=KEY, inputs={"action": ACTIONS[:5]})
    with pytest.raises(ValueError, match="the prior Driven depends on inputs of every datum, and these data"):
        rpm.fit(MODEL, VIEWS, key=KEY, num_steps=1)
    standard = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    plain = rpm.RPM(standard, MODEL.factors)
    with pytest.raises(ValueError, match="does not depend on inputs"):
        rpm.fit(plain, DATA, key=KEY, num_steps=1)
    with pytest.raises(TypeError, match="the integral of an implicit model puts views of different data"):
        rpm.ImplicitRPM(Driven(), MODEL.factors)
