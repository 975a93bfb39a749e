"""Exponential families as pytrees of natural parameters.

Every family is a batch of distributions p(z) = χ(z) exp(⟨η, t(z)⟩ − A(η)). The methods are the theory:
`log_partition`, `mean_parameters`, `from_mean`, `log_prob`, `sample`, `entropy`, `kl_divergence`, and
arithmetic on natural parameters.
"""

from rpm_jax._pytree import pytree_dataclass, static_field
from rpm_jax.expfam._base import ExponentialFamily, Statistics, concatenate, map_rows, stack
from rpm_jax.expfam._categorical import Categorical
from rpm_jax.expfam._dirichlet import Beta, Dirichlet
from rpm_jax.expfam._gamma import Gamma
from rpm_jax.expfam._gaussian import DiagonalGaussian, Gaussian, KnownCovarianceGaussian
from rpm_jax.expfam._poisson import Poisson
from rpm_jax.expfam._von_mises import VonMises

__all__ = [
    "Beta",
    "Categorical",
    "DiagonalGaussian",
    "Dirichlet",
    "ExponentialFamily",
    "Gamma",
    "Gaussian",
    "KnownCovarianceGaussian",
    "Poisson",
    "Statistics",
    "VonMises",
    "concatenate",
    "map_rows",
    "pytree_dataclass",
    "stack",
    "static_field",
]
