"""The phases of a fit: initialise, warm up, optimise, evaluate, for one seed or many."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax.data import Data, choose_mixture
from rpm_jax.model import RPM, Model
from rpm_jax.normalizers import Queue
from rpm_jax.train._engine import Loss, Steps, advance_many, advance_one, init_state
from rpm_jax.train._history import History
from rpm_jax.train._losses import MatchAuxiliary, MatchPosterior, bound_loss
from rpm_jax.train._optimizer import LEARNING_RATES, DefaultOptimizer, GivenOptimizer
from rpm_jax.train._options import FitOptions
from rpm_jax.train._run import run_steps
from rpm_jax.train._warm_start import WarmStart

DEFAULT_BATCH_SIZE = 32
EXACT_BATCH_SIZE = 256
"""Of models with exact likelihoods, whose F_j may be over the minibatch."""

MOST_BATCHES = 4
"""Up to this many minibatches, F_j is over all data where a model has exact likelihoods."""

DEFAULT_WARM_START = 200
"""Steps to match each network of a strategy."""

HELD_OUT_STEPS = 25
"""Steps on the rows of held-out data at each look, where a saturated strategy needs rows for them."""

FINAL_HELD_OUT_STEPS = 500


@dataclass(frozen=True)
class Groups:
    """Group names of a model's parameters, with frozen parts as a group of their own."""

    model: Model
    frozen: tuple[str, ...]

    def __call__(self, params: Any) -> Any:
        groups = self.model.groups(params)
        return {
            part: jax.tree.map(lambda name, part=part: "frozen" if part in self.frozen else name, value)
            for part, value in groups.items()
        }


