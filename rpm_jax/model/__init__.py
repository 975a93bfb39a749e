"""The recognition-parametrised model."""

from rpm_jax.model._records import Draw, Factors, Inferred, Mixture
from rpm_jax.model._rpm import RPM

__all__ = ["RPM", "Draw", "Factors", "Inferred", "Mixture"]
