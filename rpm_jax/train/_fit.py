"""Fitting a model from one seed or from many."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from rpm_jax._checks import as_keys, is_concrete, require_boolean, require_positive_integer
from rpm_jax.data import Data, as_data, warn_of_views
from rpm_jax.model import Model
from rpm_jax.model._parameters import initial_sites
from rpm_jax.normalizers import Queue, Subset
from rpm_jax.train._arguments import as_hyperparameters, check_model, keys_of_runs
from rpm_jax.train._devices import check_mesh, replicate, spread_data
from rpm_jax.train._engine import Loss, Seeds
from rpm_jax.train._history import Fit, Sweep, join
from rpm_jax.train._options import FitOptions
from rpm_jax.train._run import Callback, EarlyStopping
from rpm_jax.train._runner import EXACT_BATCH_SIZE, Runner
from rpm_jax.train._warm_start import WarmStart

MOST_INPUTS_AT_ONCE = 2**15
"""Numbers that reach the networks in a step, of all seeds together, where they run on CPUs."""


def fit(
    model: Model,
    views: Any,
    *,
    key: Array,
    num_steps: int = 2000,
    batch_size: int | None = None,
    mask: Any = None,
    log_weights: Any = None,
    held_out: Any = None,
    held_out_mixture: str = "train",
    params: Any = None,
    loss: Loss | None = None,
    optimizer: Any = None,
    learning_rates: Mapping[str, float] | None = None,
    schedule: str | Callable[[Any], Any] = "cosine",
    freeze: Sequence[str] = (),
    components: str | Queue | Subset | None = None,
    replacement: bool = False,
    em: bool = False,
    update: Callable[[Any, Data, Any], Any] | None = None,
    warm_start: WarmStart | None = None,
    early_stopping: EarlyStopping | None = None,
    steps_per_call: int | None = None,
    progress: bool | None = None,
    callback: Callback | None = None,
    mesh: Mesh | None = None,
) -> Fit:
    """Fit a model to data by maximising the inner bound.

    Args:
        model: An `RPM`, or anything else with the methods of `rpm_jax.model.Model`.
        views: `Data`, or J arrays with first axis N.
        key: A random key, for the initial parameters and the minibatches.
        num_steps: Optimisation steps.
        batch_size: Data per step; None: all up to 32, or up to 256 where likelihoods are exact (categorical
            sites).
        mask: Boolean (N, J, T) or (N, J), False where a view is missing.
        log_weights: Log-weights of the empirical marginals, shape (N,).
        held_out: Data whose bound is recorded along the way; never learned from.
        held_out_mixture: The components of F_j for them: "train", "given" or "both".
        params: Initial parameters; None: `model.init`.
        loss: Another pure loss (params, batch, data) -> scalar in the place of minus the mean bound.
        optimizer: Any optax optimiser (without line search); None: Adam with a learning rate for each group
            of parameters.
        learning_rates: Peak rates of the default optimiser for some of "networks", "prior", "rows".
        schedule: Of the default optimiser: "cosine" (to zero), "constant", or a function from the step to a
            factor.
        freeze: Groups ("networks", "prior", "rows") or parts ("prior", "factors", "posterior",
            "auxiliary") whose parameters stay as they are.
        components: What F_j averages over: "data", all of them; "batch", the minibatch, which is cheaper and
            biased; `rpm_jax.normalizers.queue(length)`, the minibatch and the last data before it;
            `rpm_jax.normalizers.random_subset(size)`, the minibatch and others drawn at random. None:
            "data", but "batch" where likelihoods are exact and there are more than 4 minibatches.
        replacement: Whether minibatches are drawn with replacement.
        em: Whether to hold q fixed in the gradients of prior and factors (`RPM.bound`).
        update: A pure function (params, data, fraction of the run done) -> params, applied after every
            `steps_per_call` steps: a closed-form M-step (`rpm_jax.train.maximise_prior`), a projection.
        warm_start: Steps on the posterior and auxiliary strategies first; None: 200 steps to match each
            network among them, none for tables, which start matched. `WarmStart()` for none at all.
        early_stopping: When to stop before `num_steps`.
        steps_per_call: Compiled steps between two looks; None: a fiftieth of the run, at least 20.
        progress: Whether to show what is being done; None: where somebody is looking, in a terminal or a
            notebook. A bar where tqdm is installed, else one line.
        callback: Called with a `Progress` at each look; return True to stop.
        mesh: Devices to spread data, components and minibatches over, all axes as one; parameters are the
            same on each. With several processes (`jax.distributed`), `views`, `mask` and `log_weights` are
            those of this process alone (weights sum to its share of the data), and everything else is the
            same in all. Exchanged in a step are the minibatch, its tilts and log-integrals, B·J·T each, and
            the parameters' gradient, whatever N is. The minibatch is split too where `batch_size` is a
            multiple of the number of devices.

    Returns:
        The fit: parameters, history, bounds.

    Raises:
        ValueError: For arguments that do not fit; the message names the argument.
    """
    check_model(model)
    options = FitOptions(
        num_steps=num_steps,
        batch_size=batch_size,
        held_out=held_out,
        held_out_mixture=held_out_mixture,
        params=params,
        loss=loss,
        optimizer=optimizer,
        learning_rates=learning_rates,
        schedule=schedule,
        freeze=freeze,
        components=components,
        replacement=replacement,
        em=em,
        update=update,
        warm_start=warm_start,
        early_stopping=early_stopping,
        steps_per_call=steps_per_call,
        progress=progress,
        callback=callback,
    )
    data = as_data(views, mask, log_weights)
    held_out = None if held_out is None else as_data(held_out, name="held_out")
    key = as_keys("key", key, 0)
    if mesh is None:
        return Fit(*Runner(model, prepared(model, data), held_out, options, {}).run(key))
    mesh = check_mesh(mesh)
    data, spread = spread_data(data if jax.process_count() > 1 else prepared(model, data), mesh)
    runner = Runner(model, data, held_out, options, {}, spread=spread)
    fitted = Fit(*runner.run(replicate(key, mesh)))
    return fitted._replace(params=jax.tree.map(jnp.asarray, jax.device_get(fitted.params)))


def fit_seeds(
    model: Model,
    views: Any,
    *,
    keys: Array,
    hyperparameters: Mapping[str, Array] | None = None,
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
    hyperparameters = as_hyperparameters(
        hyperparameters, len(keys), are_rates=options.get("optimizer") is None
    )
    require_boolean("stacked_data", stacked_data)
    if seeds_at_once is not None:
        require_positive_integer("seeds_at_once", seeds_at_once)
    unknown = set(options) - set(FitOptions._fields) - {"mask", "log_weights"}
    if unknown:
        raise TypeError(f"fit_seeds has no option {sorted(unknown)}; the options are those of fit")
    data_options = {name: options.pop(name, None) for name in ("mask", "log_weights")}
    held_out = options.get("held_out")
    if stacked_data:
        data = _stacked_data(views, len(keys), **data_options)
        held_out = None if held_out is None else _stacked_data(held_out, len(keys))
    else:
        data = prepared(model, as_data(views, **data_options))
        held_out = None if held_out is None else as_data(held_out, name="held_out")
    data_axis = 0 if stacked_data else None
    if mesh is not None:
        mesh = check_mesh(mesh)
        if len(keys) % mesh.size:
            raise ValueError(
                f"keys must be as many as a multiple of the mesh's {mesh.size} devices, got {len(keys)}"
            )
    elif seeds_at_once is None:
        seeds_at_once = default_seeds_at_once(data, options.get("batch_size"), data_axis)
    seeds = Seeds(data_axis, mesh)

    def sweep(part: slice) -> Sweep:
        some = {name: value[part] for name, value in hyperparameters.items()}
        own = partial(jax.tree.map, lambda leaf: leaf[part]) if stacked_data else lambda tree: tree
        params = options.get("params")
        settings = options | ({} if params is None else {"params": jax.tree.map(lambda p: p[part], params)})
        runner = Runner(model, own(data), own(held_out), FitOptions(**settings), some, seeds)
        return Sweep(*runner.run(keys[part]))

    if seeds_at_once is None or seeds_at_once >= len(keys):
        return sweep(slice(None))
    # Groups of one size, where that goes, share a compilation.
    size = -(-len(keys) // -(-len(keys) // seeds_at_once))
    return join([sweep(slice(start, start + size)) for start in range(0, len(keys), size)])


def default_seeds_at_once(data: Data, batch_size: int | None, data_axis: int | None) -> int | None:
    """As many seeds as are faster together than one by one; None: all."""
    if jax.default_backend() != "cpu":
        return None
    first = 0 if data_axis is None else 1
    size = data.views[0].shape[first]
    per_datum = sum(math.prod(view.shape[first + 1 :]) for view in data.views)
    inputs = per_datum * min(size, batch_size or EXACT_BATCH_SIZE)
    return max(1, MOST_INPUTS_AT_ONCE // max(1, inputs))


def prepared(model: Model, data: Data) -> Data:
    """Data as the model likes them best, where it has a preference (`RPM.prepare`), after a look at them."""
    if not is_concrete(data):
        return data
    spec = getattr(getattr(model, "core", model), "prior_spec", None)
    if spec is not None:
        warn_of_views(data, initial_sites(spec).batch_shape[0])
    return model.prepare(data) if hasattr(model, "prepare") else data


def _stacked_data(views: Any, num_seeds: int, mask: Any = None, log_weights: Any = None) -> Data:
    """Data with a leading axis of seeds."""
    if isinstance(views, Data):
        mask = views.mask if mask is None else mask
        log_weights = views.log_weights if log_weights is None else log_weights
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
    return Data(views, mask, log_weights)
