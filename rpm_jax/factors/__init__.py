"""Recognition factors: from views to natural parameters g_j(x_j), to be added to the prior's."""

from rpm_jax.factors._base import FactorSpec, Recognition, natural_parameters, stack_views
from rpm_jax.factors._constructors import KINDS, per_view, shared
from rpm_jax.factors._log_partition import LogPartitionFactors
from rpm_jax.factors._networks import NetworkFactors, with_features
from rpm_jax.factors._shared_precision import SharedPrecisionFactors

__all__ = [
    "KINDS",
    "FactorSpec",
    "LogPartitionFactors",
    "NetworkFactors",
    "Recognition",
    "SharedPrecisionFactors",
    "natural_parameters",
    "per_view",
    "shared",
    "stack_views",
    "with_features",
]
