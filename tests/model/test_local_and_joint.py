"""Models with local latents, and with one factor of all views."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, init, minibatch_bound, recognise

import rpm_jax as rpm
from rpm_jax import objectives
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.factors import per_view
from rpm_jax.model import _blocks
from rpm_jax.networks import MLP, concatenated

KEY = jax.random.key(0)
PRIOR = rpm.priors.static(Categorical(np.zeros(3)), learnable=True)


def views(seed=0, size=6):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 3, size)
    return tuple(np.eye(3)[z] @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(size, 2)) for _ in range(2))


DATA = rpm.as_data(views())
EVERYTHING = DATA.batch(jnp.arange(DATA.size))
LOCAL = rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,))), num_local_states=2)
JOINT = rpm.JointRPM(PRIOR, concatenated(MLP((4,))))


def test_local_bound_by_its_objective():
    params = init(LOCAL, KEY, DATA)

    @jax.jit
    def expected(params):
        factors, weights = LOCAL.recognise(params, EVERYTHING)
        assert factors.logits.shape == (6, 2, 1, 2, 3)
        local = Categorical(params["local_priors"])
        prior = LOCAL.prior.apply(params["prior"])
        return objectives.local_latents(prior, factors, weights, local, factors, weights)

    want = expected(params)
    full = bound(LOCAL, params, EVERYTHING, DATA)
    for got in (full, minibatch_bound(LOCAL, params, EVERYTHING, DATA)):
        np.testing.assert_allclose(got, want.log_likelihood, rtol=1e-12)
    got = rpm.inference.infer_all(rpm.Fitted(LOCAL, params, DATA), DATA)
    np.testing.assert_allclose(
        got.local_posteriors.probabilities, want.local_posteriors.probabilities, atol=1e-12
    )


def test_one_local_state_is_no_local_latent():
    """With L = 1 the likelihood is that of an RPM, up to the empirical marginals 1/N of each view."""
    model = rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,))), num_local_states=1)
    params = init(model, KEY, DATA)
    factors, _ = recognise(model, params, EVERYTHING)
    plain = Categorical(factors.logits[..., 0, :])
    prior = model.prior.apply(params["prior"])
    want = jax.jit(objectives.exact_log_likelihood)(prior, plain, plain) - 2 * np.log(6)
    np.testing.assert_allclose(bound(model, params, EVERYTHING, DATA), want, rtol=1e-12)


def test_different_numbers_of_local_states():
    """A view with fewer of them never uses the others, and no gradient is NaN."""
    model = rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,))), num_local_states=(1, 2))
    params = init(model, KEY, DATA)
    got = rpm.inference.inferred(rpm.Fitted(model, params, DATA))
    np.testing.assert_array_equal(got.local_posteriors.probabilities[:, 0, 0], np.tile([1.0, 0.0], (6, 1)))
    slope = jax.jit(jax.grad(lambda params: rpm.bound(model, params, EVERYTHING, DATA).mean()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    with pytest.raises(ValueError, match=r"one for each of J = 2 views, got \(1, 2, 3\)"):
        rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,))), num_local_states=(1, 2, 3)).init(KEY, DATA)


def test_joint_bound_by_hand(monkeypatch):
    """F over all 36 pairs of views, also in blocks."""
    params = init(JOINT, KEY, DATA)
    network = JOINT._sized(JOINT.prior.apply(params["prior"]).sites())

    def log_f(pairs):
        outputs = network.apply(params["factors"], pairs)
        return jax.nn.log_softmax(outputs[:, :3]) + outputs[:, 3:]

    pairs = np.array(list(itertools.product(range(6), repeat=2)))
    mixture = jnp.log(jnp.exp(log_f((DATA.views[0][pairs[:, 0]], DATA.views[1][pairs[:, 1]]))).mean(0))
    prior = JOINT.prior.apply(params["prior"]).natural.log_probabilities
    want = jax.nn.logsumexp(prior + log_f(DATA.views) - mixture, axis=1)
    for limit in (_blocks.BLOCK_INPUTS, 4 * 10):
        monkeypatch.setattr(_blocks, "BLOCK_INPUTS", limit)
        jax.clear_caches()  # the limit is read while tracing
        np.testing.assert_allclose(bound(JOINT, params, EVERYTHING, DATA), want, rtol=1e-12)
    np.testing.assert_allclose(
        rpm.inference.posterior(rpm.Fitted(JOINT, params, DATA)).log_normalizer, want, rtol=1e-12
    )


def test_random_combinations_come_close():
    params = JOINT.init(KEY, DATA)
    few = rpm.JointRPM(PRIOR, concatenated(MLP((4,))), combinations=4000)
    bounds = [bound(model, params, EVERYTHING, DATA) for model in (few, JOINT)]
    np.testing.assert_allclose(*bounds, atol=0.05)


@pytest.mark.parametrize(
    ("model", "components"),
    [
        (LOCAL, rpm.feeds.minibatch()),
        pytest.param(LOCAL, rpm.feeds.full(), marks=pytest.mark.slow),
        (JOINT, rpm.feeds.minibatch()),
        pytest.param(JOINT, rpm.feeds.full(), marks=pytest.mark.slow),
    ],
    ids=["local-batch", "local-data", "joint-batch", "joint-data"],
)
def test_they_learn(model, components):
    data = views(size=24)
    fit = rpm.fit(model, data, key=KEY, num_steps=40, batch_size=12, components=components)
    start = rpm.model.mean_bound(
        model, model.init(KEY, rpm.as_data(data)), rpm.as_data(data), rpm.as_data(data)
    )
    assert fit.bound > start + 0.1
    assert fit.history.skipped == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", [LOCAL, JOINT], ids=["local", "joint"])
def test_sweeps(model):
    sweep = rpm.fit_seeds(model, views(size=24), keys=jax.random.split(KEY, 2), num_steps=2, batch_size=12)
    assert sweep.bound.shape == (2,)
    assert sweep.best().bound == sweep.bound.max()


def test_cost_is_checked_before_memory_is_taken():
    big = rpm.as_data(tuple(np.zeros((2000, 1)) for _ in range(3)))
    params = JOINT.init(KEY, big)
    with pytest.raises(ValueError, match=r"N\^J = 8e\+09 components, more than the limit"):
        rpm.bound(JOINT, params, big.batch(jnp.arange(2)), big)


def test_what_does_not_fit():
    gaussian = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    with pytest.raises(TypeError, match="prior must have Categorical sites, got DiagonalGaussian"):
        rpm.LocalLatentRPM(gaussian, per_view(MLP((4,))), num_local_states=2)
    with pytest.raises(TypeError, match="prior must have Categorical sites, got DiagonalGaussian"):
        rpm.JointRPM(gaussian, concatenated(MLP((4,))))
    with pytest.raises(TypeError, match="factors must be normalised and made by"):
        rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,)), kind="scaled"), num_local_states=2)
    with pytest.raises(ValueError, match="num_local_states must be a positive integer"):
        rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,))), num_local_states=0)
    masked = rpm.as_data(views(), np.ones((6, 2), bool))
    with pytest.raises(TypeError, match="a JointRPM combines the views of its components"):
        rpm.fit(JOINT, DATA, key=KEY, num_steps=1, components=rpm.feeds.random_subset(2))
    for model in (LOCAL, JOINT):
        with pytest.raises(TypeError, match="em=True needs a model whose posterior can be held fixed"):
            rpm.fit(model, DATA, key=KEY, num_steps=1, objective=rpm.train.Bound(em=True))
        with pytest.raises(ValueError, match="leave out mask, log_weights"):
            model.init(KEY, masked)
    with pytest.raises(ValueError, match="combinations"):
        rpm.JointRPM(PRIOR, concatenated(MLP((4,))), combinations=0)


def test_local_components_with_weights_are_refused():
    """A feed of one's own may weigh what it holds; α would be normalised as if it had not."""
    params = init(LOCAL, KEY, DATA)
    held = rpm.feeds.Held(recognise(LOCAL, params, EVERYTHING), jnp.full(DATA.size, -jnp.log(DATA.size)))
    with pytest.raises(ValueError, match="components: a LocalLatentRPM normalises"):
        LOCAL.mixture(params, held)
