"""A run from its first key to its bounds: initialise, warm up, fit, evaluate; for one seed or many."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._jit import jit
from rpm_jax.data import Data, require_alike
from rpm_jax.feeds import Feed, full, minibatch
from rpm_jax.inference import row_parts
from rpm_jax.model import BATCH_SIZE, Model, ability, mean_bound
from rpm_jax.train._devices import (
    Layout,
    Spread,
    SpreadObjective,
    check_spread,
    replicate,
    spread_mean_bound,
)
from rpm_jax.train._guard import keep_finite, last_finite
from rpm_jax.train._held_out import FINAL_STEPS, HeldOut, Watch, check_watch
from rpm_jax.train._history import History
from rpm_jax.train._initial import initial_parameters, require_finite_start
from rpm_jax.train._not_finite import find_not_finite
from rpm_jax.train._objectives import BoundObjective
from rpm_jax.train._optimizer import Adam, for_run
from rpm_jax.train._options import FitOptions
from rpm_jax.train._probes import check_schedule, check_update, check_weights
from rpm_jax.train._progress import Reporter, reporter
from rpm_jax.train._run import Course, Watcher, run_steps
from rpm_jax.train._seeds import Seeds, call_over_seeds, over_seeds
from rpm_jax.train._step import MOST_STEPS, Groups, Steps, advance_run, init_run
from rpm_jax.train._warm_start import Phase, warm_start_phases
from rpm_jax.train._warnings import left_out, warn, warnings_of

WARNED_AT = 3
"""How many calls above `Runner.run` the one is that warnings point to."""


class Outcome(NamedTuple):
    """What a run gives."""

    params: Any
    history: History
    bound: np.ndarray
    held_out_bound: np.ndarray | None


class Runner(NamedTuple):
    """One fit, or a sweep of them: every array of parameters then has a leading axis of seeds."""

    model: Model
    data: Data
    held_out: HeldOut | None
    options: FitOptions
    hyperparameters: dict[str, Array]
    seeds: Seeds | None = None
    spread: Spread | None = None
    whole: Data | None = None
    """Spread data in one place, where one process has all of them."""

    @property
    def size(self) -> int:
        """N."""
        if self.spread is not None:
            return self.spread.layout.size
        return self.data.views[0].shape[1 if self.data_axis == 0 else 0]

    @property
    def data_axis(self) -> int | None:
        """The axis of the data that counts the seeds, if there is one."""
        return None if self.seeds is None else self.seeds.data_axis

    @property
    def of_one(self) -> Data:
        """The data of one seed."""
        return self.data if self.data_axis is None else jax.tree.map(lambda leaf: leaf[0], self.data)

    def run(self, key: Array) -> Outcome:
        """Initialise, warm up, fit, evaluate."""
        started = time.perf_counter()
        options = self.options
        if self.held_out is not None:
            num_leading = 1 if self.data_axis is None else 2
            require_alike("held_out", self.held_out.data, self.data, num_leading=num_leading)
        batch_size = self._batch_size()
        keys = _five(key) if self.seeds is None else jax.vmap(_five)(key)
        init_key, *step_keys = (keys[..., i] for i in range(5))
        expected = jax.eval_shape(self._init, init_key, self.data)
        options.check(self.model, self.size, self.hyperparameters, tuple(expected))
        feed = self._feed(batch_size)
        if self.spread is not None:
            check_spread(self.spread, self.model, options.components, bool(row_parts(self.model)))
        weighs = getattr(feed, "weighs_batch", False) and options.is_bound and self.spread is None
        if weighs and self.data.log_weights is not None:
            check_weights(self.data.log_weights, batch_size, replacement=options.replacement)
        watch = None
        if self.held_out is not None:
            watch = Watch(self.model, self.data, self.held_out, self.seeds, self.spread)
            check_watch(watch)
        shown = reporter(options.progress if jax.process_index() == 0 else False)
        shown.note("initialising")
        if options.params is None:
            params = self._init(init_key, self.data)
        else:
            params = initial_parameters(options.params, expected, stacked=self.seeds is not None)
        require_finite_start(params, is_given=options.params is not None)
        if self.spread is not None:
            params = replicate(params, self.spread.mesh)
        self._check_functions(params)
        own_optimizer = not (options.optimizer is None or isinstance(options.optimizer, Adam))
        bound = self._spread_over_devices(BoundObjective(self.model, feed))
        phases = warm_start_phases(self.model, options.warm_start, bound)
        for phase, phase_key in zip(phases, step_keys[:3], strict=True):
            if phase.num_steps > 0:
                course = self._minimise(phase, params, phase_key, batch_size, shown)
                texts = left_out(course, own_optimizer=own_optimizer)
                warn([f"{phase.name}: {text}" for text in texts], WARNED_AT)
                params = course.before_fault()
        objective = self._spread_over_devices(options.make_objective(self.model, feed))
        phase = Phase("fit", objective, options.num_steps)
        course = self._minimise(phase, params, step_keys[3], batch_size, shown, watch)
        shown.note("evaluating")
        # A loss of the user's own may well lead to where the bound is not finite.
        start = (lambda: params,) if options.is_bound else ()
        candidates = (lambda: course.params, *course.earlier, *start)
        returned, value, place = last_finite(candidates, self._evaluate)
        held_out_bound = None
        if watch is not None:
            held_out_bound = np.asarray(watch.look(returned, watch.init(returned), FINAL_STEPS)[0])
        shown.end()
        found = None
        if course.ends_unmade or place.any() or not np.isfinite(value).all():
            found = self._find_not_finite(course, value, place)
        texts = warnings_of(course, value, place, found, own_optimizer=own_optimizer)
        warn(texts, WARNED_AT)
        seconds = time.perf_counter() - started
        history = course.history._replace(seconds=seconds, warnings=texts)
        return Outcome(returned, history, value, held_out_bound)

    def _batch_size(self) -> int:
        if self.options.batch_size is not None:
            return self.options.batch_size
        default = ability(self.model, "default_batch_size", lambda data: BATCH_SIZE)
        return min(self.size, default(self.of_one))

    def _feed(self, batch_size: int) -> Feed:
        """The components of the fit, as the model accepts them."""
        data = self.of_one
        feed = self.options.components
        if feed is None:
            feed = ability(self.model, "default_feed", lambda data, batch_size: full())(data, batch_size)
        ability(self.model, "accepts", lambda feed, data: None)(feed, data)
        is_whole = batch_size == self.size and not self.options.replacement
        # The same mixtures, from factors that are evaluated once.
        return minibatch() if feed == full() and is_whole and data.distinct is None else feed

    def _init(self, key: Array, data: Data) -> Any:
        return _initialise(
            self.model, self.seeds, None if self.spread is None else self.spread.layout, key, data
        )

    def _spread_over_devices(self, objective: Any) -> Any:
        if self.spread is None or not isinstance(objective, BoundObjective):
            return objective
        return SpreadObjective(objective, self.spread)

    def _check_functions(self, params: Any) -> None:
        """Look at what functions of the user's own return."""
        options = self.options
        if isinstance(options.optimizer, Adam) and callable(options.optimizer.schedule):
            check_schedule(options.optimizer.schedule, options.num_steps)
        if options.update is not None:
            one = params if self.seeds is None else jax.tree.map(lambda leaf: leaf[0], params)
            check_update(options.update, one, self.of_one)

    def _minimise(
        self,
        phase: Phase,
        params: Any,
        key: Array,
        batch_size: int,
        shown: Reporter,
        watch: Watch | None = None,
    ) -> Course:
        """Make the steps of a phase; only the fit proper is watched, stopped, updated and called back."""
        options = self.options
        is_fit = phase.name == "fit"
        frozen = tuple(dict.fromkeys(options.freeze))
        alternate = options.alternate if is_fit else None
        steps = Steps(
            phase.objective,
            Groups(self.model, (*phase.frozen, *frozen)),
            for_run(options.optimizer, phase.num_steps, frozen, alternate),
            batch_size,
            options.replacement,
            None if self.spread is None else self.spread.layout,
        )
        state = init_run(steps, self.seeds, params, key, self.data, self.hyperparameters)
        total = np.asarray(phase.num_steps)

        def advance(state: Any, start: int, number: int) -> tuple[Any, np.ndarray]:
            losses = []
            for done in range(0, number, MOST_STEPS):
                now = min(MOST_STEPS, number - done)
                where = np.asarray(start + done), np.asarray(now), total
                state, some = advance_run(steps, self.seeds, state, self.hyperparameters, self.data, *where)
                losses.append(np.asarray(some)[..., :now])
            return state, np.concatenate(losses, axis=-1)

        return run_steps(
            advance,
            state,
            num_steps=phase.num_steps,
            steps_per_call=options.steps_per_call or max(20, -(-phase.num_steps // 50)),
            watcher=Watcher(
                watch,
                options.stopping if is_fit else None,
                shown,
                options.callback if is_fit else None,
                phase.name,
            ),
            update=self._update if is_fit and options.update is not None else None,
        )

    def _update(self, params: Any, fraction: Array) -> tuple[Any, np.ndarray]:
        updated = _apply_update(self.options.update, self.seeds, params, self.data, fraction)
        return keep_finite(updated, params, stacked=self.seeds is not None)

    def _evaluate(self, params: Any) -> Array:
        if self.spread is not None:
            return spread_mean_bound(self.model, self.spread, params, self.data, None)
        axes = (0, self.data_axis, self.data_axis)
        return call_over_seeds(self.seeds, mean_bound, self.model, (params, self.data, self.data), axes)

    def _find_not_finite(self, course: Course, bound: np.ndarray, place: np.ndarray) -> str | None:
        """What is not finite at the last parameters, of the first run where something is not."""
        params, data = course.last, self.data
        if self.spread is not None:
            if self.whole is None:
                return None
            params, data = jax.device_get(params), self.whole
        if self.seeds is not None:
            bad = np.isnan(course.history.train[..., -1]) | ~np.isfinite(bound) | (place > 0)
            seed = int(np.argmax(bad))
            params = jax.tree.map(lambda leaf: leaf[seed], params)
            if self.data_axis == 0:
                data = jax.tree.map(lambda leaf: leaf[seed], data)
        return find_not_finite(self.model, params, data)


def _five(key: Array) -> Array:
    return jax.random.split(key, 5)


@jit
def _initialise(model: Model, seeds: Seeds | None, layout: Layout | None, key: Array, data: Data) -> Any:
    if layout is not None and layout.is_filled_up:
        rows = layout.rows(jnp.arange(layout.size))
        data = jax.tree.map(lambda leaf: leaf[rows], data._replace(distinct=None, log_weights=None))
    return over_seeds(seeds, model.init, 0, None if seeds is None else seeds.data_axis)(key, data)


@jit
def _apply_update(
    update: Callable[..., Any], seeds: Seeds | None, params: Any, data: Data, fraction: Array
) -> Any:
    axis = None if seeds is None else seeds.data_axis
    return over_seeds(seeds, update, 0, axis, None)(params, data, fraction)
