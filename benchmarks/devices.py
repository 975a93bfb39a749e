"""Time training steps of `rpm_jax.fit` on meshes of several host devices.

Host devices, made by `XLA_FLAGS=--xla_force_host_platform_device_count`, share the same cores. One for each
core can be faster than none, where XLA's own threads leave cores idle; more only show the overhead of
spreading data, components and minibatches: how much longer the same work takes in parts that exchange tilts,
log-integrals and gradients. The model is temporal,
with T = 50, J = 10 and continuous inputs. Each number of devices trains in a process of its own; all take
turns, round by round. "devices" 0 is a fit without a mesh. "MiB" is the peak of resident memory beyond that
after the data are made.
"""

import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks._processes import Worker, WorkerError, device_environment
from benchmarks._report import Benchmark, Column, print_table

COLUMNS = (
    Column("devices", "devices", "7"),
    Column("batch split", "batch_split", "<11"),
    Column("first s", "first_seconds", "8.1f"),
    Column("median ms", "median_ms", "10.2f"),
    Column("min ms", "min_ms", "8.2f"),
    Column("CPU ms", "processor_ms", "8.2f"),
    Column("/ first", "relative", "8.2f"),
    Column("MiB", "peak_mib", "7.0f"),
)


def measure(
    numbers: Sequence[int], num_sequences: int, batch_size: int, rounds: int, steps: int
) -> list[dict[str, Any]]:
    """Milliseconds per step on each number of devices, which take turns.

    Args:
        numbers: Of devices; 0: without a mesh.
        num_sequences: N.
        batch_size: B.
        rounds: How often each takes its turn.
        steps: Of a turn.

    Raises:
        WorkerError: If a process fails.
    """
    fixed = (str(num_sequences), str(batch_size))
    with ExitStack() as stack:
        workers, first = {}, {}
        for number in numbers:
            worker = Worker(
                "benchmarks._devices_worker", str(number), *fixed, environment=device_environment(number)
            )
            workers[number] = stack.enter_context(worker)
            first[number] = workers[number].ask(steps=1)["seconds"]
        turns = [
            {number: worker.ask(steps=steps) for number, worker in workers.items()} for _ in range(rounds)
        ]
        peaks = {number: worker.ask(finish=True)["peak_mib"] for number, worker in workers.items()}
    return list(_rows(numbers, batch_size, turns, first, peaks))


def _rows(
    numbers: Sequence[int],
    batch_size: int,
    turns: Sequence[dict[int, dict[str, float]]],
    first: dict[int, float],
    peaks: dict[int, float],
) -> Iterator[dict[str, Any]]:
    medians: dict[int, float] = {}
    for number in numbers:
        milliseconds, processor = (
            [turn[number][key] / turn[number]["steps"] * 1e3 for turn in turns]
            for key in ("seconds", "processor_seconds")
        )
        medians[number] = statistics.median(milliseconds)
        yield {
            "devices": number,
            "batch_split": "yes" if number and batch_size % number == 0 else "no",
            "first_seconds": first[number],
            "median_ms": medians[number],
            "min_ms": min(milliseconds),
            "processor_ms": statistics.median(processor),
            "relative": medians[number] / medians[numbers[0]],
            "peak_mib": peaks[number],
        }


def main(options: Sequence[str] | None = None) -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("devices", __doc__)
    benchmark.number("--devices", [0, 1, 2, 4, 8], "numbers of them; 0: without a mesh", least=0)
    benchmark.number("--num-sequences", 1000, "N")
    benchmark.number("--batch-size", 8, "B")
    benchmark.number("--rounds", 5, "turns of each")
    benchmark.number("--steps", 20, "of a turn")
    arguments = benchmark.parse(options)
    benchmark.require_at_least(arguments, max(2, arguments.batch_size), "num_sequences")
    numbers = list(dict.fromkeys(arguments.devices))
    try:
        results = measure(
            numbers, arguments.num_sequences, arguments.batch_size, arguments.rounds, arguments.steps
        )
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    print_table(COLUMNS, results)
    cores = os.cpu_count()
    print(
        f"All devices share the same {cores} cores: more devices than cores show the overhead of spreading."
    )
    return 0 if benchmark.report(arguments, {"results": results}) else 1


if __name__ == "__main__":
    sys.exit(main())
