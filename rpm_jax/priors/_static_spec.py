"""A single site whose natural parameters are learned."""

from typing import Any

from jax import Array

from rpm_jax._checks import is_concrete, require_boolean
from rpm_jax._record import record
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._fixed import Fixed
from rpm_jax.priors._static import Static


@record
class LearnableStatic:
    """A single site whose natural parameters are learned."""

    initial: ExponentialFamily

    def init(self, key: Array) -> dict:
        """The initial natural parameters in unconstrained form."""
        del key
        return {"unconstrained": self.initial.unconstrained()}

    def apply(self, params: Any) -> Static:
        """The prior with these parameters."""
        return Static(self.initial.from_unconstrained(params["unconstrained"]))


def static(natural: ExponentialFamily, *, learnable: bool = False) -> PriorSpec:
    """A single site with natural parameters `natural`.

    Args:
        natural: A family without batch axes.
        learnable: Whether the natural parameters are learned, starting from `natural`.
    """
    prior = Static(natural)
    valid = natural.is_valid()
    if is_concrete(valid) and not bool(valid):
        raise ValueError(
            f"natural must be a valid {type(natural).__name__}: its natural parameters are not in the "
            f"family's domain: {natural}"
        )
    require_boolean("learnable", learnable)
    return LearnableStatic(natural) if learnable else Fixed(prior)
