"""The one bound, and what wraps it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import init, two_views

import rpm_jax as rpm
from rpm_jax._jit import jit
from rpm_jax.expfam import Categorical, DiagonalGaussian

KEY = jax.random.key(0)
DATA = rpm.as_data(two_views(0, size=8))
FACTORS = rpm.factors.per_view(rpm.networks.MLP((3,)))
EVERY = rpm.networks.concatenated(rpm.networks.MLP((3,)))
GAUSSIAN = rpm.priors.static(DiagonalGaussian(np.array([0.3]), np.array([-0.7])), learnable=True)
STATES = rpm.priors.static(Categorical(np.array([0.3, 0.0, -0.4])), learnable=True)
MODELS = {
    "conjugate": rpm.RPM(GAUSSIAN, FACTORS),
    "amortized": rpm.RPM(GAUSSIAN, FACTORS, rpm.posteriors.amortized(EVERY)),
    "exact": rpm.RPM(STATES, FACTORS),
    "implicit": rpm.ImplicitRPM(GAUSSIAN, FACTORS, integral_weight=0.0),
    "joint": rpm.JointRPM(STATES, EVERY),
    "local": rpm.LocalLatentRPM(STATES, FACTORS, 2),
}


@jit
def weighted(model, params, batch, data, beta):
    def value(params):
        return rpm.bound(model, params, batch, data, beta=beta).mean()

    return jax.value_and_grad(value)(params)


@jit
def by_hand(model, params, batch, data):
    """The bound + 0.7 KL(q‖p), with the divergence of one site by its closed formula."""

    def value(params):
        own = model.recognise(params, batch)
        mixture = model.mixture(params, rpm.feeds.Lazy(data))
        q = model.infer(params, batch, own, mixture).posterior.sites
        p = rpm.priors.as_spec(model.prior).apply(params["prior"]).sites()
        mean = q.mean_parameters()
        divergence = (q - p).dot(mean) - q.log_partition() + p.log_partition()
        return jnp.mean(rpm.bound(model, params, batch, data) + 0.7 * divergence[:, 0])

    return jax.value_and_grad(value)(params)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "amortized" else []) for name in MODELS]
)
def test_beta(name):
    model = MODELS[name]
    params = init(model, KEY, DATA)
    batch = DATA.batch(jnp.array([3, 1, 6]))
    got, expected = weighted(model, params, batch, DATA, 0.3), by_hand(model, params, batch, DATA)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), got, expected)
    plain, one = weighted(model, params, batch, DATA, 1.0), weighted(model, params, batch, DATA, jnp.ones(()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), plain, one)
    assert got[0] > plain[0]


def test_what_is_no_batch():
    model = MODELS["conjugate"]
    with pytest.raises(TypeError, match=r"batch must be an rpm_jax\.Batch, got Data"):
        rpm.bound(model, {}, DATA, DATA)
    with pytest.raises(TypeError, match=r"data must be rpm_jax\.Data, got tuple"):
        rpm.bound(model, {}, DATA.all(), DATA.views)
