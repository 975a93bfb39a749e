"""The options of a fit."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from rpm_jax._checks import (
    require_boolean,
    require_choice,
    require_instance,
    require_positive_integer,
)
from rpm_jax.data import Data
from rpm_jax.feeds import Feed, Minibatch
from rpm_jax.model import check_em
from rpm_jax.train._alternation import Alternation
from rpm_jax.train._objectives import Bound, BoundObjective, Objective, OwnLoss
from rpm_jax.train._optimizer import LEARNING_RATES, Adam
from rpm_jax.train._run import Callback, EarlyStopping
from rpm_jax.train._warm_start import WarmStart


class FitOptions(NamedTuple):
    """The options of `fit`, which explains them."""

    num_steps: int = 2000
    batch_size: int | None = None
    replacement: bool = False
    held_out: Any = None
    params: Any = None
    objective: Any = None
    components: Feed | None = None
    optimizer: Any = None
    freeze: Sequence[str] = ()
    alternate: Alternation | None = None
    update: Callable[[Any, Data, Any], Any] | None = None
    warm_start: WarmStart | None = None
    stopping: EarlyStopping | None = None
    steps_per_call: int | None = None
    progress: bool | None = None
    callback: Callback | None = None

    def check(self, model: Any, size: int, hyperparameters: Mapping[str, Any], parts: Sequence[str]) -> None:
        """Raise `ValueError` or `TypeError` for options that do not fit.

        Args:
            model: The model.
            size: N.
            hyperparameters: See `fit_seeds`.
            parts: The parts of the model's parameters.
        """
        require_positive_integer("num_steps", self.num_steps)
        require_boolean("replacement", self.replacement)
        if self.progress is not None:
            require_boolean("progress", self.progress)
        if self.batch_size is not None:
            require_positive_integer("batch_size", self.batch_size)
            if self.batch_size > size and not self.replacement:
                raise ValueError(
                    f"batch_size must be at most the number of data N = {size} without replacement, got "
                    f"{self.batch_size}; pass replacement=True or a smaller batch"
                )
        if self.steps_per_call is not None:
            require_positive_integer("steps_per_call", self.steps_per_call)
        for name, kind in (
            ("components", Feed),
            ("stopping", EarlyStopping),
            ("warm_start", WarmStart),
            ("alternate", Alternation),
        ):
            value = getattr(self, name)
            require_instance(name, value)
            if value is not None and not isinstance(value, kind):
                hint = " such as rpm_jax.feeds.queue(512)" if kind is Feed else ""
                raise TypeError(f"{name} must be an rpm_jax {kind.__name__}{hint}, got {value!r}")
        self._check_functions()
        self._check_objective(model)
        self._check_groups(parts)
        self._check_optimizer(hyperparameters)
        if isinstance(self.components, Minibatch) and self.batch_size == 1 and not _pools(model):
            raise ValueError(
                "batch_size: F_j over the minibatch needs at least 2 components, got 1; with a single one "
                "F_j "
                "equals f_j and nothing can be learned"
            )

    def _check_functions(self) -> None:
        for name, takes in (
            ("callback", "a Progress"),
            ("update", "(params, data, fraction of the run done)"),
        ):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be a function of {takes}, got {value!r}")
        require_instance("update", self.update)

    def _check_objective(self, model: Any) -> None:
        objective = self.objective
        if objective is None:
            return
        require_instance("objective", objective)
        if isinstance(objective, Bound):
            if objective.em:
                check_em(model)
            return
        if not callable(objective) and not isinstance(objective, Objective):
            raise TypeError(
                "objective must be rpm_jax.train.Bound(...), a loss (params, batch, data, key) -> scalar, "
                "or have "
                f"the methods of rpm_jax.train.Objective, got {objective!r}"
            )
        if self.components is not None:
            raise ValueError(
                "components are a part of the bound; got a loss of one's own as the objective too"
            )

    def _check_groups(self, parts: Sequence[str]) -> None:
        if isinstance(self.freeze, str) or not isinstance(self.freeze, Sequence | Set):
            hint = f"; pass ({self.freeze!r},)" if isinstance(self.freeze, str) else ""
            raise TypeError(f"freeze must be a tuple or list of names, got {self.freeze!r}{hint}")
        for name in self.freeze:
            require_choice("freeze: name", name, (*LEARNING_RATES, *parts))
        for name in () if self.alternate is None else self.alternate.names():
            require_choice("alternate: group", name, tuple(LEARNING_RATES))

    def _check_optimizer(self, hyperparameters: Mapping[str, Any]) -> None:
        optimizer = self.optimizer
        if optimizer is None or isinstance(optimizer, Adam):
            for name in hyperparameters:
                require_choice("hyperparameters (learning rates by group): name", name, tuple(LEARNING_RATES))
            return
        require_instance("optimizer", optimizer)
        if hasattr(optimizer, "update"):
            if hyperparameters:
                raise TypeError(
                    "hyperparameters need an optimizer that is a function of them, such as optax.adam itself "
                    "or lambda learning_rate: optax.adam(learning_rate); got a finished optimiser"
                )
        elif not callable(optimizer) or not hyperparameters:
            raise TypeError(
                "optimizer must be rpm_jax.train.Adam(...), an optax optimiser such as optax.adam(1e-3), "
                "or for "
                f"fit_seeds with hyperparameters a function of them that returns one; got {optimizer!r}"
            )

    def make_objective(self, model: Any, feed: Feed) -> Any:
        """The objective of the fit."""
        if self.objective is None or isinstance(self.objective, Bound):
            return BoundObjective(model, feed, self.objective or Bound())
        return self.objective if isinstance(self.objective, Objective) else OwnLoss(self.objective)

    @property
    def is_bound(self) -> bool:
        """Whether the objective is the bound."""
        return self.objective is None or isinstance(self.objective, Bound)


def _pools(model: Any) -> bool:
    return bool(getattr(model, "pooled", False))
