"""Times of factorisations of many small positive-definite matrices: LAPACK against those of rpm_jax.

Of each size K so many random matrices are taken that a run is short: 8000 where they are small, a step's
worth of a static model with full covariance, N = 100 and B = 8. "us" are microseconds a matrix, of medians
over rounds in which all ways take their turns, "CPU" the least of all cores together. The two tasks are

- inverse: P⁻¹ and log|P|, from a Cholesky factor and its inverse;
- product: log|P| and vᵀP⁻¹v, which need the factor and one solve.

The ways are LAPACK through JAX in one batched call ("batched") and matrix by matrix in `jax.lax.map`
("mapped"), and rpm_jax's own, which on CPUs eliminates small matrices by elementwise operations and takes
LAPACK's Cholesky factor of larger ones, bordered by what is to be solved, one by one. Triangular solves of
LAPACK use threads, which the others do not. Results are compared first. The functions are those that the
library builds on, not part of its face.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate, timed
from rpm_jax import _linalg

MOST_MATRICES = 8000

WORK = 2 * 10**8
"""K³ times the number of matrices in a run, unless these are MOST_MATRICES."""

PAUSE = 0.1
"""Seconds after which OpenBLAS's threads no longer spin."""

TOLERANCE = 1e-3
"""Of the relative difference of results in float32; the matrices' condition numbers are about 10."""

WAYS = ("batched", "mapped", "rpm_jax")

COLUMNS = (
    Column("task", "task", "<8"),
    Column("K", "size", "4"),
    Column("matrices", "number", "8"),
    *(Column(f"{way} us", f"{way}_us", "11.2f") for way in WAYS),
    *(Column(f"{way} CPU", f"{way}_processor_us", "11.2f") for way in WAYS),
    Column("LAPACK / rpm_jax", "ratio", "16.2f"),
)

Task = Callable[[Array, Array], tuple[Array, Array]]


def lapack_inverse(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """P⁻¹ and log|P|."""
    del vector
    factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
    identity = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    inverse = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    return jnp.swapaxes(inverse, -1, -2) @ inverse, _log_determinant(factor)


def lapack_product(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """Log|P| and vᵀP⁻¹v."""
    factor = lax.linalg.cholesky(matrix, symmetrize_input=False)
    half = lax.linalg.triangular_solve(factor, vector[..., None], left_side=True, lower=True)
    return _log_determinant(factor), jnp.sum(jnp.square(half), axis=(-2, -1))


def _log_determinant(factor: Array) -> Array:
    return 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


def our_inverse(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """The same as `lapack_inverse`."""
    del vector
    return _linalg.inverse_and_log_determinant(matrix)


TASKS: dict[str, tuple[Task, Task]] = {
    "inverse": (lapack_inverse, our_inverse),
    "product": (lapack_product, _linalg.log_determinant_and_product),
}
"""Each by LAPACK and by rpm_jax."""


def make_matrices(size: int, number: int) -> tuple[Array, Array]:
    """Random P = I + AAᵀ, entries of A of variance 2/K, and v."""
    random = np.random.default_rng(0)
    root = random.standard_normal((number, size, size), np.float32) * np.float32((2 / size) ** 0.5)
    vectors = random.standard_normal((number, size), np.float32)
    return jnp.asarray(np.eye(size, dtype=np.float32) + root @ root.swapaxes(-1, -2)), jnp.asarray(vectors)


def largest_difference(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Of two results, relative to the largest entry of each."""
    return max(
        float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))) for a, b in zip(first, second, strict=True)
    )


def measure(task: str, size: int, rounds: int, work: int) -> dict[str, Any]:
    """Microseconds a matrix of every way.

    Args:
        task: Of `TASKS`.
        size: K.
        rounds: How often each way takes its turn.
        work: See `WORK`.

    Raises:
        ArithmeticError: If the results differ.
    """
    number = min(MOST_MATRICES, max(1, work // size**3))
    matrices = make_matrices(size, number)
    lapack, ours = TASKS[task]
    functions: dict[str, Task] = {
        "batched": jax.jit(lapack),
        "mapped": jax.jit(lambda *arrays: lax.map(lambda pair: lapack(*pair), arrays)),
        "rpm_jax": jax.jit(ours),
    }

    def run_of(function: Task) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(function(*matrices))

    runs = {way: run_of(function) for way, function in functions.items()}
    first_seconds = {way: timed(run).wall for way, run in runs.items()}
    results = {way: run() for way, run in runs.items()}
    difference = max(largest_difference(results["mapped"], result) for result in results.values())
    if not difference <= TOLERANCE:
        raise ArithmeticError(
            f"{task}, K = {size}: the results differ by {difference:.1e} relative to their size, at most "
            f"{TOLERANCE:.0e} expected; not timed"
        )
    times = alternate(list(runs.values()), rounds, PAUSE)
    medians = {
        way: statistics.median(elapsed.wall for elapsed in passed) / number
        for way, passed in zip(runs, times, strict=True)
    }
    processor = {
        way: min(elapsed.processor for elapsed in passed) / number
        for way, passed in zip(runs, times, strict=True)
    }
    return {
        "task": task,
        "size": size,
        "number": number,
        "difference": difference,
        **{f"{way}_us": median * 1e6 for way, median in medians.items()},
        **{f"{way}_processor_us": seconds * 1e6 for way, seconds in processor.items()},
        "first_seconds": first_seconds,
        "ratio": min(medians["batched"], medians["mapped"]) / medians["rpm_jax"],
    }


def main(options: Sequence[str] | None = None) -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("factorisation", __doc__)
    benchmark.number("--sizes", [2, 5, 10, 20, 50, 100, 200], "K")
    benchmark.choices("--tasks", TASKS, "which tasks (default: both)")
    benchmark.number("--rounds", 5, "")
    benchmark.number("--work", WORK, "K³ times the matrices of a run")
    arguments = benchmark.parse(options)

    def rows() -> Iterator[dict[str, Any]]:
        for task in arguments.tasks:
            for size in arguments.sizes:
                yield measure(task, size, arguments.rounds, arguments.work)

    try:
        results = print_table(COLUMNS, rows())
    except ArithmeticError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if benchmark.report(arguments, {"results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
