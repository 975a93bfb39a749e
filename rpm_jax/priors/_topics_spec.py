"""A learnable Dirichlet prior over the proportions of topics."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete, require_boolean, require_positive_integer
from rpm_jax._record import record
from rpm_jax.priors._base import PriorSpec
from rpm_jax.priors._fixed import learned_or_fixed
from rpm_jax.priors._topics import DirichletCategorical, check_concentration


@record
class LearnableDirichletTopics:
    """A `DirichletCategorical` whose concentrations are learned as logarithms; `dirichlet_topics` makes it.

    Attributes:
        initial: The prior to start from.
        symmetric: Whether all topics keep one concentration.
    """

    initial: DirichletCategorical
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Check that concentrations are the same where they stay the same."""
        concentration = self.initial.concentration
        if self.symmetric and is_concrete(concentration) and bool(jnp.any(concentration != concentration[0])):
            raise ValueError(
                f"concentration must be the same for all topics with symmetric=True, got {concentration}; "
                "pass one number, or symmetric=False"
            )

    def init(self, key: Array) -> dict:
        """The logarithm of the initial concentrations, shape (K,), or () if they are all the same."""
        del key
        log_concentration = jnp.log(self.initial.concentration)
        return {"log_concentration": log_concentration[0] if self.symmetric else log_concentration}

    def apply(self, params: Any) -> DirichletCategorical:
        """The prior with these parameters."""
        shape = self.initial.concentration.shape
        return DirichletCategorical(
            jnp.broadcast_to(jnp.exp(params["log_concentration"]), shape),
            self.initial.num_sites,
            self.initial.max_iterations,
            self.initial.tolerance,
        )


def dirichlet_topics(
    num_topics: int,
    num_sites: int,
    *,
    concentration: float | Array = 1.0,
    symmetric: bool = False,
    learnable: bool = True,
    max_iterations: int = 200,
    tolerance: float | None = None,
) -> PriorSpec:
    """Topic proportions θ ~ Dirichlet(α) that all sites share, z_t ~ Categorical(θ).

    Args:
        num_topics: K, at least 2.
        num_sites: T.
        concentration: The initial α, positive: one number for all topics, or shape (K,).
        symmetric: Whether all topics keep one common concentration, which is then a single parameter.
        learnable: Whether log α is learned.
        max_iterations: See `DirichletCategorical`.
        tolerance: See `DirichletCategorical`.

    Returns:
        A specification of a `DirichletCategorical`.

    Raises:
        ValueError: For concentrations that are not positive or not one a topic, different ones with
            `symmetric=True`, or another argument out of its range.
    """
    require_positive_integer("num_topics", num_topics)
    if num_topics < 2:
        raise ValueError(f"num_topics must be at least 2, got {num_topics}")
    require_positive_integer("num_sites", num_sites)
    initial = check_concentration("concentration", concentration)
    if initial.shape not in ((), (num_topics,)):
        raise ValueError(
            f"concentration must be one number or one for each of the {num_topics} topics, shape "
            f"({num_topics},), got shape {initial.shape}"
        )
    require_boolean("symmetric", symmetric)
    prior = DirichletCategorical(
        jnp.broadcast_to(initial, (num_topics,)), num_sites, max_iterations, tolerance
    )
    spec = LearnableDirichletTopics(prior, symmetric)
    return learned_or_fixed(spec, learnable)
