"""The processes of `benchmarks.torchrpm`: one that compares both libraries, and one that trains for each."""

import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._processes import Requests, peak_memory
from benchmarks._torchrpm_cases import CASES, Case

ROLES = ("compare", "ours", "theirs")


class Rounds:
    """Lets a training go on for as many steps as are asked for, and holds it in between.

    A request is {"steps": at least so many}, with "threads" where these should change, and the first one also
    covers the model, its compilation and whatever else goes before the first steps; or {"finish": True},
    whose answer is the memory in MiB after the imports, and the peak beyond that.
    """

    def __init__(self, requests: Requests, baseline: float, set_threads: Callable[[int], None]) -> None:
        self._requests = requests
        self._baseline = baseline
        self._set_threads = set_threads
        self.wait()

    def wait(self) -> None:
        """Hold until the next request."""
        request = self._requests.next()
        if "finish" in request:
            peak = peak_memory()
            self._requests.answer(baseline_mib=self._baseline, peak_mib=peak - self._baseline)
            sys.exit(0)
        if "threads" in request:
            self._set_threads(request["threads"])
        self._wanted, self._done = request["steps"], 0
        self._start, self._used = time.perf_counter(), time.process_time()

    def made(self, steps: int) -> None:
        """Take notice of further steps; the training's callback."""
        self._done += steps
        if self._done < self._wanted:
            return
        elapsed, used = time.perf_counter() - self._start, time.process_time() - self._used
        self._requests.answer(steps=self._done, seconds=elapsed, processor_seconds=used)
        self.wait()


def compare(case: Case, data: pathlib.Path) -> dict[str, float]:
    """Make the data, and the mean bound of the first B of them in both libraries with the same parameters.

    Returns:
        "ours" and "theirs", in nats, in float64.
    """
    import jax
    import torch

    from benchmarks import _torchrpm_ours as ours
    from benchmarks import _torchrpm_theirs as theirs
    from benchmarks._torchrpm_parameters import copy_parameters

    views = ours.make_views(case)
    np.savez(data, *views)
    views = [view.astype(np.float64) for view in views]
    model = ours.FAMILIES[case.family](case)
    params = jax.device_get(model.init(jax.random.key(0), tuple(views)))
    index = np.arange(case.batch_size)
    torch.set_default_dtype(torch.float64)
    their_model, tensors = theirs.build(case, views)
    copy_parameters(case, params, their_model)
    batch = [tensor[: case.batch_size] for tensor in tensors]
    return {
        "ours": ours.bound(case, model, params, views, index),
        "theirs": -theirs.loss(case, their_model, batch, torch.tensor(index)).item(),
    }


def main(role: str, name: str, data: pathlib.Path, clone: str) -> None:
    """Play a role.

    Args:
        role: One of `ROLES`.
        name: The case's.
        data: The npz file of the views.
        clone: torchRPM's folder.
    """
    requests = Requests()
    case = CASES[name]
    sys.dont_write_bytecode = True
    sys.path.insert(0, clone)
    if role == "compare":
        requests.next()
        requests.answer(**compare(case, data))
        return
    library: Any
    if role == "ours":
        from benchmarks import _torchrpm_ours as library

        def set_threads(nthreads: int) -> None:
            raise ValueError(f"XLA takes its own number of threads, not {nthreads}")
    else:
        import torch

        from benchmarks import _torchrpm_theirs as library

        set_threads = torch.set_num_threads
        for module in ("rpm", "utils_setup", "discreteRPM"):
            __import__(module)
    baseline = peak_memory()
    with np.load(data) as stored:
        views = [stored[key] for key in stored.files]
    library.train(case, views, Rounds(requests, baseline, set_threads).made)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4])
