"""F_j over a minibatch and other data drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.normalizers import random_subset

SIZE, BATCH = 40, 5
WEIGHTS = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(0).normal(size=SIZE)))
INDEX = jnp.array([3, 8, 0, 21, 30])


@pytest.mark.parametrize("log_weights", [None, WEIGHTS])
def test_weighted_means_are_unbiased(log_weights):
    """Of any function of the components; every draw's weights sum to 1."""
    values = np.random.default_rng(1).normal(size=SIZE)
    weights = np.full(SIZE, 1 / SIZE) if log_weights is None else np.exp(log_weights)
    subset = random_subset(7)

    @jax.jit
    def estimate(key):
        _, drawn, weights = subset.draw(key, INDEX, SIZE, log_weights)
        rows = jnp.concatenate([INDEX, drawn])
        return jnp.sum(jnp.exp(weights) * jnp.asarray(values)[rows]), jnp.sum(jnp.exp(weights)), weights

    means, sums, drawn_weights = jax.vmap(estimate)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - weights @ values) < 4 * error
    np.testing.assert_allclose(
        np.exp(drawn_weights[:, :BATCH]), np.broadcast_to(weights[INDEX], (20_000, BATCH)), rtol=1e-9
    )


def model():
    prior = rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    return rpm.RPM(prior, rpm.factors.per_view(rpm.networks.MLP((3,))))


def test_bound_is_that_of_weighted_data():
    """The same components as data with these weights."""
    rpm_model, data = model(), rpm.as_data(two_views(0, size=12))
    params = jax.jit(rpm_model.init)(jax.random.key(0), data)
    batch, others = data.batch(jnp.array([1, 4])), data.batch(jnp.array([7, 7, 2]))
    weights = jax.nn.log_softmax(jnp.array([0.3, -0.2, 0.5, 0.1, -jnp.inf]))
    joined = rpm.Data(
        tuple(jnp.concatenate(pair) for pair in zip(batch.views, others.views, strict=True)), None, weights
    )
    got = jax.jit(rpm_model.subset_bound)(params, batch, others, weights)
    np.testing.assert_allclose(got, jax.jit(rpm_model.bound)(params, batch, joined), rtol=1e-12)


def test_fit():
    """Close to the fit with all data: the median of the last bounds, each with all components."""
    views = two_views(0, size=200)
    rpm_model = model()
    options = {"key": jax.random.key(0), "num_steps": 200, "batch_size": 20}
    exact = rpm.fit(rpm_model, views, **options)
    drawn = rpm.fit(rpm_model, views, components=random_subset(60), **options)
    start = rpm_model.mean_bound(
        rpm_model.init(jax.random.key(0), views), rpm.as_data(views), rpm.as_data(views)
    )
    assert drawn.bound > start + 0.8 * (exact.bound - start)


def test_errors():
    with pytest.raises(ValueError, match="size must be a positive integer, got 0"):
        random_subset(0)
    with pytest.raises(ValueError, match="em=True does not go together with a queue or a random subset"):
        rpm.fit(model(), two_views(), key=jax.random.key(0), em=True, components=random_subset(3))


def test_every_seed_draws_a_subset_of_its_own():
    """The first components drawn differ by the sweep's seed, and by its own; a fit repeats itself."""
    subsets = []
    rpm_model = model()

    class Recorded:
        def init_memory(self, params, batch, data, key):
            return random_subset(4).init(key)

        def step(self, params, batch, data, memory):
            memory, drawn, _ = random_subset(4).draw(memory, batch.index, data.size)
            jax.debug.callback(lambda drawn: subsets.append(np.asarray(drawn).tolist()), drawn)
            return -jnp.mean(rpm_model.minibatch_bound(params, batch)), memory

    options = {"num_steps": 1, "loss": Recorded(), "batch_size": 3}
    keys = jax.random.split(jax.random.key(0), 3)
    rpm.fit_seeds(rpm_model, two_views(0, size=SIZE), keys=keys, seeds_at_once=1, **options)
    rpm.fit(rpm_model, two_views(0, size=SIZE), key=keys[0], **options)
    jax.effects_barrier()
    drawn = [tuple(row) for row in subsets]
    assert len(set(drawn[:3])) == 3
    assert drawn[3] == drawn[0]
    first = random_subset(4, seed=1).draw(random_subset(4, seed=1).init(keys[0]), INDEX, SIZE)[1]
    assert first.tolist() != random_subset(4).draw(random_subset(4).init(keys[0]), INDEX, SIZE)[1].tolist()
