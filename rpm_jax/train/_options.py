"""The options of a fit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rpm_jax._checks import require_choice, require_positive_integer
from rpm_jax.data import MIXTURES
from rpm_jax.train._engine import Loss
from rpm_jax.train._optimizer import LEARNING_RATES, SCHEDULES
from rpm_jax.train._run import Callback, EarlyStopping
from rpm_jax.train._warm_start import WarmStart

COMPONENTS = ("data", "batch")
PARTS = ("factors", "posterior", "auxiliary")
"""Parts of a model that are no group of parameters by themselves."""


class FitOptions(NamedTuple):
    """The options of `fit`, which explains them."""

    num_steps: int = 2000
    batch_size: int | None = None
    held_out: Any = None
    held_out_mixture: str = "train"
    params: Any = None
    loss: Loss | None = None
    optimizer: Any = None
    learning_rates: Mapping[str, float] | None = None
    schedule: str | Callable[[Any], Any] = "cosine"
    freeze: Sequence[str] = ()
    components: str = "data"
    replacement: bool = False
    em: bool = False
    warm_start: WarmStart | None = None
    early_stopping: EarlyStopping | None = None
    steps_per_call: int | None = None
    progress: bool = False
    callback: Callback | None = None

    def check(self, size: int) -> None:
        """Raise `ValueError` or `TypeError` for options that do not fit, with N = `size` data."""
        require_positive_integer("num_steps", self.num_steps)
        require_choice("components", self.components, COMPONENTS)
        require_choice("held_out_mixture", self.held_out_mixture, MIXTURES)
        if not callable(self.schedule):
            require_choice("schedule", self.schedule, SCHEDULES)
        if self.batch_size is not None:
            require_positive_integer("batch_size", self.batch_size)
            if self.batch_size > size and not self.replacement:
                raise ValueError(
                    f"batch_size must be at most the number of data N = {size} without replacement, got "
                    f"{self.batch_size}; pass replacement=True or a smaller batch"
                )
        if self.steps_per_call is not None:
            require_positive_integer("steps_per_call", self.steps_per_call)
        for name in self.learning_rates or {}:
            require_choice("learning_rates: group", name, tuple(LEARNING_RATES))
        if isinstance(self.freeze, str):
            raise TypeError(
                f"freeze must be a tuple or list of names, got {self.freeze!r}; pass ({self.freeze!r},)"
            )
        for name in self.freeze:
            require_choice("freeze: name", name, (*LEARNING_RATES, *PARTS))
        if self.optimizer is not None:
            if self.learning_rates:
                raise ValueError("learning_rates are those of the default optimizer; got an optimizer too")
            if not hasattr(self.optimizer, "update") and not callable(self.optimizer):
                raise TypeError(
                    "optimizer must be an optax optimiser, or for fit_seeds with hyperparameters a function "
                    f"that returns one, got {type(self.optimizer).__name__}"
                )
