"""Networks evaluated inside the stream of the normalizer: the numbers of networks evaluated once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.model import _blocks
from rpm_jax.networks import PointwiseMLP

SIZE, SITES = 8, 3
DATA = rpm.as_data(two_views(0, size=SIZE, sites=SITES))
RNG = np.random.default_rng(1)
MASK = RNG.random((SIZE, 2, SITES)) < 0.7
WEIGHTS = RNG.normal(size=SIZE)
CASES = {
    "plain": (False, "normalised", DATA),
    "pooled, weights and mask": (True, "unnormalised", rpm.as_data(DATA, MASK, WEIGHTS)),
}


@pytest.mark.parametrize("name", CASES)
def test_bound_and_gradient(name, monkeypatch):
    """Five blocks of data, the last one filled up."""
    pooled, kind, data = CASES[name]
    model = rpm.RPM(
        rpm.priors.gaussian_process(np.arange(SITES) / 2.0),
        rpm.factors.per_view(PointwiseMLP((3,)), kind=kind),
        pooled=pooled,
    )
    params = init(model, jax.random.key(0), data)
    batch = data.batch(jnp.array([1, 4]))

    def evaluate():
        def value(params):
            return rpm.bound(model, params, batch, data).mean()

        everything = data.batch(jnp.arange(SIZE))
        return jax.jit(
            lambda params: (
                jax.value_and_grad(value)(params),
                rpm.model.bounds(model, params, everything, data),
            )
        )(params)

    expected = evaluate()
    assert not _blocks.is_streamed(data.views)
    monkeypatch.setattr(_blocks, "STREAMED_INPUTS", 1)
    monkeypatch.setattr(_blocks, "BLOCK_INPUTS", 2 * 2 * SITES)
    assert _blocks.is_streamed(data.views)
    assert isinstance(
        model.mixture(params, rpm.feeds.Lazy(data)).components.natural, rpm.normalizers.Components
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), evaluate(), expected)


def test_memory_does_not_grow_with_the_data():
    """The activations of 20 hidden units would grow by 20 times the inputs."""
    prior = rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    model = rpm.RPM(prior, rpm.factors.per_view(PointwiseMLP((20,))))
    few = rpm.as_data(two_views(0, size=16))
    params = init(model, jax.random.key(0), few)

    def temporary_bytes(size):
        views = tuple(jax.ShapeDtypeStruct((size, *view.shape[1:]), view.dtype) for view in few.views)

        def loss(params, views):
            return -rpm.bound(model, params, few.batch(jnp.arange(4)), rpm.Data(views)).mean()

        compiled = jax.jit(jax.grad(loss)).lower(params, views).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(2**21) - temporary_bytes(2**19) < 2**14
