"""How well recovered latents agree with true ones, up to what a model cannot identify.

Continuous latents are compared up to an affine map, discrete states up to their order.
"""

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
    "AlignedLatent",
    "Matching",
    "align_latent",
    "confusion_matrix",
    "linear_r2",
    "match_proportions",
    "match_states",
    "matched_accuracy",
    "matched_proportions_error",
    "mutual_information",
    "normalised_mutual_information",
    "states_in_use",
    "torchrpm_r2",
    "transition_error",
]
