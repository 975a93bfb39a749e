"""Where the numbers of a model stop being finite, found after the fact."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpm_jax._jit import jit
from rpm_jax.data import Batch, Data
from rpm_jax.incomplete import fill_missing
from rpm_jax.model import bound

MOST_EXAMINED = 4096
"""How many data are looked at."""


def find_not_finite(model: Any, params: Any, data: Data) -> str | None:
    """Say which of a model's numbers are NaN or infinite, the first of them in the order of computation.

    Parameters, then the factors of each view, site and datum, then each datum's bound, then its gradient.

    Args:
        model: An `RPM`, or any other `rpm_jax.model.Model`, of which there are parameters and bounds alone.
        params: Its parameters.
        data: The data of the fit, the first 4096 of which are looked at.

    Returns:
        A sentence, or None where everything is finite.
    """
    return (
        _in_params("the parameter params", params)
        or _in_factors(model, params, data)
        or _in_bounds(model, params, data)
    )


def name_not_finite(tree: Any) -> str | None:
    """The path of the first array of a pytree that holds NaN or infinite numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array.astype(np.float64)).all():
            return jax.tree_util.keystr(path)
    return None


def _in_params(what: str, tree: Any) -> str | None:
    path = name_not_finite(tree)
    return None if path is None else f"{what}{path} is not finite"


def _in_factors(model: Any, params: Any, data: Data) -> str | None:
    """Which factor's natural parameters or log-scale are not finite: view, site and datum."""
    if not hasattr(model, "reference"):
        return None
    if name_not_finite(_reference(model, params)) is not None:
        return "the prior's marginals, model.reference(params), are not finite"
    rows = data.batch(jnp.arange(min(data.size, MOST_EXAMINED)))
    factors = _recognise(model, params, rows)
    parts = [*factors.natural.natural_parameters]
    ranks = [*factors.natural.natural_ranks.values()]
    # Logits of −∞ are valid.
    bad = np.zeros(factors.natural.batch_shape, bool)
    for part, rank in zip(parts, ranks, strict=True):
        array = np.asarray(part)
        wrong = np.isnan(array) | (np.isposinf(array) if factors.natural.one_hot else np.isinf(array))
        bad |= wrong.any(axis=tuple(range(array.ndim - rank, array.ndim)))
    what = "natural parameters"
    if not bad.any() and factors.log_scale is not None:
        bad, what = ~np.isfinite(np.asarray(factors.log_scale)), "log-scale"
    if not bad.any():
        return None
    datum, view, site = (int(i) for i in np.argwhere(bad)[0])
    observed = np.asarray(fill_missing(data.views)[view][datum])
    return (
        f"the {what} of {int(bad.sum())} of {bad.size} factors are not finite, first those of view {view}, "
        f"site {site}, datum {datum} (views[{view}][{datum}], from {observed.min():.3g} to "
        f"{observed.max():.3g})"
    )


@jit
def _reference(model: Any, params: Any) -> Any:
    return model.reference(params)


@jit
def _recognise(model: Any, params: Any, rows: Batch) -> Any:
    return model.recognise(params, rows)


@jit
def _bounds(model: Any, params: Any, batch: Batch, data: Data) -> Any:
    return bound(model, params, batch, data)


@jit
def _gradient(model: Any, params: Any, batch: Batch, data: Data) -> Any:
    return jax.grad(lambda p: jnp.mean(bound(model, p, batch, data)), allow_int=True)(params)


def _in_bounds(model: Any, params: Any, data: Data) -> str | None:
    """Whose bound, or which parameter's gradient, is not finite."""
    batch = data.batch(jnp.arange(min(data.size, MOST_EXAMINED)))
    values = np.asarray(_bounds(model, params, batch, data))
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        return (
            f"the bound of {len(wrong)} of {len(values)} data is not finite, first that of datum {wrong[0]} "
            f"({values[wrong[0]]}), though its factors are"
        )
    few = data.batch(jnp.arange(min(data.size, 32)))
    return _in_params("the bound's gradient by params", _gradient(model, params, few, data))
