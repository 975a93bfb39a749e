"""Times of functions that take turns."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Elapsed(NamedTuple):
    """How long something took.

    Attributes:
        wall: Seconds that passed.
        processor: Seconds of all cores together that this process used.
    """

    wall: float
    processor: float


def timed(run: Callable[[], object]) -> Elapsed:
    """Call a function that returns when its work is done."""
    start, used = time.perf_counter(), time.process_time()
    run()
    return Elapsed(time.perf_counter() - start, time.process_time() - used)


def alternate(runs: Sequence[Callable[[], object]], rounds: int, pause: float = 0.0) -> list[list[Elapsed]]:
    """Call all functions once a round, one after the other, so that all meet the same load.

    Args:
        runs: Functions that return when their work is done.
        rounds: How often each is called.
        pause: Seconds of rest before each call, which are not counted: threads that wait for more work of the
            function before, and take its cores from the next one, have gone to sleep then.

    Returns:
        For each function its `rounds` times.
    """

    def rested(run: Callable[[], object]) -> Elapsed:
        time.sleep(pause)
        return timed(run)

    turns = [[rested(run) for run in runs] for _ in range(rounds)]
    return [list(times) for times in zip(*turns, strict=True)]


def milliseconds_per_step(times: Sequence[float], steps: int) -> dict[str, float]:
    """Median and minimum of rounds of several steps each.

    Args:
        times: Seconds of each round.
        steps: How many steps a round has.

    Returns:
        "median_ms" and "min_ms", milliseconds per step.
    """
    return {
        "median_ms": statistics.median(times) / steps * 1e3,
        "min_ms": min(times) / steps * 1e3,
    }
