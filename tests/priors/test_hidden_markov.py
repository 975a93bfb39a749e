"""Markov chains given potentials, against the enumeration of all paths and the reference."""

import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax import priors
from rpm_jax.expfam import Categorical
from rpm_jax.priors import HiddenMarkov, TransitionCounts

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "rpm_hmm.npz"
STATES, SITES, BATCH = 3, 4, 2
PATHS = np.array(list(itertools.product(range(STATES), repeat=SITES)))
ONE_HOT = np.eye(STATES)[PATHS]
INFINITY = np.inf


def random_chain(seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=STATES),
        rng.normal(size=(STATES, STATES)),
        2.0 * rng.normal(size=(BATCH, SITES, STATES)),
    )


def chain_with_zeros():
    """A left-to-right chain that starts in its first state, with excluded states in the potentials."""
    initial, transition, logits = random_chain(1)
    initial[1:] = -INFINITY
    transition[np.tril_indices(STATES, -1)] = -INFINITY
    logits[0, 2, 1] = -INFINITY
    logits[1, 1, 0] = -INFINITY
    return initial, transition, logits


def chain_with_large_numbers():
    """Potentials of 10⁴ for paths that the chain forbids, so that the best states are out of reach."""
    initial, transition, logits = random_chain(2)
    transition[0] = [0.3, -INFINITY, -2000.0]
    transition[2, 1] = -1500.0
    logits[0, :, 0] = [1e4, 0.0, 1e4, -1e4]
    logits[1, :, 1] = [0.0, 1e4, -1e4, 1e4]
    logits[1, :, 2] = [-3e3, 2e3, 1e4, 0.0]
    return initial, transition, logits


CHAINS = {
    "plain": random_chain,
    "zeros": chain_with_zeros,
    "large": chain_with_large_numbers,
}


@jax.jit
def joint(initial, transition, logits):
    """log p(Z) exp Σ_t λ_t for every path, shape (BATCH, K^T)."""
    initial, transition = jax.nn.log_softmax(initial), jax.nn.log_softmax(transition, axis=-1)
    prior = initial[PATHS[:, 0]] + jnp.sum(transition[PATHS[:, :-1], PATHS[:, 1:]], axis=1)
    return prior + jnp.sum(logits[:, np.arange(SITES), PATHS], axis=-1)


@jax.jit
def enumerated(initial, transition, logits):
    """The log-normaliser and the marginals of one and two sites."""
    paths = joint(initial, transition, logits)
    weights = jax.nn.softmax(paths, axis=-1)
    return (
        jax.scipy.special.logsumexp(paths, axis=-1),
        jnp.einsum("bp,ptk->btk", weights, ONE_HOT),
        jnp.einsum("bp,pti,ptj->btij", weights, ONE_HOT[:, :-1], ONE_HOT[:, 1:]),
    )


def conditioned(parallel, initial, transition, logits):
    posterior = HiddenMarkov(initial, transition, SITES, parallel).condition(Categorical(logits))
    return posterior.log_normalizer, posterior.mean, posterior.pairwise()


def summary(function, initial, transition, logits):
    """A number in which the log-normaliser and all marginals take part, none of them by its sum."""
    log_normalizer, mean, pairs = function(initial, transition, logits)
    ramp = jnp.cos(jnp.arange(1.0, 1.0 + pairs[0].size)).reshape(pairs.shape[1:])
    return jnp.sum(log_normalizer) + jnp.sum(mean * jnp.sin(3.0 * mean)) + jnp.sum(ramp * pairs * pairs)


DIRECTION = tuple(np.random.default_rng(9).normal(size=x.shape) for x in random_chain())


def derivatives(function, chain, curvature=True):
    """Values, gradients of the log-normaliser and of a summary, and second derivatives of both."""

    def total(*arguments):
        return jnp.sum(function(*arguments)[0])

    values, values_forward = jax.jvp(function, chain, DIRECTION)
    found = {
        "values": values,
        "values forward": values_forward,
        "log normalizer": jax.grad(total, argnums=(0, 1, 2))(*chain),
    }
    slopes = jax.grad(functools.partial(summary, function), argnums=(0, 1, 2))
    if not curvature:
        return found | {"summary": slopes(*chain)}
    first, second = jax.jvp(slopes, chain, DIRECTION)
    return found | {"summary": first, "summary second": second}


