"""Losses of implicit models: the likelihood with random combinations of views, and score matching."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data
from rpm_jax.model import ImplicitRPM


@dataclass(frozen=True)
class ImplicitLikelihood:
    """Minus the mean bound of a batch, its integral from new combinations of views in every step.

    Attributes:
        model: The model.
        minibatch: Whether integral and penalty are estimated from the batch instead of from all data: cheaper
            and, for the integral, without bias.
        seed: Of the combinations, besides the key of the fit.
    """

    model: ImplicitRPM
    minibatch: bool = False
    seed: int = 0

    def init_memory(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The key of the first step."""
        del params, batch, data
        return jax.random.fold_in(key, self.seed)

    def step(self, params: Any, batch: Batch, data: Data, memory: Array) -> tuple[Array, Array]:
        """The loss of a batch, and the key of the next step."""
        key, following = jax.random.split(memory)
        if self.minibatch:
            weights = data.log_weights
            if weights is not None:
                weights = jax.nn.log_softmax(weights[batch.index])
            data = Data(batch.views, batch.mask, weights)
        return -jnp.mean(self.model.bound(params, batch, data, key=key)), following


@dataclass(frozen=True)
class ScoreMatching:
    """The mean score matching loss of a batch.

    Attributes:
        model: A model with marginals and smooth networks.
        weight: h of `rpm_jax.objectives.score_matching`, from the tuple of views to a tuple like it; for data
            with a boundary at which their density does not vanish.
    """

    model: ImplicitRPM
    weight: Callable[[Any], Any] | None = None

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        del data
        views = Data(batch.views, batch.mask)
        return jnp.mean(self.model.score_matching(params, views, weight=self.weight))


@dataclass(frozen=True)
class SlicedScoreMatching:
    """The mean sliced score matching loss of a batch, with new random projections in every step.

    Attributes:
        model: As for `ScoreMatching`.
        num_projections: Products with the Hessian per datum.
        weight: As for `ScoreMatching`.
        seed: Of the projections, besides the key of the fit.
    """

    model: ImplicitRPM
    num_projections: int = 1
    weight: Callable[[Any], Any] | None = None
    seed: int = 0

    def init_memory(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The key of the first step."""
        del params, batch, data
        return jax.random.fold_in(key, self.seed)

    def step(self, params: Any, batch: Batch, data: Data, memory: Array) -> tuple[Array, Array]:
        """The loss of a batch, and the key of the next step."""
        del data
        key, following = jax.random.split(memory)
        loss = self.model.sliced_score_matching(
            params,
            Data(batch.views, batch.mask),
            key,
            num_projections=self.num_projections,
            weight=self.weight,
        )
        return jnp.mean(loss), following
