"""How a function of one seed becomes one of many."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from rpm_jax._jit import jit
from rpm_jax._record import record


@record
class Seeds:
    """Functions of one seed, mapped over seeds.

    Attributes:
        data_axis: 0 where every seed has data of its own, None where they share them.
        mesh: Devices of which each gets an equal share of the seeds, or None.
    """

    data_axis: int | None = None
    mesh: Mesh | None = None

    def map(self, function: Callable[..., Any], *axes: int | None) -> Callable[..., Any]:
        """The function under `vmap`, for every argument the axis of seeds or None."""
        mapped = jax.vmap(function, in_axes=axes)
        if self.mesh is None:
            return mapped
        split = PartitionSpec(self.mesh.axis_names)
        specs = tuple(PartitionSpec() if axis is None else split for axis in axes)
        return jax.shard_map(mapped, mesh=self.mesh, in_specs=specs, out_specs=split, check_vma=False)


def over_seeds(seeds: Seeds | None, function: Callable[..., Any], *axes: int | None) -> Callable[..., Any]:
    """The function over seeds, or as it is for one run."""
    return function if seeds is None else seeds.map(function, *axes)


def call_over_seeds(
    seeds: Seeds | None,
    function: Callable[..., Any],
    model: Any,
    arguments: tuple,
    axes: tuple[int | None, ...],
) -> Any:
    """Call a compiled function of a model and of arrays, for one run or for many.

    Args:
        seeds: How functions are mapped over seeds, or None for one run.
        function: (model, *arguments) -> arrays.
        model: The same for all.
        arguments: Of the function, behind the model.
        axes: For each the axis of seeds, or None.
    """
    if seeds is None:
        return function(model, *arguments)
    return _call_mapped(seeds, function, axes, model, *arguments)


@jit
def _call_mapped(
    seeds: Seeds, function: Callable[..., Any], axes: tuple[int | None, ...], model: Any, *arguments: Any
) -> Any:
    return seeds.map(partial(function, model), *axes)(*arguments)
