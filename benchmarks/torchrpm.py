"""Time training steps of rpm_jax against torchRPM: the same model, data, batch size and dtype (float32).

Needs a clone of torchRPM and PyTorch:

    git clone https://github.com/mnonnenm/torchRPM
    pip install -e ".[bench]"
    python -m benchmarks.torchrpm --torchrpm torchRPM

First each case's bound is evaluated by both in float64, with the same parameters and minibatch; a case whose
bounds differ is not timed. Then each library trains in a fresh process of its own, and the two take turns,
round by round. A step is all of it: minibatch, bound, gradient, update.

- rpm_jax: `rpm.fit` with its defaults (standardised inputs, Adam with a schedule and clipped gradients), its
  rounds are further steps of one fit. "compile s" is what a user waits before steps begin: initialisation,
  tracing and compilation; a dash where the first 20 steps, which come with it, take longer than that. With
  --devices D it takes a mesh of D host devices, which share the cores.
- torchRPM: `training_step` with `DataLoader` and `torch.optim.Adam`, as its scripts and its example notebook
  call it, at the better of one thread and as many as there are cores. "first s" is its first step.
- "CPU ms": milliseconds of all cores together, which other load on the machine hardly changes.
- "MiB": the peak of resident memory beyond that after the imports; rpm_jax's includes the compiler's.

The loss of torchRPM that is timed takes all data as components of F_j in the Gaussian models
(`elbo_innervi__q_theta`), and the minibatch in the discrete one. `RPM.elbo_innervi`, which takes the first B
data instead of all, serves other posteriors than the conjugate one, which are not compared here. torchRPM
learns the prior's bandwidth itself, rpm_jax its logarithm: the bound is the same, the path of training not.
"""

import argparse
import importlib.metadata
import importlib.util
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax

from benchmarks._processes import Worker, WorkerError, device_environment, worker_environment
from benchmarks._report import Benchmark, Column, print_table
from benchmarks._torchrpm_cases import CASES

URL = "https://github.com/mnonnenm/torchRPM"
MODULES = ("rpm.py", "expFam.py", "recognition_nets.py", "utils_setup.py", "discreteRPM.py")

TOLERANCE = 1e-5
"""Of the difference of the bounds relative to their size: rpm_jax's potentials have a least precision of
1e-6, which torchRPM's lack."""

CALIBRATION_TURNS = 3

COLUMNS = (
    Column("case", "name", "<20"),
    Column("rpm_jax ms", "ours_ms", "10.2f"),
    Column("torchRPM ms", "theirs_ms", "11.2f"),
    Column("ratio", "ratio", "6.1f"),
    Column("CPU ms", "ours_processor_ms", "7.2f"),
    Column("theirs", "theirs_processor_ms", "7.2f"),
    Column("ratio", "processor_ratio", "6.1f"),
    Column("threads", "threads", "7"),
    Column("compile s", "compile_seconds", "9.1f"),
    Column("first s", "first_step_seconds", "8.2f"),
    Column("MiB", "ours_peak_mib", "7.0f"),
    Column("theirs MiB", "theirs_peak_mib", "10.0f"),
)


def difference(bounds: Mapping[str, float]) -> float:
    """By how much the bounds differ, relative to the larger one's size; NaN where one is."""
    ours, theirs = bounds["ours"], bounds["theirs"]
    return abs(ours - theirs) / max(abs(ours), abs(theirs), sys.float_info.min)


def measure(name: str, clone: pathlib.Path, rounds: int, seconds: float, devices: int = 1) -> dict[str, Any]:
    """Compare and time a case.

    Args:
        name: The case's.
        clone: torchRPM's folder.
        rounds: How often each library takes its turn.
        seconds: About how long a turn lasts.
        devices: Host devices that rpm_jax spreads the fit over.

    Returns:
        The case's results, with "refused" and without times if the bounds differ.

    Raises:
        WorkerError: If a process fails.
    """
    module, folder = "benchmarks._torchrpm_worker", str(clone.resolve())
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        arguments = (name, str(pathlib.Path(directory) / "views.npz"), folder)
        with Worker(
            module, "compare", *arguments, environment=worker_environment(JAX_ENABLE_X64="1")
        ) as worker:
            bounds = worker.ask()
        result: dict[str, Any] = {"name": name, **CASES[name]._asdict(), "bounds": bounds}
        if not difference(bounds) <= TOLERANCE:
            return result | {
                "refused": f"{name}: not timed, since the bounds differ: {bounds['ours']!r} nats in rpm_jax, "
                f"{bounds['theirs']!r} in torchRPM, relative difference {difference(bounds):.1e}, at most "
                f"{TOLERANCE:.0e} expected; the clone may be another version than the one that was read"
            }
        theirs = stack.enter_context(Worker(module, "theirs", *arguments, environment=worker_environment()))
        first_step = theirs.ask(steps=1)
        threads = best_threads(theirs, seconds)
        environment = device_environment(devices)
        ours = stack.enter_context(Worker(module, "ours", *arguments, environment=environment))
        first_call = ours.ask(steps=1)
        workers = {"ours": ours, "theirs": theirs}
        steps = {side: math.ceil(seconds / per_step(worker.ask(steps=1))) for side, worker in workers.items()}
        turns = [
            {side: worker.ask(steps=steps[side]) for side, worker in workers.items()} for _ in range(rounds)
        ]
        medians, processor = (
            {side: statistics.median(per_step(turn[side], key) for turn in turns) for side in workers}
            for key in ("seconds", "processor_seconds")
        )
        memory = {side: worker.ask(finish=True) for side, worker in workers.items()}
    return {
        **result,
        "ours_ms": medians["ours"] * 1e3,
        "theirs_ms": medians["theirs"] * 1e3,
        "ratio": medians["theirs"] / medians["ours"],
        "ours_processor_ms": processor["ours"] * 1e3,
        "theirs_processor_ms": processor["theirs"] * 1e3,
        "processor_ratio": processor["theirs"] / processor["ours"],
        "threads": threads,
        "first_call_seconds": first_call["seconds"],
        "compile_seconds": compile_seconds(first_call, medians["ours"]),
        "first_step_seconds": first_step["seconds"],
        **{f"{side}_{key}": value for side, values in memory.items() for key, value in values.items()},
        "rounds": turns,
    }


