import time

import pytest

from benchmarks import _timing


def test_functions_take_turns():
    calls = []
    times = _timing.alternate([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert calls == ["a", "b"] * 3
    assert [len(rounds) for rounds in times] == [3, 3]


def test_wall_and_processor_time():
    slept = _timing.timed(lambda: time.sleep(0.05))
    assert slept.wall >= 0.05
    assert slept.processor < 0.04

    def work():
        start = time.process_time()
        while time.process_time() - start < 0.05:
            pass

    assert _timing.timed(work).processor >= 0.05


def test_times_go_to_the_function_that_took_them():
    fast, slow = _timing.alternate([lambda: None, lambda: time.sleep(0.02)], 2)
    assert max(elapsed.wall for elapsed in fast) < 0.02 <= min(elapsed.wall for elapsed in slow)


def test_median_and_minimum_per_step():
    summary = _timing.milliseconds_per_step([0.5, 0.1, 0.2], 10)
    assert summary == pytest.approx({"median_ms": 20.0, "min_ms": 10.0})
