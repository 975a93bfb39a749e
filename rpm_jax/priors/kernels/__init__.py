"""Covariance functions of Gaussian processes: named records with an algebra.

    0.9 * RBF(lengthscale=3.0) + 0.1 * Matern(0.5)        # sums, products, multiples
    on(RBF(), 0) * on(Periodic(24.0), 1)                  # of some coordinates of a location each

Hyperparameters are in the units of the locations (times), start at the value that is given, and are learned
as logarithms but for those that are named in `fixed`. Any object with `init` and `covariance` is a `Kernel`.
"""

from rpm_jax.priors.kernels._algebra import On, Product, Scaled, Sum, on
from rpm_jax.priors.kernels._base import Kernel, describe
from rpm_jax.priors.kernels._named import as_kernel
from rpm_jax.priors.kernels._periodic import Periodic
from rpm_jax.priors.kernels._stationary import RBF, Matern, RationalQuadratic, rbf_from_bandwidth
from rpm_jax.priors.kernels._white import White

__all__ = [
    "RBF",
    "Kernel",
    "Matern",
    "On",
    "Periodic",
    "Product",
    "RationalQuadratic",
    "Scaled",
    "Sum",
    "White",
    "as_kernel",
    "describe",
    "on",
    "rbf_from_bandwidth",
]
