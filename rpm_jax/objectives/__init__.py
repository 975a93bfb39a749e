"""Objectives: pure functions of natural parameters, differentiable under every JAX transformation."""

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
from rpm_jax.objectives._inner_bound import conjugate_potentials, fill_missing, inner_bound, inner_bound_at
from rpm_jax.objectives._local import LocalLatents, local_latents

__all__ = [
    "LocalLatents",
    "ViewPosteriors",
    "conjugate_potentials",
    "exact_log_likelihood",
    "exact_posterior",
    "fill_missing",
    "free_energy",
    "free_energy_at",
    "inner_bound",
    "inner_bound_at",
    "local_latents",
    "log_ratios",
    "log_ratios_at",
    "mixture_evidence",
    "view_posteriors",
]
