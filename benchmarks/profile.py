"""Where a training step's time goes, and how far that is from what the machine can do.

The parts of a step (networks, mixture, posterior, optimiser) are compiled and timed alone, each with its
gradients, in turns with the whole step; their sum is not the step's time, since compiled together they share
work and memory, and the step has more of them: standardisation, sums, the evaluation of the networks inside
the normalizer's stream where data are many, twice.

The machine's peaks are measured in the same run, in processes of their own: operations per second of a
large product of matrices, bytes per second of a + 2 b of vectors larger than any cache, each on one core and
on all. "GFLOP" are a part's operations, loops included, a logarithm counting as one; "% peak" is their rate
against all cores' peak. "MB" are the bytes of arguments and results alone, the least that has to be moved;
"% bytes" is their rate against all cores' peak. A part far below both is bound by elementary functions, by
the cache or by overheads. "xla_flops" of the JSON file is XLA's own count, with every loop's body once.
"""

import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from benchmarks._operations import count_operations
from benchmarks._processes import Worker, WorkerError, worker_environment
from benchmarks._profile_pieces import PROFILED, Piece, pieces_of
from benchmarks._report import Benchmark, Column, print_table
from benchmarks._timing import alternate, timed

COLUMNS = (
    Column("case", "name", "<14"),
    Column("part", "part", "<10"),
    Column("median ms", "median_ms", "10.3f"),
    Column("CPU ms", "processor_ms", "8.3f"),
    Column("/ step", "share", "7.2f"),
    Column("GFLOP", "gigaflop", "8.4f"),
    Column("% peak", "percent_of_operations", "7.2f"),
    Column("MB", "megabytes", "8.3f"),
    Column("% bytes", "percent_of_bytes", "8.2f"),
)

PEAKS = (
    Column("cores", "cores", "5"),
    Column("GFLOP/s", "gigaflop_per_second", "9.1f"),
    Column("GB/s", "gigabytes_per_second", "7.1f"),
)


def measure_peaks(size: int, length: int) -> list[dict[str, float]]:
    """Operations and bytes per second on one core, where it can be chosen, and on all.

    Args:
        size: Of the square matrices that are multiplied.
        length: Of the vectors that are added.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = [1, 0] if cores > 1 and hasattr(os, "sched_setaffinity") else [0]
    peaks = []
    for number in chosen:
        with Worker("benchmarks._peak_worker", str(number), environment=worker_environment()) as worker:
            peak = worker.ask(size=size, length=length)
        peaks.append(
            {
                "cores": number or cores,
                "gigaflop_per_second": peak["operations"] / 1e9,
                "gigabytes_per_second": peak["bytes"] / 1e9,
            }
        )
    return peaks


def repeated(piece: Piece, seconds: float) -> tuple[Callable[[], object], int, Any]:
    """A function that calls a compiled piece so often that it takes a while, how often, and the program."""
    compiled = jax.jit(piece.function).lower(*piece.arguments).compile()

    def once() -> object:
        return jax.block_until_ready(compiled(*piece.arguments))

    once()
    number = max(1, round(seconds / timed(once).wall))

    def run() -> None:
        for _ in range(number):
            once()

    return run, number, compiled


def bytes_of(tree: Any) -> int:
    """Of all arrays of a pytree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def measure(name: str, peak: dict[str, float], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Time a case's step and its parts.

    Args:
        name: The case's.
        peak: All cores', from `measure_peaks`.
        rounds: How often each takes its turn.
        seconds: About how long a turn lasts.
    """
    pieces = pieces_of(PROFILED[name])
    prepared = [repeated(piece, seconds) for piece in pieces]
    times = alternate([run for run, _, _ in prepared], rounds)
    whole = None
    for piece, (_, number, compiled), passed in zip(pieces, prepared, times, strict=True):
        wall = statistics.median(elapsed.wall for elapsed in passed) / number
        whole = whole or wall
        operations = count_operations(piece.function, *piece.arguments)
        moved = bytes_of(piece.arguments) + bytes_of(jax.eval_shape(piece.function, *piece.arguments))
        yield {
            "name": name,
            "part": piece.name,
            "median_ms": wall * 1e3,
            "processor_ms": statistics.median(elapsed.processor for elapsed in passed) / number * 1e3,
            "share": wall / whole,
            "gigaflop": operations / 1e9,
            "xla_flops": (compiled.cost_analysis() or {}).get("flops"),
            "percent_of_operations": operations / wall / peak["gigaflop_per_second"] / 1e7,
            "megabytes": moved / 1e6,
            "percent_of_bytes": moved / wall / peak["gigabytes_per_second"] / 1e7,
        }


def main(options: Sequence[str] | None = None) -> int:
    """Print the machine's peaks and a table, and write them as JSON where asked."""
    benchmark = Benchmark("profile", __doc__)
    benchmark.choices("--cases", PROFILED, "which cases (default: all)")
    benchmark.number("--rounds", 7, "turns of each part")
    benchmark.number("--seconds", 0.2, "of a turn", least=0.001)
    benchmark.number("--matrix-size", 2048, "of the peak's product")
    benchmark.number("--vector-length", 2**25, "of the peak's sum")
    arguments = benchmark.parse(options)
    try:
        peaks = print_table(PEAKS, measure_peaks(arguments.matrix_size, arguments.vector_length))
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    print()

    def rows() -> Iterator[dict[str, Any]]:
        for name in arguments.cases:
            yield from measure(name, peaks[-1], arguments.rounds, arguments.seconds)

    results = print_table(COLUMNS, rows())
    return 0 if benchmark.report(arguments, {"peaks": peaks, "results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
