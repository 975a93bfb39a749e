"""A memory of earlier minibatches' components."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax.expfam import concatenate, map_rows
from rpm_jax.normalizers._components import Block


class QueueState(NamedTuple):
    """The components that a queue remembers.

    Attributes:
        natural: Natural parameters, a family of batch shape (L, J, T).
        log_scale: h of unnormalised factors, shape (L, J, T), or None.
        log_weights: log w up to a constant, shape (L,); −∞ where there is none yet.
        mask: Boolean (L, J, T), False where missing, or None.
        position: Where the next one goes, an integer.
    """

    natural: Any
    log_scale: Array | None
    log_weights: Array
    mask: Array | None
    position: Array


class QueuedComponents(NamedTuple):
    """Components of a minibatch and of a queue, as an estimate of those of all data.

    Attributes:
        natural: A family of batch shape (B + L, J, T).
        log_scale: Shape (B + L, J, T), or None.
        log_weights: Shape (B + L,), normalised.
        mask: Boolean (B + L, J, T), or None.
    """

    natural: Any
    log_scale: Array | None
    log_weights: Array
    mask: Array | None


class Queue(NamedTuple):
    """First in, first out: the last L components, without their gradients.

    F_j over a minibatch of B data is a poor estimate of F_j over all N where B is not far above the number
    of latent states: log F_j is too low on average, and too high at a datum whose own factor is one of the B.
    Components of the last L data make it one over
    B + L; they are up to L/B steps old. The gradient is that of the minibatch's mean over the better
    estimate, ∇F_B/F: were the minibatch's share of it B/(B + L), nothing would keep the factors from running
    away from the mixtures.

    Attributes:
        length: L.
    """

    length: int

    def init(self, block: Block, log_weights: Array | None = None, mask: Array | None = None) -> QueueState:
        """An empty queue for components like these: it holds the first of them, with weight 0."""
        del log_weights

        def repeat(leaf: Array) -> Array:
            return jnp.repeat(leaf[:1], self.length, axis=0)

        natural, log_scale, mask = map_rows(repeat, (block.natural, block.log_scale, mask))
        log_weights = jnp.full((self.length,), -jnp.inf, natural.dtype)
        return QueueState(natural, log_scale, log_weights, mask, jnp.zeros((), jnp.int32))

    def update(
        self, state: QueueState, block: Block, log_weights: Array | None = None, mask: Array | None = None
    ) -> QueueState:
        """Remember a minibatch's components, in the place of the oldest ones.

        Args:
            state: The queue.
            block: B components; of more than L the last L are kept.
            log_weights: Their log-weights up to a constant that all minibatches share, shape (B,); None: 0.
            mask: Boolean (B, J, T), as given to `init`.
        """
        size = block.natural.batch_shape[0]
        log_weights = jnp.zeros((size,), state.log_weights.dtype) if log_weights is None else log_weights
        kept = min(size, self.length)
        places = (state.position + jnp.arange(kept)) % self.length
        old = (state.natural, state.log_scale, state.log_weights, state.mask)
        new = jax.lax.stop_gradient((block.natural, block.log_scale, log_weights, mask))
        natural, log_scale, log_weights, mask = map_rows(
            lambda o, n: o.at[places].set(n[size - kept :].astype(o.dtype)), old, new
        )
        position = (state.position + kept) % self.length
        return QueueState(natural, log_scale, log_weights, mask, position)

    def components(
        self, state: QueueState, block: Block, log_weights: Array | None = None, mask: Array | None = None
    ) -> QueuedComponents:
        """The minibatch's components, then those of the queue; arguments as for `update`."""
        size = block.natural.batch_shape[0]
        log_weights = jnp.zeros((size,), state.log_weights.dtype) if log_weights is None else log_weights
        share = jnp.sum(jax.nn.softmax(jnp.concatenate([log_weights, state.log_weights]))[:size])
        block = map_rows(lambda leaf: _scale_gradient(leaf, 1.0 / share), block)
        log_scale, mask = jax.tree.map(
            lambda new, old: jnp.concatenate([new, old]),
            (block.log_scale, mask),
            (state.log_scale, state.mask),
        )
        return QueuedComponents(
            concatenate([block.natural, state.natural]),
            log_scale,
            jax.nn.log_softmax(jnp.concatenate([log_weights, state.log_weights])),
            mask,
        )


def _scale_gradient(array: Array, factor: Array) -> Array:
    held = jax.lax.stop_gradient(array)
    return held + jax.lax.stop_gradient(factor) * (array - held)


def queue(length: int) -> Queue:
    """A memory of the components of the last `length` data.

    References:
        He et al., Momentum contrast for unsupervised visual representation learning, CVPR 2020 (queues of
        earlier minibatches in contrastive objectives).
    """
    require_positive_integer("length", length)
    return Queue(length)
