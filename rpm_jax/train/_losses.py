"""What a fit minimises."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data
from rpm_jax.model import RPM


@dataclass(frozen=True)
class BoundLoss:
    """Minus the mean bound of a batch.

    Attributes:
        model: The model.
        components: "data": F_j over all data; "batch": over the minibatch.
        em: See `RPM.bound`.
    """

    model: RPM
    components: str = "data"
    em: bool = False

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        if self.components == "batch":
            weights = data.log_weights
            if weights is not None:
                weights = jax.nn.log_softmax(weights[batch.index])
            data = Data(batch.views, batch.mask, weights)
        return -jnp.mean(self.model.bound(params, batch, data, em=self.em))


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
