"""Warm starts of the posterior and auxiliary strategies, with prior and factors held fixed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax.data import Batch, Data
from rpm_jax.model import RPM


class WarmStart(NamedTuple):
    """How many steps to spend before the fit proper; strategies without parameters take none.

    Attributes:
        match_posterior: Make q the conjugate posterior of the initial factors.
        match_auxiliary: Make ξ the posterior's marginals.
        bound: Maximise the bound over q and ξ alone.
    """

    match_posterior: int = 0
    match_auxiliary: int = 0
    bound: int = 0


class MatchPosterior(NamedTuple):
    """Mean squared difference between q's potentials and the conjugate ones."""

    model: RPM

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        del data
        inferred = self.model.infer_batch(params, batch)
        return _squared_difference(inferred.potentials, jax.lax.stop_gradient(inferred.conjugate))


class MatchAuxiliary(NamedTuple):
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
