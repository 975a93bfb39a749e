"""The course of a run."""

import math
from typing import NamedTuple

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

    @property
    def ending(self) -> str:
        """Why and when the run ended, in words."""
        seconds = f" after {self.seconds:.3g} s" if math.isfinite(self.seconds) else ""
        return f"{self.stopped}{seconds}"

    def of_seed(self, seed: int) -> "History":
        """The course of one of several runs."""
        return self._replace(train=self.train[seed], held_out=self.held_out[seed], skipped=self.skipped[seed])


def join_histories(histories: list[History]) -> History:
    """The courses of some runs each as that of all of them.

    They may differ in length where runs were stopped: the shorter ones end in NaN.
    """
    longest = max(history.train.shape[-1] for history in histories)
    looks = max((history.held_out_steps for history in histories), key=len)
    return History(
        np.concatenate([_extend(history.train, longest) for history in histories]),
        looks,
        np.concatenate([_extend(history.held_out, len(looks)) for history in histories]),
        np.concatenate([history.skipped for history in histories]),
        ", ".join(dict.fromkeys(history.stopped for history in histories)),
        sum(history.seconds for history in histories),
        tuple(dict.fromkeys(text for history in histories for text in history.warnings)),
    )


def _extend(array: np.ndarray, length: int) -> np.ndarray:
    missing = length - array.shape[-1]
    return np.pad(array, [(0, 0), (0, missing)], constant_values=np.nan) if missing else array
