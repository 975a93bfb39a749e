"""Networks for factors, posteriors and auxiliaries: flax modules, or any pair of init and apply."""

from rpm_jax.networks._combined import CombinedViews, concatenated, stacked
from rpm_jax.networks._convolution import Conv, max_pool
from rpm_jax.networks._graph import GraphNetwork, normalised_adjacency
from rpm_jax.networks._input_convex import InputConvex
from rpm_jax.networks._modules import CNN, MLP, PointwiseMLP
from rpm_jax.networks._protocol import Network, as_network, starting_at_zero, with_outputs
from rpm_jax.networks._standardised import Standardised, standardised

__all__ = [
    "CNN",
    "MLP",
    "CombinedViews",
    "Conv",
    "GraphNetwork",
    "InputConvex",
    "Network",
    "PointwiseMLP",
    "Standardised",
    "as_network",
    "concatenated",
    "max_pool",
    "normalised_adjacency",
    "stacked",
    "standardised",
    "starting_at_zero",
    "with_outputs",
]
