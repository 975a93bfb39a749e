"""Components that are the distinct values of the data: the numbers of all data as components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import init

import rpm_jax as rpm
from rpm_jax.distinct import distinct_values
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP

RNG = np.random.default_rng(0)
SIZE, SITES = 24, 3
COUNTS = tuple(np.minimum(RNG.poisson(rate, (SIZE, SITES)), 4).astype(float) for rate in (0.7, 1.2))
VECTORS = tuple(RNG.integers(0, 2, (SIZE, 2)).astype(float) for _ in range(2))
MASK = RNG.random((SIZE, 2, SITES)) < 0.8
WEIGHTS = RNG.normal(size=SIZE)
TEMPORAL = rpm.priors.gaussian_process(np.arange(SITES) / 2.0)
CHAIN = rpm.priors.hidden_markov(3, SITES)
STATIC = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
STATES = rpm.priors.static(Categorical(np.array([0.1, -0.3, 0.4])))


def per_view(network, kind="normalised"):
    return rpm.factors.per_view(network, kind=kind)


CASES = {
    "temporal": (rpm.RPM(TEMPORAL, per_view(PointwiseMLP((3,)))), COUNTS),
    "pooled": (rpm.RPM(TEMPORAL, per_view(PointwiseMLP((3,)), "unnormalised"), pooled=True), COUNTS),
    "chain": (rpm.RPM(CHAIN, per_view(PointwiseMLP((3,)), "scaled")), COUNTS),
    "pooled chain": (rpm.RPM(CHAIN, per_view(PointwiseMLP((3,))), pooled=True), COUNTS),
    "static": (rpm.RPM(STATIC, per_view(MLP((3,)))), VECTORS),
    "states": (rpm.RPM(STATES, rpm.factors.shared(MLP((3,)))), VECTORS),
}


# Views without sites are in the states too.
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "static" else n for n in CASES],
)
def test_bound_and_gradient(name):
    model, views = CASES[name]
    options = {}
    if name != "states":
        mask = MASK if views is COUNTS else MASK[:, :, 0]
        options = {"mask": mask, "log_weights": WEIGHTS}
    data = rpm.as_data(views, **options)
    prepared = model.prepare(data)
    assert prepared.distinct.log_masses.shape[0] <= SIZE // 4
    assert data.distinct is None

    @jax.jit
    def evaluate(params, data):
        batch = data.batch(jnp.array([3, 5, 11]))
        return jax.value_and_grad(lambda p: rpm.bound(model, p, batch, data).mean())(params)

    params = init(model, jax.random.key(0), data)
    expected, got = evaluate(params, data), evaluate(params, prepared)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, expected)


def test_fits_use_them():
    """The data of a step have the values, of which the bound is that of all data, as above."""
    model, _ = CASES["temporal"]
    seen = []

    def loss(params, batch, data, key):
        seen.append(data.distinct)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params["factors"]))

    rpm.fit(model, COUNTS, key=jax.random.key(0), num_steps=5, batch_size=8, objective=loss)
    assert seen
    assert all(values is not None for values in seen)


@pytest.mark.parametrize(
    ("network", "views"),
    [
        (MLP((3,)), COUNTS),
        (PointwiseMLP((3,)), tuple(RNG.normal(size=(SIZE, SITES)) for _ in range(2))),
        (PointwiseMLP((3,)), (COUNTS[0], np.arange(SIZE * SITES).reshape(SIZE, SITES) % 7 * 1.0)),
    ],
)
def test_where_they_are_many_or_sites_mix_all_data_remain(network, views):
    data = rpm.as_data(views)
    assert rpm.RPM(TEMPORAL, per_view(network)).prepare(data).distinct is None


def test_a_view_that_is_missing_at_a_site_everywhere():
    """Its mixture is that of all data, which no count of values gives."""
    mask = np.ones((SIZE, 2, SITES), bool)
    mask[:, 1, 2] = False
    assert distinct_values(COUNTS, SITES, mask) is None


def test_masses():
    values, log_masses = distinct_values((np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]),), 1)
    np.testing.assert_array_equal(values[0], [0.0, 1.0])
    np.testing.assert_allclose(np.exp(log_masses[:, 0, 0]), [2.0, 6.0])


def test_other_masks_and_weights_make_them_invalid():
    model, _ = CASES["temporal"]
    prepared = model.prepare(rpm.as_data(COUNTS))
    assert rpm.as_data(prepared).distinct is prepared.distinct
    assert rpm.as_data(prepared, log_weights=WEIGHTS).distinct is None
    assert rpm.as_data(prepared, mask=MASK).distinct is None
