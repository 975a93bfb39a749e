"""The minibatch's own data as components."""

from dataclasses import replace
from typing import Any

import jax

from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.feeds._sources import Held, Source, Spread
from rpm_jax.normalizers import DeviceAxis


@record
class Minibatch:
    """F_j over the minibatch: every factor is evaluated once, and F_j is a biased estimate."""

    shows_data = True
    weighs_batch = True

    @property
    def spreads(self) -> bool:
        """The minibatch may be spread over devices."""
        return True

    def init(self, key: Any, own: Any, data: Data) -> tuple:
        """Nothing to remember."""
        del key, own, data
        return ()

    def rows(self, state: tuple, batch: Batch, data: Data) -> tuple[Batch, tuple]:
        """The batch alone."""
        return with_weights_among_themselves(batch, data), state

    def source(
        self, state: tuple, seen: Any, rows: Batch, data: Data, devices: DeviceAxis | None
    ) -> tuple[Source, tuple]:
        """The factors of the batch."""
        del data
        held = Held(seen, rows.log_weights, rows)
        if devices is None or not devices.batch_is_split:
            return held, state
        return Spread(held, devices), state


def with_weights_among_themselves(batch: Batch, data: Data) -> Batch:
    """A batch with the log-weights that its data have among each other, unless it has some already."""
    if data.log_weights is None or batch.log_weights is not None:
        return batch
    return replace(batch, log_weights=jax.nn.log_softmax(data.log_weights[batch.index]))


def minibatch() -> Minibatch:
    """F_j over the minibatch: cheaper, and biased, since a datum's own factor has N/B times its weight."""
    return Minibatch()
