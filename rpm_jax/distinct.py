"""Data with few distinct values, such as counts: each value is a component of the mixtures only once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax.incomplete import Incomplete, View

SAMPLE = 4096
"""Observations of a view that are looked at first."""

LEAST_SAVING = 4
"""How many times fewer distinct values than data there must be, for them to be worth while."""


class DistinctValues(NamedTuple):
    """The distinct values of every view, and how often each occurs at every site.

    F_jt(z) = Σ_v w_jtv f_jt(z|v) has as many components as there are values, however many data there are.

    Attributes:
        values: J views (V, ...), filled up to the most values that a view has.
        log_masses: The logarithm of the weights of all data that have the value, up to a constant; shape
            (V, J, T), −∞ where there are none.
    """

    values: tuple[View, ...]
    log_masses: Array


def distinct_values(
    views: tuple[View, ...], num_sites: int, mask: Array | None = None, log_weights: Array | None = None
) -> DistinctValues | None:
    """Find the distinct values of views at single sites, if they are few.

    Args:
        views: J arrays (N, T), (N, T, ...) for T > 1 sites, else (N, ...); not traced.
        num_sites: T.
        mask: Boolean (N, J, T), False where missing; or None.
        log_weights: Log-weights of the data, shape (N,); or None.

    Returns:
        None if some view has more than a quarter as many values as there are data, or if nothing is observed
        of a view at a site.
    """
    size = views[0].shape[0]
    most = size // LEAST_SAVING
    weights = np.ones(size) if log_weights is None else np.exp(np.asarray(log_weights, float))
    found = []
    for j, view in enumerate(views):
        rows = _rows(view, size * num_sites)
        observed = np.ones((size, num_sites), bool) if mask is None else np.asarray(mask[:, j])
        if not observed.any():
            return None
        rows = rows if observed.all() else rows[observed.ravel()]
        if len(np.unique(rows[:: max(1, len(rows) // SAMPLE)], axis=0)) > most:
            return None
        values, places = np.unique(rows[:, 0] if rows.shape[1] == 1 else rows, axis=0, return_inverse=True)
        if len(values) > most:
            return None
        masses = np.zeros((len(values), num_sites))
        datum, site = np.nonzero(observed)
        np.add.at(masses, (places.ravel(), site), weights[datum])
        found.append((values, masses))
    number = max(len(values) for values, _ in found)
    log_masses = np.full((number, len(views), num_sites), -np.inf)
    filled = []
    for j, (view, (values, masses)) in enumerate(zip(views, found, strict=True)):
        with np.errstate(divide="ignore"):
            log_masses[: len(values), j] = np.log(masses)
        shape = view.shape[1:] if num_sites == 1 else view.shape[2:]
        values = np.concatenate([values, np.repeat(values[:1], number - len(values), axis=0)])
        filled.append(_as_view(values, view, (number, *shape)))
    if np.isneginf(log_masses).all(axis=0).any():
        return None
    return DistinctValues(
        tuple(filled), jnp.asarray(log_masses, jnp.result_type(*(view.dtype for view in views), 0.0))
    )


def _rows(view: View, number: int) -> np.ndarray:
    """A view as rows of numbers; which cells are observed is part of a row."""
    if not isinstance(view, Incomplete):
        return np.asarray(view).reshape(number, -1)
    values = np.asarray(view.filled()).reshape(number, -1)
    return np.concatenate([values, np.asarray(view.observed).reshape(number, -1)], axis=1)


def _as_view(rows: np.ndarray, view: View, shape: tuple[int, ...]) -> View:
    """Rows as a view of the kind that they come from."""
    if not isinstance(view, Incomplete):
        return jnp.asarray(rows.reshape(shape), view.dtype)
    values, observed = np.split(rows, 2, axis=1)
    return Incomplete(
        jnp.asarray(values.reshape(shape), view.dtype),
        jnp.asarray(observed.reshape(shape) > 0),
        view.indicated,
    )


def at_sites(values: View, num_sites: int) -> View:
    """Values (V, ...) as data (V, T, ...) that have them at every one of T > 1 sites."""
    if num_sites == 1:
        return values

    def repeat(array: Array) -> Array:
        return jnp.broadcast_to(array[:, None], (array.shape[0], num_sites, *array.shape[1:]))

    return jax.tree.map(repeat, values)
