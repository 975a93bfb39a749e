"""Warnings about columns of data that standardisation can do little for."""

import warnings

import numpy as np

from rpm_jax._arrays import ROWS_LOOKED_AT
from rpm_jax._checks import caller_level

MOST_COLLAPSED = 0.01
"""Where all other values of a column have less than this part of its deviation, one value rules its scale."""

MOST_NAMED = 5


def warn_of_columns(name: str, columns: np.ndarray, observed: np.ndarray | None) -> None:
    """Warn of a view that is constant, and of columns whose scale one or two values rule, such as −9999.

    Args:
        name: Of the view.
        columns: Numbers, shape (rows, columns), of which each column is standardised on its own.
        observed: Boolean, of the same shape, or None: all.
    """
    shown = np.ones(columns.shape, bool) if observed is None else observed
    lowest = np.min(columns, axis=0, initial=np.inf, where=shown)
    highest = np.max(columns, axis=0, initial=-np.inf, where=shown)
    if not shown.any() or (lowest >= highest).all():
        what = "nothing of it is observed" if not shown.any() else "all of its columns are constant"
        warnings.warn(
            f"{name} says nothing of the latent: {what}; leave this view out, or check where it comes from",
            RuntimeWarning,
            stacklevel=caller_level(),
        )
        return
    unit = np.maximum(np.maximum(np.abs(lowest), np.abs(highest)), np.finfo(np.float64).tiny)
    scaled = np.where(shown, columns / np.where(highest > lowest, unit, 1), 0.0)
    suspects = []
    for k in np.flatnonzero(_ruled(scaled, shown)):
        values = scaled[shown[:, k], k]
        whole, others = np.std(values), values
        named: list[float] = []
        for _ in range(2):
            centre = np.median(others)
            extreme = others[np.argmax(np.abs(others - centre))]
            named.append(float(extreme * unit[k]))
            others = others[others != extreme]
            deviation = np.std(others) if len(others) else 0.0
            if 0 < deviation < MOST_COLLAPSED * whole:
                suspects.append((int(k), named))
                break
            if deviation == 0.0:
                break
    if suspects:
        texts = [f"{k} ({' and '.join(f'{v:g}' for v in values)})" for k, values in suspects[:MOST_NAMED]]
        more = ", ..." if len(suspects) > MOST_NAMED else ""
        warnings.warn(
            f"{name}, column {', '.join(texts)}{more}: outliers rule the scale, next to which all other "
            "values are nearly equal; if they stand for missing values, make them NaN and pass "
            "rpm_jax.as_data(views, missing='cells'), else clip them or take factors with "
            "standardise='robust'",
            RuntimeWarning,
            stacklevel=caller_level(),
        )


def _ruled(scaled: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Columns worth a closer look: their quartiles are close together compared with their range."""
    step = max(1, len(scaled) // ROWS_LOOKED_AT)
    some = np.where(shown[::step], scaled[::step], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        lower, upper = np.nanquantile(some, [0.25, 0.75], axis=0)
    extent = np.max(scaled, axis=0, initial=-np.inf, where=shown) - np.min(
        scaled, axis=0, initial=np.inf, where=shown
    )
    return upper - lower < MOST_COLLAPSED * extent
