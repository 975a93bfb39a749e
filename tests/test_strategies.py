"""Posterior and auxiliary strategies by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import FAMILIES, random_potentials

import rpm_jax as rpm
from rpm_jax import auxiliaries, posteriors
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP, concatenated, stacked

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIZE, SITES = 6, 3
DATA = rpm.as_data((RNG.normal(size=(SIZE, SITES)), RNG.normal(size=(SIZE, SITES))))
PRIOR = DiagonalGaussian(np.zeros((SITES, 1)), -0.5 * np.ones((SITES, 1)))
CONJUGATE = random_potentials(1, PRIOR, (SIZE, SITES))
MARGINALS = random_potentials(2, PRIOR, (SIZE, SITES)) + PRIOR
BATCH = DATA.batch(jnp.array([4, 1]))
EVERY = stacked(PointwiseMLP((3,)))


def close(got, expected, tolerance=1e-10):
    for a, b in zip(got.natural_parameters, expected.natural_parameters, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_conjugate():
    strategy = posteriors.conjugate()
    assert strategy.group == "none"
    assert strategy.init(KEY, DATA, CONJUGATE, PRIOR) == {}
    assert strategy.potentials({}, BATCH, CONJUGATE[BATCH.index], PRIOR).batch_shape == (2, SITES)


@pytest.mark.parametrize("name", FAMILIES)
def test_saturated(name):
    """Rows that start at the conjugate potentials, of any family."""
    sites = FAMILIES[name][None]
    conjugate = random_potentials(3, sites, (SIZE, 1))
    strategy = posteriors.saturated()
    params = strategy.init(KEY, DATA, conjugate, sites)
    assert strategy.group == "rows"
    assert params["rows"].shape == (SIZE, 1, sites.num_unconstrained)
    close(strategy.potentials(params, BATCH, None, sites), conjugate[BATCH.index], 1e-5)


def test_amortized():
    strategy = posteriors.amortized(EVERY)
    assert strategy.group == "networks"
    params = strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    got = strategy.potentials(params, BATCH, None, PRIOR)
    assert got.batch_shape == (2, SITES)
    raw = EVERY.with_outputs(2).apply(params, BATCH.views)
    close(got, PRIOR.potential(raw))


def test_amortized_by_a_network_of_all_times():
    """A network that is not pointwise gives all sites at once."""
    strategy = posteriors.amortized(concatenated(MLP((3,))))
    params = strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    assert strategy.potentials(params, BATCH, None, PRIOR).batch_shape == (2, SITES)


def test_posterior_marginals_as_auxiliary():
    strategy = auxiliaries.posterior()
    assert strategy.init(KEY, DATA, CONJUGATE, PRIOR) == {}
    assert strategy.auxiliary({}, BATCH, MARGINALS[:2], PRIOR) is None


@pytest.mark.parametrize("build", [auxiliaries.shifted, auxiliaries.free])
def test_auxiliary_tables(build):
    """ξ = ηq + Δ or η0 + ν, a row per datum, view and site."""
    strategy = build()
    assert strategy.group == "rows"
    params = strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    assert params["rows"].shape == (SIZE, 2, SITES, 2)
    raw = jnp.asarray(RNG.normal(size=params["rows"].shape))
    got = strategy.auxiliary({"rows": raw}, BATCH, MARGINALS[BATCH.index], PRIOR)
    assert got.batch_shape == (2, 2, SITES)
    base = MARGINALS[BATCH.index][:, None] if build is auxiliaries.shifted else PRIOR
    close(got, base + PRIOR.potential(raw[BATCH.index]))
    if build is auxiliaries.free:
        start = strategy.auxiliary(params, BATCH, MARGINALS[BATCH.index], PRIOR)
        close(start, (PRIOR + CONJUGATE[BATCH.index])[:, None].broadcast_to((2, 2, SITES)), 1e-6)


@pytest.mark.parametrize("build", [auxiliaries.shifted, auxiliaries.free])
@pytest.mark.parametrize("network", [EVERY, concatenated(MLP((3,)))])
def test_auxiliary_networks(build, network):
    """J times the outputs; views in their order."""
    strategy = build(network)
    assert strategy.group == "networks"
    params = strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    got = strategy.auxiliary(params, BATCH, MARGINALS[BATCH.index], PRIOR)
    assert got.batch_shape == (2, 2, SITES)
    number = 4 if network is EVERY else 4 * SITES
    raw = network.with_outputs(number).apply(params, BATCH.views).reshape(2, SITES, 2, 2)
    base = MARGINALS[BATCH.index][:, None] if build is auxiliaries.shifted else PRIOR
    close(got, base + PRIOR.potential(jnp.moveaxis(raw, 2, 1)))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_learned_is_always_valid(name):
    """Any rows whatever give a valid posterior and a valid ξ."""
    sites = FAMILIES[name][None]
    raw = jnp.asarray(3.0 * RNG.normal(size=(SIZE, 1, sites.num_unconstrained)))

    @jax.jit
    def are_valid(raw):
        q = sites + posteriors.saturated().potentials({"rows": raw}, BATCH, None, sites)
        rows = jnp.stack([raw, -raw], axis=1)
        xi = [
            strategy.auxiliary({"rows": rows}, BATCH, q, sites)
            for strategy in (auxiliaries.shifted(), auxiliaries.free())
        ]
        return [family.is_valid() for family in (q, *xi)]

    for valid in are_valid(raw):
        assert np.all(valid)


def test_errors():
    for build in (posteriors.amortized, auxiliaries.shifted, auxiliaries.free):
        with pytest.raises(TypeError, match=r"network must be a network: .* got str"):
            build("MLP")
    strategy = posteriors.amortized(MLP((3,)))
    with pytest.raises(TypeError, match=r"MLP takes one array, got tuple; a network of all views is made by"):
        strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    strategy = posteriors.amortized(concatenated(MLP((3,), num_outputs=5)))
    params = strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    with pytest.raises(
        ValueError, match=r"posterior: .* the network must give outputs of shape \(batch, 3, 2\)"
    ):
        strategy.potentials(params, BATCH, None, PRIOR)
    strategy = auxiliaries.free(concatenated(MLP((3,), num_outputs=5)))
    params = strategy.init(KEY, DATA, CONJUGATE, PRIOR)
    with pytest.raises(
        ValueError, match=r"auxiliary: .* the network must give outputs of shape \(batch, 3, 4\)"
    ):
        strategy.auxiliary(params, BATCH, MARGINALS[:2], PRIOR)
