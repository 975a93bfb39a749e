"""Forecasts of held-out sequences, beside persistence and an autoregression, and how often intervals hold."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import rpm_jax as rpm
from rpm_jax import plots

LEVEL = 0.95


class Forecasts(NamedTuple):
    """Forecasts of states for horizons 1..H of n sequences, on the scale of the true states.

    Attributes:
        mean: Shape (n, H, D).
        deviation: Standard deviations, shape (n, H, D).
        truth: What came, shape (n, H, D).
        observed: What is known of the states until then, their posterior means, shape (n, T, D).
    """

    mean: np.ndarray
    deviation: np.ndarray
    truth: np.ndarray
    observed: np.ndarray

    def errors(self, train: np.ndarray) -> rpm.metrics.ForecastError:
        """By horizon; states are on the scale of the training sequences' deviations.

        Args:
            train: States of the training sequences, to which an autoregression is fitted, shape (N, T, D).
        """
        scale = train.reshape(-1, train.shape[-1]).std(0)
        return rpm.metrics.forecast_error(
            self.truth / scale, self.mean / scale, self.observed / scale, train=train / scale
        )

    def scores(self, train: np.ndarray) -> dict[str, Any]:
        """Mean squared errors by horizon, in units of the states' variances, and the intervals' coverage."""
        errors = self.errors(train)
        found = {name: np.asarray(each.mean_squared_error) for name, each in errors._asdict().items()}
        coverage = [
            np.asarray(
                rpm.metrics.interval_coverage(
                    self.truth, self.mean, self.deviation, levels=(LEVEL,), axis=axis
                )
            )[0]
            for axis in (None, (0, 2))
        ]
        return {
            **{f"error_{name}": values for name, values in found.items()},
            "beats_persistence": bool((found["forecast"] < found["persistence"]).all()),
            "coverage": float(coverage[0]),
            "coverage_by_horizon": coverage[1],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """All but the observed."""
        return {
            "forecast_mean": self.mean,
            "forecast_deviation": self.deviation,
            "forecast_truth": self.truth,
        }


def words(scores: dict[str, Any]) -> str:
    """The most important numbers in words."""
    own, last = scores["error_forecast"], scores["error_persistence"]
    return (
        f"forecast errors at 1, {len(own)} steps {own[0]:.3f}, {own[-1]:.3f} (persistence {last[0]:.3f}, "
        f"{last[-1]:.3f}), {LEVEL:.0%} intervals hold {scores['coverage']:.3f} of the time"
    )


def figures(
    forecasts: Forecasts, scores: dict[str, Any], times: np.ndarray, names: Sequence[str]
) -> dict[str, Callable[[], Any]]:
    """File names, and functions that draw the forecast of the first sequence, and errors by horizon.

    Args:
        forecasts: What is drawn.
        scores: Its scores.
        times: Of the T + H steps.
        names: Of the D states.
    """
    size = forecasts.observed.shape[1]
    ways = ("forecast", "persistence", "autoregression")
    return {
        "forecast.png": lambda: plots.forecast_fan(
            times[:size],
            forecasts.observed[0],
            times[size:],
            forecasts.mean[0],
            forecasts.deviation[0],
            truth=forecasts.truth[0],
            names=names,
        ),
        "errors.png": lambda: plots.error_by_horizon(
            {way: scores[f"error_{way}"] for way in ways}, label="squared error / variance"
        ),
    }
