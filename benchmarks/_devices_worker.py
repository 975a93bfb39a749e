"""The processes of `benchmarks.devices`: one training each, on as many devices as its flags say."""

import sys
from typing import Any

import jax
import numpy as np

import rpm_jax as rpm
from benchmarks import _torchrpm_ours as models
from benchmarks._processes import Requests, peak_memory
from benchmarks._torchrpm_cases import Case
from benchmarks._torchrpm_worker import Rounds

STEPS_PER_LOOK = 4


def make_mesh(number: int) -> jax.sharding.Mesh | None:
    """All devices, or None, the ordinary way on one device, where `number` is 0.

    Raises:
        RuntimeError: If there are not as many.
    """
    if jax.device_count() != max(1, number):
        raise RuntimeError(f"{number} devices were asked for, but JAX has {jax.device_count()}")
    return jax.make_mesh((number,), ("data",)) if number else None


def main(devices: int, num_sequences: int, batch_size: int) -> None:
    """Train until no more steps are asked for.

    Args:
        devices: Of the mesh; 0: without one.
        num_sequences: N.
        batch_size: B.
    """
    requests = Requests()
    case = Case("devices", "temporal", "textures", num_sequences, 10, batch_size, 50)
    views = tuple(np.asarray(view) for view in models.make_views(case))
    mesh = make_mesh(devices)

    def set_threads(number: int) -> None:
        raise ValueError(f"XLA takes its own number of threads, not {number}")

    rounds = Rounds(requests, peak_memory(), set_threads)

    def look(progress: Any) -> None:
        del progress
        rounds.made(STEPS_PER_LOOK)

    rpm.fit(
        models.FAMILIES[case.family](case),
        views,
        key=jax.random.key(0),
        num_steps=10**6,
        batch_size=batch_size,
        steps_per_call=STEPS_PER_LOOK,
        mesh=mesh,
        callback=look,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
