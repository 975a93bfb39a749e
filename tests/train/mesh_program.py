"""Fits on eight devices and on one, to be run in a process of its own: prints the largest differences."""

import json
import os
import sys
from functools import partial

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

import rpm_jax as rpm
from rpm_jax.expfam import Categorical, DiagonalGaussian
from rpm_jax.networks import MLP, PointwiseMLP, stacked

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
RNG = np.random.default_rng(0)
SITES = 3
MESH = jax.make_mesh((4, 2), ("a", "b"))
GAUSSIAN = DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))


def sequences(size):
    latent = RNG.normal(size=(size, SITES))
    return tuple(np.tanh(latent) + 0.3 * RNG.normal(size=latent.shape) for _ in range(2))


def vectors(size):
    latent = RNG.normal(size=(size, 1))
    return tuple(np.tanh(latent) + 0.3 * RNG.normal(size=(size, 2)) for _ in range(2))


TEMPORAL = rpm.priors.gaussian_process(np.arange(SITES) / 2.0)
CHAIN = rpm.priors.hidden_markov(3, SITES)
DRIVEN = rpm.priors.driven_linear_gaussian(
    rpm.priors.linear_gaussian(1, SITES, transition="diagonal", noise="free", initial="free"),
    rpm.priors.InputTable(2),
    matrix="additive",
)
POINTWISE = rpm.factors.per_view(PointwiseMLP((4,)))
MASK = RNG.random((22, 2, SITES)) < 0.7
WEIGHTS = RNG.normal(size=22)
CASES = {
    "components and batch are split": (rpm.RPM(TEMPORAL, POINTWISE), sequences(24), {"batch_size": 8}),
    "a batch that is not split, data that are filled up": (
        rpm.RPM(TEMPORAL, rpm.factors.per_view(PointwiseMLP((4,)), kind="unnormalised")),
        sequences(22),
        {"batch_size": 5, "mask": MASK, "log_weights": WEIGHTS, "held_out": sequences(4)},
    ),
    "pooled": (rpm.RPM(TEMPORAL, POINTWISE, pooled=True), sequences(22), {"batch_size": 8, "mask": MASK}),
    "an M-step": (
        rpm.RPM(TEMPORAL, POINTWISE),
        sequences(24),
        {"batch_size": 8, "objective": rpm.train.Bound(em=True)},
    ),
    "rows": (
        rpm.RPM(
            rpm.priors.static(GAUSSIAN),
            rpm.factors.per_view(MLP((4,))),
            rpm.posteriors.saturated(),
            rpm.auxiliaries.shifted(),
        ),
        vectors(24),
        {"batch_size": 8},
    ),
    "networks of all views": (
        rpm.RPM(
            rpm.priors.static(GAUSSIAN),
            rpm.factors.per_view(MLP((4,))),
            rpm.posteriors.amortized(stacked(MLP((4,)))),
        ),
        vectors(23),
        {"components": rpm.feeds.minibatch(), "batch_size": 16, "log_weights": RNG.normal(size=23)},
    ),
    "states": (
        rpm.RPM(rpm.priors.static(Categorical(np.zeros(3))), rpm.factors.per_view(MLP((4,)))),
        vectors(22),
        {"components": rpm.feeds.full(), "batch_size": 8, "log_weights": WEIGHTS},
    ),
    "a pooled chain": (
        rpm.RPM(CHAIN, POINTWISE, pooled=True),
        sequences(22),
        {"components": rpm.feeds.full(), "batch_size": 8, "mask": MASK},
    ),
    "a prior driven by inputs, data that are filled up": (
        rpm.RPM(DRIVEN, POINTWISE),
        sequences(22),
        {"batch_size": 8, "inputs": RNG.integers(0, 2, size=(22, SITES)), "mask": MASK},
    ),
    "distinct values": (
        rpm.RPM(TEMPORAL, POINTWISE),
        tuple(RNG.integers(0, 3, (20, SITES)).astype(float) for _ in range(2)),
        {"batch_size": 8},
    ),
}


def compare(name):
    model, views, options = CASES[name]
    fit = partial(rpm.fit, model, views, key=jax.random.key(0), num_steps=4, **options)
    return largest(fit(), fit(mesh=MESH))


def seeds():
    model, views, options = CASES["rows"]
    keys = jax.random.split(jax.random.key(0), 8)
    settings = [{}, {"mesh": MESH}, {"seeds_at_once": 3}]
    runs = [rpm.fit_seeds(model, views, keys=keys, num_steps=4, **options, **each) for each in settings]
    return max(largest(runs[0], run) for run in runs[1:])


def largest(one, other):
    """Of parameters, histories and bounds."""
    leaves = [jax.tree.leaves((f.params, f.history.train, f.bound, f.held_out_bound)) for f in (one, other)]
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in zip(*leaves, strict=True))


if __name__ == "__main__":
    print(json.dumps({name: seeds() if name == "seeds" else compare(name) for name in sys.argv[1:]}))
