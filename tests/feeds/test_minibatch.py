"""F_j over the minibatch itself."""

import jax
import jax.numpy as jnp
import numpy as np
from cases.clusters import DATA, EVERYTHING, KEY, MODEL, STATES, VIEWS, clustered_views, initial
from support import bound, init, minibatch_bound

import rpm_jax as rpm
from rpm_jax.expfam import Categorical
from rpm_jax.factors import per_view
from rpm_jax.networks import MLP

PARAMS = initial()


def test_minibatch_and_all_data():
    """Over a batch that holds all data the approximation is none; F over part of them is another."""
    exact = bound(MODEL, PARAMS, EVERYTHING, DATA)
    np.testing.assert_allclose(minibatch_bound(MODEL, PARAMS, EVERYTHING, DATA), exact, rtol=1e-12)
    batch = DATA.batch(jnp.arange(5))
    want = bound(MODEL, PARAMS, batch, rpm.Data(batch.views))
    np.testing.assert_allclose(minibatch_bound(MODEL, PARAMS, batch, DATA), want, rtol=1e-12)
    weighted = rpm.as_data(VIEWS, None, np.arange(12.0))
    want = bound(MODEL, PARAMS, batch, rpm.Data(batch.views, None, jax.nn.log_softmax(jnp.arange(5.0))))
    np.testing.assert_allclose(minibatch_bound(MODEL, PARAMS, batch, weighted), want, rtol=1e-12)


def test_minibatch_bias():
    """For weak factors log F over a minibatch is too low on average, and log w too high.

    For the strong factors of a fitted model the sign turns, since each datum's own factor weighs 1/B in F.
    """
    rng = np.random.default_rng(0)
    data = rpm.as_data(clustered_views(seed=3, size=64))
    model = rpm.RPM(rpm.priors.static(Categorical(np.zeros(STATES))), per_view(MLP((4,))))
    params = jax.tree.map(lambda leaf: 2.0 * leaf, init(model, KEY, data))
    exact = float(rpm.model.mean_bound(model, params, data, data))

    @jax.jit
    def mean_value(index):
        return jax.vmap(lambda i: minibatch_bound(model, params, data.batch(i), data).mean())(index).mean()

    bias = []
    for size in (4, 16, 64):
        index = np.stack([rng.permutation(64)[:size] for _ in range(200)])
        bias.append(float(mean_value(jnp.asarray(index))) - exact)
    assert bias[0] > 2 * bias[1] > 0
    np.testing.assert_allclose(bias[2], 0.0, atol=1e-10)
