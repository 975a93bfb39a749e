"""Groups of parameters that take turns."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._record import record


@record
class Alternation:
    """Turns: in each some groups of parameters learn and the others wait, their optimisers' states with them.

    Attributes:
        turns: Pairs of the groups that learn, a name or a tuple of names, and for how many steps.
    """

    turns: tuple[tuple[Any, int], ...]

    def __post_init__(self) -> None:
        """Check the turns."""
        turns = []
        if not isinstance(self.turns, tuple):
            raise TypeError(f"alternate: turns must be pairs (groups, steps), got {self.turns!r}")
        if not self.turns:
            raise ValueError("alternate must have at least one turn, got none")
        for turn in self.turns:
            if not isinstance(turn, tuple) or len(turn) != 2:
                raise TypeError(f"alternate: a turn is a pair (groups, steps), got {turn!r}")
            groups, steps = turn
            require_positive_integer("alternate: steps of a turn", steps)
            groups = (groups,) if isinstance(groups, str) else tuple(groups)
            turns.append((groups, int(steps)))
        object.__setattr__(self, "turns", tuple(turns))

    @property
    def period(self) -> int:
        """Steps until the first turn comes again."""
        return sum(steps for _, steps in self.turns)

    def names(self) -> tuple[str, ...]:
        """All groups that have a turn."""
        return tuple(dict.fromkeys(name for groups, _ in self.turns for name in groups))

    def share(self, group: str) -> float:
        """The part of all steps in which a group learns."""
        return sum(steps for groups, steps in self.turns if group in groups) / self.period

    def is_active(self, group: str, step: Array) -> Array:
        """Whether a group learns in a step of the run; traced."""
        position, start, active = step % self.period, 0, jnp.zeros((), bool)
        for groups, steps in self.turns:
            if group in groups:
                active = active | ((position >= start) & (position < start + steps))
            start += steps
        return active


def alternate(*turns: tuple[str | Sequence[str], int]) -> Alternation:
    """Groups that take turns, such as `alternate(("networks", 50), ("prior", 50))`."""
    return Alternation(tuple((groups, steps) for groups, steps in turns))


class SwitchState(NamedTuple):
    """The state of an optimiser that learns in its turns alone.

    Attributes:
        step: Of the run.
        inner: The optimiser's.
    """

    step: Array
    inner: Any


def in_its_turn(
    optimizer: optax.GradientTransformation, group: str, alternation: Alternation | None
) -> optax.GradientTransformation:
    """An optimiser of one group that makes no update and keeps its state while others learn."""
    if alternation is None:
        return optimizer
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> SwitchState:
        return SwitchState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates: Any, state: SwitchState, params: Any = None, **extra: Any) -> tuple[Any, SwitchState]:
        active = alternation.is_active(group, state.step)
        new, inner_state = inner.update(updates, state.inner, params, **extra)
        new = jax.tree.map(lambda leaf: jnp.where(active, leaf, jnp.zeros_like(leaf)), new)
        inner_state = jax.tree.map(lambda n, o: jnp.where(active, n, o), inner_state, state.inner)
        return new, SwitchState(state.step + 1, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)