ours = jax.jit(lambda chain: derivatives(functools.partial(conditioned, False), chain))
ours_in_parallel = jax.jit(
    lambda chain: derivatives(functools.partial(conditioned, True), chain, curvature=False)
)
expected_derivatives = jax.jit(lambda chain: derivatives(enumerated, chain))


@functools.cache
def results(name):
    chain = CHAINS[name]()
    return expected_derivatives(chain), ours(chain), ours_in_parallel(chain)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", CHAINS)
def test_values_and_all_derivatives_against_enumeration(name, parallel):
    """First derivatives in both modes, and second ones; with −∞, and with 10⁴, where products underflow."""
    expected, *got = results(name)
    got = got[parallel]
    for key in got:
        for leaf, correct in zip(jax.tree.leaves(got[key]), jax.tree.leaves(expected[key]), strict=True):
            np.testing.assert_allclose(leaf, correct, rtol=1e-10, atol=1e-10, err_msg=key)
    assert np.all(np.isfinite(got["values"][0]))


@pytest.mark.parametrize("name", CHAINS)
def test_gradient_by_finite_differences(name):
    """Fisher's identity, without automatic differentiation on the other side."""
    chain = CHAINS[name]()
    step = 1e-5
    above, below = (
        np.sum(enumerated(*(x + sign * step * d for x, d in zip(chain, DIRECTION, strict=True)))[0])
        for sign in (1, -1)
    )
    tolerance = 1e-5 if name == "large" else 1e-8
    np.testing.assert_allclose(
        np.sum(results(name)[1]["values forward"][0]), (above - below) / (2 * step), rtol=tolerance
    )


@jax.jit
def condition(prior, logits):
    return prior.condition(Categorical(logits))


@pytest.mark.parametrize("name", CHAINS)
def test_most_probable_path(name):
    chain = CHAINS[name]()
    paths = joint(*chain)
    posterior = condition(HiddenMarkov(*chain[:2], SITES), chain[2])
    best = posterior.most_probable()
    assert best.shape == (BATCH, SITES)
    np.testing.assert_array_equal(best, PATHS[np.argmax(paths, axis=-1)])
    expected = np.max(paths, axis=-1) - np.asarray(jax.scipy.special.logsumexp(paths, axis=-1))
    np.testing.assert_allclose(posterior.log_prob(best), expected, rtol=1e-10, atol=1e-10)
    every = posterior.log_prob(PATHS[:, None])
    np.testing.assert_allclose(np.exp(every).sum(0), 1.0, rtol=1e-10)


def test_log_prob_of_impossible_numbers():
    chain = random_chain()
    posterior = condition(HiddenMarkov(*chain[:2], SITES), chain[2])
    paths = np.array([[0, 1, 2, 0], [0, -1, 2, 0], [0, 1, 2, 3]])[:, None]
    np.testing.assert_array_equal(np.isnan(posterior.log_prob(paths)), [[False] * 2, [True] * 2, [True] * 2])


DRAWS = 20_000


def test_frequencies_of_sampled_paths():
    chain = random_chain()
    posterior = condition(HiddenMarkov(*chain[:2], SITES), chain[2])
    z = posterior.sample(jax.random.key(0), (DRAWS,))
    assert z.shape == (DRAWS, BATCH, SITES)
    assert jnp.issubdtype(z.dtype, jnp.integer)
    probability = np.asarray(jax.nn.softmax(joint(*chain), axis=-1))
    number = np.asarray(z) @ STATES ** np.arange(SITES)[::-1]
    for n in range(BATCH):
        frequency = np.bincount(number[:, n], minlength=len(PATHS)) / DRAWS
        spread = np.sqrt(probability[n] * (1 - probability[n]) / DRAWS) + 1.0 / DRAWS
        assert np.abs((frequency - probability[n]) / spread).max() < 5
    assert posterior.sample(jax.random.key(1)).shape == (BATCH, SITES)


def test_samples_obey_what_is_forbidden():
    initial, transition, logits = chain_with_zeros()
    posterior = condition(HiddenMarkov(initial, transition, SITES), logits)
    z = np.asarray(posterior.sample(jax.random.key(0), (DRAWS,)))
    assert np.all(z[..., 0] == 0)
    assert np.all(np.diff(z, axis=-1) >= 0)
    assert np.all(z[:, 0, 2] != 1)
    assert np.all(z[:, 1, 1] != 0)


