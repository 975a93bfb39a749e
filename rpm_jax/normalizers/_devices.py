"""Mixtures whose components are spread over devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from rpm_jax.normalizers._components import Block, Components


class DeviceAxis(NamedTuple):
    """Devices that hold a share of the components each, inside `jax.shard_map`.

    Attributes:
        name: The name, or names, of the mesh's axis.
        batch_is_split: Whether each device holds a share of the batch too, instead of all of it.
    """

    name: str | tuple[str, ...]
    batch_is_split: bool = False

    def log_sum_exp(self, values: Array) -> Array:
        """The logsumexp over devices of arrays of one shape; −∞ with gradient 0 where all are −∞."""
        reference = self._reference(values)
        return _log(reference, lax.psum(jnp.exp(values - reference), self.name))

    def own_log_sum_exp(self, values: Array) -> Array:
        """The same for this device's share of the first axis alone."""
        reference = self._reference(values)
        total = lax.psum_scatter(jnp.exp(values - reference), self.name, scatter_dimension=0, tiled=True)
        length = total.shape[0]
        start = lax.axis_index(self.name) * length
        return _log(lax.dynamic_slice_in_dim(reference, start, length), total)

    def _reference(self, values: Array) -> Array:
        # The result does not depend on it.
        maximum = lax.pmax(lax.stop_gradient(values), self.name)
        return jnp.where(jnp.isfinite(maximum), maximum, 0.0)

    def gather(self, tree: Any) -> Any:
        """The whole batch of arrays whose first axis is split over devices."""
        return jax.tree.map(lambda leaf: lax.all_gather(leaf, self.name, axis=0, tiled=True), tree)


def _log(reference: Array, total: Array) -> Array:
    positive = total > 0
    return jnp.where(positive, reference + jnp.log(jnp.where(positive, total, 1.0)), -jnp.inf)


class SpreadComponents(NamedTuple):
    """This device's components, of mixtures that have the components of all devices.

    Normalizers sum over all of them: every device evaluates its own components, and only one number for each
    mixture is exchanged (and the tilts, where the batch is split). Log-weights are those among all
    components; None: uniform ones.

    Attributes:
        own: The components here, as many as on every other device.
        devices: Where the others are.
    """

    own: Components
    devices: DeviceAxis

    @property
    def size(self) -> int:
        """How many are here."""
        return self.own.size

    def block(self, start: int | Array, length: int) -> Block:
        """The components start..start + length − 1 of those here."""
        return self.own.block(start, length)

    def log_tilted_mixture(self, tilts: Any, evaluate: Callable[[Any], Array]) -> Array:
        """Over all devices, from what each finds for its own components.

        Args:
            tilts: Natural parameters of batch shape (B, ..., J, T), B being this device's share of the batch
                where that is split.
            evaluate: Tilts to the log-integrals with the components here, uniform weights summing to 1.
        """
        if not self.devices.batch_is_split:
            return self.devices.log_sum_exp(evaluate(tilts))
        gathered = tilts.replace(self.devices.gather(tilts.natural_parameters))
        return self.devices.own_log_sum_exp(evaluate(gathered))

    def uniform_share(self) -> Array:
        """Minus the logarithm of the number of devices."""
        return -jnp.log(lax.psum(jnp.ones(()), self.devices.name))
