"""Compiled optimisation steps, several a call, for one run or for many under `vmap`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.sharding import Mesh, PartitionSpec

from rpm_jax.data import Batch, Data
from rpm_jax.train._devices import Layout
from rpm_jax.train._guard import gains_no_nan, is_finite, stays_finite
from rpm_jax.train._optimizer import OptimizerSpec
from rpm_jax.train._probes import call_optimizer, require_scalar

MEMORY = 2**32 - 1
"""What is folded into a run's key for its loss's memory; numbers of epochs and steps, which are folded in for
minibatches, are smaller."""

Loss = Callable[[Any, Batch, Data], Array]
"""(params, batch, data) -> scalar: pure, and hashable so that its compiled steps can be reused."""


@runtime_checkable
class StatefulLoss(Protocol):
    """A loss that remembers something from step to step; hashable."""

    def init_memory(self, params: Any, batch: Batch, data: Data, key: Array) -> Any:
        """What it remembers before the first step; every seed has a random key of its own."""
        ...

    def step(self, params: Any, batch: Batch, data: Data, memory: Any) -> tuple[Array, Any]:
        """The scalar loss and what to remember."""
        ...


class TrainState(NamedTuple):
    """What a run carries from step to step.

    Attributes:
        params: The parameters.
        optimizer_state: The optimiser's.
        key: The random key of the minibatches.
        order: The current epoch's permutation of the data, integers (N,).
        skipped: How many steps were left out because loss, gradient or the state after them was not finite.
        refused: How many of them because of the state after them.
        memory: What a `StatefulLoss` remembers, else ().
    """

    params: Any
    optimizer_state: Any
    key: Array
    order: Array
    skipped: Array
    refused: Array
    memory: Any = ()


class Steps(NamedTuple):
    """What the compiled steps depend on besides arrays; hashable.

    Attributes:
        loss: To be minimised.
        groups: params -> a pytree of group names.
        optimizer: Made for these groups.
        batch_size: B.
        replacement: Whether minibatches are drawn with replacement, instead of by epochs.
        length: How many steps a call makes at most.
        layout: Where the data are, where they are spread over devices; None: where they are counted.
    """

    loss: Loss | StatefulLoss
    groups: Callable[[Any], Any]
    optimizer: OptimizerSpec
    batch_size: int
    replacement: bool
    length: int
    layout: Layout | None = None

    def num_data(self, data: Data) -> int:
        """N."""
        return data.size if self.layout is None else self.layout.size

    def batch(self, data: Data, index: Array) -> Batch:
        """The data with these numbers."""
        return data.batch(index if self.layout is None else self.layout.rows(index))


def init_state(
    steps: Steps, params: Any, key: Array, data: Data, hyperparameters: Mapping[str, Any]
) -> TrainState:
    """The state before the first step."""
    optimizer = steps.optimizer.make(steps.groups(params), hyperparameters)
    order = jnp.arange(steps.num_data(data))
    memory = ()
    if isinstance(steps.loss, StatefulLoss):
        batch = steps.batch(data, order[: steps.batch_size])
        memory = steps.loss.init_memory(params, batch, data, jax.random.fold_in(key, MEMORY))
    none = jnp.zeros((), jnp.int32)
    return TrainState(params, optimizer.init(params), key, order, none, none, memory)


def advance(
    steps: Steps,
    state: TrainState,
    hyperparameters: Mapping[str, Array],
    data: Data,
    start: Array,
    number: Array,
) -> tuple[TrainState, Array]:
    """Make `number` ≤ `steps.length` steps, the first of them being step `start` of the run.

    A step whose loss or gradient is not finite, or that would leave a state that is not, leaves parameters,
    optimiser and memory as they were.

    Returns:
        The new state, and the losses, shape (steps.length,), NaN behind the last step made.
    """
    optimizer = optax.with_extra_args_support(
        steps.optimizer.make(steps.groups(state.params), hyperparameters)
    )

    def loss_of(params: Any, batch: Batch, memory: Any) -> tuple[Array, Any]:
        if isinstance(steps.loss, StatefulLoss):
            loss, memory = steps.loss.step(params, batch, data, memory)
        else:
            loss = steps.loss(params, batch, data)
        require_scalar(loss)
        return loss, memory

    def step(i: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
        state, losses = carry
        order, index = draw_batch(steps, state.key, state.order, start + i, steps.num_data(data))
        batch = steps.batch(data, index)
        (loss, memory), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, batch, state.memory
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
        state = TrainState(params, optimizer_state, state.key, order, skipped, refused, memory)
        return state, losses.at[i].set(jnp.where(made, loss, jnp.nan))

    example = steps.batch(data, state.order[: steps.batch_size])
    dtype = jax.eval_shape(loss_of, state.params, example, state.memory)[0].dtype
    losses = jnp.full((steps.length,), jnp.nan, dtype)
    return lax.fori_loop(0, number, step, (state, losses))


def draw_batch(steps: Steps, key: Array, order: Array, step: Array, size: int) -> tuple[Array, Array]:
    """The epoch's order of the data and the minibatch's indices, a function of key and step alone."""
    if steps.replacement:
        return order, jax.random.randint(jax.random.fold_in(key, step), (steps.batch_size,), 0, size)
    if steps.batch_size == size:
        return order, order
    batches = size // steps.batch_size
    epoch, position = step // batches, step % batches
    order = lax.cond(
        position == 0,
        lambda: jax.random.permutation(jax.random.fold_in(key, epoch), size).astype(order.dtype),
        lambda: order,
    )
    return order, lax.dynamic_slice_in_dim(order, position * steps.batch_size, steps.batch_size)


@partial(jax.jit, static_argnums=0)
def advance_one(*arguments: Any) -> tuple[TrainState, Array]:
    """`advance`, compiled. The old state stays, to fall back to where the new one is not finite."""
    return advance(*arguments)


@partial(jax.jit, static_argnums=(0, 1))
def advance_many(steps: Steps, seeds: "Seeds", *arguments: Any) -> tuple[TrainState, Array]:
    """`advance` over seeds' states and hyperparameters."""
    return seeds.map(partial(advance, steps), 0, 0, seeds.data_axis, None, None)(*arguments)


class Seeds(NamedTuple):
    """How a function of one seed becomes one of many; hashable.

    Attributes:
        data_axis: 0 where every seed has data of its own, None where they share them.
        mesh: Devices of which each gets an equal share of the seeds, or None.
    """

    data_axis: int | None
    mesh: Mesh | None = None

    def map(self, function: Callable[..., Any], *axes: int | None) -> Callable[..., Any]:
        """The function under `vmap`, for every argument the axis of seeds or None."""
        mapped = jax.vmap(function, in_axes=axes)
        if self.mesh is None:
            return mapped
        split = PartitionSpec(self.mesh.axis_names)
        specs = tuple(PartitionSpec() if axis is None else split for axis in axes)
        return jax.shard_map(mapped, mesh=self.mesh, in_specs=specs, out_specs=split, check_vma=False)
