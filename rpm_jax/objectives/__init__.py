"""Objectives: pure functions of natural parameters, differentiable under every JAX transformation."""

from rpm_jax.objectives._inner_bound import conjugate_potentials, fill_missing, inner_bound, inner_bound_at

__all__ = ["conjugate_potentials", "fill_missing", "inner_bound", "inner_bound_at"]
