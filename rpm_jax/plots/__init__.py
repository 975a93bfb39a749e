"""Figures of data, recovered latents and fits; none touches matplotlib's global state."""

from rpm_jax.plots._balls import bouncing_balls
from rpm_jax.plots._curves import NUM_SMOOTHED, bound_history, drift, learning_curves
from rpm_jax.plots._densities import density_maps
from rpm_jax.plots._examples import patches_by_topic, samples_per_state
from rpm_jax.plots._factors import factor_moments, factor_states
from rpm_jax.plots._matrices import confusion_matrices, matched_columns, matrix_pair
from rpm_jax.plots._maze import maze_map
from rpm_jax.plots._mixtures import mixtures_by_model, prior_against_mixtures
from rpm_jax.plots._points import labelled_points
from rpm_jax.plots._proportions import topic_proportions
from rpm_jax.plots._style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MAX_NAMED_MIXTURES,
    ORANGE,
    PURPLE,
    RESOLUTION,
    SKY,
    VERMILION,
)

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "MAX_NAMED_MIXTURES",
    "NUM_SMOOTHED",
    "ORANGE",
    "PURPLE",
    "RESOLUTION",
    "SKY",
    "VERMILION",
    "bouncing_balls",
    "bound_history",
    "confusion_matrices",
    "density_maps",
    "drift",
    "factor_moments",
    "factor_states",
    "labelled_points",
    "learning_curves",
    "matched_columns",
    "matrix_pair",
    "maze_map",
    "mixtures_by_model",
    "patches_by_topic",
    "prior_against_mixtures",
    "samples_per_state",
    "topic_proportions",
]
