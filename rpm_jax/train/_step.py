"""Optimisation steps, several a call, for one run or for many."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.train._batches import draw_batch
from rpm_jax.train._devices import Layout
from rpm_jax.train._guard import gains_no_nan, is_finite, stays_finite
from rpm_jax.train._objectives import Moment
from rpm_jax.train._probes import call_optimizer, require_same_memory, require_scalar
from rpm_jax.train._seeds import Seeds, over_seeds

MOST_STEPS = 256
"""How many steps a call makes at most."""

MEMORY = 2**32 - 1
DRAWS = 2**32 - 2
"""What is folded into a run's key for its objective's memory, and for what is drawn in a step; the numbers of
epochs and steps, which are folded in for minibatches, are smaller."""


class TrainState(NamedTuple):
    """What a run carries from step to step; with seeds, every array has a leading axis of them.

    Attributes:
        params: The parameters.
        optimizer_state: The optimiser's.
        memory: The objective's: the state of its feed.
        key: The random key of the minibatches and of whatever else is drawn.
        order: The current epoch's permutation of the data, integers (N,).
        skipped: How many steps were left out because loss, gradient or the state after them was not finite.
        refused: How many of them because of the state after them.
    """

    params: Any
    optimizer_state: Any
    memory: Any
    key: Array
    order: Array
    skipped: Array
    refused: Array


@record
class Groups:
    """Group names of a model's parameters, with frozen parts as a group of their own.

    Attributes:
        model: The model.
        frozen: Parts that stay as they are.
    """

    model: Any
    frozen: tuple[str, ...] = ()

    def __call__(self, params: Any) -> Any:
        """A pytree like `params` of names."""
        groups = self.model.groups(params)
        return {
            part: jax.tree.map(lambda name, part=part: "frozen" if part in self.frozen else name, value)
            for part, value in groups.items()
        }


@record
class Steps:
    """What is done in the steps of a run.

    Attributes:
        objective: What is minimised, an `Objective`.
        groups: params -> a pytree of group names.
        optimizer: Made for these groups.
        batch_size: B.
        replacement: Whether minibatches are drawn with replacement, instead of by epochs.
        layout: Where the data are, where they are spread over devices; None: where they are counted.
    """

    objective: Any
    groups: Groups
    optimizer: Any
    batch_size: int
    replacement: bool
    layout: Layout | None = None

    def num_data(self, data: Data) -> int:
        """N."""
        return data.size if self.layout is None else self.layout.size

    def batch(self, data: Data, index: Array) -> Batch:
        """The data with these numbers."""
        return data.batch(index if self.layout is None else self.layout.rows(index))


@jit
def init_run(
    steps: Steps,
    seeds: Seeds | None,
    params: Any,
    key: Array,
    data: Data,
    hyperparameters: Mapping[str, Array],
) -> TrainState:
    """The state before the first step."""

    def init(params: Any, key: Array, data: Data, hyperparameters: Mapping[str, Array]) -> TrainState:
        optimizer = steps.optimizer.make(steps.groups(params), hyperparameters)
        memory = steps.objective.init(jax.random.fold_in(key, MEMORY), params, data)
        none = jnp.zeros((), jnp.int32)
        order = jnp.arange(steps.num_data(data))
        return TrainState(params, optimizer.init(params), memory, key, order, none, none)

    axis = None if seeds is None else seeds.data_axis
    return over_seeds(seeds, init, 0, 0, axis, 0)(params, key, data, hyperparameters)


@jit
def advance_run(
    steps: Steps,
    seeds: Seeds | None,
    state: TrainState,
    hyperparameters: Mapping[str, Array],
    data: Data,
    start: Array,
    number: Array,
    num_steps: Array,
) -> tuple[TrainState, Array]:
    """Make `number` ≤ `MOST_STEPS` steps, the first of them being step `start` of the run.

    A step whose loss or gradient is not finite, or that would leave a state that is not, leaves parameters,
    optimiser and memory as they were. The old state stays, to fall back to where the new one turns out not to
    be finite.

    Args:
        steps: What is done.
        seeds: How it is done for many seeds, or None for one run.
        state: The state before.
        hyperparameters: Of the optimiser, a value for each seed.
        data: The data of the fit.
        start: Steps made already.
        number: Steps to make.
        num_steps: Of the whole run.

    Returns:
        The new state, and the losses, shape (..., MOST_STEPS), NaN behind the last step made.
    """
    axis = None if seeds is None else seeds.data_axis
    mapped = over_seeds(seeds, partial(_advance, steps), 0, 0, axis, None, None, None)
    return mapped(state, hyperparameters, data, start, number, num_steps)


def _advance(
    steps: Steps,
    state: TrainState,
    hyperparameters: Mapping[str, Array],
    data: Data,
    start: Array,
    number: Array,
    num_steps: Array,
) -> tuple[TrainState, Array]:
    optimizer = optax.with_extra_args_support(
        steps.optimizer.make(steps.groups(state.params), hyperparameters)
    )

    def loss_of(params: Any, batch: Batch, memory: Any, moment: Moment) -> tuple[Array, Any]:
        loss, new_memory = steps.objective.loss(params, batch, data, memory, moment)
        require_scalar(loss)
        require_same_memory(new_memory, memory)
        return loss, new_memory

    def step(i: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = carry
        order, index = draw_batch(
            state.key, state.order, start + i, steps.batch_size, replacement=steps.replacement
        )
        draws = jax.random.fold_in(jax.random.fold_in(state.key, DRAWS), start + i)
        moment = Moment(draws, (start + i) / num_steps)
        (loss, memory), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, steps.batch(data, index), state.memory, moment
        )
        params, optimizer_state = call_optimizer(
            optimizer, gradient, state.optimizer_state, state.params, loss
        )
        finite = is_finite((loss, gradient))
        stays = stays_finite((params, optimizer_state), (state.params, state.optimizer_state))
        made = finite & stays & gains_no_nan(memory, state.memory)
        params, optimizer_state, memory = jax.tree.map(
            partial(jnp.where, made),
            (params, optimizer_state, memory),
            (state.params, state.optimizer_state, state.memory),
        )
        skipped, refused = state.skipped + ~made, state.refused + (finite & ~made)
        state = TrainState(params, optimizer_state, memory, state.key, order, skipped, refused)
        return state, losses.at[i].set(jnp.where(made, loss, jnp.nan))

    example = steps.batch(data, state.order[: steps.batch_size])
    moment = Moment(state.key, start / num_steps)
    dtype = jax.eval_shape(loss_of, state.params, example, state.memory, moment)[0].dtype
    losses = jnp.full((MOST_STEPS,), jnp.nan, dtype)
    return lax.fori_loop(0, number, step, (state, losses))
