"""Distributions of one number: density, distribution function and its inverse."""

from rpm_jax.marginals._base import Completed, Marginal, as_marginal
from rpm_jax.marginals._exponential import Exponential
from rpm_jax.marginals._kernel_density import KernelDensity, kernel_density
from rpm_jax.marginals._normal import Normal

__all__ = [
    "Completed",
    "Exponential",
    "KernelDensity",
    "Marginal",
    "Normal",
    "as_marginal",
    "kernel_density",
]
