"""F_j over a minibatch and other data drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import bound, feed_bound, feed_state, init, two_views

import rpm_jax as rpm
from rpm_jax._record import record
from rpm_jax.feeds import draw, random_subset

SIZE, BATCH = 40, 5
WEIGHTS = jax.nn.log_softmax(jnp.asarray(np.random.default_rng(0).normal(size=SIZE)))
INDEX = jnp.array([3, 8, 0, 21, 30])


@pytest.mark.parametrize("log_weights", [None, WEIGHTS])
def test_weighted_means_are_unbiased(log_weights):
    """Of any function of the components; every draw's weights sum to 1."""
    values = np.random.default_rng(1).normal(size=SIZE)
    weights = np.full(SIZE, 1 / SIZE) if log_weights is None else np.exp(log_weights)

    @jax.jit
    def estimate(key):
        drawn, weights = draw(key, 7, INDEX, SIZE, log_weights)
        rows = jnp.concatenate([INDEX, drawn])
        return jnp.sum(jnp.exp(weights) * jnp.asarray(values)[rows]), jnp.sum(jnp.exp(weights)), weights

    means, sums, drawn_weights = jax.vmap(estimate)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(sums, 1.0, rtol=1e-12)
    error = np.std(means) / np.sqrt(len(means))
    assert abs(np.mean(means) - weights @ values) < 4 * error
    np.testing.assert_allclose(
        np.exp(drawn_weights[:, :BATCH]), np.broadcast_to(weights[INDEX], (20_000, BATCH)), rtol=1e-9
    )


MODEL = rpm.RPM(
    rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))),
    rpm.factors.per_view(rpm.networks.MLP((3,))),
)


def test_bound_is_that_of_weighted_data():
    """The same components as data with these weights; the batch comes first, and the key moves on."""
    data = rpm.as_data(two_views(0, size=12), log_weights=np.arange(12.0) / 6)
    params = init(MODEL, jax.random.key(0), data)
    batch, feed = data.batch(jnp.array([1, 4])), random_subset(5)
    state = feed_state(MODEL, params, data, feed)
    rows, after = feed.rows(state, batch, data)
    np.testing.assert_array_equal(rows.index[:2], batch.index)
    joined = rpm.Data(rows.views, None, rows.log_weights)
    got, new_state = feed_bound(MODEL, params, batch, data, feed, state)
    np.testing.assert_allclose(got, bound(MODEL, params, batch, joined), rtol=1e-12)
    assert new_state == after
    assert new_state != state


@pytest.mark.slow  # two long fits; that every step's mixture is unbiased is shown above
def test_fit():
    """Close to the fit with all data: the median of the last bounds, each with all components."""
    data = rpm.as_data(two_views(0, size=200))
    options = {"key": jax.random.key(0), "num_steps": 200, "batch_size": 20}
    exact = rpm.fit(MODEL, data, **options)
    drawn = rpm.fit(MODEL, data, components=random_subset(60), **options)
    start = rpm.model.mean_bound(MODEL, init(MODEL, jax.random.key(0), data), data, data)
    assert drawn.bound > start + 0.8 * (exact.bound - start)


class Seen:
    """A list that is compared by identity."""

    def __init__(self, rows):
        self.append = rows.append


@record
class Recorded:
    """A random subset that tells what it draws."""

    subset: object
    seen: object

    def init(self, key, own, data):
        return self.subset.init(key, own, data)

    def rows(self, state, batch, data):
        rows, state = self.subset.rows(state, batch, data)
        jax.debug.callback(lambda index: self.seen.append(np.asarray(index).tolist()), rows.index[3:])
        return rows, state

    def source(self, *arguments):
        return self.subset.source(*arguments)


def test_every_seed_draws_a_subset_of_its_own():
    """The same ones again in another run."""
    drawn = []
    options = {"num_steps": 1, "components": Recorded(random_subset(4), Seen(drawn)), "batch_size": 3}
    keys = jax.random.split(jax.random.key(0), 3)
    data = rpm.as_data(two_views(0, size=SIZE))
    for _ in range(2):
        rpm.fit_seeds(MODEL, data, keys=keys, seeds_at_once=1, **options)
    jax.effects_barrier()
    assert len({tuple(index) for index in drawn[:3]}) == 3
    assert drawn[3:] == drawn[:3]
