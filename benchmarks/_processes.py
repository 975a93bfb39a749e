"""Worker processes that answer requests, and the memory that a process has taken.

A measurement in a process of its own meets no memory, threads or compiled programs of another one. Requests
and answers are lines of JSON on the worker's standard input and output, so a worker that waits for its turn
takes no processor time.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TextIO

STATUS = pathlib.Path("/proc/self/status")
MIB = 2**20


def peak_memory() -> float:
    """The most resident memory that this process has had, in MiB.

    Linux's own count begins with the program; that of `getrusage`, which is taken elsewhere, may begin with
    the memory of the process that started it.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


HOST_DEVICES = "--xla_force_host_platform_device_count"
"""An XLA flag: how many devices the processor counts as."""


def worker_environment(**more: str) -> dict[str, str]:
    """Environment variables of a worker: no cache of compiled programs, and the processor alone."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return {**kept, "JAX_PLATFORMS": "cpu", **more}


def device_environment(devices: int) -> dict[str, str]:
    """That of a worker which sees its processor as so many devices, at least one."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(HOST_DEVICES)]
    return worker_environment(XLA_FLAGS=" ".join([*flags, f"{HOST_DEVICES}={max(1, devices)}"]))


class WorkerError(RuntimeError):
    """A worker ended or did not answer; the message ends with what it wrote to standard error."""


class Requests:
    """The worker's side: requests from standard input, answers to standard output.

    Whatever else the process prints from now on goes to standard error.
    """

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def next(self) -> dict[str, Any]:
        """Wait for a request; end the process where no more will come."""
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        return json.loads(line)

    def answer(self, **content: Any) -> None:
        """Answer the last request."""
        print(json.dumps(content), file=self._answers, flush=True)


class Worker:
    """A Python module that runs in a process of its own and answers requests.

    Use it as a context: the process begins and ends with it.
    """

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str], seconds: float = 900.0
    ) -> None:
        """Prepare `python -m module arguments`.

        Args:
            module: Handles `Requests`.
            *arguments: Of its command line.
            environment: Its environment variables.
            seconds: How long an answer may take.
        """
        self._name = " ".join((module, *arguments))
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = dict(environment)
        self._seconds = seconds
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._errors = self._stack.enter_context(tempfile.TemporaryFile("w+"))
        process = subprocess.Popen(
            self._command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
        )
        self._process = self._stack.enter_context(process)
        self._stack.callback(process.kill)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerError: If the process has ended, or gives no answer in time; it is ended then.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(self._seconds, process.kill)
        limit.start()
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            limit.cancel()
        if not line:
            status = process.wait()
            self._errors.seek(0)
            end = "\n".join(self._errors.read().splitlines()[-12:])
            raise WorkerError(
                f"{self._name} ended with status {status}, or was ended after {self._seconds:g} s without an "
                f"answer; the end of its standard error:\n{end}"
            )
        return json.loads(line)
