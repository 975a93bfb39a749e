"""How far forecasts are from what came, beside two that need no model."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from rpm_jax._arrays import as_floating
from rpm_jax._checks import require_positive_integer
from rpm_jax.metrics._regression import AlignedLatent, affine_map


class HorizonError(NamedTuple):
    """The error of one way to forecast, for each horizon h = 1..H.

    Attributes:
        mean_squared_error: Over sequences and dimensions, shape (H,).
        r2: 1 − Σ (z − ẑ)² / Σ (z − z̄)² over sequences and dimensions, z̄ the mean over sequences at this
            horizon, shape (H,); NaN or −∞ where the truth is the same in all sequences, as for a single one.
    """

    mean_squared_error: Array
    r2: Array


class ForecastError(NamedTuple):
    """Errors by horizon: the forecasts', and of two that know nothing but the past of what is forecast.

    Attributes:
        forecast: Of the forecasts.
        persistence: Of the last value observed, repeated.
        autoregression: Of a linear autoregression.
    """

    forecast: HorizonError
    persistence: HorizonError
    autoregression: HorizonError


def forecast_error(
    truth: ArrayLike,
    forecast: ArrayLike,
    observed: ArrayLike,
    *,
    train: ArrayLike | None = None,
    order: int = 1,
) -> ForecastError:
    """Errors of forecasts by horizon, against persistence and a linear autoregression.

        z_t = c + Σ_i A_i z_{t−i} + noise,   i = 1..order, by least squares, iterated from the last steps

    All arrays are on one scale: map recovered latents to that of the truth by the `align_latent` of training
    sequences and its `apply`. Forecasts from several times of one sequence count as sequences of their own.
    Can be jitted.

    Args:
        truth: What came 1..H steps after the last observed one, shape (N, H, K).
        forecast: Forecasts of it, such as means, shape (N, H, K).
        observed: The truth until then, whose last step the horizons count from, shape (N, T, K), T ≥ order.
        train: Sequences that the autoregression is fitted to, shape (M, T', K), T' > order; `observed` if not
            given.
        order: How many steps the autoregression looks back.

    Returns:
        The errors of the three, each with shape (H,).

    Raises:
        ValueError: If the shapes do not match, or sequences are too short for the order.
    """
    name = "forecast_error"
    true, found, past = (
        as_floating(f"{name}: {argument}", value)
        for argument, value in [("truth", truth), ("forecast", forecast), ("observed", observed)]
    )
    examples = past if train is None else as_floating(f"{name}: train", train)
    require_positive_integer(f"{name}: order", order)
    if true.ndim != 3 or found.shape != true.shape or not true.size:
        raise ValueError(
            f"{name}: truth and forecast must both have shape (N, H, K) and not be empty, got {true.shape} "
            f"and {found.shape}"
        )
    num_sequences, horizon, size = true.shape
    if past.ndim != 3 or (past.shape[0], past.shape[2]) != (num_sequences, size) or past.shape[1] < order:
        raise ValueError(
            f"{name}: observed must have shape (N, T, K) with N = {num_sequences}, K = {size} and T at least "
            f"order = {order}, got {past.shape}"
        )
    if examples.ndim != 3 or examples.shape[2] != size or examples.shape[1] <= order or not len(examples):
        argument = "observed, which stands for train," if train is None else "train"
        raise ValueError(
            f"{name}: {argument} must have shape (M, T, K) with K = {size} and T more than order = {order}, "
            f"got {examples.shape}"
        )
    persistent = jnp.broadcast_to(past[:, -1:], true.shape)
    steps = affine_map(examples[:, order:], _lagged(examples, order))
    iterated = _iterate(steps, past[:, past.shape[1] - order :], horizon)
    return ForecastError(*(_errors(true, each) for each in (found, persistent, iterated)))


def _lagged(values: Array, order: int) -> Array:
    """The `order` steps before each of steps `order`..T − 1, the nearest first, (N, T − order, order·K)."""
    size = values.shape[1]
    return jnp.concatenate([values[:, order - i : size - i] for i in range(1, order + 1)], axis=-1)


def _iterate(steps: AlignedLatent, last: Array, horizon: int) -> Array:
    """The autoregression from the last steps on, shape (N, H, K)."""

    def advance(window: Array, _: None) -> tuple[Array, Array]:
        newest = steps.apply(window[:, ::-1].reshape(window.shape[0], -1))
        return jnp.concatenate([window[:, 1:], newest[:, None]], axis=1), newest

    _, found = lax.scan(advance, last.astype(steps.slope.dtype), None, length=horizon)
    return jnp.moveaxis(found, 0, 1)


def _errors(truth: Array, forecast: Array) -> HorizonError:
    squares = (truth - forecast) ** 2
    spread = (truth - jnp.mean(truth, axis=0)) ** 2
    return HorizonError(
        jnp.mean(squares, axis=(0, 2)), 1.0 - jnp.sum(squares, axis=(0, 2)) / jnp.sum(spread, axis=(0, 2))
    )
