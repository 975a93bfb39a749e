"""Training: one `fit` for any model and objective, sweeps over seeds, warm starts, checkpoints."""

from rpm_jax.train._alternation import Alternation, alternate
from rpm_jax.train._checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from rpm_jax.train._fit import fit
from rpm_jax.train._fit_seeds import fit_seeds
from rpm_jax.train._held_out import HeldOut
from rpm_jax.train._history import History
from rpm_jax.train._objectives import Bound, BoundObjective, Loss, Moment, Objective
from rpm_jax.train._optimizer import LEARNING_RATES, Adam
from rpm_jax.train._own_objectives import ImportanceWeighted, ScoreMatching, SlicedScoreMatching
from rpm_jax.train._prior_update import MaximisePrior, maximise_prior
from rpm_jax.train._result import Fit, Sweep
from rpm_jax.train._run import Callback, EarlyStopping, Progress
from rpm_jax.train._step import TrainState
from rpm_jax.train._warm_start import WarmStart

__all__ = [
    "LEARNING_RATES",
    "Adam",
    "Alternation",
    "Bound",
    "BoundObjective",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Fit",
    "HeldOut",
    "History",
    "ImportanceWeighted",
    "Loss",
    "MaximisePrior",
    "Moment",
    "Objective",
    "Progress",
    "ScoreMatching",
    "SlicedScoreMatching",
    "Sweep",
    "TrainState",
    "WarmStart",
    "alternate",
    "fit",
    "fit_seeds",
    "load_checkpoint",
    "maximise_prior",
    "save_checkpoint",
]
