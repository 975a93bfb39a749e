"""How well recovered latents agree with true ones, up to what a model cannot identify.

Continuous latents are compared up to an affine map, or a smooth one; discrete states up to their order,
angles up to a rotation and a reflection. And what latents tell of behaviour, and of what comes next.
"""

from rpm_jax.metrics._angles import (
    AlignedAngles,
    align_angles,
    angular_distance,
    circular_correlation,
    mean_angular_error,
)
from rpm_jax.metrics._clustering import (
    Matching,
    confusion_matrix,
    match_proportions,
    match_states,
    matched_accuracy,
    matched_proportions_error,
    mutual_information,
    normalised_mutual_information,
    states_in_use,
    transition_error,
)
from rpm_jax.metrics._decoding import Decoding, decoding
from rpm_jax.metrics._forecasts import ForecastError, HorizonError, forecast_error
from rpm_jax.metrics._intervals import interval_coverage, sample_coverage
from rpm_jax.metrics._kernel_ridge import kernel_ridge_r2
from rpm_jax.metrics._regression import (
    AlignedLatent,
    align_latent,
    correlation,
    linear_correlation,
    linear_r2,
    torchrpm_r2,
)

__all__ = [
    "AlignedAngles",
    "AlignedLatent",
    "Decoding",
    "ForecastError",
    "HorizonError",
    "Matching",
    "align_angles",
    "align_latent",
    "angular_distance",
    "circular_correlation",
    "confusion_matrix",
    "correlation",
    "decoding",
    "forecast_error",
    "interval_coverage",
    "kernel_ridge_r2",
    "linear_correlation",
    "linear_r2",
    "match_proportions",
    "match_states",
    "matched_accuracy",
    "matched_proportions_error",
    "mean_angular_error",
    "mutual_information",
    "normalised_mutual_information",
    "sample_coverage",
    "states_in_use",
    "torchrpm_r2",
    "transition_error",
]
