"""Optimisers: sensible rates for each group of parameters, or any optax optimiser."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import optax

LEARNING_RATES = {"networks": 1e-2, "prior": 2e-2, "rows": 5e-2}
"""Peak learning rates of Adam by group of parameters."""

WARM_UP = 0.05
"""The fraction of all steps over which the learning rates grow from 0."""

SCHEDULES = ("cosine", "constant")


class OptimizerSpec(Protocol):
    """An optimiser that is made once the parameters' groups are known. Hashable, equal by value."""

    def make(self, groups: Any, hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
        """The optimiser for parameters with these groups (a pytree of names)."""
        ...


@dataclass(frozen=True)
class DefaultOptimizer:
    """Adam with a rate for each group, warmed up and decayed over the run, on clipped gradients.

    Attributes:
        num_steps: Of the whole run.
        learning_rates: Pairs of group and peak rate.
        schedule: "cosine" (to zero) or "constant", both after the warm-up, or a function from the step to a
            factor on all rates.
        frozen: Groups whose parameters stay.
    """

    num_steps: int
    learning_rates: tuple[tuple[str, float], ...]
    schedule: str | Callable[[Any], Any] = "cosine"
    frozen: frozenset[str] = field(default_factory=frozenset)

    def make(self, groups: Any, hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
        """Adam for each group; `hyperparameters` may override rates by the group's name."""
        rates = {**dict(self.learning_rates), **hyperparameters}
        factor = _factor(self.schedule, self.num_steps)
        transforms: dict[str, Any] = {
            name: optax.chain(
                optax.clip_by_global_norm(1e3),
                optax.adam(lambda step, rate=rate: rate * factor(step)),
            )
            for name, rate in rates.items()
        }
        return _by_group(transforms, groups, self.frozen)


@dataclass(frozen=True)
class GivenOptimizer:
    """An optax optimiser, or a factory of one from hyperparameters.

    Attributes:
        optimizer: `optax.GradientTransformation`, or a function of keyword arguments that returns one.
        frozen: Groups whose parameters stay.
    """

    optimizer: Any
    frozen: frozenset[str] = field(default_factory=frozenset)

    def make(self, groups: Any, hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
        """The optimiser, with the frozen groups left out."""
        optimizer = self.optimizer
        if not hasattr(optimizer, "update"):
            optimizer = optimizer(**hyperparameters)
            if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
                raise TypeError(
                    "optimizer: the function of hyperparameters must return an optax optimiser, got "
                    f"{type(optimizer).__name__}"
                )
        return _by_group({"trained": optimizer}, groups, self.frozen, default="trained")


def _by_group(
    transforms: dict[str, Any], groups: Any, frozen: frozenset[str], default: str | None = None
) -> optax.GradientTransformation:
    transforms = {**transforms, "frozen": optax.set_to_zero()}
    frozen = frozen | {"none"}
    labels = jax.tree.map(lambda group: "frozen" if group in frozen else default or group, groups)
    return optax.multi_transform(transforms, labels)


def _factor(schedule: str | Callable[[Any], Any], num_steps: int) -> Callable[[Any], Any]:
    if callable(schedule):
        return schedule
    warm_up = max(1, round(WARM_UP * num_steps))
    if schedule == "constant":
        return optax.linear_schedule(0.0, 1.0, warm_up)
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, warm_up, max(num_steps, warm_up + 1))
