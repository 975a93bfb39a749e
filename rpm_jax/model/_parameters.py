"""The parts of a recognition-parametrised model, and what their parameters mean."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax import auxiliaries, posteriors
from rpm_jax._checks import require_boolean, require_instance
from rpm_jax.auxiliaries import AuxiliaryStrategy
from rpm_jax.factors import FactorSpec, natural_parameters
from rpm_jax.incomplete import View, as_taken_by, mark_missing, site_mask
from rpm_jax.model._records import Factors
from rpm_jax.posteriors import PosteriorStrategy
from rpm_jax.priors import Prior, PriorSpec, as_spec


@dataclass(frozen=True, eq=False, init=False)
class Parameters:
    """The model's parts, priors and factors of parameters; see `RPM`."""

    prior_spec: PriorSpec
    factor_spec: FactorSpec
    posterior_strategy: PosteriorStrategy
    auxiliary_strategy: AuxiliaryStrategy
    pooled: bool
    one_hot: bool

    def __init__(
        self,
        prior: Prior | PriorSpec,
        factors: FactorSpec,
        posterior: PosteriorStrategy | None = None,
        auxiliary: AuxiliaryStrategy | None = None,
        *,
        pooled: bool = False,
    ) -> None:
        require_boolean("pooled", pooled)
        prior_spec = as_spec(prior)
        one_hot = initial_sites(prior_spec).one_hot
        if posterior is None:
            posterior = posteriors.exact() if one_hot else posteriors.conjugate()
        if auxiliary is None:
            auxiliary = auxiliaries.exact() if one_hot else auxiliaries.posterior()
        if not isinstance(factors, type) and (
            hasattr(factors, "with_outputs") or isinstance(factors, nn.Module)
        ):
            raise TypeError(
                f"factors must be recognition factors, got the network {type(factors).__name__}: pass "
                "rpm_jax.factors.per_view(network) or rpm_jax.factors.shared(network)"
            )
        for name, value, protocol in (
            ("factors", factors, FactorSpec),
            ("posterior", posterior, PosteriorStrategy),
            ("auxiliary", auxiliary, AuxiliaryStrategy),
        ):
            require_instance(name, value)
            if not isinstance(value, protocol):
                raise TypeError(
                    f"{name} must satisfy rpm_jax's {protocol.__name__} protocol, got {type(value).__name__}"
                    f"{': call it, as in posteriors.conjugate()' if callable(value) else ''}"
                )
        for name, strategy in (("posterior", posterior), ("auxiliary", auxiliary)):
            if getattr(strategy, "uses_mixture", False) and not one_hot:
                raise ValueError(
                    f"{name}: exact() needs a prior whose sites have one-hot statistics, such as "
                    f"Categorical, got {type(initial_sites(prior_spec)).__name__}; leave it out for "
                    "the default of this family"
                )
        object.__setattr__(self, "prior_spec", prior_spec)
        object.__setattr__(self, "factor_spec", factors)
        object.__setattr__(self, "posterior_strategy", posterior)
        object.__setattr__(self, "auxiliary_strategy", auxiliary)
        object.__setattr__(self, "pooled", pooled)
        object.__setattr__(self, "one_hot", one_hot)
        if pooled and not one_hot:
            check_equal_sites(self.prior_spec)

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks", "rows" or "none".

        Parameters under the name "statistics" are those of standardised inputs, and not learned.
        """
        names = {
            "prior": "prior",
            "factors": "networks",
            "posterior": self.posterior_strategy.group,
            "auxiliary": self.auxiliary_strategy.group,
        }

        def group(path: tuple, _: Array) -> str:
            part, *inner = (str(getattr(entry, "key", "")) for entry in path)
            return "none" if "statistics" in inner else names[part]

        return jax.tree_util.tree_map_with_path(group, params)

    @property
    def has_rows(self) -> bool:
        """Whether some parameters belong to single data (a saturated strategy)."""
        return bool(self.row_parts)

    @property
    def row_parts(self) -> tuple[str, ...]:
        """Which of "posterior" and "auxiliary" have rows."""
        return tuple(name for name, strategy in self._strategies().items() if strategy.group == "rows")

    def prior(self, params: dict[str, Any]) -> Prior:
        """The prior with these parameters."""
        return self.prior_spec.apply(params["prior"])

    def factors(self, params: dict[str, Any], views: tuple[View, ...], mask: Array | None = None) -> Factors:
        """Natural parameters of the factors of some data.

        Args:
            params: The model's parameters.
            views: J arrays with first axis n; `Incomplete` where cells are missing.
            mask: Boolean (n, J, T) or (n, J), or None.
        """
        sites = self.prior(params).sites()
        mask = site_mask(views, mask, sites.batch_shape[0])
        taken = as_taken_by(self.factor_spec, mark_missing(views, mask))
        potentials, log_scale = self.factor_spec.apply(params["factors"], taken, sites)
        natural = natural_parameters(potentials, sites)
        if mask is not None:
            natural = natural.where(mask) + sites.broadcast_to(natural.batch_shape).where(~mask)
            log_scale = None if log_scale is None else jnp.where(mask, log_scale, 0)
        return Factors(natural, natural - sites, log_scale, mask)

    @property
    def is_exact(self) -> bool:
        """Whether E_q[log F_jt] is evaluated, not bounded."""
        return getattr(self.auxiliary_strategy, "uses_mixture", False)

    @property
    def _uses_log_mixture(self) -> bool:
        return self.is_exact or self._needs_mixture

    @property
    def _needs_mixture(self) -> bool:
        """Whether the posterior depends on the mixtures."""
        return getattr(self.posterior_strategy, "uses_mixture", False)

    def _strategies(self) -> dict[str, Any]:
        return {"posterior": self.posterior_strategy, "auxiliary": self.auxiliary_strategy}


def initial_sites(spec: PriorSpec) -> Any:
    """The marginals of the initial prior, shapes only."""
    return jax.eval_shape(lambda key: spec.apply(spec.init(key)).sites(), jax.random.key(0))


def check_equal_sites(spec: PriorSpec) -> None:
    """Raise `ValueError` unless the initial prior has the same marginal at every site."""
    sites = spec.apply(spec.init(jax.random.key(0))).sites()
    if any(
        not np.allclose(np.asarray(parameter), np.asarray(parameter[:1]), rtol=1e-4, atol=1e-6)
        for parameter in sites.natural_parameters
    ):
        raise ValueError(
            "pooled=True averages F_j over the sites, which needs a prior with the same marginal at every "
            "site; this prior's marginals differ"
        )
