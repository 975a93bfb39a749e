"""What a feed is: which components the mixtures F_j of a training step average over."""

from typing import Any, Protocol, runtime_checkable

from rpm_jax.data import Batch, Data
from rpm_jax.feeds._sources import Source
from rpm_jax.normalizers import DeviceAxis


@runtime_checkable
class Feed(Protocol):
    """A choice of components, with a state that goes from step to step; in optax's manner.

    In a step the networks see `rows`, the batch first, once; what they recognise there becomes, with whatever
    the feed remembers, the source of the mixtures.

    Attributes:
        spreads: Optional, False where absent. Whether `source` can divide the components among devices.
        shows_data: Optional, False where absent. Whether the components are data at hand, with no weights but
            theirs as data: what models need that look at the components' views, or weigh them.
        weighs_batch: Optional, False where absent. Whether weights of a minibatch are normalised among its
            data, which then cannot all have weight 0.
    """

    def init(self, key: Any, own: Any, data: Data) -> Any:
        """The state before the first step.

        Args:
            key: A random key; every seed of a sweep has its own.
            own: What the model recognises in one datum, to tell shapes by.
            data: The data of the fit.
        """
        ...

    def rows(self, state: Any, batch: Batch, data: Data) -> tuple[Batch, Any]:
        """What the networks see in this step: the batch, and perhaps other rows behind it; the new state."""
        ...

    def source(
        self, state: Any, seen: Any, rows: Batch, data: Data, devices: DeviceAxis | None
    ) -> tuple[Source, Any]:
        """The components of this step, and the new state.

        Args:
            state: From `rows`.
            seen: What the model recognised in `rows`, their first axis first.
            rows: As returned by `rows`.
            data: The data of the fit; with `devices` this device's share of them.
            devices: The devices that the components are divided among, or None.
        """
        ...
