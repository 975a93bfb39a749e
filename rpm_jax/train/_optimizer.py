"""Optimisers: sensible rates for each group of parameters, or any optax optimiser."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rpm_jax._checks import require_choice, require_number
from rpm_jax._record import record
from rpm_jax.train._alternation import Alternation, in_its_turn

LEARNING_RATES = {"networks": 1e-2, "prior": 2e-2, "rows": 5e-2}
"""Peak learning rates of Adam by group of parameters."""

WARM_UP = 0.05
"""The fraction of all steps over which the learning rates grow from 0."""

LARGEST_GRADIENT = 1e3
"""The norm that each group's gradient is clipped to."""

SCHEDULES = ("cosine", "constant")


@record
class Adam:
    """Adam with a rate for each group, warmed up and decayed over the run, on clipped gradients: the default.

    Attributes:
        learning_rates: Peak rates for some of "networks", "prior", "rows", a mapping or pairs; others have
            `LEARNING_RATES`.
        schedule: "cosine" (to zero) or "constant", both after a warm-up over 5 % of the run, or a function
            from the step to a factor on all rates.
    """

    learning_rates: Any = ()
    schedule: str | Callable[[Any], Any] = "cosine"

    def __post_init__(self) -> None:
        """Check rates and schedule."""
        rates = self.learning_rates
        if rates is None:
            rates = ()
        if not isinstance(rates, Mapping | tuple):
            raise TypeError(
                "optimizer.learning_rates must map groups to rates, such as {'networks': 0.003}, got "
                f"{rates!r}"
            )
        pairs = dict(rates)
        for name, rate in pairs.items():
            require_choice("optimizer.learning_rates: group", name, tuple(LEARNING_RATES))
            require_number(f"optimizer.learning_rates[{name!r}]", rate, above=0.0)
        object.__setattr__(self, "learning_rates", tuple((name, float(rate)) for name, rate in pairs.items()))
        if not callable(self.schedule):
            require_choice("optimizer.schedule", self.schedule, SCHEDULES)

    def for_run(
        self, num_steps: int, frozen: tuple[str, ...] = (), alternation: Alternation | None = None
    ) -> "AdamByGroup":
        """The optimiser of a run of so many steps."""
        rates = {**LEARNING_RATES, **dict(self.learning_rates)}
        return AdamByGroup(
            tuple(np.asarray(rate) for rate in rates.values()),
            np.asarray(num_steps),
            self.schedule,
            frozen,
            alternation,
        )


@record
class AdamByGroup:
    """`Adam` for one run: rates and the number of steps are arrays, so that they are no part of a program.

    Attributes:
        rates: For each of the groups in `LEARNING_RATES`.
        num_steps: Of the run.
        schedule: As of `Adam`.
        frozen: Groups whose parameters stay.
        alternation: Turns of the groups, or None.
    """

    rates: tuple[Any, ...]
    num_steps: Any
    schedule: str | Callable[[Any], Any]
    frozen: tuple[str, ...]
    alternation: Alternation | None = None

    def make(self, groups: Any, hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
        """Adam for each group; `hyperparameters` may override rates by the group's name."""
        rates = {**dict(zip(LEARNING_RATES, self.rates, strict=True)), **hyperparameters}
        transforms = {}
        for name, rate in rates.items():
            share = 1.0 if self.alternation is None else self.alternation.share(name)
            factor = _factor(self.schedule, self.num_steps * share)
            adam = optax.chain(
                optax.clip_by_global_norm(LARGEST_GRADIENT),
                optax.adam(lambda step, rate=rate, factor=factor: rate * factor(step)),
            )
            transforms[name] = in_its_turn(adam, name, self.alternation)
        return _by_group(transforms, groups, self.frozen)


@record
class GivenOptimizer:
    """An optax optimiser, or a factory of one from hyperparameters.

    Attributes:
        optimizer: `optax.GradientTransformation`, or a function of keyword arguments that returns one.
        frozen: Groups whose parameters stay.
        alternation: Turns of the groups, each with an optimiser state of its own, or None.
    """

    optimizer: Any
    frozen: tuple[str, ...]
    alternation: Alternation | None = None

    def make(self, groups: Any, hyperparameters: Mapping[str, Any]) -> optax.GradientTransformation:
        """The optimiser, with the frozen groups left out.

        Raises:
            TypeError: For a factory that returns something else.
        """
        optimizer = self.optimizer
        if not hasattr(optimizer, "update"):
            optimizer = optimizer(**hyperparameters)
            if not hasattr(optimizer, "update"):
                raise TypeError(
                    "optimizer: the function of hyperparameters must return an optax optimiser, got "
                    f"{type(optimizer).__name__}"
                )
        if self.alternation is None:
            return _by_group({"trained": optimizer}, groups, self.frozen, default="trained")
        transforms = {name: in_its_turn(optimizer, name, self.alternation) for name in LEARNING_RATES}
        return _by_group(transforms, groups, self.frozen)


def for_run(
    optimizer: Any, num_steps: int, frozen: tuple[str, ...], alternation: Alternation | None
) -> AdamByGroup | GivenOptimizer:
    """An optimiser for a run of so many steps: `Adam` (None: with its defaults) or one of optax."""
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, Adam):
        return GivenOptimizer(optimizer, frozen, alternation)
    return optimizer.for_run(num_steps, frozen, alternation)


def _by_group(
    transforms: dict[str, Any], groups: Any, frozen: tuple[str, ...], default: str | None = None
) -> optax.GradientTransformation:
    transforms = {**transforms, "frozen": optax.set_to_zero()}
    stays = {*frozen, "none", "frozen"}
    labels = jax.tree.map(lambda group: "frozen" if group in stays else default or group, groups)
    return optax.multi_transform(transforms, labels)


def _factor(schedule: str | Callable[[Any], Any], num_steps: Array) -> Callable[[Any], Any]:
    """The schedule's factor at a step, for a number of steps that may be traced."""
    if callable(schedule):
        return schedule
    warm_up = jnp.maximum(1.0, jnp.round(WARM_UP * num_steps))

    def factor(step: Any) -> Array:
        rising = jnp.clip(step / warm_up, 0.0, 1.0)
        if schedule == "constant":
            return rising
        length = jnp.maximum(num_steps, warm_up + 1.0) - warm_up
        done = jnp.clip((step - warm_up) / length, 0.0, 1.0)
        return jnp.where(step < warm_up, rising, 0.5 * (1.0 + jnp.cos(jnp.pi * done)))

    return factor
