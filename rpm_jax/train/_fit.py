"""Fitting a model, or minimising any pure loss, from one seed or from many."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import require_choice, require_positive_integer
from rpm_jax.data import MIXTURES, Batch, Data, as_data, choose_mixture
from rpm_jax.model import RPM
from rpm_jax.train._engine import Loss, Steps, advance_many, advance_one, init_state
from rpm_jax.train._history import Fit, History, Sweep
from rpm_jax.train._optimizer import LEARNING_RATES, SCHEDULES, DefaultOptimizer, GivenOptimizer
from rpm_jax.train._run import Callback, EarlyStopping, run_steps
from rpm_jax.train._warm_start import MatchAuxiliary, MatchPosterior, WarmStart

COMPONENTS = ("data", "batch")
PARTS = ("factors", "posterior", "auxiliary")
DEFAULT_BATCH_SIZE = 32
DEFAULT_WARM_START = 200
HELD_OUT_STEPS = 25
"""Steps on the rows of held-out data at each look, where a saturated strategy needs rows for them."""
FINAL_HELD_OUT_STEPS = 500


class BoundLoss(NamedTuple):
    """Minus the mean bound of a batch.

    Attributes:
        model: The model.
        components: "data": F_j over all data; "batch": over the minibatch.
        em: See `RPM.bound`.
    """

    model: RPM
    components: str = "data"
    em: bool = False

    def __call__(self, params: Any, batch: Batch, data: Data) -> Array:
        """The loss of a batch."""
        if self.components == "batch":
            weights = data.log_weights
            if weights is not None:
                weights = jax.nn.log_softmax(weights[batch.index])
            data = Data(batch.views, batch.mask, weights)
        return -jnp.mean(self.model.bound(params, batch, data, em=self.em))


def fit(
    model: RPM,
    views: Any,
    *,
    key: Array,
    num_steps: int = 4000,
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
    components: str = "data",
    replacement: bool = False,
    em: bool = False,
    warm_start: WarmStart | None = None,
    early_stopping: EarlyStopping | None = None,
    steps_per_call: int | None = None,
    progress: bool = False,
    callback: Callback | None = None,
) -> Fit:
    """Fit a model to data by maximising the inner bound.

    Args:
        model: The model.
        views: `Data`, or J arrays with first axis N.
        key: A random key, for the initial parameters and the minibatches.
        num_steps: Optimisation steps.
        batch_size: Data per step; None: all up to 32.
        mask: Boolean (N, J, T) or (N, J), False where a view is missing.
        log_weights: Log-weights of the empirical marginals, shape (N,).
        held_out: Data whose bound is recorded along the way; never learned from.
        held_out_mixture: The components of F_j for them: "train", "given" or "both".
        params: Initial parameters; None: `model.init`.
        loss: Another pure loss (params, batch, data) -> scalar in the place of minus the mean bound.
        optimizer: Any optax optimiser; None: Adam with a learning rate for each group of parameters.
        learning_rates: Peak rates of the default optimiser for some of "networks", "prior", "rows".
        schedule: Of the default optimiser: "cosine" (to zero), "constant", or a function from the step to a
            factor.
        freeze: Groups ("networks", "prior", "rows") or parts ("prior", "factors", "posterior",
            "auxiliary") whose parameters stay as they are.
        components: "data": F_j over all data; "batch": over the minibatch, which is cheaper and biased.
        replacement: Whether minibatches are drawn with replacement.
        em: Whether to hold q fixed in the gradients of prior and factors (`RPM.bound`).
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
        warm_start=warm_start,
        early_stopping=early_stopping,
        steps_per_call=steps_per_call,
        progress=progress,
        callback=callback,
    )
    data = as_data(views, mask, log_weights)
    held_out = None if held_out is None else as_data(held_out)
    runner = _Runner(model, data, held_out, options, {}, sweep=False, data_axis=None)
    return Fit(*runner.run(key))


