"""What a process keeps of fits that are over: nothing."""

import gc
import pathlib
import resource
import weakref

import jax
import numpy as np
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian
from rpm_jax.networks import MLP

STATM = pathlib.Path("/proc/self/statm")


def make():
    """A model that holds arrays: its prior, and a network's scale."""
    prior = rpm.priors.static(DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    return rpm.RPM(prior, rpm.factors.per_view(MLP((3,))))


def fit(seed, **options):
    views = two_views(seed)
    return rpm.fit(make(), views, key=jax.random.key(seed), num_steps=2, held_out=two_views(9), **options)


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="the memory of a process is read as Linux shows it")
def test_many_fits_of_equal_models_take_no_memory():
    def resident():
        gc.collect()
        return int(STATM.read_text().split()[1]) * resource.getpagesize() / 2**20

    for seed in range(20):
        fit(seed)
    before, arrays = resident(), len(jax.live_arrays())
    for seed in range(200):
        fit(seed)
    assert resident() - before < 20  # MiB; a program each would be some 400
    assert len(jax.live_arrays()) <= arrays + 5


def test_dead_models_and_their_data_are_freed():
    result = fit(0)
    data = [weakref.ref(view) for view in result.data.views]
    model = [weakref.ref(leaf) for leaf in jax.tree.leaves(result.model) if isinstance(leaf, jax.Array)]
    model += [weakref.ref(result.model)]
    params = [weakref.ref(leaf) for leaf in jax.tree.leaves(result.params)]
    assert all(ref() is not None for ref in data + model + params)
    del result
    fit(1)
    gc.collect()
    assert [ref() for ref in data + model + params if ref() is not None] == []


def test_functions_of_a_fit_are_kept_as_long_as_their_programs():
    """A loss of one's own is a part of the program; what it closes over lives until caches are cleared."""
    array = jax.numpy.ones(3)
    alive = weakref.ref(array)

    def loss(params, batch, data, key, weight=array):
        return -rpm.bound(make(), params, batch, data).mean() * weight.mean()

    fit(0, objective=loss)
    del loss, array
    gc.collect()
    assert alive() is not None
    jax.clear_caches()
    gc.collect()
    assert alive() is None
