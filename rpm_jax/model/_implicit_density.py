"""What an implicit model says about data, and whether that is a density."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import is_concrete
from rpm_jax.data import Data, as_data, has_missing_cells
from rpm_jax.factors import FactorSpec
from rpm_jax.incomplete import View, fill_missing
from rpm_jax.model._core import Core
from rpm_jax.model._records import Factors
from rpm_jax.objectives import (
    ImplicitIntegral,
    LogPartitionError,
    implicit_integral,
    implicit_log_likelihood,
)
from rpm_jax.priors import Posterior, Prior, PriorSpec


@dataclass(frozen=True, eq=False, init=False)
class ImplicitDensity:
    """Ratios, densities, posteriors and the integral of an implicit model; see `ImplicitRPM`."""

    core: Core
    marginals: tuple[Any, ...] | None
    integral_weight: float
    penalty_weight: float

    def __init__(
        self,
        prior: Prior | PriorSpec,
        factors: FactorSpec,
        marginals: Sequence[Any] | None = None,
        *,
        integral_weight: float = 1.0,
        penalty_weight: float = 0.0,
    ) -> None:
        for name, value in (("integral_weight", integral_weight), ("penalty_weight", penalty_weight)):
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")
        if marginals is not None:
            if not isinstance(marginals, Sequence):
                raise TypeError(
                    f"marginals must be a tuple or list, one for each view, got {type(marginals).__name__}"
                )
            for j, marginal in enumerate(marginals):
                if not callable(marginal) and not hasattr(marginal, "log_prob"):
                    raise TypeError(
                        f"marginals[{j}] must be a function log p0(x), or have a method log_prob as "
                        f"rpm_jax.marginals and distrax distributions do, got {type(marginal).__name__}"
                    )
            marginals = tuple(marginals)
        object.__setattr__(self, "core", Core(prior, factors))
        object.__setattr__(self, "marginals", marginals)
        object.__setattr__(self, "integral_weight", float(integral_weight))
        object.__setattr__(self, "penalty_weight", float(penalty_weight))

    def init(self, key: Array, data: Any) -> dict[str, Any]:
        """Initial parameters for these data, the same as those of an `RPM`."""
        return self.core.init(key, data)

    def groups(self, params: dict[str, Any]) -> dict[str, Any]:
        """How each parameter is learned: a pytree like `params` of "prior", "networks" or "none"."""
        return self.core.groups(params)

    def prior(self, params: dict[str, Any]) -> Prior:
        """The prior with these parameters."""
        return self.core.prior(params)

    def factors(self, params: dict[str, Any], views: tuple[View, ...], mask: Array | None = None) -> Factors:
        """Natural parameters of the factors of some data; see `RPM.factors`."""
        return self.core.factors(params, views, mask)

    # What the model says about data.

    def log_ratio(self, params: dict[str, Any], views: Any) -> Array:
        """Log p(X) − Σ_j log p0(x_j) of any data.

        Args:
            params: The model's parameters.
            views: `Data` (with a mask, say) or a tuple of J views.

        Returns:
            In nats, shape (n,).
        """
        data = as_data(views)
        factors = self.factors(params, data.views, data.mask)
        natural, _, log_scale, mask = factors
        return implicit_log_likelihood(self.prior(params), natural, log_scale=log_scale, mask=mask)

    def log_density(self, params: dict[str, Any], views: Any) -> Array:
        """Log p(X) of any data, not normalised where F_j is not the prior (see `integral`).

        Args:
            params: The model's parameters.
            views: Complete `Data` or a tuple of J views.

        Returns:
            In nats, shape (n,).

        Raises:
            ValueError: If the model has no marginals, or for data with a mask.
        """
        data = complete(views)
        return self.log_ratio(params, data) + jnp.sum(self.log_marginals(data.views), axis=1)

    def log_marginals(self, views: tuple[View, ...]) -> Array:
        """Log p0(x_j) of every view, in nats, shape (n, J)."""
        if self.marginals is None:
            raise ValueError(
                "marginals: log p(X) and its derivatives need log p0(x_j) of every view; make the model with "
                "marginals=(...), such as rpm_jax.marginals.kernel_density(view), or use log_ratio"
            )
        if len(self.marginals) != len(views):
            raise ValueError(
                f"marginals must be one for each of J = {len(views)} views, got {len(self.marginals)}"
            )
        pairs = enumerate(zip(self.marginals, fill_missing(views), strict=True))
        return jnp.stack([_log_marginal(j, *pair) for j, pair in pairs], axis=1)

    def posterior(self, params: dict[str, Any], views: Any) -> Posterior:
        """p(Z|X) of any data: the prior conditioned on Σ_j (η_jt − η0_t).

        Args:
            params: The model's parameters.
            views: `Data` or a tuple of J views.

        Returns:
            A posterior of batch shape (n,), with mean, standard_deviation and sample(key, shape).
        """
        data = as_data(views)
        return self._posterior(params, data)

    @partial(jax.jit, static_argnums=0)
    def _posterior(self, params: dict, data: Data) -> Posterior:
        factors = self.factors(params, data.views, data.mask)
        return self.prior(params).condition(factors.conjugate())

    def log_partition_error(self, params: dict[str, Any], views: Any) -> LogPartitionError:
        """How far the factors are from normalised; see `RPM.log_partition_error`.

        No F_jt is evaluated here in which the means would cancel: their sum over views and sites stays, and
        should be near 0.

        Args:
            params: The model's parameters.
            views: Any data.
        """
        return self.core.log_partition_error(params, views)

    # Whether it is a density.

    def integral(
        self, params: dict[str, Any], views: Any, key: Array, *, num_blocks: int = 20, num_shifts: int = 20
    ) -> ImplicitIntegral:
        """Estimate ∫ p(X) dX, and warn where it is not 1 within three standard errors.

        Args:
            params: The model's parameters.
            views: Complete data; only their marginals matter, since views of different data are put together.
            key: A random key.
            num_blocks: See `rpm_jax.objectives.implicit_integral`.
            num_shifts: See there.

        Returns:
            The estimate and its standard error.
        """
        result = self._integral(params, complete(views), key, num_blocks, num_shifts)
        if is_concrete(result) and bool(result.deviates):
            warnings.warn(
                f"the implicit model is not normalised: ∫ p(x) dx is {float(result.value):.4g} ± "
                f"{float(result.standard_error):.2g}, not 1, since the mixtures F_j differ from the prior; "
                "subtract the logarithm of that (log_value) from its log-densities, fit with a higher "
                "integral_weight, or use rpm_jax.RPM, which is always normalised",
                stacklevel=2,
            )
        return result

    @partial(jax.jit, static_argnums=(0, 4, 5))
    def _integral(
        self, params: dict, data: Data, key: Array, num_blocks: int, num_shifts: int
    ) -> ImplicitIntegral:
        factors = self.factors(params, data.views)
        return implicit_integral(
            self.prior(params),
            factors.natural,
            key,
            log_scale=factors.log_scale,
            log_weights=data.log_weights,
            num_blocks=num_blocks,
            num_shifts=num_shifts,
        )


def complete(views: Any) -> Data:
    """Raise `ValueError` for data with a mask, where whole views are needed."""
    data = as_data(views)
    if data.mask is not None or has_missing_cells(data):
        raise ValueError(
            "views must be complete here, since marginals are of whole views; got a mask or missing "
            "cells. log_ratio, posterior and bound take incomplete data"
        )
    return data


def _log_marginal(index: int, marginal: Callable[[Array], Array] | Any, view: Array) -> Array:
    """Log p0 of one view, shape (n,)."""
    value = jnp.asarray(marginal.log_prob(view) if hasattr(marginal, "log_prob") else marginal(view))
    if value.ndim == 0 or value.shape != view.shape[: value.ndim]:
        raise ValueError(
            f"marginals[{index}] must give shape {view.shape[:1]} or a number for every entry of the view, "
            f"{view.shape}, got {value.shape}"
        )
    return jnp.sum(value.reshape(value.shape[0], -1), axis=1)
