"""Bounds of many data at once, for evaluations."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._jit import jit
from rpm_jax.data import Batch, Data
from rpm_jax.feeds import Lazy, Spread
from rpm_jax.model._blocks import map_blocks, recognise_in_blocks
from rpm_jax.model._protocol import Model, ability
from rpm_jax.normalizers import DeviceAxis

MOST_EVALUATED = 1000
"""How many data a mean bound is taken over at most, where it costs as many times N."""

EVALUATED_AT_ONCE = 64
"""How many data are evaluated at once."""


def evenly_spread(size: int, number: int) -> np.ndarray:
    """At most `number` of the integers from 0 to `size` − 1."""
    return np.linspace(0, size - 1, min(size, number)).round().astype(np.int32)


@jit
def mean_bound(model: Model, params: Any, data: Data, mixture: Data) -> Array:
    """The mean bound of data, with F_j over `mixture`.

    Where E_q[log F_jt] is bounded, at a cost of n · N, it is that of 1000 evenly spread data of more.
    """
    number = data.size if ability(model, "is_exact", False) else MOST_EVALUATED
    batch = data.batch(jnp.asarray(evenly_spread(data.size, number)))
    return jnp.mean(bounds(model, params, batch, mixture))


def bounds(
    model: Model, params: Any, batch: Batch, mixture: Data, *, devices: DeviceAxis | None = None
) -> Array:
    """The bound of each of many data, not all of whose activations are in memory at once.

    Args:
        model: The model.
        params: Its parameters.
        batch: The data to evaluate.
        mixture: The components of F_j; with `devices` this device's share of them.
        devices: Inside `jax.shard_map`, the devices that the components are divided among.
    """
    source: Any = Lazy(mixture, approximate=True)
    if devices is not None and mixture.distinct is None:
        source = Spread(source, devices)
    mixtures = model.mixture(params, source)

    def evaluate(rows: Batch) -> Array:
        own = recognise_in_blocks(model, params, rows)
        return model.terms(params, rows, own, mixtures, model.infer(params, rows, own, mixtures)).bound

    # Streamed networks are evaluated once for all of these data.
    if ability(model, "is_exact", False) or getattr(mixtures, "is_streamed", False):
        return evaluate(batch)
    return map_blocks(evaluate, batch, EVALUATED_AT_ONCE)
