"""What a run returns."""

import math
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
        skipped: Steps left out because loss, gradient or the parameters after them were not finite.
        stopped: Why the run ended: "finished", "early stopping", "callback" or "not finite".
        seconds: What all of it took, compilation and evaluation included; of all seeds together.
        warnings: What was warned of.
    """

    train: np.ndarray
    held_out_steps: np.ndarray
    held_out: np.ndarray
    skipped: np.ndarray
    stopped: str
    seconds: float = math.nan
    warnings: tuple[str, ...] = ()


class Fit(NamedTuple):
    """A fitted model.

    Attributes:
        params: The parameters: the last, or with early stopping the best by the bound it watches. Where their
            bound is not finite, the last for which it is.
        history: The course of the run.
        bound: The mean bound over all data (1000 evenly spread ones of more), F_j over all data, in nats.
        held_out_bound: The mean bound over the held-out data, or None.
    """

    params: Any
    history: History
    bound: np.ndarray
    held_out_bound: np.ndarray | None

    def __repr__(self) -> str:
        """What happened, in a few lines."""
        history = self.history
        if history is None:
            return f"Fit(bound {_nats(self.bound)})"
        held_out = "" if self.held_out_bound is None else f", held-out {_nats(self.held_out_bound)}"
        left_out = f", {int(history.skipped)} left out" if history.skipped else ""
        return "\n  ".join(
            (
                f"Fit(bound {_nats(self.bound)}{held_out}; {history.train.shape[-1]} steps{left_out}, "
                f"{_ending(history)})",
                *(f"warning: {text}" for text in history.warnings),
            )
        )


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

    def __repr__(self) -> str:
        """What happened, in a few lines."""
        finite = np.flatnonzero(np.isfinite(self.bound))
        lines = [f"Sweep({self.size} seeds"]
        if len(finite):
            best = self.best_index()
            bounds = np.asarray(self.bound)[finite]
            lines[0] += f"; bound {_nats(self.bound[best])} (seed {best}), median {_nats(np.median(bounds))}"
            if self.held_out_bound is not None:
                lines[0] += f", held-out {_nats(self.held_out_bound[best])}"
        if len(finite) < self.size:
            lines[0] += f"; {self.size - len(finite)} without a finite bound"
        if self.history is not None:
            lines[0] += f"; {self.history.train.shape[-1]} steps, {_ending(self.history)}"
            lines += [f"warning: {text}" for text in self.history.warnings]
        lines[0] += ")"
        return "\n  ".join(lines)

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
        """The seed with the highest finite bound over the data it was fitted on; no labels needed.

        Raises:
            ValueError: If no seed has a finite bound.
        """
        finite = np.isfinite(self.bound)
        if not finite.any():
            raise ValueError(
                f"no seed of {self.size} has a finite bound, so there is no best one; the runs ended: "
                f"{'unknown' if self.history is None else self.history.stopped}. See history.warnings for "
                "why, and run(seed) for one of them"
            )
        return int(np.argmax(np.where(finite, self.bound, -np.inf)))

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
        sum(sweep.history.seconds for sweep in sweeps),
        tuple(dict.fromkeys(text for sweep in sweeps for text in sweep.history.warnings)),
    )
    held_out = [sweep.held_out_bound for sweep in sweeps if sweep.held_out_bound is not None]
    return Sweep(
        jax.tree.map(lambda *leaves: jax.numpy.concatenate(leaves), *[sweep.params for sweep in sweeps]),
        history,
        np.concatenate([sweep.bound for sweep in sweeps]),
        np.concatenate(held_out) if held_out else None,
    )


def _nats(value: Any) -> str:
    return f"{float(value):.4g} nats" if np.isfinite(value) else f"{float(value)}"


def _ending(history: History) -> str:
    seconds = f" after {history.seconds:.3g} s" if math.isfinite(history.seconds) else ""
    return f"{history.stopped}{seconds}"


def _extend(array: np.ndarray, length: int) -> np.ndarray:
    missing = length - array.shape[-1]
    return np.pad(array, [(0, 0), (0, missing)], constant_values=np.nan) if missing else array
