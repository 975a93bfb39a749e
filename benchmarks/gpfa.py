"""Latents of spikes on the Lorenz attractor: rpm_jax beside elephant's GPFA and factor analysis.

The data are those of `rpm_jax.datasets.lorenz_spikes`. R² is that of the true states after a linear
regression fitted on the first half of the trials and scored on the other, of each coordinate and together.
Seconds are from counts to latents of all trials in a fresh process: compilation included, imports left out.

    rpm_jax, process   groups of neurons as views, linear factors with shared precision, Matérn-3/2 processes
    rpm_jax, chain     the same with a linear-Gaussian chain as prior
    elephant GPFA      with its defaults: up to 500 steps of EM (pip install elephant scikit-learn)
    factor analysis    scikit-learn's, of square roots of counts smoothed by a Gaussian; of 5 widths that with
                       the best R², and the seconds of one of them

elephant may live in another virtual environment: --elephant PYTHON names its interpreter. Where it is
missing, its row is left out.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks._processes import worker_environment
from benchmarks._report import Benchmark, Column, print_table
from rpm_jax import datasets, metrics

METHODS = {
    "rpm_jax, process": "process",
    "rpm_jax, chain": "chain",
    "elephant GPFA": "elephant",
    "factor analysis": "factor analysis",
}
NUM_LATENTS = 3
TIME_LIMIT = 1800
"""Of one fit, in seconds."""

COLUMNS = (
    Column("who", "who", "<17"),
    Column("seed", "seed", "6"),
    Column("R² x", "r2_x", "7.4f"),
    Column("R² y", "r2_y", "7.4f"),
    Column("R² z", "r2_z", "7.4f"),
    Column("R²", "r2", "7.4f"),
    Column("seconds", "seconds", "8.1f"),
)


def has_elephant(python: pathlib.Path) -> bool:
    """Whether an interpreter can import elephant's GPFA."""
    try:
        asked = subprocess.run(
            [str(python), "-c", "from elephant.gpfa import GPFA"],
            capture_output=True,
            check=False,
            timeout=120,
        )
    except OSError:
        return False
    return asked.returncode == 0


def latents_of(method: str, data: pathlib.Path, python: pathlib.Path) -> tuple[Any, float]:
    """Latents (variants, N, T, K) and seconds of a method, in a process of its own.

    Raises:
        RuntimeError: If it failed; the message ends with what it wrote to standard error.
    """
    result = data.with_name("result.npz")
    command = [sys.executable, "-m", "benchmarks._gpfa_worker", method, str(data), str(result)]
    if method == "elephant":
        script = pathlib.Path(__file__).with_name("_gpfa_elephant.py")
        command = [str(python), str(script), str(data), str(result)]
    folder = pathlib.Path(__file__).parents[1]
    done = subprocess.run(
        command,
        cwd=folder,
        env=worker_environment(),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{method} failed: {done.stderr.strip()[-500:]}")
    found = np.load(result)
    latents = found["latents"]
    return latents if latents.ndim == 4 else latents[None], float(found["seconds"])


def spikes_of(arguments: Any, seed: int) -> datasets.LorenzSpikes:
    """The data of a seed."""
    return datasets.lorenz_spikes(
        jax.random.key(seed),
        num_sequences=arguments.trials,
        num_steps=arguments.bins,
        num_neurons=arguments.neurons,
        num_groups=arguments.groups,
        step=arguments.step,
        base_rate=arguments.base_rate,
        modulation=arguments.modulation,
    )


def measure(arguments: Any, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each seed and method, which take turns."""
    for seed in arguments.seeds:
        spikes = spikes_of(arguments, seed)
        with tempfile.TemporaryDirectory() as folder:
            data = pathlib.Path(folder) / "data.npz"
            np.savez(
                data,
                counts=np.asarray(spikes.counts),
                latents=NUM_LATENTS,
                groups=arguments.groups,
                step=arguments.step,
            )
            for name in methods:
                variants, seconds = latents_of(METHODS[name], data, arguments.elephant)
                best = max(variants, key=lambda each: float(metrics.linear_r2(spikes.states, each)))
                r2 = metrics.linear_r2(spikes.states, best, per_dimension=True)
                yield {
                    "who": name,
                    "seed": seed,
                    **{f"r2_{c}": float(value) for c, value in zip("xyz", r2, strict=True)},
                    "r2": float(metrics.linear_r2(spikes.states, best)),
                    "seconds": seconds,
                }


def medians(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over the seeds, for each method."""
    names = dict.fromkeys(row["who"] for row in rows)
    keys = [column.key for column in COLUMNS[2:]]
    return [
        {
            "who": name,
            "seed": "median",
            **{key: statistics.median(row[key] for row in rows if row["who"] == name) for key in keys},
        }
        for name in names
    ]


def main(options: Sequence[str] | None = None) -> int:
    """Print the table, and write it where asked."""
    benchmark = Benchmark("gpfa", __doc__)
    benchmark.number("--trials", 30, "N", least=4)
    benchmark.number("--bins", 200, "T", least=2)
    benchmark.number("--neurons", 60, "")
    benchmark.number("--groups", 6, "views of rpm_jax", least=2)
    benchmark.number("--step", 0.01, "time of a bin, in units of the attractor's", least=1e-6)
    benchmark.number("--base-rate", 0.5, "mean count of a bin", least=1e-6)
    benchmark.number("--modulation", 0.7, "standard deviation of log-rates", least=1e-6)
    benchmark.number("--seeds", [0], "seeds of the data", least=0)
    benchmark.choices("--methods", METHODS, "which (default: all)")
    benchmark.parser.add_argument(
        "--elephant",
        type=pathlib.Path,
        default=pathlib.Path(sys.executable),
        metavar="PYTHON",
        help="interpreter that has elephant (default: this one)",
    )
    arguments = benchmark.parse(options)
    methods = list(arguments.methods)
    if "elephant GPFA" in methods and not has_elephant(arguments.elephant):
        print(f"elephant is not installed for {arguments.elephant}: left out", file=sys.stderr)
        methods.remove("elephant GPFA")
    try:
        rows = print_table(COLUMNS, measure(arguments, methods))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if len(arguments.seeds) > 1:
        rows = [*rows, *print_table(COLUMNS, medians(rows))]
    return 0 if benchmark.report(arguments, {"results": rows}) else 1


if __name__ == "__main__":
    sys.exit(main())
