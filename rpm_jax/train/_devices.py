"""Data and objectives spread over the devices of a mesh."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rpm_jax._jit import jit
from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.feeds import with_weights_among_themselves
from rpm_jax.model import MOST_EVALUATED, Model, Terms, ability, bounds, evenly_spread, weighted
from rpm_jax.normalizers import DeviceAxis
from rpm_jax.train._objectives import BoundObjective, Moment


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


@record
class Spread:
    """Data spread over devices.

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


def check_spread(spread: Spread, model: Any, feed: Any, has_rows: bool) -> None:
    """Refuse what cannot be spread over devices."""
    if not hasattr(model, "weights_among_all"):
        raise TypeError(
            f"mesh: the components of a {type(model).__name__} are not spread over devices (it has no "
            "weights_among_all); leave mesh out"
        )
    if feed is not None and not getattr(feed, "spreads", False):
        raise ValueError(
            f"mesh and components={feed!r} do not go together; take rpm_jax.feeds.full() or minibatch()"
        )
    layout = spread.layout
    if has_rows and layout.is_filled_up:
        raise ValueError(
            f"views: with saturated strategies every device needs as many data, got {layout.counts} data "
            f"of the processes for {spread.mesh.size} devices; leave some out, or use another strategy"
        )


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
    filled = data._replace(
        views=jax.tree.map(lambda leaf: _fill_up(leaf, missing, mode="edge"), data.views),
        mask=None if data.mask is None else _fill_up(data.mask, missing, constant_values=False),
        log_weights=None if log_weights is None else _fill_up(log_weights, missing, constant_values=-np.inf),
        distinct=None,
        inputs=jax.tree.map(lambda leaf: _fill_up(leaf, missing, mode="edge"), data.inputs),
        lengths=None if data.lengths is None else _fill_up(data.lengths, missing, mode="edge"),
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


@record
class SpreadObjective:
    """Minus the mean bound of a batch, components (and the batch) spread over devices.

    Attributes:
        objective: On one device.
        spread: The devices.
    """

    objective: BoundObjective
    spread: Spread

    def init(self, key: Array, params: Any, data: Data) -> Any:
        """The feed's state."""
        return self.objective.init(key, params, data)

    def loss(self, params: Any, batch: Batch, data: Data, memory: Any, moment: Moment) -> tuple[Array, Any]:
        """The loss of a batch, which is split too where its size is a multiple of the number of devices."""
        model: Any = self.objective.model
        split = len(batch.index) % self.spread.mesh.size == 0
        devices = DeviceAxis(self.spread.name, split)
        batch = with_weights_among_themselves(batch, data)
        if split:
            weights = model.weights_among_all(Data(batch.views, batch.mask, batch.log_weights))
            batch = replace(batch, log_weights=weights)

        def terms(params: Any, batch: Batch, data: Data, distinct: Any) -> Terms:
            data = data._replace(distinct=distinct)
            return self.objective.terms(params, batch, data, memory, moment.key, devices)[0]

        mapped = self.spread.map(terms, (False, split, True, False), split)
        value = mapped(params, batch, own_share(model, data), data.distinct)
        return -jnp.mean(weighted(value, self.objective.beta(moment))), memory


def own_share(model: Any, data: Data) -> Data:
    """Data with log-weights that stay right where they are divided, without their distinct values."""
    return data._replace(log_weights=model.weights_among_all(data), distinct=None)


@jit
def spread_mean_bound(model: Model, spread: Spread, params: Any, data: Data, evaluated: Data | None) -> Array:
    """The mean bound of data, with F_j over data that are spread over devices.

    Args:
        model: The model.
        spread: The devices.
        params: Its parameters.
        data: From `spread_data`.
        evaluated: Data whose bound is taken; None: those of the fit, as by `rpm_jax.model.mean_bound`.
    """
    size = spread.layout.size
    own = own_share(model, data)

    def of_batch(params: Any, batch: Batch, data: Data, distinct: Any) -> Array:
        mixture = data._replace(distinct=distinct)
        return bounds(model, params, batch, mixture, devices=DeviceAxis(spread.name))

    if evaluated is None and ability(model, "is_exact", False):
        of_all = spread.map(of_batch, (False, True, True, False), True)(
            params, data.all(), own, data.distinct
        )
        return jnp.mean(of_all[spread.layout.rows(jnp.arange(size))])
    if evaluated is None:
        batch = data.batch(spread.layout.rows(jnp.asarray(evenly_spread(size, MOST_EVALUATED))))
    else:
        batch = evaluated.batch(jnp.asarray(evenly_spread(evaluated.size, MOST_EVALUATED)))
    mapped = spread.map(of_batch, (False, False, True, False), False)
    return jnp.mean(mapped(params, batch, own, data.distinct))
