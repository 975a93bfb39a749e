"""What a fit minimises."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data
from rpm_jax.model import RPM, ImplicitRPM, LocalLatentRPM, Model
from rpm_jax.normalizers import Queue, QueueState, Subset
from rpm_jax.train._implicit_losses import ImplicitLikelihood


@dataclass(frozen=True)
class BoundLoss:
    """Minus the mean bound of a batch, with F_j over all data.

    Attributes:
        model: The model.
        em: See `RPM.bound`.
    """

    model: Model
    em: bool = False

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        if isinstance(self.model, RPM):
            return -jnp.mean(self.model.bound(params, batch, data, em=self.em))
        return -jnp.mean(self.model.bound(params, batch, data))


@dataclass(frozen=True)
class MinibatchLoss:
    """Minus the mean bound of a batch, with F_j over the batch.

    Attributes:
        model: The model.
        em: See `RPM.bound`.
    """

    model: Model
    em: bool = False

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        weights = data.log_weights
        if weights is not None:
            weights = jax.nn.log_softmax(weights[batch.index])
        if isinstance(self.model, RPM):
            return -jnp.mean(self.model.minibatch_bound(params, batch, weights, em=self.em))
        if isinstance(self.model, LocalLatentRPM):
            return -jnp.mean(self.model.minibatch_bound(params, batch, weights))
        return -jnp.mean(self.model.bound(params, batch, Data(batch.views, batch.mask, weights)))


@dataclass(frozen=True)
class QueueLoss:
    """Minus the mean bound of a batch, with F_j over the batch and a memory of earlier ones.

    Attributes:
        model: The model.
        queue: The memory.
    """

    model: RPM
    queue: Queue

    def init_memory(self, params: Any, batch: Batch, data: Data, key: Array) -> QueueState:
        """An empty queue."""
        del data, key
        return self.model.queue_init(params, self.queue, batch)

    def step(self, params: Any, batch: Batch, data: Data, memory: QueueState) -> tuple[Array, QueueState]:
        """The loss of a batch, and the queue with its components."""
        weights = None if data.log_weights is None else data.log_weights[batch.index]
        bound, memory = self.model.queue_bound(params, batch, self.queue, memory, weights)
        return -jnp.mean(bound), memory


@dataclass(frozen=True)
class SubsetLoss:
    """Minus the mean bound of a batch, with F_j over the batch and other data drawn at random.

    Attributes:
        model: The model.
        subset: How many.
    """

    model: RPM
    subset: Subset

    def init_memory(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The random key of the draws."""
        del params, batch, data
        return self.subset.init(key)

    def step(self, params: Any, batch: Batch, data: Data, memory: Array) -> tuple[Array, Array]:
        """The loss of a batch, and the next key."""
        memory, drawn, weights = self.subset.draw(memory, batch.index, data.size, data.log_weights)
        return -jnp.mean(self.model.subset_bound(params, batch, data.batch(drawn), weights)), memory


def bound_loss(model: Model, components: str | Queue | Subset, em: bool) -> Any:
    """The loss for one choice of the components of F_j."""
    if isinstance(model, ImplicitRPM):
        return ImplicitLikelihood(model, components == "batch")
    if isinstance(components, Queue):
        assert isinstance(model, RPM)
        return QueueLoss(model, components)
    if isinstance(components, Subset):
        assert isinstance(model, RPM)
        return SubsetLoss(model, components)
    return (MinibatchLoss if components == "batch" else BoundLoss)(model, em)


@dataclass(frozen=True)
class MatchPosterior:
    """Mean squared difference between q's potentials and the conjugate ones."""

    model: RPM

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        del data
        inferred = self.model.infer_batch(params, batch)
        return _squared_difference(inferred.potentials, jax.lax.stop_gradient(inferred.conjugate))


@dataclass(frozen=True)
class MatchAuxiliary:
    """Mean squared difference between ξ and the posterior's marginals."""

    model: RPM

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        del data
        inferred = self.model.infer_batch(params, batch)
        marginals = jax.lax.stop_gradient(inferred.posterior.sites)
        return _squared_difference(inferred.auxiliary, marginals[..., None, :])


def _squared_difference(natural: Any, target: Any) -> Array:
    difference = (natural - target).natural_parameters
    return sum((jnp.mean(jnp.square(leaf)) for leaf in difference), start=jnp.zeros(()))
