"""A prior whose sites are independent and alike."""

import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.priors._base import SitePosterior, check_potentials, check_single
from rpm_jax.priors._future import Future


@pytree_dataclass
class Independent:
    """p(Z) = ∏_t p(z_t): T independent sites with one distribution, such as the nodes of a graph.

    Attributes:
        natural: The natural parameters η0 of every site, a family without batch axes.
        num_sites: T.
    """

    natural: ExponentialFamily
    num_sites: int = static_field(default=1)

    def __post_init__(self) -> None:
        """Check that there is one distribution, and a number of sites."""
        check_single("Independent", self.natural)
        require_positive_integer("Independent: num_sites", self.num_sites)

    def sites(self) -> ExponentialFamily:
        """The distribution at every site, batch shape (T,)."""
        return self.natural.broadcast_to((self.num_sites,))

    def filter(self, potentials: ExponentialFamily) -> ExponentialFamily:
        """The posterior's marginals: other sites say nothing of one."""
        return self.condition(potentials).sites

    def extended(self, future: Future) -> "Independent":
        """So many more sites."""
        future.refuse_inputs(self)
        future.refuse_times(self)
        return Independent(self.natural, self.num_sites + future.horizon)

    def condition(self, potentials: ExponentialFamily) -> SitePosterior:
        """q_t = η0 + λ_t, log_normalizer = Σ_t A(η0 + λ_t) − A(η0).

        Args:
            potentials: λ, of this prior's family, batch shape (..., T).

        Returns:
            The posterior, batch shape (...).
        """
        sites = self.sites()
        check_potentials("Independent", potentials, sites)
        conditioned = sites + potentials
        gains: Array = conditioned.log_partition() - sites.log_partition()
        return SitePosterior(jnp.sum(gains, axis=-1), conditioned)
