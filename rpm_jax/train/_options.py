"""The options of a fit."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from rpm_jax._checks import (
    require_boolean,
    require_choice,
    require_instance,
    require_number,
    require_positive_integer,
)
from rpm_jax.data import MIXTURES, Data
from rpm_jax.normalizers import Queue, Subset
from rpm_jax.train._engine import Loss, StatefulLoss
from rpm_jax.train._optimizer import LEARNING_RATES, SCHEDULES
from rpm_jax.train._run import Callback, EarlyStopping
from rpm_jax.train._warm_start import WarmStart

COMPONENTS = ("data", "batch")


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
    components: str | Queue | Subset | None = None
    replacement: bool = False
    em: bool = False
    update: Callable[[Any, Data, Any], Any] | None = None
    warm_start: WarmStart | None = None
    early_stopping: EarlyStopping | None = None
    steps_per_call: int | None = None
    progress: bool | None = None
    callback: Callback | None = None

    def check(
        self, size: int, hyperparameters: Mapping[str, Any], parts: Sequence[str], num_pooled: int = 1
    ) -> None:
        """Raise `ValueError` or `TypeError` for options that do not fit.

        Args:
            size: N.
            hyperparameters: See `fit_seeds`.
            parts: The parts of the model's parameters.
            num_pooled: Components that each datum gives to F_j: T where the model pools the sites.
        """
        require_positive_integer("num_steps", self.num_steps)
        if self.components is not None and not isinstance(self.components, Queue | Subset):
            require_choice(
                "components (or an rpm_jax.normalizers.queue or random_subset)", self.components, COMPONENTS
            )
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
        self._check_kinds()
        for name, rate in (self.learning_rates or {}).items():
            require_choice("learning_rates: group", name, tuple(LEARNING_RATES))
            require_number(f"learning_rates[{name!r}]", rate, above=0.0)
        for name, value, kind in (
            ("early_stopping", self.early_stopping, EarlyStopping),
            ("warm_start", self.warm_start, WarmStart),
        ):
            require_instance(name, value)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be an rpm_jax.{kind.__name__}, got {type(value).__name__}")
            if value is not None:
                value.check()
        if self.loss is not None and (self.em or self.components is not None):
            raise ValueError("em and components are parts of the bound; got a loss in its place too")
        if self.em and isinstance(self.components, Queue | Subset):
            raise ValueError(
                "em=True does not go together with a queue or a random subset of components; give one of them"
            )
        for name in self.freeze:
            require_choice("freeze: name", name, (*LEARNING_RATES, *parts))
        self._check_optimizer(hyperparameters)
        own = self.batch_size if self.components == "batch" and self.batch_size is not None else size
        if own * num_pooled < 2:
            raise ValueError(
                "views (or batch_size with components='batch'): F_j needs at least 2 components, got 1; with "
                "a single one F_j equals f_j and nothing can be learned. One long sequence can be fitted by "
                "a model that pools its sites, RPM(..., pooled=True)"
            )

    def _check_kinds(self) -> None:
        """Refuse numbers for functions, words for booleans and the like."""
        for name in ("replacement", "em"):
            require_boolean(name, getattr(self, name))
        if self.progress is not None:
            require_boolean("progress", self.progress)
        for name, takes in (
            ("callback", "a Progress"),
            ("update", "(params, data, fraction of the run done)"),
            ("loss", "(params, batch, data)"),
        ):
            value = getattr(self, name)
            if value is not None and not (
                callable(value) or (name == "loss" and isinstance(value, StatefulLoss))
            ):
                raise TypeError(f"{name} must be a function of {takes}, got {value!r}")
            if value is not None and name != "callback":
                require_instance(name, value)
                _require_hashable(name, value)
        if self.learning_rates is not None and not isinstance(self.learning_rates, Mapping):
            raise TypeError(
                f"learning_rates must be a mapping from groups to rates, got {self.learning_rates!r}; for "
                "all parameters: {'networks': rate, 'prior': rate, 'rows': rate}"
            )
        if isinstance(self.freeze, str) or not isinstance(self.freeze, Sequence | Set):
            hint = f"; pass ({self.freeze!r},)" if isinstance(self.freeze, str) else ""
            raise TypeError(f"freeze must be a tuple or list of names, got {self.freeze!r}{hint}")

    def _check_optimizer(self, hyperparameters: Mapping[str, Any]) -> None:
        if self.optimizer is None:
            for name in hyperparameters:
                require_choice("hyperparameters (learning rates by group): name", name, tuple(LEARNING_RATES))
            return
        if self.learning_rates or self.schedule != "cosine":
            raise ValueError(
                "learning_rates and schedule are those of the default optimizer; got an optimizer too, which "
                "has its own"
            )
        require_instance("optimizer", self.optimizer)
        if hasattr(self.optimizer, "update"):
            if hyperparameters:
                raise TypeError(
                    "hyperparameters need an optimizer that is a function of them, such as optax.adam itself "
                    "or lambda learning_rate: optax.adam(learning_rate); got a finished optimiser"
                )
        elif not callable(self.optimizer) or not hyperparameters:
            raise TypeError(
                "optimizer must be an optax optimiser such as optax.adam(1e-3), or for fit_seeds with "
                f"hyperparameters a function of them that returns one; got {self.optimizer!r}"
            )


def _require_hashable(name: str, value: Any) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"{name} must be hashable, so that its compiled steps can be used again, got "
            f"{type(value).__name__}: make it a frozen dataclass without arrays, or a function"
        ) from error
