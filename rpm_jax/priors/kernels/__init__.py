"""Covariance functions of Gaussian processes: named records with an algebra.

    0.9 * RBF(lengthscale=3.0) + 0.1 * Matern(0.5)        # sums, products, multiples
    on(RBF(), 0) * on(Periodic(24.0), 1)                  # of some coordinates of a location each

Hyperparameters are in the units of the locations (times), start at the value that is given, and are learned
as logarithms but for those that are named in `fixed`. Any object with `init` and `covariance` is a `Kernel`;
one with `num_states` and `markov` too is a `MarkovKernel`, whose processes cost O(T).
"""

from rpm_jax.priors.kernels._algebra import On, Product, Scaled, Sum, on
from rpm_jax.priors.kernels._base import Kernel, MarkovKernel, describe
from rpm_jax.priors.kernels._cosine import Cosine
from rpm_jax.priors.kernels._damped_oscillation import DampedOscillation
from rpm_jax.priors.kernels._named import as_kernel
from rpm_jax.priors.kernels._periodic import Periodic
from rpm_jax.priors.kernels._states import MarkovForm, form_of, num_states, require_form
from rpm_jax.priors.kernels._stationary import RBF, Matern, RationalQuadratic, rbf_from_bandwidth
from rpm_jax.priors.kernels._white import White

__all__ = [
    "RBF",
    "Cosine",
    "DampedOscillation",
    "Kernel",
    "MarkovForm",
    "MarkovKernel",
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
    "form_of",
    "num_states",
    "on",
    "rbf_from_bandwidth",
    "require_form",
]
