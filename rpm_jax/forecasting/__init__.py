"""What is now, and what comes next: questions to a fitted sequence model.

    filter(fitted)                          # p(z_t | x_1..t) of every site
    state = filter_init(fitted)             # the same a step at a time, in O(1) each
    state, site = filter_step(state, views, inputs=...)
    forecast(fitted, horizon)               # p(z_T+1..T+h | x_1..T)
    rollout(fitted, state, horizon)         # the same from a state
    most_likely_path(fitted)                # of a hidden Markov chain

What was, given all that is known, is the posterior (`rpm_jax.inference`).
"""

from rpm_jax.forecasting._filter import filter
from rpm_jax.forecasting._forecast import Forecast, forecast
from rpm_jax.forecasting._marginals import SiteMarginals
from rpm_jax.forecasting._online import FilterState, filter_init, filter_step
from rpm_jax.forecasting._path import MostLikelyPath, most_likely_path
from rpm_jax.forecasting._rollout import Rollout, rollout

__all__ = [
    "FilterState",
    "Forecast",
    "MostLikelyPath",
    "Rollout",
    "SiteMarginals",
    "filter",
    "filter_init",
    "filter_step",
    "forecast",
    "most_likely_path",
    "rollout",
]
