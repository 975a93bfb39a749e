"""Seeds per second of `rpm_jax.fit_seeds`: all seeds at once under `vmap`, against one after the other.

A seed-step is one optimisation step of one seed: minibatch, value, gradient, update. One by one all seeds
take the same compiled program in turn, so that a single seed shows its rate. The two ways take turns, round
by round; a rate is the median over rounds of the medians from look to look, without compilation,
initialisation and evaluation. "inputs" are the numbers that reach the networks in a step of one seed:
B·J·(numbers in a view of a datum). `fit_seeds` advances as many seeds together on CPUs as keep the inputs of
all below `rpm_jax.train._fit.MOST_INPUTS_AT_ONCE`; the last lines say what this run would choose.
"""

import contextlib
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rpm_jax as rpm
from benchmarks._figure import new_figure
from benchmarks._report import Benchmark, Column, print_table

LEAST_LOOKS = 3
"""Times in a turn at which the clock is read after the first."""

COLUMNS = (
    Column("case", "name", "<14"),
    Column("inputs", "inputs", "8"),
    Column("seeds", "seeds", "6"),
    Column("all inputs", "all_inputs", "10"),
    Column("one by one /s", "sequential_rate", "13.0f"),
    Column("at once /s", "vmap_rate", "10.0f"),
    Column("ratio", "ratio", "6.2f"),
)


class Case(NamedTuple):
    """What is trained from many seeds.

    Attributes:
        model: The model.
        views: J arrays.
        batch_size: B.
        steps_per_look: Compiled steps between two readings of the clock.
    """

    model: rpm.RPM
    views: tuple[jax.Array, ...]
    batch_size: int
    steps_per_look: int

    @property
    def inputs(self) -> int:
        """Numbers that reach the networks in a step of one seed."""
        return self.batch_size * sum(math.prod(view.shape[1:]) for view in self.views)


def temporal(num_sequences: int) -> Case:
    """The Gaussian-process model of counts in ten pixels at 50 times."""
    balls = rpm.datasets.poisson_balls(
        jax.random.key(0), num_sequences=num_sequences, num_steps=50, num_pixels=10
    )
    network = rpm.networks.PointwiseMLP((20, 20))
    model = rpm.RPM(rpm.priors.gaussian_process(balls.times), rpm.factors.per_view(network))
    return Case(model, tuple(balls.views), 8, 20)


