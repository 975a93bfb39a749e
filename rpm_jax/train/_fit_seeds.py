"""Fitting a model from many seeds."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rpm_jax._checks import require_boolean, require_positive_integer
from rpm_jax.data import Data, as_data
from rpm_jax.model import BATCH_SIZE, Model, ability, check_model
from rpm_jax.train._arguments import as_hyperparameters, keys_of_runs
from rpm_jax.train._devices import check_mesh
from rpm_jax.train._fit import prepared
from rpm_jax.train._held_out import HeldOut, as_held_out
from rpm_jax.train._history import join_histories
from rpm_jax.train._optimizer import Adam
from rpm_jax.train._options import FitOptions
from rpm_jax.train._result import Sweep
from rpm_jax.train._runner import Outcome, Runner
from rpm_jax.train._seeds import Seeds

MOST_INPUTS_AT_ONCE = 2**15
"""Numbers that reach the networks in a step, of all seeds together, where they run on CPUs."""

OF_THE_DATA = ("mask", "log_weights", "inputs")


def fit_seeds(
    model: Model,
    views: Any,
    *,
    keys: Any,
    hyperparameters: Mapping[str, Any] | None = None,
    stacked_data: bool = False,
    seeds_at_once: int | None = None,
    mesh: Mesh | None = None,
    **options: Any,
) -> Sweep:
    """`fit` from many seeds, several at once under `vmap`.

    Args:
        model: The model.
        views: As for `fit`.
        keys: Random keys, shape (S,) or a list of S: one run for each.
        hyperparameters: Arrays with first axis S. With `optimizer` a function of such keyword arguments
            that returns an optax optimiser, each run gets its own; without, they are learning rates of the
            default optimiser by group.
        stacked_data: Whether every array of the data (and held-out data) has a leading axis of seeds.
        seeds_at_once: How many seeds are advanced together, one group after the other; None: all, but on CPUs
            as many as keep a step's inputs small, since more of them are slower there than one by one
            (`benchmarks/sweep`).
        mesh: Devices of which each gets an equal share of the seeds; S must be a multiple of their number.
        **options: As for `fit`, whose `mesh` spreads data in the place of seeds.

    Returns:
        The sweep: stacked parameters, histories and bounds; `best()` picks the run with the best bound.
    """
    check_model(model)
    keys = keys_of_runs(keys)
    unknown = set(options) - set(FitOptions._fields) - set(OF_THE_DATA)
    if unknown:
        raise TypeError(f"fit_seeds has no option {sorted(unknown)}; the options are those of fit")
    optimizer = options.get("optimizer")
    are_rates = optimizer is None or isinstance(optimizer, Adam)
    values = as_hyperparameters(hyperparameters, len(keys), are_rates=are_rates)
    require_boolean("stacked_data", stacked_data)
    if seeds_at_once is not None:
        require_positive_integer("seeds_at_once", seeds_at_once)
    of_data = {name: options.pop(name, None) for name in OF_THE_DATA}
    if stacked_data:
        data = _stacked_data(views, len(keys), **of_data)
        held_out = as_held_out(options.get("held_out"), partial(_stacked_data, num_seeds=len(keys)))
        fitted = data
    else:
        data = as_data(views, **of_data)
        held_out = as_held_out(options.get("held_out"))
        fitted = prepared(model, data)
    data_axis = 0 if stacked_data else None
    if mesh is not None:
        mesh = check_mesh(mesh)
        if len(keys) % mesh.size:
            raise ValueError(
                f"keys must be as many as a multiple of the mesh's {mesh.size} devices, got {len(keys)}"
            )
    elif seeds_at_once is None:
        seeds_at_once = default_seeds_at_once(model, fitted, options.get("batch_size"), data_axis)
    seeds = Seeds(data_axis, mesh)

    def outcome(part: slice) -> Outcome:
        def own(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf[part], tree)

        some = own(values)
        settings = options
        if options.get("params") is not None:
            settings = options | {"params": own(options["params"])}
        watched, used = held_out, fitted
        if stacked_data:
            used = own(fitted)
            watched = None if held_out is None else HeldOut(own(held_out.data), held_out.against)
        return Runner(model, used, watched, FitOptions(**settings), some, seeds).run(keys[part])

    if seeds_at_once is None or seeds_at_once >= len(keys):
        return _sweep(model, data, outcome(slice(None)), stacked_data)
    # Groups of one size, where that goes, share a compilation.
    size = -(-len(keys) // -(-len(keys) // seeds_at_once))
    outcomes = [outcome(slice(start, start + size)) for start in range(0, len(keys), size)]
    return _sweep(model, data, _join(outcomes), stacked_data)


def default_seeds_at_once(
    model: Model, data: Data, batch_size: int | None, data_axis: int | None
) -> int | None:
    """As many seeds as are faster together than one by one; None: all."""
    if jax.default_backend() != "cpu":
        return None
    first = 0 if data_axis is None else 1
    size = data.views[0].shape[first]
    per_datum = sum(math.prod(view.shape[first + 1 :]) for view in data.views)
    if batch_size is None:
        batch_size = ability(model, "default_batch_size", lambda data: BATCH_SIZE)(data)
    inputs = per_datum * min(size, int(batch_size))
    return max(1, MOST_INPUTS_AT_ONCE // max(1, inputs))


def _sweep(model: Model, data: Data, outcome: Outcome, stacked_data: bool) -> Sweep:
    params, history, bound, held_out_bound = outcome
    return Sweep(model, params, data, history, bound, held_out_bound, stacked_data)


def _join(outcomes: list[Outcome]) -> Outcome:
    """Runs of some seeds each as those of all of them."""
    held_out = [outcome.held_out_bound for outcome in outcomes if outcome.held_out_bound is not None]
    return Outcome(
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[outcome.params for outcome in outcomes]),
        join_histories([outcome.history for outcome in outcomes]),
        np.concatenate([outcome.bound for outcome in outcomes]),
        np.concatenate(held_out) if held_out else None,
    )


def _stacked_data(
    views: Any, num_seeds: int, mask: Any = None, log_weights: Any = None, inputs: Any = None
) -> Data:
    """Data with a leading axis of seeds."""
    if isinstance(views, Data):
        mask = views.mask if mask is None else mask
        log_weights = views.log_weights if log_weights is None else log_weights
        inputs = views.inputs if inputs is None else inputs
        views = views.views
    if not isinstance(views, tuple | list):
        raise TypeError(f"views must be a tuple or list of J arrays, got {type(views).__name__}")
    for j, view in enumerate(views):
        if jnp.ndim(view) < 2 or view.shape[0] != num_seeds:
            raise ValueError(
                f"views[{j}] must have shape (seeds, N, ...) with {num_seeds} seeds for stacked_data=True, "
                f"got {jnp.shape(view)}"
            )

    def merge(array: Any) -> Any:
        return None if array is None else jnp.asarray(array).reshape(-1, *jnp.shape(array)[2:])

    checked = as_data(tuple(merge(view) for view in views), merge(mask))
    views = tuple(view.reshape(num_seeds, -1, *view.shape[1:]) for view in checked.views)
    if checked.mask is not None:
        mask = checked.mask.reshape(num_seeds, -1, *checked.mask.shape[1:])
    if log_weights is not None:
        weights = [as_data(tuple(v[s] for v in views), None, log_weights[s]) for s in range(num_seeds)]
        log_weights = jnp.stack([jnp.asarray(data.log_weights) for data in weights])
    for path, leaf in jax.tree_util.tree_leaves_with_path(inputs):
        if jnp.ndim(leaf) < 2 or leaf.shape[0] != num_seeds:
            raise ValueError(
                f"inputs{jax.tree_util.keystr(path)} must have shape (seeds, N, ...) with {num_seeds} seeds "
                f"for stacked_data=True, got {jnp.shape(leaf)}"
            )
    checked = as_data(checked.views, inputs=jax.tree.map(merge, inputs))
    inputs = jax.tree.map(lambda leaf: leaf.reshape(num_seeds, -1, *leaf.shape[1:]), checked.inputs)
    return Data(views, mask, log_weights, inputs=inputs)
