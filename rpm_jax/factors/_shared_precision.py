"""Factors whose networks give η1 alone, their precision being the same for all data."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array

from rpm_jax._record import record
from rpm_jax.factors._base import Recognition
from rpm_jax.factors._networks import NetworkFactors
from rpm_jax.incomplete import View, as_taken_by
from rpm_jax.outputs import SharedPrecisionOutputs


@record
class SharedPrecisionFactors:
    """Gaussian factors η_jt(x) = η0_t + (g_j(x), −½ L_j L_jᵀ); `per_view` and `shared` build them.

    Mixtures of N such factors take one factorisation for each datum, view and site, in the place of one for
    each pair of a datum and a component (`rpm_jax.normalizers.SharedPrecision`). Parameters are a dictionary
    of "factors" and "precision".

    Attributes:
        factors: The networks.
        by_site: Whether each site has a precision of its own.

    References:
        torchRPM's covariances "fixed" and "fixed_diag".
    """

    factors: NetworkFactors
    by_site: bool = False
    takes_missing = True

    def init(self, key: Array, views: tuple[View, ...], sites: Any) -> dict[str, Any]:
        """Parameters of the networks, and the precisions, the same for all views and sites at first."""
        if not hasattr(sites, "in_deviations"):
            raise TypeError(
                "precision: factors that share one need a prior whose sites are DiagonalGaussian or "
                f"Gaussian, got {type(sites).__name__}; leave precision out"
            )
        number = sites.num_unconstrained - sites.natural_parameters[0].shape[-1]
        num_views = 1 if self.factors.share else len(views)
        precision = jnp.zeros((num_views, sites.batch_shape[-1] if self.by_site else 1, number), sites.dtype)
        own = self._with(precision)
        return {"factors": own.init(key, as_taken_by(own, views), sites), "precision": precision}

    def apply(self, params: Any, views: tuple[View, ...], sites: Any) -> Recognition:
        """The factors of some data."""
        own = self._with(params["precision"])
        return own.apply(params["factors"], as_taken_by(own, views), sites)

    def shared_potentials(self, params: Any, sites: Any) -> Any:
        """Potentials with the η2 that all data share and η1 = 0, batch shape (J, T); J and T may be 1."""
        precision = params["precision"]
        size = sites.natural_parameters[0].shape[-1]
        zeros = jnp.zeros((*precision.shape[:2], size), precision.dtype)
        return sites.potential(jnp.concatenate([zeros, precision], axis=-1))

    def is_sitewise(self, views: tuple[View, ...], sites: Any) -> bool:
        """Whether every factor f_jt depends on what is observed at its own site alone."""
        number = sites.num_unconstrained - sites.natural_parameters[0].shape[-1]
        return self._with(jnp.zeros((1, 1, number))).is_sitewise(views, sites)

    def at_site(self, params: Any, views: tuple[View, ...], sites: Any, site: Array) -> Recognition:
        """The factors of one site; NaN where it has no precision."""
        if self.by_site:
            precision = params["precision"].at[:, site].get(mode="fill", fill_value=jnp.nan)
            params = params | {"precision": precision[:, None]}
        return self.apply(params, views, sites)

    def _with(self, precision: Array) -> NetworkFactors:
        return replace(self.factors, output=SharedPrecisionOutputs(precision))