def fit_seeds(
    model: RPM,
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
        data = as_data(views, **data_options)
        held_out = None if held_out is None else as_data(held_out)
    runner = _Runner(
        model,
        data,
        held_out,
        FitOptions(**options),
        hyperparameters,
        sweep=True,
        data_axis=0 if stacked_data else None,
    )
    return Sweep(*runner.run(keys))


class FitOptions(NamedTuple):
    """The options of `fit`, which explains them."""

    num_steps: int = 4000
    batch_size: int | None = None
    held_out: Any = None
    held_out_mixture: str = "train"
    params: Any = None
    loss: Loss | None = None
    optimizer: Any = None
    learning_rates: Mapping[str, float] | None = None
    schedule: str | Callable[[Any], Any] = "cosine"
    freeze: Sequence[str] = ()
    components: str = "data"
    replacement: bool = False
    em: bool = False
    warm_start: WarmStart | None = None
    early_stopping: EarlyStopping | None = None
    steps_per_call: int | None = None
    progress: bool = False
    callback: Callback | None = None

    def check(self, size: int) -> None:
        """Raise `ValueError` or `TypeError` for options that do not fit, with N = `size` data."""
        require_positive_integer("num_steps", self.num_steps)
        require_choice("components", self.components, COMPONENTS)
        require_choice("held_out_mixture", self.held_out_mixture, MIXTURES)
        if not callable(self.schedule):
            require_choice("schedule", self.schedule, SCHEDULES)
        if self.batch_size is not None:
            require_positive_integer("batch_size", self.batch_size)
            if self.batch_size > size and not self.replacement:
                raise ValueError(
                    f"batch_size must be at most the number of data N = {size} without replacement, got "
                    f"{self.batch_size}; pass replacement=True or a smaller batch"
                )
        if self.steps_per_call is not None:
            require_positive_integer("steps_per_call", self.steps_per_call)
        for name in self.learning_rates or {}:
            require_choice("learning_rates: group", name, tuple(LEARNING_RATES))
        for name in self.freeze:
            require_choice("freeze: name", name, (*LEARNING_RATES, *PARTS))
        if self.optimizer is not None:
            if self.learning_rates:
                raise ValueError("learning_rates are those of the default optimizer; got an optimizer too")
            if not hasattr(self.optimizer, "update") and not callable(self.optimizer):
                raise TypeError(
                    "optimizer must be an optax optimiser, or for fit_seeds with hyperparameters a function "
                    f"that returns one, got {type(self.optimizer).__name__}"
                )


class _Groups(NamedTuple):
    """Group names of a model's parameters, with frozen parts as a group of their own."""

    model: RPM
    frozen: tuple[str, ...]

    def __call__(self, params: Any) -> Any:
        groups = self.model.groups(params)
        return {
            part: jax.tree.map(lambda name, part=part: "frozen" if part in self.frozen else name, value)
            for part, value in groups.items()
        }


class _Runner(NamedTuple):
    """One fit, or a sweep of them: every array of parameters then has a leading axis of seeds."""

    model: RPM
    data: Data
    held_out: Data | None
    options: FitOptions
    hyperparameters: dict[str, Array]
    sweep: bool
    data_axis: int | None

    def run(self, key: Array) -> tuple[Any, History, np.ndarray, np.ndarray | None]:
        """Initialise, warm up, fit, evaluate."""
        options = self.options
        size = self.data.views[0].shape[1 if self.data_axis == 0 else 0]
        options.check(size)
        batch_size = min(size, DEFAULT_BATCH_SIZE) if options.batch_size is None else options.batch_size
        keys = self._map(lambda k: jax.random.split(k, 5))(key)
        init_key, *step_keys = (keys[..., i] for i in range(5))
        if options.params is None:
            params = _init(self.model, self.sweep, self.data_axis, init_key, self.data)
        else:
            params = jax.tree.map(jnp.copy, options.params)
        for phase, phase_key in zip(self._phases(), step_keys[:3], strict=True):
            if phase.num_steps > 0:
                params, _ = self._minimise(phase, params, phase_key, size, batch_size, quiet=True)
        loss = options.loss or BoundLoss(self.model, options.components, options.em)
        phase = _Phase("fit", loss, options.num_steps, ())
        params, history = self._minimise(phase, params, step_keys[3], size, batch_size, quiet=False)
        bound = np.asarray(self._evaluate_fit(params))
        held_out_bound = None
        if self.held_out is not None:
            held_out_bound = np.asarray(self._held_out_evaluator(FINAL_HELD_OUT_STEPS)(params))
        return params, history, bound, held_out_bound

    def _phases(self) -> "list[_Phase]":
        model = self.model
        groups = (model.posterior_strategy.group, model.auxiliary_strategy.group)
        warm_start = self.options.warm_start
        if warm_start is None:
            steps = [DEFAULT_WARM_START if group == "networks" else 0 for group in groups]
            warm_start = WarmStart(match_posterior=steps[0], match_auxiliary=steps[1])
        learned = [group != "none" for group in groups]
        return [
            _Phase(
                "match posterior",
                MatchPosterior(model),
                warm_start.match_posterior * learned[0],
                ("prior", "factors", "auxiliary"),
            ),
            _Phase(
                "match auxiliary",
                MatchAuxiliary(model),
                warm_start.match_auxiliary * learned[1],
                ("prior", "factors", "posterior"),
            ),
            _Phase(
                "warm start",
                BoundLoss(model, self.options.components),
                warm_start.bound * any(learned),
                ("prior", "factors"),
            ),
        ]

    def _minimise(
        self, phase: "_Phase", params: Any, key: Array, size: int, batch_size: int, *, quiet: bool
    ) -> tuple[Any, History]:
        options = self.options
        frozen = frozenset(("frozen", *options.freeze))
        optimizer: Any
        if options.optimizer is None:
            rates = {**LEARNING_RATES, **(options.learning_rates or {})}
            optimizer = DefaultOptimizer(phase.num_steps, tuple(rates.items()), options.schedule, frozen)
        else:
            optimizer = GivenOptimizer(options.optimizer, frozen)
        length = options.steps_per_call or max(20, -(-phase.num_steps // 50))
        steps = Steps(
            phase.loss,
            _Groups(self.model, (*phase.frozen, *options.freeze)),
            optimizer,
            batch_size,
            options.replacement,
            min(length, phase.num_steps),
        )
        state = _init_state(steps, self.sweep, params, key, size, self.hyperparameters)

        def advance(state: Any, start: Array, number: Array) -> tuple[Any, Array]:
            if self.sweep:
                return advance_many(
                    steps, self.data_axis, state, self.hyperparameters, self.data, start, number
                )
            return advance_one(steps, state, self.hyperparameters, self.data, start, number)

        watched = not quiet and self.held_out is not None
        return run_steps(
            advance,
            state,
            num_steps=phase.num_steps,
            steps_per_call=steps.length,
            evaluate=self._held_out_evaluator(HELD_OUT_STEPS) if watched else None,
            early_stopping=None if quiet else options.early_stopping,
            progress=options.progress,
            callback=None if quiet else options.callback,
            description=phase.name,
        )

    def _map(self, function: Callable[..., Any], *axes: int | None) -> Callable[..., Any]:
        return jax.vmap(function, in_axes=axes or 0) if self.sweep else function

    def _evaluate_fit(self, params: Any) -> Array:
        mean = self._map(self.model.mean_bound, 0, self.data_axis, self.data_axis)
        return mean(params, self.data, self.data)

    def _held_out_evaluator(self, num_row_steps: int) -> Callable[[Any], Array]:
        """Params -> mean held-out bound; rows for these data go on from one call to the next."""
        axis = self.data_axis
        held_out = self.held_out
        assert held_out is not None
        if axis is None:
            mixture = choose_mixture(held_out, self.data, self.options.held_out_mixture)
        else:
            choose = partial(choose_mixture, mixture=self.options.held_out_mixture)
            mixture = jax.vmap(choose)(held_out, self.data)
        mean = self._map(self.model.mean_bound, 0, axis, axis)
        if not self.model.has_rows:
            return lambda params: mean(params, held_out, mixture)
        new_rows = self._map(self.model.with_new_rows, 0, axis)
        optimise = self._map(
            partial(self.model.optimise_rows, num_steps=num_row_steps, learning_rate=LEARNING_RATES["rows"]),
            0,
            axis,
            axis,
        )
        rows: dict[str, Any] = {}

        def evaluate(params: Any) -> Array:
            with_rows = {**params, **rows} if rows else new_rows(params, held_out)
            with_rows = optimise(with_rows, held_out, mixture)
            rows.update({name: with_rows[name] for name in self.model.row_parts})
            return mean(with_rows, held_out, mixture)

        return evaluate


class _Phase(NamedTuple):
    """A part of a run: what is minimised, for how long, and which parts of the model stay fixed."""

    name: str
    loss: Loss
    num_steps: int
    frozen: tuple[str, ...]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _init(model: RPM, sweep: bool, data_axis: int | None, key: Array, data: Data) -> Any:
    return jax.vmap(model.init, in_axes=(0, data_axis))(key, data) if sweep else model.init(key, data)


@partial(jax.jit, static_argnums=(0, 1, 4))
def _init_state(
    steps: Steps, sweep: bool, params: Any, key: Array, size: int, hyperparameters: dict[str, Array]
) -> Any:
    def init(params: Any, key: Array, hyperparameters: dict[str, Array]) -> Any:
        return init_state(steps, params, key, size, hyperparameters)

    return jax.vmap(init)(params, key, hyperparameters) if sweep else init(params, key, hyperparameters)


def _stacked_data(views: Any, num_seeds: int, mask: Any = None, log_weights: Any = None) -> Data:
    """Data with a leading axis of seeds."""
    if isinstance(views, Data):
        views, mask, log_weights = views
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
        log_weights = jax.nn.log_softmax(jnp.asarray(log_weights), axis=1)
    return Data(views, mask, log_weights)
