"""What keeps a run's parameters finite: a check of every step, and states to fall back to."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._jit import jit


def stays_finite(new: Any, old: Any) -> Array:
    """Whether no number of a state is NaN or infinite that was not so before.

    Args:
        new: A pytree of arrays.
        old: The same before the step. Infinite numbers in it, such as the best value so far of an optimiser,
            may stay.

    Returns:
        A boolean.
    """
    return _all(lambda after, before: jnp.isfinite(after) | ~jnp.isfinite(before), new, old)


def gains_no_nan(new: Any, old: Any) -> Array:
    """Whether no number of a state is NaN that was not so before; weights of −∞ may come and go."""
    return _all(lambda after, before: ~jnp.isnan(after) | jnp.isnan(before), new, old)


def is_finite(tree: Any) -> Array:
    """Whether all numbers of a pytree are finite, a boolean."""
    return _all(jnp.isfinite, tree)


SMALL = 4096
"""Arrays of up to this many numbers are checked together: one kernel for each would cost more than that."""


def _all(condition: Callable[..., Array], *trees: Any) -> Array:
    """Whether a condition holds for all floating-point numbers of pytrees of one structure."""
    flags, small = [], defaultdict(list)
    for row in zip(*(jax.tree.leaves(tree) for tree in trees), strict=True):
        if not jnp.issubdtype(row[0].dtype, jnp.inexact):
            continue
        if row[0].size <= SMALL:
            small[row[0].dtype].append([jnp.ravel(array) for array in row])
        else:
            flags.append(jnp.all(condition(*row)))
    for rows in small.values():
        joined = (jnp.concatenate(column) for column in zip(*rows, strict=True))
        flags.append(jnp.all(condition(*joined)))
    return jnp.all(jnp.stack(flags)) if flags else jnp.asarray(True)


@jax.jit
def select(condition: Array, yes: Any, no: Any) -> Any:
    """One of two pytrees, or for every seed on their first axis one of two."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(choose, yes, no)


class Sound(NamedTuple):
    """Parameters from before anything went wrong: of the last look that was followed by one without fault.

    Attributes:
        params: These, or None before there are any.
        latest: Those of the last look, or None.
    """

    params: Any = None
    latest: Any = None

    def after(self, params: Any, left_out: np.ndarray) -> "Sound":
        """With a look at these parameters.

        Args:
            params: Parameters.
            left_out: Whether steps were left out since the last look, boolean, one for each seed.
        """
        if self.params is None or self.latest is None:
            return Sound(self.latest, params)
        return Sound(select(jnp.asarray(left_out), self.params, self.latest), params)


def last_finite(
    candidates: Sequence[Callable[[], Any]], evaluate: Callable[[Any], Any]
) -> tuple[Any, np.ndarray, np.ndarray]:
    """The first of some parameters whose bound is finite, for every seed.

    Args:
        candidates: Functions that return parameters, or None for none, the most wanted first.
        evaluate: Parameters -> bound, one for each seed if there are.

    Returns:
        Parameters and bound, of the first candidate where no bound is finite, and the candidate's place.
    """
    params = candidates[0]()
    bound = np.asarray(evaluate(params))
    place = np.zeros(bound.shape, int)
    for number, candidate in enumerate(candidates[1:], start=1):
        if np.isfinite(bound).all():
            break
        other = candidate()
        if other is None:
            continue
        value = np.asarray(evaluate(other))
        better = ~np.isfinite(bound) & np.isfinite(value)
        params = select(jnp.asarray(better), other, params)
        bound, place = np.where(better, value, bound), np.where(better, number, place)
    return params, bound, place


def before_last_step(
    advance: Callable[[Any, int, int], tuple[Any, np.ndarray]], state: Any, start: int, losses: np.ndarray
) -> Any:
    """The parameters before the last step made, at which the loss was finite, by the same steps again.

    Args:
        advance: (state, start, number) -> (state, losses).
        state: Before the steps, a `TrainState`, possibly with a leading axis of seeds.
        start: The number of the first step.
        losses: Of these steps, shape (..., steps), NaN where one was left out.

    Returns:
        Parameters; those of `state` where no step was made.
    """
    made = ~np.isnan(losses)
    number = np.where(made.any(-1), losses.shape[-1] - 1 - np.argmax(made[..., ::-1], axis=-1), 0)
    params = state.params
    for length in np.unique(number[number > 0]):
        earlier, _ = advance(state, start, int(length))
        params = select(jnp.asarray(number == length), earlier.params, params)
    return params


@jit
def _finite_by_seed(stacked: bool, params: Any) -> Array:
    return jax.vmap(is_finite)(params) if stacked else is_finite(params)


def keep_finite(new: Any, old: Any, *, stacked: bool) -> tuple[Any, np.ndarray]:
    """New parameters where all of them are finite, else the old ones; for every seed if they are stacked.

    Returns:
        Parameters, and whether they are the new ones.
    """
    finite = _finite_by_seed(stacked, new)
    return select(finite, new, old), np.asarray(finite)
