"""Exact likelihoods against torchRPM, enumeration, and themselves in other forms."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from rpm_jax import expfam, normalizers, objectives, priors
from rpm_jax.expfam import Categorical

REFERENCE = np.load(pathlib.Path(__file__).parents[1] / "reference" / "torchrpm.npz")


def reference(group):
    return {k.split("__")[1]: REFERENCE[k] for k in REFERENCE if k.startswith(group + "__")}


@pytest.fixture(scope="module")
def discrete():
    """Factors of 11 data, 3 views, 5 states, and everything torchRPM says about them."""
    return reference("discrete")


def static(prior_logits):
    return priors.Static(Categorical(prior_logits))


def at_site(logits):
    """(N, J, K) -> (N, J, 1, K)."""
    return Categorical(jnp.asarray(logits)[:, :, None])


log_likelihood = jax.jit(objectives.exact_log_likelihood)
free_energy = jax.jit(objectives.free_energy)


@jax.jit
def log_w(logits, prior_logits):
    factors = at_site(logits)
    return objectives.exact_log_likelihood(static(prior_logits), factors, factors)


def test_torchrpm_likelihood_and_gradients(discrete):
    np.testing.assert_allclose(
        log_w(discrete["logits"], discrete["prior_logits"]), discrete["log_w"], atol=1e-10
    )

    @jax.jit
    @jax.grad
    def slope(inputs):
        normalised = jax.tree.map(jax.nn.log_softmax, inputs)
        return jnp.mean(log_w(*normalised))

    logits, prior_logits = slope((discrete["logits"], discrete["prior_logits"]))
    np.testing.assert_allclose(logits, discrete["grad_logits"], atol=1e-10)
    np.testing.assert_allclose(prior_logits, discrete["grad_prior_logits"], atol=1e-10)


def test_torchrpm_posterior(discrete):
    factors = at_site(discrete["logits"])
    posterior = jax.jit(objectives.exact_posterior)(static(discrete["prior_logits"]), factors, factors)
    np.testing.assert_allclose(posterior.sites.probabilities[:, 0], discrete["posterior"], atol=1e-12)
    np.testing.assert_allclose(posterior.log_normalizer, discrete["log_w"], atol=1e-10)


def test_torchrpm_conjugate_free_energy(discrete):
    prior, factors = static(discrete["prior_logits"]), at_site(discrete["logits"])
    potentials = objectives.conjugate_potentials(factors, prior.sites())
    got = free_energy(prior, factors, factors, potentials=potentials)
    np.testing.assert_allclose(got, discrete["conjugate_elbo"], atol=1e-10)
    assert np.all(got < discrete["log_w"])


def test_torchrpm_unnormalised(discrete):
    """There F is a sum over the data, here a mean."""
    factors = at_site(discrete["logits"])
    scale = jnp.asarray(discrete["h"])[:, :, None]
    got = log_likelihood(
        static(discrete["prior_logits"]), factors, factors, log_scale=scale, mixture_log_scale=scale
    )
    size, views = discrete["h"].shape
    np.testing.assert_allclose(got - views * np.log(size), discrete["unnormalized_log_w"], atol=1e-10)


def test_softmax_over_data(discrete):
    """log f − log F = log N + log softmax over the data."""
    factors = at_site(discrete["logits"])
    scale = jnp.asarray(discrete["h"])[:, :, None]
    ratios = objectives.log_ratios(
        static(discrete["prior_logits"]), factors, factors, log_scale=scale, mixture_log_scale=scale
    )
    total = discrete["logits"] + discrete["h"][..., None]
    expected = np.log(len(total)) + jax.nn.log_softmax(total, axis=0)
    np.testing.assert_allclose(ratios.logits[:, :, 0], expected, atol=1e-12)


def test_view_posteriors_give_the_gradient(discrete):
    """The identity of torchRPM's notebook, for Σ_n log w^n / N and unconstrained logits."""
    prior, factors = static(discrete["prior_logits"]), at_site(discrete["logits"])

    @jax.jit
    def answers():
        ratios = objectives.log_ratios(prior, factors, factors)
        posterior = prior.condition(ratios.sum(-2))
        views = objectives.view_posteriors(ratios, posterior)
        weights = jnp.exp(views.log_weights)[..., None]
        own = factors.probabilities
        total = posterior.sites.probabilities[:, None]
        total = (total - weights * views.posteriors.probabilities + (weights - 1.0) * own) / len(own)
        slope = jax.grad(lambda logits: jnp.mean(log_w(logits, discrete["prior_logits"])))(discrete["logits"])
        return total, slope, weights, views.aggregate.logits, posterior.sites.probabilities

    expected, slope, weights, aggregate, posterior = map(np.asarray, answers())
    np.testing.assert_allclose(expected[:, :, 0], slope, atol=1e-12)
    np.testing.assert_allclose(np.exp(aggregate).sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.mean(weights, axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(aggregate[0], np.log(np.mean(posterior[:, 0], axis=0)), atol=1e-12)


def test_torchrpm_local_latents():
    data = reference("local")
    factors = Categorical(data["logits"][:, :, None])
    weights = Categorical(data["weight_logits"][:, :, None])
    local = Categorical(data["local_prior_logits"])

    @jax.jit
    def solve(factors, weights):
        return objectives.local_latents(
            static(data["prior_logits"]), factors, weights, local, factors, weights
        )

    got = solve(factors, weights)
    np.testing.assert_allclose(got.log_likelihood, data["log_w"], atol=1e-10)
    # Every joint state by enumeration.
    log_f = log_softmax(data["logits"], axis=-1)
    log_alpha = log_softmax(data["weight_logits"], axis=-1)
    joint = log_f + log_alpha[..., None]
    joint = joint - logsumexp(joint, axis=0) + log_softmax(data["local_prior_logits"], axis=-1)[..., None]
    size, views, local_states, states = joint.shape
    prior = log_softmax(data["prior_logits"])
    common = np.zeros((size, states))
    of_views = np.zeros((size, views, local_states))
    for z in range(states):
        for combination in itertools.product(range(local_states), repeat=views):
            mass = np.exp(prior[z] + sum(joint[:, j, c, z] for j, c in enumerate(combination)))
            common[:, z] += mass
            for j, c in enumerate(combination):
                of_views[:, j, c] += mass
    total = common.sum(1, keepdims=True)
    np.testing.assert_allclose(np.log(total[:, 0]), data["log_w"], atol=1e-10)
    np.testing.assert_allclose(got.posterior.sites.probabilities[:, 0], common / total, atol=1e-12)
    np.testing.assert_allclose(
        got.local_posteriors.probabilities[:, :, 0], of_views / total[..., None], atol=1e-12
    )
    slope = jax.jit(jax.grad(lambda f, w: solve(f, w).log_likelihood.mean()))(factors, weights)
    step = 1e-6
    moved = Categorical(factors.logits.at[3, 1, 0, 2, 4].add(step))
    change = solve(moved, weights).log_likelihood.mean() - got.log_likelihood.mean()
    np.testing.assert_allclose(slope.logits[3, 1, 0, 2, 4], change / step, atol=1e-7)


def test_torchrpm_joint_factor():
    """One factor of all views; F over the grid of all combinations."""
    data = reference("joint")
    views, weights = data["x"], data["weights"]
    states = weights.shape[1] - 1

    def factor(views):
        outputs = views.reshape(len(views), -1) @ weights
        scale = outputs[:, states] - jax.nn.logsumexp(outputs[:, :states], axis=1)
        return Categorical(outputs[:, None, None, :states]), scale[:, None, None]

    index = normalizers.all_combinations(len(views), views.shape[1])
    assert len(index) == 36
    grid = np.stack([views[index[:, j], j] for j in range(2)], axis=1)
    factors, scale = factor(views)
    mixture, mixture_scale = factor(grid)
    got = log_likelihood(
        static(data["prior_logits"]), factors, mixture, log_scale=scale, mixture_log_scale=mixture_scale
    )
    np.testing.assert_allclose(got, data["log_w"], atol=1e-10)


def test_upper_limit():
    """With views that determine the state, log w = (J − 1) log K."""
    logits = np.tile(np.where(np.eye(4, dtype=bool), 0.0, -60.0)[:, None], (1, 3, 1))
    np.testing.assert_allclose(log_w(logits, np.zeros(4)), 2 * np.log(4), rtol=1e-12)


def random_case(seed=0, size=6, views=2, sites=3, states=4):
    rng = np.random.default_rng(seed)
    factors = Categorical(rng.normal(size=(size, views, sites, states)))
    scale = jnp.asarray(rng.normal(size=(size, views, sites)))
    mask = jnp.asarray(rng.random((size, views, sites)) < 0.7)
    weights = jax.nn.log_softmax(jnp.asarray(rng.normal(size=size)))
    return factors, scale, mask, weights


def test_masks_weights_and_scales_by_hand():
    """One view-time after the other in plain numpy."""
    factors, scale, mask, weights = random_case()
    rng = np.random.default_rng(1)
    prior = priors.Static(Categorical(rng.normal(size=4)))
    keep = (slice(None), slice(None), slice(0, 1))
    one = Categorical(factors.logits[keep])
    nan = Categorical(jnp.where(mask[keep][..., None], one.logits, jnp.nan))
    got = log_likelihood(
        prior,
        nan,
        nan,
        log_scale=jnp.where(mask[keep], scale[keep], jnp.nan),
        mixture_log_scale=jnp.where(mask[keep], scale[keep], jnp.nan),
        log_weights=weights,
        mask=mask[keep],
        mixture_mask=mask[keep],
    )
    log_f = np.asarray(one.logits[:, :, 0] + scale[:, :, 0, None])
    present = np.asarray(mask[:, :, 0])
    expected = []
    for n in range(6):
        total = np.asarray(prior.natural.log_probabilities).copy()
        for j in range(2):
            if present[n, j]:
                w = np.where(present[:, j], np.exp(weights), 0.0)
                mixture = (w / w.sum()) @ np.exp(log_f[:, j])
                total += log_f[n, j] - np.log(mixture)
        expected.append(np.log(np.exp(total).sum()))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_states_that_all_factors_exclude():
    """They have no mass, and no NaN reaches value or gradient."""
    factors, *_ = random_case(sites=1)
    reduced = Categorical(factors.logits[..., :3])
    excluded = jnp.full_like(factors.logits[..., :1], -jnp.inf)

    def value(logits, states):
        mixture = Categorical(logits)
        return objectives.exact_log_likelihood(static(jnp.zeros(states)), mixture, mixture).mean()

    def padded(logits):
        return value(jnp.concatenate([logits, excluded], axis=-1), 4)

    @jax.jit
    def both(logits):
        return jax.value_and_grad(padded)(logits), jax.value_and_grad(value)(logits, 3)

    (got, slope), (want, expected) = both(reduced.logits)
    np.testing.assert_allclose(got, want + np.log(3 / 4), rtol=1e-12)
    np.testing.assert_allclose(slope, expected, atol=1e-12)


@pytest.mark.parametrize("potentials", ["conjugate", "random", "best"])
def test_free_energy_by_enumeration(potentials):
    """−KL(q‖p) + E_q[Σ log f/F] summed over all states, and below log w."""
    factors, *_ = random_case(sites=1)
    prior = static(np.array([0.3, -0.2, 0.9, 0.0]))
    chosen = {
        "conjugate": objectives.conjugate_potentials(factors, prior.sites()),
        "random": Categorical(np.random.default_rng(3).normal(size=(6, 1, 4))),
        "best": None,
    }[potentials]
    got = free_energy(prior, factors, factors, potentials=chosen)
    log_f = factors.log_probabilities[:, :, 0]
    evidence = (log_f - jnp.log(jnp.exp(log_f).mean(0))).sum(1)
    log_prior = prior.natural.log_probabilities
    best = jax.nn.logsumexp(log_prior + evidence, axis=1)
    if chosen is None:
        np.testing.assert_allclose(got, best, rtol=1e-12)
        return
    q = jax.nn.softmax(log_prior + chosen.logits[:, 0])
    expected = jnp.sum(q * (log_prior + evidence - jnp.log(q)), axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    assert np.all(got < best)


def test_forward_mode_float32_and_vmap():
    factors, *_ = random_case(sites=1)
    logits = factors.logits[:, :, 0]

    def total(x):
        return log_w(x, jnp.zeros(4)).sum()

    slope, forward = jax.jit(lambda x: (jax.grad(total)(x), jax.jacfwd(total)(x)))(logits)
    np.testing.assert_allclose(forward, slope, atol=1e-12)
    single = log_w(logits.astype(jnp.float32), jnp.zeros(4, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, log_w(logits, jnp.zeros(4)), atol=1e-5)
    mapped = jax.vmap(log_w, in_axes=(0, None))(jnp.stack([logits, 2 * logits]), jnp.zeros(4))
    np.testing.assert_allclose(mapped[1], log_w(2 * logits, jnp.zeros(4)), rtol=1e-12)


def test_refusals():
    gaussian = priors.Static(expfam.DiagonalGaussian(np.zeros(2), -0.5 * np.ones(2)))
    with pytest.raises(TypeError, match="inner_bound is for all families"):
        objectives.exact_log_likelihood(gaussian, None, None)
    factors = at_site(np.zeros((3, 2, 4)))
    with pytest.raises(ValueError, match="factors must have the event shapes"):
        objectives.exact_log_likelihood(static(np.zeros(5)), factors, factors)
    with pytest.raises(ValueError, match="log_scale and mixture_log_scale go together"):
        objectives.exact_log_likelihood(static(np.zeros(4)), factors, factors, log_scale=np.zeros((3, 2, 1)))
    local = Categorical(np.zeros((3, 2, 1, 5, 4)))
    with pytest.raises(ValueError, match="weights must have logits of shape"):
        objectives.local_latents(
            static(np.zeros(4)),
            local,
            Categorical(np.zeros((3, 2, 5))),
            Categorical(np.zeros((2, 5))),
            local,
            Categorical(np.zeros((3, 2, 1, 5))),
        )
    with pytest.raises(ValueError, match=r"N\^J = 1e\+12 components"):
        normalizers.all_combinations(10**4, 3)


def test_a_variational_prior_has_a_free_energy_and_no_likelihood():
    """By enumeration of all topic sequences under the Dirichlet-multinomial."""
    factors, *_ = random_case(size=4, views=1, sites=3, states=3)
    prior = priors.DirichletCategorical(jnp.array([0.8, 1.2, 2.0]), 3)
    with pytest.raises(TypeError, match=r"DirichletCategorical\.condition is variational.*free_energy"):
        objectives.exact_log_likelihood(prior, factors, factors)
    bound = free_energy(prior, factors, factors)
    ratios = np.asarray(jax.jit(objectives.log_ratios)(prior, factors, factors).logits[:, 0])
    total = np.zeros(4)
    for path in itertools.product(range(3), repeat=3):
        counts = np.bincount(path, minlength=3)
        rising = np.prod([np.prod(a + np.arange(c)) for a, c in zip([0.8, 1.2, 2.0], counts, strict=True)])
        mass = rising / np.prod(4.0 + np.arange(3))
        total += mass * np.exp(sum(ratios[:, t, z] for t, z in enumerate(path)))
    assert np.all(bound < np.log(total))
    assert np.all(bound > np.log(total) - 1.0)
