"""Training: one `fit` for any pure loss, seeds in parallel, warm starts, early stopping."""

from rpm_jax.train._engine import Loss, TrainState
from rpm_jax.train._fit import BoundLoss, FitOptions, fit, fit_seeds
from rpm_jax.train._history import Fit, History, Sweep
from rpm_jax.train._optimizer import LEARNING_RATES, DefaultOptimizer
from rpm_jax.train._run import EarlyStopping, Progress
from rpm_jax.train._warm_start import WarmStart

__all__ = [
    "LEARNING_RATES",
    "BoundLoss",
    "DefaultOptimizer",
    "EarlyStopping",
    "Fit",
    "FitOptions",
    "History",
    "Loss",
    "Progress",
    "Sweep",
    "TrainState",
    "WarmStart",
    "fit",
    "fit_seeds",
]
