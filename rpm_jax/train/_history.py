"""What a run returns."""

from typing import Any, NamedTuple

import jax
import numpy as np


class History(NamedTuple):
    """The course of a run; with seeds, every array has a leading axis of them.

    Attributes:
        train: The mean bound of each step's minibatch (or minus the loss), shape (steps,); NaN where a step
            was left out.
        held_out_steps: After how many steps the held-out bound was taken, shape (evaluations,).
        held_out: The mean bound of the held-out data, shape (evaluations,).
        skipped: Steps left out because loss or gradient was not finite.
        stopped: Why the run ended: "finished", "early stopping", "callback" or "not finite".
    """

    train: np.ndarray
    held_out_steps: np.ndarray
    held_out: np.ndarray
    skipped: np.ndarray
    stopped: str


class Fit(NamedTuple):
    """A fitted model.

    Attributes:
        params: The parameters: the last, or with early stopping the best by the bound it watches.
        history: The course of the run.
        bound: The mean bound over all data (1000 evenly spread ones of more), F_j over all data, in nats.
        held_out_bound: The mean bound over the held-out data, or None.
    """

    params: Any
    history: History
    bound: np.ndarray
    held_out_bound: np.ndarray | None


class Sweep(NamedTuple):
    """Fits from several seeds; every array has a leading axis of them.

    Attributes:
        params: The parameters.
        history: The course of the runs.
        bound: The mean bound over all data, shape (seeds,).
        held_out_bound: The mean bound over the held-out data, shape (seeds,), or None.
    """

    params: Any
    history: History
    bound: np.ndarray
    held_out_bound: np.ndarray | None

    @property
    def size(self) -> int:
        """The number of seeds."""
        return len(self.bound)

    def run(self, seed: int) -> Fit:
        """The fit of one seed."""
        history = self.history
        return Fit(
            jax.tree.map(lambda leaf: leaf[seed], self.params),
            history._replace(
                train=history.train[seed], held_out=history.held_out[seed], skipped=history.skipped[seed]
            ),
            self.bound[seed],
            None if self.held_out_bound is None else self.held_out_bound[seed],
        )

    def best_index(self) -> int:
        """The seed with the highest bound over the data it was fitted on; no labels needed."""
        if np.isnan(self.bound).all():
            raise ValueError("no seed has a finite bound")
        return int(np.nanargmax(self.bound))

    def best(self) -> Fit:
        """The fit of the best seed."""
        return self.run(self.best_index())


def join(sweeps: list[Sweep]) -> Sweep:
    """Sweeps over some seeds each as one over all of them.

    Their courses may differ in length where runs were stopped: the shorter ones end in NaN.
    """
    longest = max(sweep.history.train.shape[-1] for sweep in sweeps)
    looks = max((sweep.history.held_out_steps for sweep in sweeps), key=len)
    stopped = ", ".join(dict.fromkeys(sweep.history.stopped for sweep in sweeps))
    history = History(
        np.concatenate([_extend(sweep.history.train, longest) for sweep in sweeps]),
        looks,
        np.concatenate([_extend(sweep.history.held_out, len(looks)) for sweep in sweeps]),
        np.concatenate([sweep.history.skipped for sweep in sweeps]),
        stopped,
    )
    held_out = [sweep.held_out_bound for sweep in sweeps if sweep.held_out_bound is not None]
    return Sweep(
        jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *[sweep.params for sweep in sweeps]),
        history,
        np.concatenate([sweep.bound for sweep in sweeps]),
        np.concatenate(held_out) if held_out else None,
    )


def _extend(array: np.ndarray, length: int) -> np.ndarray:
    missing = length - array.shape[-1]
    return np.pad(array, [(0, 0), (0, missing)], constant_values=np.nan) if missing else array
