"""Data and seeds spread over the devices of a mesh."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rpm_jax.data import Batch, Data
from rpm_jax.model import MOST_EVALUATED, RPM, evenly_spread
from rpm_jax.normalizers import DeviceAxis


class Layout(NamedTuple):
    """Where the data are in arrays that are filled up, process by process, to equal shares.

    Attributes:
        counts: How many data each process has.
        length: How many rows each process has.
    """

    counts: tuple[int, ...]
    length: int

    @property
    def size(self) -> int:
        """N."""
        return sum(self.counts)

    @property
    def is_filled_up(self) -> bool:
        """Whether there are rows that are no data."""
        return self.size < len(self.counts) * self.length

    def rows(self, index: Array) -> Array:
        """The rows of data 0..N − 1."""
        if len(self.counts) == 1 or not self.is_filled_up:
            return index
        ends = np.cumsum(self.counts)
        process = jnp.searchsorted(jnp.asarray(ends), index, side="right")
        first = jnp.asarray(ends - np.asarray(self.counts))[process]
        return process * self.length + index - first


class Spread(NamedTuple):
    """Data spread over devices; hashable.

    Attributes:
        mesh: The devices.
        layout: Where the data are.
    """

    mesh: Mesh
    layout: Layout

    @property
    def name(self) -> tuple[str, ...]:
        """All axes of the mesh, which are used as one."""
        return tuple(self.mesh.axis_names)

    def map(self, function: Callable[..., Any], split: Sequence[bool], result_is_split: bool) -> Any:
        """The function on every device, with arguments split along their first axis or not."""
        specs = tuple(PartitionSpec(self.name) if s else PartitionSpec() for s in split)
        result = PartitionSpec(self.name) if result_is_split else PartitionSpec()
        return jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=result, check_vma=False)


def check_mesh(mesh: Any) -> Mesh:
    """The devices of a mesh, placed by the compiler where nothing is said."""
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}; "
            "jax.make_mesh((jax.device_count(),), ('data',)) makes one of all devices"
        )
    return Mesh(mesh.devices, mesh.axis_names)


def spread_data(data: Data, mesh: Mesh) -> tuple[Data, Spread]:
    """Place data on the devices of a mesh, each an equal share.

    Args:
        data: All data; with several processes, the data of this one.
        mesh: The devices.

    Returns:
        Global arrays, filled up by repeated data of weight 0 to equal shares, and where the data are.
    """
    processes = sorted({device.process_index for device in mesh.devices.flat})
    if processes != list(range(jax.process_count())):
        raise ValueError(f"mesh must have devices of all {jax.process_count()} processes, got {processes}")
    counts: tuple[int, ...] = (data.size,)
    if len(processes) > 1:
        counts = tuple(int(n) for n in multihost_utils.process_allgather(np.asarray(data.size)).ravel())
    share = mesh.size // len(processes)
    length = -(-max(counts) // share) * share
    layout = Layout(counts, length)
    missing = length - data.size
    log_weights = data.log_weights
    if log_weights is None and layout.is_filled_up:
        log_weights = jnp.full(data.size, -math.log(layout.size), data.views[0].dtype)
    elif log_weights is not None and len(processes) > 1:
        log_weights = log_weights + math.log(data.size / layout.size)
    filled = Data(
        jax.tree.map(lambda leaf: _fill_up(leaf, missing, mode="edge"), data.views),
        None if data.mask is None else _fill_up(data.mask, missing, constant_values=False),
        None if log_weights is None else _fill_up(log_weights, missing, constant_values=-np.inf),
    )
    spread = Spread(mesh, layout)
    sharding = NamedSharding(mesh, PartitionSpec(spread.name))
    placed = jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), filled
    )
    return placed._replace(distinct=replicate(data.distinct, mesh)), spread


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Arrays, the same in every process, on every device of a mesh."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def place(leaf: Any) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            key_data = place(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(key_data, impl=jax.random.key_impl(leaf))
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf), np.shape(leaf))

    return jax.tree.map(place, tree)


def _fill_up(array: Array, number: int, **fill: Any) -> Any:
    return np.pad(np.asarray(array), [(0, number), *[(0, 0)] * (array.ndim - 1)], **fill)


@dataclass(frozen=True)
class SpreadLoss:
    """Minus the mean bound of a batch, components (and the batch) spread over devices.

    Attributes:
        model: The model.
        spread: The devices.
        components: "data", all of them, or "batch", those of the batch.
        em: See `RPM.bound`.
    """

    model: RPM
    spread: Spread
    components: str
    em: bool = False

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        split = len(batch.index) % self.spread.mesh.size == 0
        if self.components == "batch":
            return -jnp.mean(self._minibatch_bound(params, batch, data, split))

        def bound(params: Any, batch: Batch, data: Data, distinct: Any) -> Array:
            devices = DeviceAxis(self.spread.name, split)
            data = data._replace(distinct=distinct)
            return self.model.bound(params, batch, data, em=self.em, devices=devices)

        weights = self.model.weights_among_all(data)
        own = data._replace(log_weights=weights, distinct=None)
        mapped = self.spread.map(bound, (False, split, True, False), split)
        return -jnp.mean(mapped(params, batch, own, data.distinct))

    def _minibatch_bound(self, params: Any, batch: Batch, data: Data, split: bool) -> Array:
        weights = data.log_weights
        if weights is not None:
            weights = jax.nn.log_softmax(weights[batch.index])
        if not split:
            return self.model.minibatch_bound(params, batch, weights, em=self.em)

        def bound(params: Any, batch: Batch, weights: Array | None) -> Array:
            devices = DeviceAxis(self.spread.name, True)
            return self.model.minibatch_bound(params, batch, weights, em=self.em, devices=devices)

        weights = self.model.weights_among_all(Data(batch.views, batch.mask, weights))
        return self.spread.map(bound, (False, True, True), True)(params, batch, weights)


@partial(jax.jit, static_argnums=(0, 1))
def spread_mean_bound(
    model: RPM, spread: Spread, params: Any, data: Data, evaluated: Data | None = None
) -> Array:
    """The mean bound of data, with F_j over data that are spread over devices.

    Args:
        model: The model.
        spread: The devices.
        params: Its parameters.
        data: From `spread_data`.
        evaluated: Data whose bound is taken; None: those of the fit, as by `RPM.mean_bound`.
    """
    size = spread.layout.size
    own = data._replace(log_weights=model.weights_among_all(data), distinct=None)

    def bounds(params: Any, batch: Batch, data: Data, distinct: Any) -> Array:
        mixture = data._replace(distinct=distinct)
        return model.bounds(params, batch, mixture, devices=DeviceAxis(spread.name))

    if evaluated is None and model.is_exact:
        batch = data.batch(jnp.arange(data.size))
        of_all = spread.map(bounds, (False, True, True, False), True)(params, batch, own, data.distinct)
        return jnp.mean(of_all[spread.layout.rows(jnp.arange(size))])
    if evaluated is None:
        batch = data.batch(spread.layout.rows(jnp.asarray(evenly_spread(size, MOST_EVALUATED))))
    else:
        batch = evaluated.batch(jnp.asarray(evenly_spread(evaluated.size, MOST_EVALUATED)))
    return jnp.mean(spread.map(bounds, (False, False, True, False), False)(params, batch, own, data.distinct))
