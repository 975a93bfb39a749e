"""Sweeps in groups of seeds."""

import jax
import numpy as np
import pytest
from support import two_views

import rpm_jax as rpm
from rpm_jax.networks import MLP
from rpm_jax.train._fit_seeds import MOST_INPUTS_AT_ONCE, _join, default_seeds_at_once
from rpm_jax.train._history import History
from rpm_jax.train._runner import Outcome

MODEL = rpm.RPM(
    rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))),
    rpm.factors.per_view(MLP((2,))),
)
KEYS = jax.random.split(jax.random.key(0), 3)


def test_groups_find_what_all_find_together():
    """With initial parameters and hyperparameters of each seed, too."""
    views = two_views(0, size=10)
    params = jax.jit(jax.vmap(MODEL.init, (0, None)))(KEYS, rpm.as_data(views))
    options = {
        "keys": KEYS,
        "params": params,
        "hyperparameters": {"networks": np.array([0.01, 0.02, 0.03])},
        "held_out": two_views(1, size=4),
        "num_steps": 3,
    }
    together = rpm.fit_seeds(MODEL, views, seeds_at_once=3, **options)
    groups = rpm.fit_seeds(MODEL, views, seeds_at_once=2, **options)
    for got, expected in zip(jax.tree.leaves(groups), jax.tree.leaves(together), strict=True):
        if not isinstance(got, str | float):
            np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_runs_of_different_lengths_end_in_nan():
    def sweep(steps, stopped):
        history = History(np.ones((2, steps)), np.arange(steps), np.ones((2, steps)), np.zeros(2), stopped)
        return Outcome({"a": jax.numpy.ones((2, 3))}, history, np.ones(2), None)

    joined = _join([sweep(2, "early stopping"), sweep(3, "finished"), sweep(3, "finished")])
    assert joined.bound.shape == (6,)
    assert joined.params["a"].shape == (6, 3)
    assert joined.history.stopped == "early stopping, finished"
    np.testing.assert_array_equal(joined.history.held_out_steps, [0, 1, 2])
    np.testing.assert_array_equal(np.isnan(joined.history.train).sum(1), [1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(joined.history.held_out).sum(1), [1, 1, 0, 0, 0, 0])


def test_default(monkeypatch):
    """On CPUs as many as keep a step's inputs below a size; one at least; on accelerators all."""
    data = rpm.Data((np.zeros((1000, 40)),))
    assert default_seeds_at_once(MODEL, data, 100, None) == MOST_INPUTS_AT_ONCE // 4000
    stacked = rpm.Data((np.zeros((7, 1000, 40)),))
    assert default_seeds_at_once(MODEL, stacked, 100, 0) == MOST_INPUTS_AT_ONCE // 4000
    assert default_seeds_at_once(MODEL, rpm.Data((np.zeros((1000, 10**6)),)), 100, None) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert default_seeds_at_once(MODEL, data, 100, None) is None


def test_errors():
    with pytest.raises(ValueError, match="seeds_at_once must be a positive integer, got 0"):
        rpm.fit_seeds(MODEL, two_views(0, size=10), keys=KEYS, seeds_at_once=0, num_steps=1)
    with pytest.raises(TypeError, match=r"mesh must be a jax\.sharding\.Mesh, got str"):
        rpm.fit_seeds(MODEL, two_views(0, size=10), keys=KEYS, mesh="all", num_steps=1)
