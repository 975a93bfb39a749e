"""What a fit minimises: functions of parameters, a batch, the data and what goes from step to step."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.data import Batch, Data
from rpm_jax.feeds import Feed
from rpm_jax.model import Terms, ability, batch_terms, em_terms, weighted
from rpm_jax.normalizers import DeviceAxis

Loss = Callable[[Any, Batch, Data, Array], Array]
"""A loss of one's own: (params, batch, data, key) -> scalar; pure. The key is new in every step."""


class Moment(NamedTuple):
    """Where in the run a step is.

    Attributes:
        key: A random key of this step alone.
        fraction: How much of the run is done, from 0 to 1.
    """

    key: Array
    fraction: Array


@runtime_checkable
class Objective(Protocol):
    """Something to minimise, with a memory that goes from step to step."""

    def init(self, key: Array, params: Any, data: Data) -> Any:
        """The memory before the first step."""
        ...

    def loss(self, params: Any, batch: Batch, data: Data, memory: Any, moment: Moment) -> tuple[Array, Any]:
        """The scalar loss of a batch, and the memory for the next step."""
        ...


@record
class Bound:
    """How the bound is maximised.

    Attributes:
        em: Whether to hold q and ξ fixed in the gradients of prior and factors (`rpm_jax.model.em_terms`).
        beta: The weight of KL(q‖p) in the bound: a number, or a function from the fraction of the run that is
            done to one. 1 is the bound.
    """

    em: bool = False
    beta: float | Callable[[Array], Array] = 1.0

    def __post_init__(self) -> None:
        """Check the options."""
        if not isinstance(self.em, bool):
            raise TypeError(f"objective.em must be True or False, got {self.em!r}")
        if not callable(self.beta) and not (isinstance(self.beta, float) and 0 <= self.beta < math.inf):
            raise ValueError(
                f"objective.beta must be a finite number of at least 0 or a function, got {self.beta!r}"
            )


@record
class BoundObjective:
    """Minus the mean bound of a batch, with the components that a feed gives.

    Attributes:
        model: The model.
        feed: Which components F_j has.
        bound: How the bound is weighted and differentiated.
    """

    model: Any
    feed: Feed
    bound: Bound = Bound()

    def init(self, key: Array, params: Any, data: Data) -> Any:
        """The feed's state."""
        own = self.model.recognise(params, data.batch(jnp.zeros((1,), jnp.int32)))
        return self.feed.init(key, own, data)

    def loss(self, params: Any, batch: Batch, data: Data, memory: Any, moment: Moment) -> tuple[Array, Any]:
        """The loss of a batch."""
        terms, memory = self.terms(params, batch, data, memory, moment.key)
        return -jnp.mean(weighted(terms, self.beta(moment))), memory

    def terms(
        self,
        params: Any,
        batch: Batch,
        data: Data,
        memory: Any,
        key: Array,
        devices: DeviceAxis | None = None,
    ) -> tuple[Terms, Any]:
        """The terms of a batch; with `devices` inside `jax.shard_map`."""
        evaluate = em_terms if self.bound.em else batch_terms
        return evaluate(self.model, params, batch, data, self.feed, memory, key=key, devices=devices)

    def beta(self, moment: Moment) -> Array | float:
        """The weight of the divergence now."""
        beta: Any = self.bound.beta
        return beta(moment.fraction) if callable(beta) else beta


@record
class OwnLoss:
    """A loss of the user's own.

    Attributes:
        function: (params, batch, data, key) -> scalar.
    """

    function: Any

    def init(self, key: Array, params: Any, data: Data) -> tuple:
        """Nothing to remember."""
        del key, params, data
        return ()

    def loss(
        self, params: Any, batch: Batch, data: Data, memory: tuple, moment: Moment
    ) -> tuple[Array, tuple]:
        """The loss of a batch."""
        return self.function(params, batch, data, moment.key), memory


@record
class MatchPosterior:
    """Mean squared difference between q's potentials and the conjugate ones."""

    model: Any

    def __call__(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The loss of a batch."""
        del data, key
        inferred = self.model.infer(params, batch, self.model.recognise(params, batch), None)
        return _squared_difference(inferred.potentials, jax.lax.stop_gradient(inferred.conjugate))


@record
class MatchAuxiliary:
    """Mean squared difference between ξ and the posterior's marginals."""

    model: Any

    def __call__(self, params: Any, batch: Batch, data: Data, key: Array) -> Array:
        """The loss of a batch."""
        del data, key
        inferred = self.model.infer(params, batch, self.model.recognise(params, batch), None)
        marginals = jax.lax.stop_gradient(inferred.posterior.sites)
        return _squared_difference(inferred.auxiliary, marginals[..., None, :])


def _squared_difference(natural: Any, target: Any) -> Array:
    difference = (natural - target).natural_parameters
    return sum((jnp.mean(jnp.square(leaf)) for leaf in difference), start=jnp.zeros(()))


def strategies(model: Any) -> dict[str, str]:
    """How a model's posterior and auxiliary strategies are learned; "none" where it has none."""
    own = ability(model, "strategies", {})
    return {name: own.get(name, "none") for name in ("posterior", "auxiliary")}
