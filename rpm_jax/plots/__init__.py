"""Figures of data, recovered latents and fits; none touches matplotlib's global state."""

from rpm_jax.plots._angles import circle_graphs, recovered_angles, sorted_adjacency
from rpm_jax.plots._balls import bouncing_balls
from rpm_jax.plots._curves import NUM_SMOOTHED, bound_history, drift, learning_curves, sweep_curves
from rpm_jax.plots._densities import density_maps
from rpm_jax.plots._dynamics import eigenvalues, error_by_horizon
from rpm_jax.plots._examples import patches_by_topic, samples_per_state
from rpm_jax.plots._factors import factor_moments, factor_states
from rpm_jax.plots._factors_over_time import factors_over_time
from rpm_jax.plots._films import image_chains
from rpm_jax.plots._forecasts import forecast_fan
from rpm_jax.plots._hidden_states import hidden_states
from rpm_jax.plots._latents import latents_over_time
from rpm_jax.plots._log_partition import log_partition_error
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
from rpm_jax.plots._tightness import gap_parts, likelihood_estimates, mixture_divergences
from rpm_jax.plots._trajectories import trajectories

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
    "circle_graphs",
    "confusion_matrices",
    "density_maps",
    "drift",
    "eigenvalues",
    "error_by_horizon",
    "factor_moments",
    "factor_states",
    "factors_over_time",
    "forecast_fan",
    "gap_parts",
    "hidden_states",
    "image_chains",
    "labelled_points",
    "latents_over_time",
    "learning_curves",
    "likelihood_estimates",
    "log_partition_error",
    "matched_columns",
    "matrix_pair",
    "maze_map",
    "mixture_divergences",
    "mixtures_by_model",
    "patches_by_topic",
    "prior_against_mixtures",
    "recovered_angles",
    "samples_per_state",
    "sorted_adjacency",
    "sweep_curves",
    "topic_proportions",
    "trajectories",
]
