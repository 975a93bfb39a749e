"""All data as components."""

from typing import Any

from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.feeds._sources import Lazy, Source, Spread
from rpm_jax.normalizers import DeviceAxis


@record
class Full:
    """F_j over all data of the fit, or over their distinct values where the model knows them."""

    shows_data = True

    @property
    def spreads(self) -> bool:
        """The data may be spread over devices."""
        return True

    def init(self, key: Any, own: Any, data: Data) -> tuple:
        """Nothing to remember."""
        del key, own, data
        return ()

    def rows(self, state: tuple, batch: Batch, data: Data) -> tuple[Batch, tuple]:
        """The batch alone."""
        del data
        return batch, state

    def source(
        self, state: tuple, seen: Any, rows: Batch, data: Data, devices: DeviceAxis | None
    ) -> tuple[Source, tuple]:
        """The data, whose factors the model evaluates as it likes."""
        del seen, rows
        lazy = Lazy(data)
        # Distinct values are few: every device holds all of them.
        return (lazy if devices is None or data.distinct is not None else Spread(lazy, devices)), state


def full() -> Full:
    """F_j over all data: exact, at a cost of B·N·J·T log-partitions a step."""
    return Full()
