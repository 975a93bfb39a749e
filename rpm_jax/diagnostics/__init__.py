"""Questions about how good a fit is: each a function of a fit, or of a model with parameters and data."""

from rpm_jax.diagnostics._density import Dependence, log_density_ratio, total_correlation
from rpm_jax.diagnostics._normalisation import integral, log_partition_error
from rpm_jax.diagnostics._tightness import (
    bound_gap,
    log_likelihood_estimate,
    log_likelihood_quadrature,
    mixture_divergence,
)
from rpm_jax.diagnostics._weights import (
    has_differentiable_draws,
    importance_weighted_bound,
    log_importance_weights,
    samples_at_once,
)

__all__ = [
    "Dependence",
    "bound_gap",
    "has_differentiable_draws",
    "importance_weighted_bound",
    "integral",
    "log_density_ratio",
    "log_importance_weights",
    "log_likelihood_estimate",
    "log_likelihood_quadrature",
    "log_partition_error",
    "mixture_divergence",
    "samples_at_once",
    "total_correlation",
]