# The reference.


@pytest.mark.parametrize("parallel", [False, True])
def test_reference(parallel):
    """λ = log f − log F, with F pooled over the sites: log w is the free energy of the AISTATS-2023 code."""
    data = np.load(REFERENCE)
    factors = jax.nn.log_softmax(data["logits"], axis=-1)
    potentials = factors - jnp.log(jnp.mean(jnp.exp(factors), axis=0))
    prior = HiddenMarkov(np.log(data["initial"]), np.log(data["transition"]), len(factors), parallel)
    posterior = condition(prior, potentials)
    np.testing.assert_allclose(posterior.log_normalizer, data["free_energy"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(posterior.sites.probabilities, data["marginals"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(posterior.pairwise(), data["pairwise"], rtol=0, atol=1e-10)
    counts = posterior.expected_counts()
    np.testing.assert_allclose(counts.transition, data["pairwise"].sum(0), rtol=0, atol=1e-10)
    np.testing.assert_allclose(counts.initial, data["marginals"][0], rtol=0, atol=1e-10)


# Shapes, precision, transformations.


def test_prior_marginals_are_powers_of_the_transition():
    initial, transition, _ = random_chain()
    prior = HiddenMarkov(initial, transition, 6)
    marginal, matrix = np.exp(prior.initial), np.exp(prior.transition)
    sites = prior.sites()
    assert sites.batch_shape == (6,)
    for probabilities in np.asarray(sites.probabilities):
        np.testing.assert_allclose(probabilities, marginal, rtol=1e-12)
        marginal = marginal @ matrix


@jax.jit
def value_and_slope(prior, logits):
    def value(logits):
        posterior = prior.condition(Categorical(logits))
        return jnp.sum(posterior.log_normalizer), posterior.mean

    (value, mean), slope = jax.value_and_grad(value, has_aux=True)(logits)
    return value, slope, mean


def test_one_site():
    initial, transition, logits = random_chain()
    total = jax.nn.log_softmax(initial) + logits[:, 0]
    for parallel in (False, True):
        prior = HiddenMarkov(initial, transition, 1, parallel)
        value, slope, mean = value_and_slope(prior, logits[:, :1])
        np.testing.assert_allclose(value, np.sum(jax.scipy.special.logsumexp(total, axis=-1)))
        np.testing.assert_allclose(slope[:, 0], jax.nn.softmax(total, axis=-1))
        np.testing.assert_allclose(mean, slope)
    posterior = condition(prior, logits[:, :1])
    np.testing.assert_array_equal(posterior.most_probable()[:, 0], np.argmax(total, axis=-1))
    assert posterior.pairwise().shape == (BATCH, 0, STATES, STATES)
    assert posterior.sample(jax.random.key(0), (5,)).shape == (5, BATCH, 1)
    np.testing.assert_array_equal(posterior.expected_counts().transition, 0.0)


def test_one_state():
    logits = random_chain()[2][..., :1]
    prior = HiddenMarkov(np.zeros(1), np.zeros((1, 1)), SITES)
    value, slope, mean = value_and_slope(prior, logits)
    np.testing.assert_allclose(value, logits.sum(), rtol=1e-12)
    np.testing.assert_array_equal(slope, 1.0)
    np.testing.assert_array_equal(mean, 1.0)
    np.testing.assert_array_equal(condition(prior, logits).most_probable(), 0)


def test_vmap_over_priors():
    """And what is asked of a posterior that came out of `vmap`, whose transition has a batch axis."""
    initial, transition, logits = random_chain()
    initials, transitions = np.stack([initial, initial[::-1]]), np.stack([transition, transition.T])
    chains = jax.vmap(lambda *x: HiddenMarkov(*x, SITES))(initials, transitions)
    posterior = jax.jit(jax.vmap(condition, in_axes=(0, None)))(chains, logits)
    assert posterior.transition.shape == (2, STATES, STATES)
    best = posterior.most_probable()
    every = posterior.log_prob(PATHS[:, None, None])
    drawn = posterior.sample(jax.random.key(1), (7,))
    assert every.shape == (len(PATHS), 2, BATCH)
    assert drawn.shape == (7, 2, BATCH, SITES)
    pairs = []
    for i in range(2):
        paths = np.asarray(joint(initials[i], transitions[i], logits))
        log_normalizer, mean, pairwise = enumerated(initials[i], transitions[i], logits)
        np.testing.assert_allclose(posterior.log_normalizer[i], log_normalizer, rtol=1e-12)
        np.testing.assert_allclose(posterior.mean[i], mean, atol=1e-12)
        np.testing.assert_allclose(posterior.pairwise()[i], pairwise, atol=1e-12)
        np.testing.assert_array_equal(best[i], PATHS[np.argmax(paths, axis=-1)])
        np.testing.assert_allclose(every[:, i].T, paths - log_normalizer[:, None], atol=1e-11)
        pairs.append(pairwise)
    counts = posterior.expected_counts()
    np.testing.assert_allclose(counts.transition, np.sum(pairs, axis=(0, 1, 2)), rtol=1e-12)


def test_exact_where_one_of_a_batch_leaves_the_range_under_vmap():
    """The product of matrices is not accurate for one prior of two."""
    chains = [random_chain(), chain_with_large_numbers()]
    stacked = tuple(np.stack(parts) for parts in zip(*chains, strict=True))
    got = jax.jit(jax.vmap(functools.partial(conditioned, False)))(*stacked)
    for i, chain in enumerate(chains):
        for leaf, expected in zip(got, enumerated(*chain), strict=True):
            np.testing.assert_allclose(leaf[i], expected, rtol=1e-10, atol=1e-10)


@jax.jit
def values_and_gradients(initial, transition, logits):
    def total(*arguments):
        return jnp.sum(conditioned(False, *arguments)[0])

    arguments = (initial, transition, logits)
    both = [conditioned(parallel, *arguments) for parallel in (False, True)]
    return *both, jax.grad(total, argnums=(0, 1, 2))(*arguments)


@pytest.mark.parametrize("name", CHAINS)
def test_single_precision(name):
    """Of 10⁴, the rounding error is 10⁻³."""
    sequential, parallel, slopes = values_and_gradients(*(x.astype(np.float32) for x in CHAINS[name]()))
    expected = results(name)[0]
    tolerance = 3e-3 if name == "large" else 3e-6
    for got in (sequential, parallel):
        for leaf, correct in zip(got, expected["values"], strict=True):
            assert leaf.dtype == jnp.float32
            np.testing.assert_allclose(leaf, correct, rtol=1e-6, atol=tolerance)
    for leaf, correct in zip(slopes, expected["log normalizer"], strict=True):
        np.testing.assert_allclose(leaf, correct, rtol=0, atol=3 * tolerance)


def test_where_no_path_is_left():
    initial, transition, logits = random_chain()
    logits[0, 2] = -INFINITY
    posterior = condition(HiddenMarkov(initial, transition, SITES), logits)
    assert posterior.log_normalizer[0] == -INFINITY
    assert np.all(np.isnan(posterior.mean[0]))
    expected = enumerated(initial, transition, logits[1:])
    np.testing.assert_allclose(posterior.log_normalizer[1], expected[0][0], rtol=1e-12)
    np.testing.assert_allclose(posterior.mean[1], expected[1][0], rtol=1e-12)


def test_filtered_and_predicted_distributions():
    """Site by site, by multiplication of probabilities."""
    initial, transition, logits = random_chain()
    prior = HiddenMarkov(initial, transition, SITES)
    posterior = condition(prior, logits)
    predicted, filtered = posterior.predicted.probabilities, posterior.filtered.probabilities
    expected, matrix = np.exp(prior.initial), np.exp(prior.transition)
    for t in range(SITES):
        np.testing.assert_allclose(predicted[:, t], np.broadcast_to(expected, (BATCH, STATES)), rtol=1e-12)
        product = expected * np.exp(logits[:, t])
        product /= product.sum(-1, keepdims=True)
        np.testing.assert_allclose(filtered[:, t], product, rtol=1e-12)
        expected = product @ matrix


# The closed-form M-step.


@jax.jit
def em_step(params, logits):
    posterior = SPEC.apply(params).condition(Categorical(logits))
    return posterior.log_normalizer, posterior.expected_counts(), SPEC.maximise(params, posterior)


SPEC = priors.hidden_markov(STATES, SITES)


def test_em_never_decreases_the_likelihood():
    params = SPEC.init(jax.random.key(0))
    logits = random_chain()[2]
    values = []
    for _ in range(15):
        value, _, params = em_step(params, logits)
        values.append(float(jnp.sum(value)))
    assert np.all(np.diff(values) > -1e-12)
    assert values[-1] > values[0] + 0.5


def test_maximiser():
    """No other chain has a larger expected log-probability, whose derivative is zero."""
    params = SPEC.init(jax.random.key(0))
    _, counts, maximised = em_step(params, random_chain()[2])
    for leaf, other in zip(jax.tree.leaves(maximised), jax.tree.leaves(params), strict=True):
        assert leaf.shape == other.shape
        assert leaf.dtype == other.dtype
    assert jax.tree.structure(maximised) == jax.tree.structure(params)

    def objective(params):
        chain = SPEC.apply(params)
        return jnp.sum(counts.initial * chain.initial) + jnp.sum(counts.transition * chain.transition)

    for slope in jax.tree.leaves(jax.grad(objective)(maximised)):
        np.testing.assert_allclose(slope, 0.0, atol=1e-12)
    assert objective(maximised) > objective(params)


def test_pseudo_counts_and_perturbation():
    counts = TransitionCounts(
        np.array([2.0, 0.0, 0.0]), np.array([[3.0, 1.0, 0.0], [0.0] * 3, [0.0, 0.0, 5.0]])
    )
    plain = HiddenMarkov.from_counts(counts, SITES)
    np.testing.assert_allclose(np.exp(plain.initial), [1, 0, 0])
    np.testing.assert_allclose(np.exp(plain.transition), [[0.75, 0.25, 0], [1 / 3] * 3, [0, 0, 1]])
    pseudo = HiddenMarkov.from_counts(counts, SITES, pseudo_count=0.5)
    np.testing.assert_allclose(np.exp(pseudo.initial), np.array([2.5, 0.5, 0.5]) / 3.5)
    np.testing.assert_allclose(np.exp(pseudo.transition)[0], np.array([3.5, 1.5, 0.5]) / 5.5)
    mixed = HiddenMarkov.from_counts(counts, SITES, perturbation=0.4, parallel=True)
    np.testing.assert_allclose(np.exp(mixed.transition), 0.6 * np.exp(plain.transition) + 0.4 / 3)
    np.testing.assert_allclose(mixed.initial, plain.initial)
    assert mixed.parallel
    assert mixed.num_sites == SITES


def test_closed_form_parameters_stay_finite():
    initial, transition, logits = chain_with_zeros()
    _, _, params = em_step({"initial": initial, "transition": transition}, logits)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params))
    prior = SPEC.apply(params)
    np.testing.assert_allclose(np.exp(prior.initial), [1, 0, 0], atol=1e-300)
    np.testing.assert_allclose(np.exp(prior.transition)[2], [0, 0, 1], atol=1e-300)


# Specifications.


def test_learnable_specification():
    assert isinstance(SPEC, priors.PriorSpec)
    assert priors.as_spec(SPEC) is SPEC
    first, second = (SPEC.init(jax.random.key(seed)) for seed in range(2))
    assert np.abs(first["transition"] - second["transition"]).max() > 0.01
    assert np.abs(first["transition"]).max() < 0.5
    np.testing.assert_array_equal(first["initial"], 0.0)
    sticky = priors.hidden_markov(STATES, SITES, stickiness=2.0, parallel=True)
    difference = sticky.init(jax.random.key(0))["transition"] - first["transition"]
    np.testing.assert_allclose(difference, 2.0 * np.eye(STATES), atol=1e-12)
    assert sticky.apply(first).parallel


@pytest.mark.parametrize("learnable", [True, False])
def test_given_probabilities(learnable):
    initial = np.array([0.5, 0.5, 0.0])
    transition = np.array([[0.9, 0.1, 0.0], [0.0, 0.2, 0.8], [1.0, 0.0, 0.0]])
    spec = priors.hidden_markov(STATES, SITES, initial=initial, transition=transition, learnable=learnable)
    params = spec.init(jax.random.key(0))
    assert bool(params) == learnable
    prior = spec.apply(params)
    np.testing.assert_allclose(np.exp(prior.initial), initial, atol=1e-300)
    np.testing.assert_allclose(np.exp(prior.transition), transition, atol=1e-300)
    assert np.all(np.isfinite(prior.transition_logits)) == learnable
    assert priors.as_spec(prior).init(jax.random.key(0)) == {}


# Errors.


def test_errors_of_chains():
    zeros = np.zeros(3)
    with pytest.raises(ValueError, match=r"must have shapes \(K,\) and \(K, K\), got \(3,\) and \(3, 2\)"):
        HiddenMarkov(zeros, np.zeros((3, 2)), 4)
    with pytest.raises(ValueError, match=r"got \(0,\) and \(0, 0\)"):
        HiddenMarkov(np.zeros(0), np.zeros((0, 0)), 4)
    with pytest.raises(ValueError, match=r"num_sites must be a positive integer, got 0"):
        HiddenMarkov(zeros, np.zeros((3, 3)), 0)
    with pytest.raises(ValueError, match=r"initial_logits must be finite, or −inf .* got NaN or"):
        HiddenMarkov(np.array([0.0, np.nan, 0.0]), np.zeros((3, 3)), 4)
    with pytest.raises(ValueError, match=r"transition_logits must be finite.*\+inf"):
        HiddenMarkov(zeros, np.full((3, 3), INFINITY), 4)
    with pytest.raises(
        ValueError, match="transition_logits must leave at least one state possible in every row"
    ):
        HiddenMarkov(zeros, np.array([[0.0] * 3, [-INFINITY] * 3, [0.0] * 3]), 4)
    prior = HiddenMarkov(zeros, np.zeros((3, 3)), 4)
    with pytest.raises(
        ValueError, match=r"HiddenMarkov.condition: .* end in the shapes \[\(4, 3\)\].*\(2, 5, 3\)"
    ):
        prior.condition(Categorical(np.zeros((2, 5, 3))))
    with pytest.raises(
        TypeError, match=r"HiddenMarkov.condition takes potentials .* Categorical, got ndarray"
    ):
        prior.condition(np.zeros((4, 3)))


def test_errors_of_counts():
    counts = TransitionCounts(np.ones(3), np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"counts.transition must be finite and not negative"):
        HiddenMarkov.from_counts(counts._replace(transition=-np.ones((3, 3))), 4)
    with pytest.raises(ValueError, match=r"counts.initial must be finite and not negative"):
        HiddenMarkov.from_counts(counts._replace(initial=np.full(3, np.nan)), 4)
    with pytest.raises(
        ValueError, match=r"counts must have shapes \(K,\) and \(K, K\), got \(3,\) and \(3,\)"
    ):
        HiddenMarkov.from_counts(counts._replace(transition=np.ones(3)), 4)
    with pytest.raises(ValueError, match=r"perturbation must be at least 0 and less than 1, got 1.0"):
        HiddenMarkov.from_counts(counts, 4, perturbation=1.0)
    with pytest.raises(ValueError, match=r"pseudo_count must be at least 0 and finite, got -0.5"):
        HiddenMarkov.from_counts(counts, 4, pseudo_count=-0.5)


def test_errors_of_specifications():
    with pytest.raises(ValueError, match=r"num_states must be a positive integer, got 2.5"):
        priors.hidden_markov(2.5, 4)
    with pytest.raises(ValueError, match=r"num_sites must be a positive integer, got -1"):
        priors.hidden_markov(3, -1)
    with pytest.raises(ValueError, match=r"stickiness must be finite"):
        priors.hidden_markov(3, 4, stickiness=np.nan)
    with pytest.raises(ValueError, match=r"stickiness applies to random transitions, got 1.0 together"):
        priors.hidden_markov(2, 4, transition=np.eye(2), stickiness=1.0)
    with pytest.raises(ValueError, match=r"initial must have shape \(3,\) for 3 states, got \(2,\)"):
        priors.hidden_markov(3, 4, initial=np.ones(2) / 2)
    with pytest.raises(ValueError, match=r"transition must hold .* a sum of one; .* sum of 1.1 in row 1"):
        priors.hidden_markov(2, 4, transition=np.array([[0.5, 0.5], [0.5, 0.6]]))
    with pytest.raises(ValueError, match=r"smallest entry of -0.5"):
        priors.hidden_markov(2, 4, initial=np.array([1.5, -0.5]))
    with pytest.raises(ValueError, match=r"transition must be finite, got 1 NaN"):
        priors.hidden_markov(2, 4, transition=np.array([[np.nan, 1.0], [0.5, 0.5]]))
