"""The processes that measure what a machine can do, on one core or on all."""

import os
import sys

import jax
import jax.numpy as jnp

from benchmarks._processes import Requests
from benchmarks._timing import timed

TURNS = 5


def measure(size: int, length: int) -> dict[str, float]:
    """The best of a few runs, float32.

    Args:
        size: Of the square matrices that are multiplied.
        length: Of the vectors of a + 2 b, which reads two and writes one.

    Returns:
        "operations" and "bytes" per second.
    """
    matrix = jnp.full((size, size), 1e-3, jnp.float32)
    vector = jnp.ones(length, jnp.float32)
    product = jax.jit(lambda a: a @ a)
    triad = jax.jit(lambda a, b: a + 2.0 * b)
    other = vector + 1.0

    def least(function: object, *arguments: jax.Array) -> float:
        assert callable(function)
        jax.block_until_ready(function(*arguments))
        return min(timed(lambda: jax.block_until_ready(function(*arguments))).wall for _ in range(TURNS))

    return {
        "operations": 2.0 * size**3 / least(product, matrix),
        "bytes": 3.0 * vector.nbytes / least(triad, vector, other),
    }


def main(cores: int) -> None:
    """Answer requests, on one core (`cores` 1) or on all (0)."""
    requests = Requests()
    if cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    while True:
        requests.answer(**measure(**requests.next()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
