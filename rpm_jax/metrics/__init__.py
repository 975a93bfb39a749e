"""How well recovered latents agree with true ones, up to what a model cannot identify.

Continuous latents are compared up to an affine map, discrete states up to their order, angles up to a
rotation and a reflection.
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
from rpm_jax.metrics._regression import AlignedLatent, align_latent, linear_r2, torchrpm_r2

__all__ = [
    "AlignedAngles",
    "AlignedLatent",
    "Matching",
    "align_angles",
    "align_latent",
    "angular_distance",
    "circular_correlation",
    "confusion_matrix",
    "linear_r2",
    "match_proportions",
    "match_states",
    "matched_accuracy",
    "matched_proportions_error",
    "mean_angular_error",
    "mutual_information",
    "normalised_mutual_information",
    "states_in_use",
    "torchrpm_r2",
    "transition_error",
]
