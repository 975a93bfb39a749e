"""Data and seeds spread over eight devices of the host: the numbers of one device."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax.networks import MLP

PROGRAM = pathlib.Path(__file__).with_name("mesh_program.py")
ROOT = pathlib.Path(__file__).parents[2]
FEW = ("a batch that is not split, data that are filled up", "seeds")
MORE = (
    "components and batch are split",
    "pooled",
    "a pooled chain",
    "a prior driven by inputs, data that are filled up",
    "an M-step",
    "rows",
    "networks of all views",
    "states",
    "distinct values",
)


def differences(*names):
    result = subprocess.run(
        [sys.executable, PROGRAM, *names],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_eight_devices():
    for name, difference in differences(*FEW).items():
        assert difference < 1e-8, name


@pytest.mark.slow
def test_eight_devices_with_all_strategies():
    for name, difference in differences(*MORE).items():
        assert difference < 1e-8, name


MODEL = rpm.RPM(
    rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1))),
    rpm.factors.per_view(MLP((2,))),
)
VIEWS = tuple(np.random.default_rng(0).normal(size=(2, 6, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "data"}, r"mesh must be a jax.sharding.Mesh, got str; jax.make_mesh"),
        (
            {"components": rpm.feeds.queue(4)},
            r"mesh and components=Queue\(length=4\) do not go together; take rpm_jax.feeds.full\(\)",
        ),
        (
            {"held_out": rpm.train.HeldOut(VIEWS, against="both")},
            "mesh and held_out against 'both' do not go",
        ),
    ],
)
def test_errors(options, message):
    mesh = jax.make_mesh((1,), ("data",))
    with pytest.raises((TypeError, ValueError), match=message):
        rpm.fit(MODEL, VIEWS, key=jax.random.key(0), num_steps=1, **{"mesh": mesh, **options})
