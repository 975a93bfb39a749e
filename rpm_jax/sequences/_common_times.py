"""Views sampled at different times, on the sites of all of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from rpm_jax._arrays import to_numpy
from rpm_jax.data import Data, as_data


class OnCommonTimes(NamedTuple):
    """Views on common sites.

    Attributes:
        times: The times of the sites, increasing, a NumPy array (T,) of double precision, or of dates.
        data: Views (N, T, ...), masked where a view was not sampled.
    """

    times: np.ndarray
    data: Data


def on_common_times(
    views: Sequence[Any],
    times: Sequence[Any],
    *,
    decimals: int | None = None,
    log_weights: Any = None,
    missing: str = "error",
) -> OnCommonTimes:
    """Views that were sampled at different times, as data with a site for every time of any view.

    Args:
        views: J arrays (N, T_j) or (N, T_j, ...).
        times: J increasing arrays (T_j,) of numbers, or of NumPy's dates or durations: when each view was
            sampled, the same for all N data.
        decimals: Times that agree after rounding to so many decimals are one site; None: equal ones alone.
        log_weights: As in `as_data`.
        missing: As in `as_data`.

    Returns:
        The times of the sites, such as for `priors.gaussian_process(times, ...)`, and the data.

    Raises:
        ValueError: For times that do not increase, or are not as many as the view's steps.
    """
    if len(views) != len(times):
        raise ValueError(f"times must have an entry for each of the J = {len(views)} views, got {len(times)}")
    arrays, own_times = [], []
    for j, (view, own) in enumerate(zip(views, times, strict=True)):
        array = np.asarray(view) if isinstance(view, Array) else to_numpy(f"views[{j}]", view)
        moments = _as_moments(f"times[{j}]", own, decimals)
        if array.ndim < 2 or moments.shape != array.shape[1:2]:
            raise ValueError(
                f"times[{j}] must have a time for every step of views[{j}], (N, T_j, ...) = {array.shape}, "
                f"got shape {moments.shape}"
            )
        if not (np.isfinite(moments).all() and (moments[1:] > moments[:-1]).all()):
            raise ValueError(f"times[{j}] must be finite and increase, got {moments}")
        arrays.append(array)
        own_times.append(moments)
    common = np.unique(np.concatenate(own_times))
    size = len(arrays[0])
    mask = np.zeros((size, len(arrays), len(common)), bool)
    placed = []
    for j, (array, moments) in enumerate(zip(arrays, own_times, strict=True)):
        nearest = np.clip(np.searchsorted(moments, common, side="right") - 1, 0, None)
        placed.append(array[:, nearest])
        mask[:, j] = np.isin(common, moments)
    data = as_data(tuple(placed), None if mask.all() else mask, log_weights, missing=missing)
    return OnCommonTimes(common, data)


def _as_moments(name: str, times: Any, decimals: int | None) -> np.ndarray:
    """Dates and durations as they are, numbers in double precision: single has no digits for Unix seconds."""
    array = np.asarray(times)
    if array.dtype.kind in "Mm":
        return array
    moments = np.asarray(to_numpy(name, array), np.float64)
    return moments if decimals is None else np.round(moments, decimals)
