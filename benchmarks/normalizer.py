"""Time and memory of the mixtures F_j: value and gradient, against N, the block size and the family.

The model has two scalar views and a single site. "streamed" is the bound as `rpm_jax.RPM.bound` evaluates it:
where data are many, networks and mixture run block by block, and nothing of all N data but the data is kept.
"plain" is the same bound by autodiff through one logsumexp over all pairs of datum and component. "mixture"
is `rpm_jax.normalizers.log_tilted_mixture` alone, of one-dimensional Gaussians held as arrays, for several
sizes of its blocks; where one block holds all components it is the plain form.

Every line is measured in a fresh process. "peak MiB" is the most resident memory beyond that after the
imports, without the inputs' bytes: it includes what the compiler takes, which is most of it where N is
small. "buffers MiB" are the compiled program's own. "ns a pair" is the time over B·N·J.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks._figure import new_figure
from benchmarks._normalizer_worker import FAMILIES
from benchmarks._processes import Worker, WorkerError, worker_environment
from benchmarks._report import Benchmark, Column, print_table

COLUMNS = (
    Column("shown", "shown", "<8"),
    Column("way", "way", "<9"),
    Column("family", "family", "<16"),
    Column("N", "size", "8"),
    Column("block", "block_size", "8"),
    Column("compile s", "compile_seconds", "9.1f"),
    Column("median ms", "median_ms", "10.2f"),
    Column("min ms", "min_ms", "9.2f"),
    Column("ns a pair", "nanoseconds_per_pair", "9.2f"),
    Column("peak MiB", "peak_mib", "8.0f"),
    Column("buffers MiB", "buffers_mib", "11.1f"),
)


def cases(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What is measured, in the order of the table."""
    gaussian = {"family": "DiagonalGaussian", "block_size": None}
    for size in arguments.sizes:
        yield {"shown": "size", "way": "streamed", "size": size, **gaussian}
    for size in arguments.plain_sizes:
        yield {"shown": "size", "way": "plain", "size": size, **gaussian}
    for block_size in (None, *arguments.block_sizes):
        case = {"shown": "block", "way": "mixture", "size": arguments.block_data}
        yield {**case, **gaussian, "block_size": block_size}
    for family in arguments.families:
        case = {"shown": "family", "way": "streamed", "size": arguments.family_data}
        yield {**case, **gaussian, "family": family}


def measure(case: dict[str, Any], batch_size: int, rounds: int) -> dict[str, Any]:
    """A case's results from a fresh process; "failed" in their place if it ends, for want of memory, say."""
    request = {key: value for key, value in case.items() if key != "shown"}
    try:
        with Worker("benchmarks._normalizer_worker", environment=worker_environment()) as worker:
            return case | worker.ask(**request, batch_size=batch_size, rounds=rounds)
    except WorkerError as error:
        return case | {"failed": str(error)}


def draw(results: Sequence[dict[str, Any]]) -> Any:
    """Time and peak memory against N."""
    figure, panels = new_figure(2)
    shown = [result for result in results if result["shown"] == "size" and "failed" not in result]
    for axes, key, label in zip(
        panels, ("median_ms", "peak_mib"), ("ms, value and gradient", "MiB beyond the inputs"), strict=True
    ):
        for way in ("plain", "streamed"):
            rows = [result for result in shown if result["way"] == way]
            axes.plot([row["size"] for row in rows], [row[key] for row in rows], "o-", label=way)
        axes.set(xscale="log", yscale="log", xlabel="number of data N", ylabel=label)
    panels[1].axhline(1024, color="0.5", lw=0.8, ls="--", label="1 GiB")
    panels[1].set_ylim(10.0, None)
    panels[1].legend(frameon=False)
    panels[0].legend(frameon=False)
    return figure


def main(options: Sequence[str] | None = None) -> int:
    """Print a table, write it as JSON and draw it where asked."""
    benchmark = Benchmark("normalizer", __doc__, lambda report: draw(report["results"]))
    benchmark.number("--sizes", [10**3, 10**4, 10**5, 10**6], "N, streamed", none=True)
    benchmark.number("--plain-sizes", [10**3, 10**4, 10**5], "N, plain", none=True)
    benchmark.number("--block-sizes", [64, 256, 1024, 4096, 16384, 10**5], "", none=True)
    benchmark.number("--block-data", 10**5, "N for the block sizes")
    benchmark.choices("--families", FAMILIES, "of the sites (default: all)", none=True)
    benchmark.number("--family-data", 10**5, "N for the families")
    benchmark.number("--batch-size", 64, "B")
    benchmark.number("--rounds", 5, "")
    arguments = benchmark.parse(options)
    benchmark.require_at_least(
        arguments, arguments.batch_size, "sizes", "plain_sizes", "block_data", "family_data"
    )
    results = print_table(
        COLUMNS, (measure(case, arguments.batch_size, arguments.rounds) for case in cases(arguments))
    )
    failures = [result for result in results if "failed" in result]
    for result in failures:
        print(f"{result['way']}, N = {result['size']}: {result['failed']}", file=sys.stderr)
    written = benchmark.report(arguments, {"results": results})
    return 0 if written and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
