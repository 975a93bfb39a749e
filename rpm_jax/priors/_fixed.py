"""Priors without learnable parameters, and what counts as a specification."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete, require_boolean, require_instance
from rpm_jax._record import record
from rpm_jax.priors._base import Prior, PriorSpec
from rpm_jax.priors._dynamics import dynamics_of, no_dynamics
from rpm_jax.priors._future import Future, extended, not_extended


@record
class Fixed:
    """A prior without learnable parameters.

    Attributes:
        prior: It.
        source: The specification that it is the initial prior of, which says how it goes on; or None.
    """

    prior: Prior
    source: Any = None

    def init(self, key: Array) -> dict:
        """No parameters."""
        del key
        return {}

    def apply(self, params: Any) -> Prior:
        """The prior as given."""
        del params
        return self.prior

    def extended(self, future: Future, inputs: Any = None) -> tuple["Fixed", Any]:
        """The prior of T + h sites.

        Raises:
            TypeError: For a prior that cannot be extended.
        """
        if self.source is not None:
            longer, _ = extended(self.source, future)
            return Fixed(longer.apply(longer.init(jax.random.key(0))), longer), inputs
        if not hasattr(self.prior, "extended"):
            raise TypeError(not_extended(self.prior))
        return Fixed(self.prior.extended(future)), inputs

    def dynamics(self, params: Any) -> Any:
        """The prior a step at a time.

        Raises:
            TypeError: For a prior that is no chain of states.
        """
        del params
        if self.source is not None:
            return dynamics_of(self.source, self.source.init(jax.random.key(0)))
        if not hasattr(self.prior, "dynamics"):
            raise TypeError(no_dynamics(self.prior))
        return self.prior.dynamics()


def fixed(prior: Prior) -> Fixed:
    """Hold a prior as it is."""
    return Fixed(prior)


def as_spec(prior: Any) -> PriorSpec:
    """A specification as it is; a plain prior as a fixed one.

    Raises:
        TypeError: For anything else.
    """
    require_instance("prior", prior)
    if isinstance(prior, PriorSpec) and not hasattr(prior, "with_outputs"):
        return prior
    if isinstance(prior, Prior):
        valid = prior.sites().is_valid()
        if is_concrete(valid) and not bool(jnp.all(valid)):
            raise ValueError(f"prior: its marginals are not in the domain of their family: {prior.sites()}")
        return Fixed(prior)
    raise TypeError(
        "prior must be a prior (with sites() and condition(potentials)) or a specification of one (with "
        f"init(key) and apply(params), such as rpm_jax.priors.gaussian_process(times)), got "
        f"{type(prior).__name__}"
    )


def learned_or_fixed(spec: PriorSpec, learnable: bool) -> PriorSpec:
    """A specification as it is, or its initial prior as a fixed one.

    Raises:
        TypeError: Unless `learnable` is True or False.
    """
    require_boolean("learnable", learnable)
    return spec if learnable else Fixed(spec.apply(spec.init(jax.random.key(0))), spec)
