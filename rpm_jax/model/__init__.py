"""The recognition-parametrised model."""

from rpm_jax.model._implicit import ImplicitRPM
from rpm_jax.model._inference import MOST_EVALUATED, evenly_spread
from rpm_jax.model._joint import JointRPM
from rpm_jax.model._local import LocalLatentRPM, LocalOutputs
from rpm_jax.model._prediction import Dependence
from rpm_jax.model._protocol import Model
from rpm_jax.model._records import Components, Draw, Factors, Inferred, Mixture
from rpm_jax.model._rpm import RPM

__all__ = [
    "MOST_EVALUATED",
    "RPM",
    "Components",
    "Dependence",
    "Draw",
    "Factors",
    "ImplicitRPM",
    "Inferred",
    "JointRPM",
    "LocalLatentRPM",
    "LocalOutputs",
    "Mixture",
    "Model",
    "evenly_spread",
]
