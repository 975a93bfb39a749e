"""F_j over a minibatch and a memory of earlier ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.clusters import DATA, KEY, MODEL, PRIOR, STATES, VIEWS, clustered_views, initial
from support import bound, feed_bound, feed_state, init, minibatch_bound

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.factors import per_view
from rpm_jax.networks import MLP

PARAMS = initial()


def test_queue_holds_the_last_components():
    """After all data went through it, F is that over all data, its gradient the batch's mean's, ∇F_B/F."""
    queue = rpm.feeds.queue(8)
    first, second, third = (DATA.batch(jnp.arange(i, i + 4)) for i in (0, 4, 8))

    @jax.jit
    def step(params, batch, state):
        def value(params):
            each, after = feed_bound(MODEL, params, batch, DATA, queue, state)
            return each.mean(), (each, after)

        (mean, (each, after)), slope = jax.value_and_grad(value, has_aux=True)(params)
        return each, after, mean, slope

    each, state, *_ = step(PARAMS, first, feed_state(MODEL, PARAMS, DATA, queue))
    np.testing.assert_allclose(each, minibatch_bound(MODEL, PARAMS, first, DATA), rtol=1e-12)
    _, state, *_ = step(PARAMS, second, state)
    _, state, got, slope = step(PARAMS, third, state)
    np.testing.assert_allclose(got, rpm.bound(MODEL, PARAMS, third, DATA).mean(), rtol=1e-12)

    @jax.jit
    @jax.grad
    def expected(params):
        own = MODEL.recognise(params, third).natural.log_probabilities[:, :, 0]
        everything = MODEL.recognise(PARAMS, DATA.all()).natural.log_probabilities[:, :, 0]
        mixture = jnp.exp(everything).mean(0)
        batch = jnp.exp(own).mean(0)
        log_mixture = jnp.log(mixture) + (batch - jax.lax.stop_gradient(batch)) / mixture
        evidence = jnp.sum(own - log_mixture, axis=1)
        prior = MODEL.prior_of(params).natural.log_probabilities
        return jax.nn.logsumexp(prior + evidence, axis=1).mean()

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), slope, expected(PARAMS))
    # The third batch took the place of the first.
    held = np.sort(np.asarray(state.factors.natural.logits[:, 0, 0, 0]))
    logits = MODEL.recognise(PARAMS, DATA.all()).natural.logits[4:, 0, 0, 0]
    np.testing.assert_allclose(held, np.sort(logits), atol=1e-12)


def test_queue_of_masked_and_weighted_unnormalised_gaussians():
    """Any family, missing components, weights and scales."""
    prior = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    model = rpm.RPM(prior, per_view(MLP((4,)), kind="unnormalised"))
    mask = np.ones((12, 2), bool)
    mask[[1, 5, 9], [0, 1, 0]] = False
    weights = jax.nn.log_softmax(jnp.arange(12.0) / 6)
    data = rpm.as_data(VIEWS, mask, weights)
    params = init(model, KEY, data)
    queue = rpm.feeds.queue(6)
    state = feed_state(model, params, data, queue)
    _, state = feed_bound(model, params, data.batch(jnp.arange(6)), data, queue, state)
    batch = data.batch(jnp.arange(6, 12))
    got, _ = feed_bound(model, params, batch, data, queue, state)
    np.testing.assert_allclose(got, bound(model, params, batch, data), rtol=1e-10)


@pytest.mark.parametrize(
    "components",
    [rpm.feeds.full(), rpm.feeds.minibatch(), rpm.feeds.queue(16), rpm.feeds.random_subset(8)],
    ids=str,
)
def test_fits_with_every_kind_of_components(components):
    data = rpm.as_data(clustered_views(size=40))
    start = MODEL.init(KEY, data)
    fit = rpm.fit(MODEL, data, key=KEY, params=start, num_steps=60, batch_size=10, components=components)
    assert rpm.model.mean_bound(MODEL, start, data, data) + 0.1 < fit.bound <= np.log(STATES)


def test_what_is_no_feed():
    with pytest.raises(ValueError, match="length must be a positive integer, got 0"):
        rpm.feeds.queue(0)
    with pytest.raises(ValueError, match="size must be a positive integer, got 0"):
        rpm.feeds.random_subset(0)
    with pytest.raises(TypeError, match=r"components .*got 'queue'"):
        rpm.fit(MODEL, VIEWS, key=KEY, num_steps=1, components="queue")
    local = rpm.LocalLatentRPM(PRIOR, per_view(MLP((4,))), num_local_states=2)
    with pytest.raises(TypeError, match=r"a LocalLatentRPM normalises the weights α over its components"):
        rpm.fit(local, VIEWS, key=KEY, num_steps=1, components=rpm.feeds.queue(16))
