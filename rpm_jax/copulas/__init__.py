"""Copulas: dependence between numbers whose marginals are given, with its mutual information."""

from rpm_jax.copulas._base import Copula, Probabilities
from rpm_jax.copulas._clayton import Clayton
from rpm_jax.copulas._gaussian import Gaussian, equicorrelation
from rpm_jax.copulas._joint import JointDistribution, joint
from rpm_jax.copulas._student import Student

__all__ = [
    "Clayton",
    "Copula",
    "Gaussian",
    "JointDistribution",
    "Probabilities",
    "Student",
    "equicorrelation",
    "joint",
]
