"""Questions about the data that a fit would generate: each a function of a `Fit` or `Fitted`."""

from rpm_jax.generation._imputation import Imputed, impute
from rpm_jax.generation._joint import draw_prior
from rpm_jax.generation._prediction import predict, predictive_log_weights
from rpm_jax.generation._sampling import Draw, component_log_weights, mixture_log_density, sample

__all__ = [
    "Draw",
    "Imputed",
    "component_log_weights",
    "draw_prior",
    "impute",
    "mixture_log_density",
    "predict",
    "predictive_log_weights",
    "sample",
]