def images(size: int, batch_size: int) -> Case:
    """The exact model of ten states and pairs of random images, F_j over the minibatch."""
    views = tuple(jax.random.uniform(jax.random.key(0), (2, 2048, size, size)))
    network = rpm.networks.CNN(kernel_size=5 if size >= 16 else 3)
    prior = rpm.priors.static(rpm.expfam.Categorical(jnp.zeros(10)), learnable=True)
    return Case(
        rpm.RPM(prior, rpm.factors.per_view(network)),
        views,
        batch_size,
        max(2, 10**5 // (batch_size * size**2)),
    )


CASES: dict[str, Callable[[], Case]] = {
    "temporal-100": lambda: temporal(100),
    "cnn-8-64": lambda: images(8, 64),
    "cnn-8-256": lambda: images(8, 256),
    "cnn-28-64": lambda: images(28, 64),
    "cnn-28-256": lambda: images(28, 256),
}


class EnoughError(Exception):
    """Leaves a training that has been timed, before it evaluates what it has fitted."""


def seconds_per_seed_step(case: Case, seeds: int, seconds: float) -> float:
    """Train seeds together for a while, and take the median time from look to look.

    Args:
        case: What is trained.
        seeds: How many, all at once.
        seconds: How long, from the first look on.
    """
    stamps: list[float] = []

    def look(progress: rpm.train.Progress) -> None:
        del progress
        stamps.append(time.perf_counter())
        if len(stamps) > LEAST_LOOKS and stamps[-1] - stamps[0] >= seconds:
            raise EnoughError

    with contextlib.suppress(EnoughError):
        rpm.fit_seeds(
            case.model,
            case.views,
            keys=jax.random.split(jax.random.key(1), seeds),
            seeds_at_once=seeds,
            batch_size=case.batch_size,
            num_steps=10**6,
            steps_per_call=case.steps_per_look,
            callback=look,
        )
    # The first look has initialisation, and perhaps compilation, before it.
    passed = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    return statistics.median(passed) / (case.steps_per_look * seeds)


def measure(name: str, numbers: Sequence[int], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Compare both ways for several numbers of seeds.

    Args:
        name: The case's.
        numbers: Of seeds.
        rounds: How often each way takes its turn.
        seconds: About how long a turn lasts.
    """
    case = CASES[name]()
    for seeds in numbers:
        together = {"sequential": 1, "vmap": seeds}
        for number in together.values():
            seconds_per_seed_step(case, number, 0.0)
        turns = [
            {way: seconds_per_seed_step(case, number, seconds) for way, number in together.items()}
            for _ in range(rounds)
        ]
        rates = {f"{way}_rate": 1 / statistics.median(turn[way] for turn in turns) for way in together}
        yield {
            "name": name,
            "inputs": case.inputs,
            "seeds": seeds,
            "all_inputs": seeds * case.inputs,
            **rates,
            "ratio": rates["vmap_rate"] / rates["sequential_rate"],
            "rounds": turns,
        }


def best_numbers(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each case the number of seeds that makes most seed-steps per second together."""
    rows = [row for row in results if row["seeds"] > 1]
    return {
        name: max((row for row in rows if row["name"] == name), key=lambda row: row["vmap_rate"])
        for name in dict.fromkeys(row["name"] for row in rows)
    }


def conclusion(results: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each case: which way is faster, and with how many inputs at once."""
    lines = []
    for name, best in best_numbers(results).items():
        if best["ratio"] > 1:
            lines.append(
                f"{name}: at once, {best['ratio']:.2f} times as fast as one by one with {best['seeds']} "
                f"seeds, {best['all_inputs']} inputs"
            )
        else:
            lines.append(
                f"{name}: one by one; {best['seeds']} seeds at once, the best number of those, reach "
                f"{best['ratio']:.2f} of its rate with {best['all_inputs']} inputs"
            )
    return lines


def draw(results: Sequence[dict[str, Any]]) -> Any:
    """Seed-steps per second against the number of seeds, a pair of lines for each case."""
    figure, (axes,) = new_figure(1)
    for number, name in enumerate(dict.fromkeys(row["name"] for row in results)):
        rows = [row for row in results if row["name"] == name]
        seeds = [row["seeds"] for row in rows]
        axes.plot(seeds, [row["vmap_rate"] for row in rows], "o-", color=f"C{number}", label=name)
        axes.plot(seeds, [row["sequential_rate"] for row in rows], ":", color=f"C{number}")
    axes.set(xscale="log", xlabel="seeds (dotted: one by one)", ylabel="seed-steps / s")
    axes.set_ylim(bottom=0)
    numbers = sorted({row["seeds"] for row in results})
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")
    return figure


def main(options: Sequence[str] | None = None) -> int:
    """Print a table and which way is faster, write it as JSON and draw it where asked."""
    benchmark = Benchmark("sweep", __doc__, lambda report: draw(report["results"]))
    benchmark.choices("--cases", CASES, "which cases (default: all)")
    benchmark.number("--seeds", [1, 2, 4, 8, 16, 32], "")
    benchmark.number("--rounds", 3, "turns of each way")
    benchmark.number("--seconds", 1.0, "of a turn", least=0.01)
    arguments = benchmark.parse(options)

    def rows() -> Iterator[dict[str, Any]]:
        for name in arguments.cases:
            yield from measure(name, arguments.seeds, arguments.rounds, arguments.seconds)

    results = print_table(COLUMNS, rows())
    lines = conclusion(results)
    print("\n".join(lines))
    written = benchmark.report(arguments, {"results": results, "conclusion": lines})
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