def best_threads(worker: Worker, seconds: float) -> int:
    """Set PyTorch's number of threads to 1 or the number of cores, whichever gives the faster steps."""
    candidates = sorted({1, os.cpu_count() or 1})
    steps = max(1, math.ceil(seconds / 4 / per_step(worker.ask(steps=1, threads=1))))
    times = {
        number: statistics.median(
            per_step(worker.ask(steps=steps, threads=number)) for _ in range(CALIBRATION_TURNS)
        )
        for number in candidates
    }
    best = min(candidates, key=times.__getitem__)
    worker.ask(steps=1, threads=best)
    return best


def per_step(answer: Mapping[str, float], key: str = "seconds") -> float:
    """Seconds per step of a worker's answer."""
    return answer[key] / answer["steps"]


def compile_seconds(first_call: Mapping[str, float], step: float) -> float | None:
    """The first call's seconds without those of its steps; None where it is mostly these.

    Args:
        first_call: The answer that covers compilation and the first steps.
        step: Seconds of a later step.
    """
    steps = first_call["steps"] * step
    return first_call["seconds"] - steps if steps < first_call["seconds"] / 2 else None


def commit_of(clone: pathlib.Path) -> str | None:
    """The commit of the clone, or None where it holds no repository."""
    if not (clone / ".git").exists():
        return None
    command = ["git", "-C", str(clone), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def check_clone(parser: argparse.ArgumentParser, clone: pathlib.Path | None) -> pathlib.Path:
    """The clone's folder; leave with a message and status 2 unless it and PyTorch are there."""
    if clone is None:
        parser.error(f"--torchrpm needs a clone of torchRPM; run: git clone {URL}, then --torchrpm torchRPM")
    missing = [name for name in MODULES if not (clone / name).is_file()]
    if missing:
        parser.error(
            f"--torchrpm must be the folder of a clone of torchRPM, but {clone} lacks {', '.join(missing)}; "
            f"run: git clone {URL}"
        )
    if importlib.util.find_spec("torch") is None:
        parser.error(
            'torchRPM needs PyTorch, which is not installed; run: pip install -e ".[bench]" (or, without '
            "GPU support: pip install torch --index-url https://download.pytorch.org/whl/cpu)"
        )
    return clone


def main(options: Sequence[str] | None = None) -> int:
    """Print a table, and write it as JSON where asked."""
    benchmark = Benchmark("torchrpm", __doc__)
    benchmark.parser.add_argument(
        "--torchrpm", type=pathlib.Path, metavar="CLONE", help="folder of a clone of torchRPM"
    )
    benchmark.choices("--cases", CASES, "which cases (default: all)")
    benchmark.number("--rounds", 7, "turns of each")
    benchmark.number("--seconds", 1.0, "of a turn", least=0.01)
    benchmark.number(
        "--devices", 1, "host devices that rpm_jax spreads a fit over, such as one for each core"
    )
    arguments = benchmark.parse(options)
    clone = check_clone(benchmark.parser, arguments.torchrpm)
    jax.config.update("jax_platforms", "cpu")

    def rows() -> Iterator[dict[str, Any]]:
        for name in arguments.cases:
            try:
                result = measure(name, clone, arguments.rounds, arguments.seconds, arguments.devices)
            except WorkerError as error:
                result = {"name": name, "refused": f"{name}: failed: {error}"}
            if "refused" in result:
                print(result["refused"], file=sys.stderr)
            yield result

    results = print_table(COLUMNS, rows())
    peer = {"torch": importlib.metadata.version("torch"), "torchrpm_commit": commit_of(clone)}
    written = benchmark.report(arguments, {**peer, "results": results})
    return 0 if written and not any("refused" in result for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
