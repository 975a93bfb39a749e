"""Several seeds of one experiment: the best fit, medians, stacked arrays, checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import rpm_jax as rpm
from experiments._output import Files


def best(fits: Sequence[rpm.train.Fit]) -> int:
    """The seed with the highest bound."""
    bounds = np.array([fit.bound for fit in fits])
    return int(np.argmax(np.where(np.isnan(bounds), -np.inf, bounds)))


def save(files: Files, fits: Sequence[rpm.train.Fit], chosen: int) -> None:
    """Checkpoints: the fit's, or the chosen seed's and those of all seeds, stacked."""
    if len(fits) == 1:
        files.checkpoint("fit", fits[0].params)
        return
    files.checkpoint("fit", fits[chosen].params, seed=chosen)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(fit.params for fit in fits))
    files.checkpoint("all_seeds", stacked, seeds=len(fits))


def medians(scores: Sequence[Mapping[str, Any]], names: Sequence[str], chosen: int) -> dict[str, Any]:
    """Medians of these numbers, all numbers of each seed in `per_seed`, the chosen seed in `best_seed`."""
    return {
        **{name: float(np.median([score[name] for score in scores])) for name in names},
        "per_seed": {name: [score[name] for score in scores] for name in scores[0]},
        "best_seed": chosen,
    }


def stack(arrays: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays of each seed with a leading axis of seeds."""
    return {name: np.stack([np.asarray(each[name]) for each in arrays]) for name in arrays[0]}
