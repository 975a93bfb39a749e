"""From latents to observations, by a regression made after the fit; it never touches the model.

An RPM has no decoder of its own: its p(x_j | Z) is a distribution over the data it holds. Where a picture or
a score of a forecast or an imputation is wanted as an observation, `fit_decoder` learns one from pairs of
latents and data.
"""

from rpm_jax.decoding._decoder import Decoder, fit_decoder
from rpm_jax.decoding._losses import LOSSES, Bernoulli, Loss, Poisson, Squared
from rpm_jax.decoding._network import NetworkRegressor, network
from rpm_jax.decoding._regressor import Regressor
from rpm_jax.decoding._scikit_learn import ScikitLearnRegressor, scikit_learn

__all__ = [
    "LOSSES",
    "Bernoulli",
    "Decoder",
    "Loss",
    "NetworkRegressor",
    "Poisson",
    "Regressor",
    "ScikitLearnRegressor",
    "Squared",
    "fit_decoder",
    "network",
    "scikit_learn",
]
