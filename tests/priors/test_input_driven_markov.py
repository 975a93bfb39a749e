"""Markov chains whose transitions differ by step and datum: against all paths, one by one, and as priors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init

import rpm_jax as rpm
from rpm_jax.expfam import Categorical
from rpm_jax.priors import HiddenMarkov, InputTable

KEY = jax.random.key(0)
STATES, SITES, SIZE = 3, 4, 2
PATHS = np.array(list(itertools.product(range(STATES), repeat=SITES)))
RNG = np.random.default_rng(0)
INITIAL = RNG.normal(size=STATES)
TRANSITION = RNG.normal(size=(SIZE, SITES - 1, STATES, STATES))
TRANSITION[0, 1, 0, 2] = -np.inf
POTENTIALS = RNG.normal(size=(SIZE, SITES, STATES))


def log_joint(initial, transition, potentials):
    """log p(Z) + Σ λ of every path, one datum: shape (paths,)."""
    start = jax.nn.log_softmax(initial)
    steps = jax.nn.log_softmax(transition, axis=-1)
    value = start[PATHS[:, 0]] + potentials[np.arange(SITES), PATHS].sum(-1)
    return value + sum(steps[t, PATHS[:, t], PATHS[:, t + 1]] for t in range(SITES - 1))


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_all_paths(parallel):
    """Log-normaliser and its gradient, marginals of one and two sites, probabilities, the best path."""

    def chain(initial, transition):
        return HiddenMarkov(initial, transition, SITES, parallel)

    @jax.jit
    def condition(initial, transition, potentials):
        prior = chain(initial, transition)
        return prior.condition(Categorical(potentials)), prior.sites()

    q, marginals = condition(INITIAL, TRANSITION, POTENTIALS)
    of_paths = jax.jit(jax.vmap(log_joint, in_axes=(None, 0, 0)))
    joint = np.asarray(of_paths(INITIAL, TRANSITION, POTENTIALS))
    log_z = np.log(np.sum(np.exp(joint), axis=1))
    np.testing.assert_allclose(q.log_normalizer, log_z, rtol=1e-12)
    weights = np.exp(joint - log_z[:, None])
    one_hot = np.eye(STATES)[PATHS]
    np.testing.assert_allclose(q.mean, np.einsum("np,ptk->ntk", weights, one_hot), atol=1e-12)
    pairs = np.einsum("np,pti,ptj->ntij", weights, one_hot[:, :-1], one_hot[:, 1:])
    np.testing.assert_allclose(q.pairwise(), pairs, atol=1e-12)
    np.testing.assert_allclose(q.expected_counts().transition, pairs.sum((0, 1)), atol=1e-12)
    np.testing.assert_allclose(q.log_prob(PATHS[:, None]).T, joint - log_z[:, None], rtol=1e-10)
    np.testing.assert_array_equal(q.most_probable(), PATHS[joint.argmax(1)])
    prior = np.exp(of_paths(INITIAL, TRANSITION, np.zeros_like(POTENTIALS)))
    np.testing.assert_allclose(marginals.mean(), np.einsum("np,ptk->ntk", prior, one_hot), atol=1e-12)

    def by_messages(initial, transition, potentials):
        return chain(initial, transition).condition(Categorical(potentials)).log_normalizer.sum()

    def by_paths(initial, transition, potentials):
        each = jax.vmap(log_joint, in_axes=(None, 0, 0))(initial, transition, potentials)
        return jax.nn.logsumexp(each, axis=1).sum()

    arguments = (INITIAL, jnp.where(jnp.isinf(TRANSITION), -2.0, TRANSITION), POTENTIALS)
    ours, theirs = (jax.jit(jax.grad(f, argnums=(0, 1, 2)))(*arguments) for f in (by_messages, by_paths))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), ours, theirs)

    # The derivative of the marginals, which the bound takes.
    def second(potentials, by_hand):
        if not by_hand:
            return (chain(INITIAL, arguments[1]).condition(Categorical(potentials)).mean ** 2).sum()
        each = jax.vmap(lambda own, p: jax.nn.softmax(log_joint(INITIAL, own, p)))(arguments[1], potentials)
        return (jnp.einsum("np,ptk->ntk", each, one_hot) ** 2).sum()

    ours, theirs = (
        jax.jit(jax.grad(second), static_argnums=1)(jnp.asarray(POTENTIALS), h) for h in (False, True)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-11)


def test_draws():
    """Relative frequencies of pairs are the marginals of pairs."""
    q = HiddenMarkov(INITIAL, TRANSITION, SITES).condition(Categorical(POTENTIALS))
    draws = np.eye(STATES)[q.sample(KEY, (20000,))]
    assert draws.shape == (20000, SIZE, SITES, STATES)
    pairs = np.einsum("snti,sntj->ntij", draws[:, :, :-1], draws[:, :, 1:]) / 20000
    np.testing.assert_allclose(pairs, q.pairwise(), atol=0.02)


def test_batches():
    """Equal transitions are the homogeneous chain; one for all data, and many potentials each, broadcast."""
    same = np.broadcast_to(TRANSITION[1, 0], (SITES - 1, STATES, STATES))
    plain, varying = (HiddenMarkov(INITIAL, t, SITES) for t in (TRANSITION[1, 0], same))
    assert varying.varying
    assert not plain.varying
    potentials = Categorical(RNG.normal(size=(5, SIZE, SITES, STATES)))
    ours, theirs = varying.condition(potentials), plain.condition(potentials)
    np.testing.assert_allclose(ours.log_normalizer, theirs.log_normalizer, rtol=1e-12)
    np.testing.assert_allclose(ours.pairwise(), theirs.pairwise(), atol=1e-12)
    np.testing.assert_array_equal(ours.most_probable(), theirs.most_probable())
    own = HiddenMarkov(INITIAL, TRANSITION, SITES)
    whole = own.condition(potentials)
    each = own.condition(potentials[3])
    np.testing.assert_allclose(whole.log_normalizer[3], each.log_normalizer, rtol=1e-12)
    np.testing.assert_allclose(whole.log_prob(whole.most_probable())[3], each.log_prob(each.most_probable()))
    of_none = own.condition(Categorical(POTENTIALS[0]))
    assert of_none.log_normalizer.shape == (SIZE,)
    mapped = jax.vmap(own.condition)(potentials)
    np.testing.assert_allclose(mapped.pairwise(), whole.pairwise(), atol=1e-12)
    by_datum = jax.vmap(lambda t, p: HiddenMarkov(INITIAL, t, SITES).condition(p))(
        TRANSITION, Categorical(POTENTIALS)
    )
    np.testing.assert_allclose(by_datum.log_normalizer, own.condition(Categorical(POTENTIALS)).log_normalizer)
    with pytest.raises(ValueError, match="those of the T - 1 = 3 steps between 4 sites, got shape"):
        HiddenMarkov(INITIAL, TRANSITION[:, :2], SITES)


# As priors of models.

FACTORS = rpm.factors.per_view(rpm.networks.PointwiseMLP((), activation=jnp.tanh))
CODES = RNG.integers(0, 2, size=(40, 9))


def walk():
    """Input 1 moves round three states, input 0 stays; one noisy view."""
    states = np.cumsum(np.concatenate([RNG.integers(0, 3, size=(40, 1)), CODES], axis=1), axis=1) % 3
    return states, np.eye(3)[states] + 0.6 * RNG.normal(size=(*states.shape, 3))


STATES_OF, VIEW = walk()


def test_table_in_closed_form():
    """The expected counts of each value; EM finds the two transitions."""
    prior = rpm.priors.hidden_markov(3, 10, inputs=InputTable(2))
    model = rpm.RPM(prior, FACTORS, pooled=True)
    data = rpm.as_data((VIEW,), inputs=CODES)
    update = rpm.train.maximise_prior(model, pseudo_count=0.01)
    fit = rpm.fit(model, data, key=KEY, num_steps=120, update=update, freeze=("prior",), steps_per_call=10)
    found = jnp.exp(prior.apply(fit.params["prior"], np.array([[0.0, 1.0] + [0.0] * 7])).transition)[0]
    assert np.diag(found[0]).min() > 0.9
    np.testing.assert_allclose(np.sort(found[1].max(1)), 1.0, atol=0.1)
    assert np.diag(found[1]).max() < 0.1

    # One step of EM by hand, from the pairwise marginals.
    params = init(model, KEY, data)

    @jax.jit
    def maximise(params, potentials):
        q = model.prior_of(params, data.inputs).condition(potentials)
        return q, prior.maximise(params["prior"], q, inputs=CODES)

    q, new = maximise(params, Categorical(RNG.normal(size=(40, 10, 3))))
    for value in (0, 1):
        counts = np.asarray(q.pairwise())[value == CODES].sum(0)
        expected = counts / counts.sum(1, keepdims=True)
        got = jax.nn.softmax(new["transition"] + new["map"][value].reshape(3, 3), axis=-1)
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_network_and_what_factors_are_relative_to():
    """A network of inputs learns; the reference is the mean of the marginals; the bound is a likelihood."""
    network = rpm.networks.PointwiseMLP((4,), activation=jnp.tanh)
    prior = rpm.priors.hidden_markov(3, 10, inputs=network)
    model = rpm.RPM(prior, FACTORS, pooled=True)
    data = rpm.as_data((VIEW,), inputs={"action": 100.0 + 5.0 * CODES})
    params = init(model, KEY, data)
    both = jax.jit(lambda p: (model.prior_of(p, data.inputs).sites().mean(), model.reference(p).logits))
    marginals, reference = both(params)
    np.testing.assert_allclose(np.exp(reference), np.mean(marginals, axis=0), rtol=1e-10)
    fit = rpm.fit(model, data, key=KEY, num_steps=60)
    assert fit.history.train[-1] > fit.history.train[0] + 1
    new = rpm.as_data((VIEW[:3],), inputs={"action": 100.0 + 5.0 * CODES[:3]})
    assert fit.infer(new).mean.shape == (3, 10, 3)
    other = rpm.as_data((VIEW[:3],), inputs={"action": 105.0 - 5.0 * CODES[:3]})
    assert np.all(fit.evaluate(new) > fit.evaluate(other))
    assert rpm.generation.sample(fit, KEY).latents.shape == (40, 10)
    # Wholly masked steps behind the end change nothing, whatever their inputs.
    half = data._replace(mask=jnp.arange(10) < jnp.full((40, 1, 1), 5))
    changed = half._replace(inputs={"action": half.inputs["action"].at[:, 5:].set(0.0)})
    np.testing.assert_allclose(
        bound(model, params, half.all(), half), bound(model, params, changed.all(), half), rtol=1e-10
    )


def test_inputs_that_do_not_fit():
    table = rpm.RPM(rpm.priors.hidden_markov(3, 10, inputs=InputTable(2)), FACTORS, pooled=True)
    with pytest.raises(ValueError, match=r"T = 10 sites, or the T - 1 = 9 steps between them, got \(40, 8\)"):
        rpm.fit(table, (VIEW,), key=KEY, inputs=CODES[:, :8], num_steps=1)
    wrong = CODES.copy()
    wrong[4, 2] = 2
    message = r"inputs must be integers from 0 to 1, .*of the InputTable, got 2 at index \(4, 2\)"
    with pytest.raises(ValueError, match=message):
        rpm.fit(table, (VIEW,), key=KEY, inputs=wrong, num_steps=1)
    data = rpm.as_data((VIEW,), inputs=CODES)
    fitted = rpm.Fitted(table, init(table, KEY, data), data)
    for question in (rpm.inference.infer, rpm.inference.evaluate):
        with pytest.raises(ValueError, match=message):
            question(fitted, rpm.as_data((VIEW,), inputs=wrong))
    with pytest.raises(ValueError, match="one array that drives the prior, got 2"):
        rpm.fit(table, (VIEW,), key=KEY, inputs=(CODES, CODES), num_steps=1)
    with pytest.raises(ValueError, match="learned; leave one of them out"):
        rpm.priors.hidden_markov(3, 10, inputs=InputTable(2), learnable=False)
    with pytest.raises(TypeError, match=r"inputs must be a rpm_jax.priors.InputTable"):
        rpm.priors.hidden_markov(3, 10, inputs=2)
    network = rpm.priors.hidden_markov(3, 10, inputs=rpm.networks.PointwiseMLP((4,)))
    with pytest.raises(TypeError, match="no closed-form M-step"):
        network.maximise({}, None, inputs=CODES)
