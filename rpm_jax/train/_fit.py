"""Fitting a model from one seed or from many."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from rpm_jax._checks import as_keys, is_concrete
from rpm_jax.data import Data, as_data
from rpm_jax.model import Model
from rpm_jax.normalizers import Queue
from rpm_jax.train._engine import Loss
from rpm_jax.train._history import Fit, Sweep
from rpm_jax.train._options import FitOptions
from rpm_jax.train._run import Callback, EarlyStopping
from rpm_jax.train._runner import Runner
from rpm_jax.train._warm_start import WarmStart


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
    components: str | Queue | None = None,
    replacement: bool = False,
    em: bool = False,
    update: Callable[[Any, Data, Any], Any] | None = None,
    warm_start: WarmStart | None = None,
    early_stopping: EarlyStopping | None = None,
    steps_per_call: int | None = None,
    progress: bool = False,
    callback: Callback | None = None,
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
            biased; `rpm_jax.normalizers.queue(length)`, the minibatch and the last data before it. None:
            "data", but "batch" where likelihoods are exact and there are more than 4 minibatches.
        replacement: Whether minibatches are drawn with replacement.
        em: Whether to hold q fixed in the gradients of prior and factors (`RPM.bound`).
        update: A pure function (params, data, fraction of the run done) -> params, applied after every
            `steps_per_call` steps: a closed-form M-step (`rpm_jax.train.maximise_prior`), a projection.
        warm_start: Steps on the posterior and auxiliary strategies first; None: 200 steps to match each
            network among them, none for tables, which start matched. `WarmStart()` for none at all.
        early_stopping: When to stop before `num_steps`.
        steps_per_call: Compiled steps between two looks; None: a fiftieth of the run, at least 20.
        progress: Whether to show a progress bar (needs tqdm).
        callback: Called with a `Progress` at each look; return True to stop.

    Returns:
        The fit: parameters, history, bounds.

    Raises:
        ValueError: For arguments that do not fit; the message names the argument.
    """
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
    data = prepared(model, as_data(views, mask, log_weights))
    held_out = None if held_out is None else as_data(held_out)
    runner = Runner(model, data, held_out, options, {}, sweep=False, data_axis=None)
    return Fit(*runner.run(as_keys("key", key, 0)))


def fit_seeds(
    model: Model,
    views: Any,
    *,
    keys: Array,
    hyperparameters: Mapping[str, Array] | None = None,
    stacked_data: bool = False,
    **options: Any,
) -> Sweep:
    """`fit` from many seeds at once, under `vmap`.

    Args:
        model: The model.
        views: As for `fit`.
        keys: Random keys, shape (S,): one run for each.
        hyperparameters: Arrays with first axis S. With `optimizer` a function of such keyword arguments
            that returns an optax optimiser, each run gets its own; without, they are learning rates of the
            default optimiser by group.
        stacked_data: Whether every array of the data (and held-out data) has a leading axis of seeds.
        **options: As for `fit`.

    Returns:
        The sweep: stacked parameters, histories and bounds; `best()` picks the run with the best bound.
    """
    if keys.ndim == 0 or (not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) and keys.ndim == 1):
        raise ValueError(
            f"keys must have shape (S,), one key per run, got shape {keys.shape}; "
            "jax.random.split(key, S) makes S keys of one"
        )
    keys = as_keys("keys", keys, 1)
    hyperparameters = {name: jnp.asarray(value) for name, value in (hyperparameters or {}).items()}
    for name, value in hyperparameters.items():
        if value.shape[:1] != keys.shape[:1]:
            raise ValueError(
                f"hyperparameters[{name!r}] must have one value per key, first axis {keys.shape[0]}, got "
                f"shape {value.shape}"
            )
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
        held_out = None if held_out is None else as_data(held_out)
    runner = Runner(
        model,
        data,
        held_out,
        FitOptions(**options),
        hyperparameters,
        sweep=True,
        data_axis=0 if stacked_data else None,
    )
    return Sweep(*runner.run(keys))


def prepared(model: Model, data: Data) -> Data:
    """Data as the model likes them best, where it has a preference (`RPM.prepare`)."""
    return model.prepare(data) if hasattr(model, "prepare") and is_concrete(data) else data


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