class Runner(NamedTuple):
    """One fit, or a sweep of them: every array of parameters then has a leading axis of seeds."""

    model: Model
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
        if self.held_out is not None and len(self.held_out.views) != len(self.data.views):
            raise ValueError(
                f"held_out must hold the J = {len(self.data.views)} views of the fit, got "
                f"{len(self.held_out.views)}"
            )
        exact = getattr(self.model, "one_hot", False)
        default_size = EXACT_BATCH_SIZE if exact else DEFAULT_BATCH_SIZE
        batch_size = min(size, default_size) if options.batch_size is None else options.batch_size
        keys = self._map(lambda k: jax.random.split(k, 5))(key)
        init_key, *step_keys = (keys[..., i] for i in range(5))
        expected = jax.eval_shape(
            lambda key, data: _init(self.model, self.sweep, self.data_axis, key, data), init_key, self.data
        )
        options.check(size, self.hyperparameters, tuple(expected))
        if options.params is None:
            params = _init(self.model, self.sweep, self.data_axis, init_key, self.data)
        else:
            params = self._checked(options.params, expected)
        components = options.components
        few_values = self.data.distinct is not None
        if components is None:
            components = "batch" if exact and size > MOST_BATCHES * batch_size and not few_values else "data"
        if components == "data" and batch_size == size and not (options.replacement or few_values):
            # The same mixtures, from factors that are evaluated once.
            components = "batch"
        if (options.em or isinstance(components, Queue)) and not isinstance(self.model, RPM):
            raise TypeError(
                "em=True and components=queue(...) need an rpm_jax.RPM as the model, got "
                f"{type(self.model).__name__}; leave em out, and take components='data' or 'batch'"
            )
        for phase, phase_key in zip(self._phases(components), step_keys[:3], strict=False):
            if phase.num_steps > 0:
                params, _ = self._minimise(phase, params, phase_key, batch_size, quiet=True)
        loss = options.loss or bound_loss(self.model, components, options.em)
        phase = Phase("fit", loss, options.num_steps, ())
        params, history = self._minimise(phase, params, step_keys[3], batch_size, quiet=False)
        bound = np.asarray(self._evaluate_fit(params))
        held_out_bound = None
        if self.held_out is not None:
            held_out_bound = np.asarray(self._held_out_evaluator(FINAL_HELD_OUT_STEPS)(params))
        return params, history, bound, held_out_bound

    def _checked(self, params: Any, expected: Any) -> Any:
        """A copy of initial parameters, whose shapes are those of `Model.init`."""
        structures = [str(jax.tree.structure(tree)) for tree in (expected, params)]
        if structures[0] != structures[1]:
            raise ValueError(
                "params must have the structure of model.init(key, data)"
                f"{', stacked over seeds' if self.sweep else ''}: {structures[0]}, got {structures[1]}"
            )
        for (path, want), got in zip(
            jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(params), strict=True
        ):
            if want.shape != jnp.shape(got):
                raise ValueError(
                    f"params{jax.tree_util.keystr(path)} must have shape {want.shape} for this model and "
                    f"these data, got {jnp.shape(got)}"
                )
        return jax.tree.map(jnp.array, params)

    def _phases(self, components: str | Queue) -> "list[Phase]":
        model = self.model
        if not isinstance(model, RPM):
            return []
        groups = (model.posterior_strategy.group, model.auxiliary_strategy.group)
        warm_start = self.options.warm_start
        if warm_start is None:
            steps = [DEFAULT_WARM_START if group == "networks" else 0 for group in groups]
            warm_start = WarmStart(match_posterior=steps[0], match_auxiliary=steps[1])
        learned = [group != "none" for group in groups]
        return [
            Phase(
                "match posterior",
                MatchPosterior(model),
                warm_start.match_posterior * learned[0],
                ("prior", "factors", "auxiliary"),
            ),
            Phase(
                "match auxiliary",
                MatchAuxiliary(model),
                warm_start.match_auxiliary * learned[1],
                ("prior", "factors", "posterior"),
            ),
            Phase(
                "warm start",
                bound_loss(model, components, em=False),
                warm_start.bound * any(learned),
                ("prior", "factors"),
            ),
        ]

    def _minimise(
        self, phase: "Phase", params: Any, key: Array, batch_size: int, *, quiet: bool
    ) -> tuple[Any, History]:
        options = self.options
        frozen = frozenset(("frozen", *options.freeze))
        optimizer: Any
        if options.optimizer is None:
            given = {name: float(rate) for name, rate in (options.learning_rates or {}).items()}
            rates = {**LEARNING_RATES, **given}
            optimizer = DefaultOptimizer(phase.num_steps, tuple(rates.items()), options.schedule, frozen)
        else:
            optimizer = GivenOptimizer(options.optimizer, frozen)
        length = options.steps_per_call or max(20, -(-phase.num_steps // 50))
        steps = Steps(
            phase.loss,
            Groups(self.model, (*phase.frozen, *options.freeze)),
            optimizer,
            batch_size,
            options.replacement,
            min(length, phase.num_steps),
        )
        state = _init_state(steps, self.sweep, self.data_axis, params, key, self.data, self.hyperparameters)

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
            update=None if quiet or options.update is None else self._update,
            early_stopping=None if quiet else options.early_stopping,
            progress=options.progress,
            callback=None if quiet else options.callback,
            description=phase.name,
        )

    def _update(self, params: Any, fraction: Array) -> Any:
        update = self.options.update
        assert update is not None
        return _apply_update(update, self.sweep, self.data_axis, params, self.data, fraction)

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
        model = self.model
        if not isinstance(model, RPM) or not model.has_rows:
            return lambda params: mean(params, held_out, mixture)
        new_rows = self._map(model.with_new_rows, 0, axis)
        optimise = self._map(
            partial(model.optimise_rows, num_steps=num_row_steps, learning_rate=LEARNING_RATES["rows"]),
            0,
            axis,
            axis,
        )
        rows: dict[str, Any] = {}

        def evaluate(params: Any) -> Array:
            with_rows = {**params, **rows} if rows else new_rows(params, held_out)
            with_rows = optimise(with_rows, held_out, mixture)
            rows.update({name: with_rows[name] for name in model.row_parts})
            return mean(with_rows, held_out, mixture)

        return evaluate


class Phase(NamedTuple):
    """A part of a run: what is minimised, for how long, and which parts of the model stay fixed."""

    name: str
    loss: Loss
    num_steps: int
    frozen: tuple[str, ...]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _init(model: Model, sweep: bool, data_axis: int | None, key: Array, data: Data) -> Any:
    return jax.vmap(model.init, in_axes=(0, data_axis))(key, data) if sweep else model.init(key, data)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _init_state(
    steps: Steps,
    sweep: bool,
    data_axis: int | None,
    params: Any,
    key: Array,
    data: Data,
    hyperparameters: dict[str, Array],
) -> Any:
    init = partial(init_state, steps)
    if sweep:
        return jax.vmap(init, in_axes=(0, 0, data_axis, 0))(params, key, data, hyperparameters)
    return init(params, key, data, hyperparameters)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _apply_update(
    update: Callable[..., Any], sweep: bool, data_axis: int | None, params: Any, data: Data, fraction: Array
) -> Any:
    if sweep:
        return jax.vmap(update, in_axes=(0, data_axis, None))(params, data, fraction)
    return update(params, data, fraction)
