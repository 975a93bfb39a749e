"""Training: one `fit` for any pure loss, seeds in parallel, warm starts, early stopping, checkpoints."""

from rpm_jax.train._checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from rpm_jax.train._engine import Loss, StatefulLoss, TrainState
from rpm_jax.train._fit import fit, fit_seeds
from rpm_jax.train._history import Fit, History, Sweep
from rpm_jax.train._implicit_losses import ImplicitLikelihood, ScoreMatching, SlicedScoreMatching
from rpm_jax.train._importance_weighted import ImportanceWeighted
from rpm_jax.train._losses import BoundLoss, MinibatchLoss, QueueLoss, SubsetLoss
from rpm_jax.train._optimizer import LEARNING_RATES, DefaultOptimizer
from rpm_jax.train._options import FitOptions
from rpm_jax.train._prior_update import maximise_prior
from rpm_jax.train._run import EarlyStopping, Progress
from rpm_jax.train._runner import DEFAULT_BATCH_SIZE, EXACT_BATCH_SIZE
from rpm_jax.train._warm_start import WarmStart

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "EXACT_BATCH_SIZE",
    "LEARNING_RATES",
    "BoundLoss",
    "Checkpoint",
    "DefaultOptimizer",
    "EarlyStopping",
    "Fit",
    "FitOptions",
    "History",
    "ImplicitLikelihood",
    "ImportanceWeighted",
    "Loss",
    "MinibatchLoss",
    "Progress",
    "QueueLoss",
    "ScoreMatching",
    "SlicedScoreMatching",
    "StatefulLoss",
    "SubsetLoss",
    "Sweep",
    "TrainState",
    "WarmStart",
    "fit",
    "fit_seeds",
    "load_checkpoint",
    "maximise_prior",
    "save_checkpoint",
]
