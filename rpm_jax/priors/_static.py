"""A prior with a single site."""

from jax import Array

from rpm_jax._pytree import pytree_dataclass
from rpm_jax.expfam import ExponentialFamily
from rpm_jax.priors._base import SitePosterior, check_potentials, check_single


@pytree_dataclass
class Static:
    """p(z): one site, any exponential family.

    Attributes:
        natural: The natural parameters η0, a family without batch axes ((K,) for a DiagonalGaussian).
    """

    natural: ExponentialFamily

    def __post_init__(self) -> None:
        """Check that there is one distribution, not a batch."""
        check_single("Static", self.natural)

    def sites(self) -> ExponentialFamily:
        """The prior itself with a site axis, batch shape (1,)."""
        return self.natural[None]

    def condition(self, potentials: ExponentialFamily) -> SitePosterior:
        """Q = η0 + λ, log_normalizer = A(η0 + λ) − A(η0).

        Args:
            potentials: λ, of this prior's family, batch shape (..., 1).

        Returns:
            The posterior, batch shape (...).
        """
        sites = self.sites()
        check_potentials("Static", potentials, sites)
        conditioned = sites + potentials
        log_normalizer: Array = conditioned.log_partition() - sites.log_partition()
        return SitePosterior(log_normalizer[..., 0], conditioned)
