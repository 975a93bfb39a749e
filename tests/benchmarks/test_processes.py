import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks._processes import Worker, WorkerError

ROOT = Path(__file__).parents[2]
ECHO = """
import os, sys, time
from benchmarks._processes import Requests
requests = Requests()
print("a line that is no answer")
for i in range(3):
    request = requests.next()
    if "fail" in request:
        raise ValueError(f"no {request['fail']} here")
    if "wait" in request:
        requests.next()
    os.write(1, b"nor is this\\n")
    requests.answer(number=i, arguments=sys.argv[1:], process=os.getpid(), **request)
    if "busy" in request:
        time.sleep(20)
"""


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "echo_worker.py").write_text(ECHO)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    return lambda **options: Worker(
        "echo_worker", "x", "y", environment={**os.environ, "PYTHONPATH": path}, **options
    )


def test_answers_come_in_turn_and_without_what_is_printed(worker):
    with worker() as one, worker() as other:
        answers = [process.ask(size=size) for size in (5, 6) for process in (one, other)]
    assert [answer["size"] for answer in answers] == [5, 5, 6, 6]
    assert [answer["number"] for answer in answers] == [0, 0, 1, 1]
    assert {tuple(answer["arguments"]) for answer in answers} == {("x", "y")}
    assert len({answer["process"] for answer in answers} | {os.getpid()}) == 3


def test_a_process_ends_with_its_context(worker):
    with worker() as process:
        number = process.ask(busy=True)["process"]
        start = time.perf_counter()
    assert time.perf_counter() - start < 10
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_failure_is_told_with_its_end(worker):
    with worker() as process:
        process.ask()
        with pytest.raises(WorkerError, match=r"echo_worker x y ended with status 1") as caught:
            process.ask(fail="digits")
        assert str(caught.value).endswith("ValueError: no digits here")
        with pytest.raises(WorkerError, match="no digits here"):
            process.ask()


def test_no_answer_in_time(worker):
    with worker(seconds=0.5) as process:
        process.ask()
        with pytest.raises(WorkerError, match=r"status -9, or was ended after 0.5 s without an answer"):
            process.ask(wait=True)


PEAKS = """
import pathlib
from benchmarks import _processes
if {without_status}:
    _processes.STATUS = pathlib.Path("/nowhere")
before = _processes.peak_memory()
block = bytearray(100 * _processes.MIB)
grown = _processes.peak_memory()
del block
print(before, grown, _processes.peak_memory())
"""


@pytest.mark.parametrize("without_status", [False, True])
def test_peak_memory(without_status):
    program = [sys.executable, "-c", PEAKS.format(without_status=without_status)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, cwd=ROOT)
    before, grown, after = map(float, done.stdout.split())
    # getrusage begins with the memory of the process that started this one.
    assert grown - before == pytest.approx(100, abs=15) or (without_status and grown == before > 100)
    assert after == pytest.approx(grown, abs=2)
