"""Where the components of the mixtures F_j come from."""

from typing import Any, NamedTuple

from jax import Array

from rpm_jax.data import Batch, Data
from rpm_jax.normalizers import DeviceAxis, OwnShare


class Held(NamedTuple):
    """Factors that have been evaluated.

    Attributes:
        factors: What the model recognised in n rows of data.
        log_weights: Their log-weights in F_j, shape (n,) or (n, J, T), Σ w = 1; None: uniform.
        rows: The rows themselves, or None where they are no longer at hand.
        own: What each datum's own factor weighs, where the factors were drawn at random from more than a
            batch can hold; None where the batch's own are among them with their weights.
    """

    factors: Any
    log_weights: Array | None = None
    rows: Batch | None = None
    own: OwnShare | None = None


class Lazy(NamedTuple):
    """Data whose factors the model evaluates when and how it likes, such as block by block in a stream.

    Attributes:
        data: The data, with their log-weights.
        approximate: Whether an estimate of the mixture will do where all of it would be too much.
    """

    data: Data
    approximate: bool = False


class Spread(NamedTuple):
    """This device's share of a source, inside `jax.shard_map`.

    Attributes:
        source: The share; its log-weights are those among the components of all devices.
        devices: Where the others are.
    """

    source: Held | Lazy
    devices: DeviceAxis


Source = Held | Lazy | Spread
