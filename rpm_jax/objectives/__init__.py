"""Objectives: pure functions of natural parameters, differentiable under every JAX transformation."""

from rpm_jax.objectives._charts import Chart
from rpm_jax.objectives._divergence import (
    MixtureDivergence,
    mixture_divergence,
    mixture_divergence_at,
)
from rpm_jax.objectives._exact import (
    ViewPosteriors,
    exact_log_likelihood,
    exact_posterior,
    free_energy,
    free_energy_at,
    log_ratios,
    log_ratios_at,
    mixture_evidence,
    view_posteriors,
)
from rpm_jax.objectives._gap import BoundGap, gap_from_quadrature, gap_from_weights
from rpm_jax.objectives._implicit import (
    ImplicitIntegral,
    implicit_integral,
    implicit_log_likelihood,
    moment_penalty,
)
from rpm_jax.objectives._importance import (
    ImportanceEstimate,
    check_exact,
    estimate_log_likelihood,
    importance_weighted_bound,
    log_importance_weights,
    log_importance_weights_at,
)
from rpm_jax.objectives._inner_bound import conjugate_potentials, fill_missing, inner_bound, inner_bound_at
from rpm_jax.objectives._local import LocalLatents, local_latents
from rpm_jax.objectives._log_partition_error import LogPartitionError, log_partition_error
from rpm_jax.objectives._quadrature import Quadrature, log_likelihood_quadrature
from rpm_jax.objectives._score_matching import score_matching, sliced_score_matching
from rpm_jax.objectives._view_score_matching import view_score_matching

__all__ = [
    "BoundGap",
    "Chart",
    "ImplicitIntegral",
    "ImportanceEstimate",
    "LocalLatents",
    "LogPartitionError",
    "MixtureDivergence",
    "Quadrature",
    "ViewPosteriors",
    "check_exact",
    "conjugate_potentials",
    "estimate_log_likelihood",
    "exact_log_likelihood",
    "exact_posterior",
    "fill_missing",
    "free_energy",
    "free_energy_at",
    "gap_from_quadrature",
    "gap_from_weights",
    "implicit_integral",
    "implicit_log_likelihood",
    "importance_weighted_bound",
    "inner_bound",
    "inner_bound_at",
    "local_latents",
    "log_importance_weights",
    "log_importance_weights_at",
    "log_likelihood_quadrature",
    "log_partition_error",
    "log_ratios",
    "log_ratios_at",
    "mixture_divergence",
    "mixture_divergence_at",
    "mixture_evidence",
    "moment_penalty",
    "score_matching",
    "sliced_score_matching",
    "view_posteriors",
    "view_score_matching",
]
