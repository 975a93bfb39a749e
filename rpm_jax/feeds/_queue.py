"""A memory of earlier minibatches' components."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.expfam import map_rows
from rpm_jax.feeds._sources import Held, Source
from rpm_jax.normalizers import DeviceAxis, join_rows, num_rows, put_rows, repeat_rows, take_rows


class QueueState(NamedTuple):
    """The components that a queue remembers.

    Attributes:
        factors: What the model recognised in L data.
        log_weights: log w up to a constant, shape (L,); −∞ where there is none yet.
        position: Where the next one goes, an integer.
    """

    factors: Any
    log_weights: Array
    position: Array


@record
class Queue:
    """First in, first out: the last L components, without their gradients.

    F_j over a minibatch of B data is a poor estimate of F_j over all N where B is not far above the number of
    latent states: log F_j is too low on average, and too high at a datum whose own factor is one of the B.
    Components of the last L data make it one over B + L; they are up to L/B steps old. The gradient is that
    of the minibatch's mean over the better estimate, ∇F_B/F: were the minibatch's share of it B/(B + L),
    nothing would keep the factors from running away from the mixtures.

    Attributes:
        length: L.

    References:
        He et al., Momentum contrast for unsupervised visual representation learning, CVPR 2020.
    """

    length: int

    weighs_batch = True

    def __post_init__(self) -> None:
        """Check the length."""
        require_positive_integer("length", self.length)

    def init(self, key: Any, own: Any, data: Data) -> QueueState:
        """An empty queue for components like these: it holds the first of them, with weight 0."""
        del key
        factors = jax.lax.stop_gradient(repeat_rows(take_rows(own, slice(0, 1)), self.length))
        log_weights = jnp.full((self.length,), -jnp.inf, data.views[0].dtype)
        return QueueState(factors, log_weights, jnp.zeros((), jnp.int32))

    def rows(self, state: QueueState, batch: Batch, data: Data) -> tuple[Batch, QueueState]:
        """The batch alone."""
        del data
        return batch, state

    def source(
        self, state: QueueState, seen: Any, rows: Batch, data: Data, devices: DeviceAxis | None
    ) -> tuple[Source, QueueState]:
        """The minibatch's components, then those remembered; they replace the oldest ones."""
        del devices
        size = num_rows(seen)
        own = jnp.zeros((size,), state.log_weights.dtype)
        if data.log_weights is not None:
            own = data.log_weights[rows.index]
        log_weights = jnp.concatenate([own, state.log_weights])
        share = jnp.sum(jax.nn.softmax(log_weights)[:size])
        weighted = map_rows(lambda array: _scale_gradient(array, 1.0 / share), seen)
        joined = join_rows([weighted, state.factors])
        kept = min(size, self.length)
        places = (state.position + jnp.arange(kept)) % self.length
        remembered = QueueState(
            put_rows(state.factors, places, take_rows(jax.lax.stop_gradient(seen), slice(size - kept, size))),
            state.log_weights.at[places].set(own[size - kept :]),
            (state.position + kept) % self.length,
        )
        return Held(joined, jax.nn.log_softmax(log_weights)), remembered


def _scale_gradient(array: Array, factor: Array) -> Array:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    held = jax.lax.stop_gradient(array)
    return held + jax.lax.stop_gradient(factor) * (array - held)


def queue(length: int) -> Queue:
    """F_j over the minibatch and a memory of the components of the last `length` data."""
    return Queue(length)
