"""The phases of a fit: initialise, warm up, optimise, evaluate, for one seed or many."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax.data import Data, choose_mixture, require_alike
from rpm_jax.model import RPM, Model
from rpm_jax.model._parameters import initial_sites
from rpm_jax.normalizers import Queue, Subset
from rpm_jax.train._devices import Layout, Spread, SpreadLoss, replicate, spread_mean_bound
from rpm_jax.train._engine import Loss, Seeds, Steps, advance_many, advance_one, init_state
from rpm_jax.train._guard import keep_finite, last_finite
from rpm_jax.train._history import History
from rpm_jax.train._initial import initial_parameters, require_finite_start
from rpm_jax.train._losses import MatchAuxiliary, MatchPosterior, bound_loss
from rpm_jax.train._not_finite import find_not_finite
from rpm_jax.train._optimizer import LEARNING_RATES, DefaultOptimizer, GivenOptimizer
from rpm_jax.train._options import FitOptions
from rpm_jax.train._probes import check_schedule, check_update, check_weights
from rpm_jax.train._progress import Reporter, reporter
from rpm_jax.train._run import Course, run_steps
from rpm_jax.train._warm_start import WarmStart
from rpm_jax.train._warnings import left_out, warn, warnings_of

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

WARNED_AT = 3
"""How many calls above `Runner.run` the one is that warnings point to."""


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
    seeds: Seeds | None = None
    spread: Spread | None = None

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

    def run(self, key: Array) -> tuple[Any, History, np.ndarray, np.ndarray | None]:
        """Initialise, warm up, fit, evaluate."""
        started = time.perf_counter()
        options = self.options
        size = self.size
        if self.held_out is not None:
            require_alike(
                "held_out", self.held_out, self.data, num_leading=1 if self.data_axis is None else 2
            )
        exact = getattr(self.model, "one_hot", False)
        default_size = EXACT_BATCH_SIZE if exact else DEFAULT_BATCH_SIZE
        batch_size = min(size, default_size) if options.batch_size is None else options.batch_size
        keys = self._map(lambda k: jax.random.split(k, 5))(key)
        init_key, *step_keys = (keys[..., i] for i in range(5))
        init = partial(_init, self.model, self.seeds, self.spread and self.spread.layout)
        expected = jax.eval_shape(init, init_key, self.data)
        model = self.model
        num_pooled = 1
        if isinstance(model, RPM) and model.pooled:
            num_pooled = initial_sites(model.prior_spec).batch_shape[0]
        options.check(size, self.hyperparameters, tuple(expected), num_pooled)
        self._check_spread()
        shown = reporter(options.progress if jax.process_index() == 0 else False)
        shown.note("initialising")
        if options.params is None:
            params = init(init_key, self.data)
        else:
            params = initial_parameters(options.params, expected, stacked=self.seeds is not None)
        require_finite_start(params, is_given=options.params is not None)
        if self.spread is not None:
            params = replicate(params, self.spread.mesh)
        if callable(options.schedule):
            check_schedule(options.schedule, options.num_steps)
        if options.update is not None:
            check_update(options.update, *self._of_one_seed(params))
        components = options.components
        few_values = self.data.distinct is not None
        if components is None:
            components = "batch" if exact and size > MOST_BATCHES * batch_size and not few_values else "data"
        if components == "data" and batch_size == size and not (options.replacement or few_values):
            # The same mixtures, from factors that are evaluated once.
            components = "batch"
        if (options.em or isinstance(components, Queue | Subset)) and not isinstance(self.model, RPM):
            raise TypeError(
                "em=True and components=queue(...) or random_subset(...) need an rpm_jax.RPM as the "
                f"model, got {type(self.model).__name__}; leave em out, and take components='data' or 'batch'"
            )
        own_components = components == "batch" or isinstance(components, Queue)
        if (
            own_components
            and self.data.log_weights is not None
            and self.spread is None
            and options.loss is None
        ):
            check_weights(self.data.log_weights, batch_size, replacement=options.replacement)
        for phase, phase_key in zip(self._phases(components), step_keys[:3], strict=False):
            if phase.num_steps > 0:
                course = self._minimise(phase, params, phase_key, batch_size, shown, quiet=True)
                texts = left_out(course, own_optimizer=options.optimizer is not None)
                warn([f"{phase.name}: {text}" for text in texts], WARNED_AT)
                params = course.before_fault()
        loss = options.loss or self._bound_loss(components, options.em)
        phase = Phase("fit", loss, options.num_steps, ())
        course = self._minimise(phase, params, step_keys[3], batch_size, shown, quiet=False)
        shown.note("evaluating")
        # A loss of the user's own may well lead to where the bound is not finite.
        start = (lambda: params,) if options.loss is None else ()
        candidates = (lambda: course.params, *course.earlier, *start)
        returned, bound, place = last_finite(candidates, self._evaluate_fit)
        held_out_bound = None
        if self.held_out is not None:
            held_out_bound = np.asarray(self._held_out_evaluator(FINAL_HELD_OUT_STEPS)(returned))
        shown.end()
        found = None
        if course.ends_unmade or place.any() or not np.isfinite(bound).all():
            found = self._find_not_finite(course, bound, place)
        texts = warnings_of(course, bound, place, found, own_optimizer=options.optimizer is not None)
        warn(texts, WARNED_AT)
        seconds = time.perf_counter() - started
        return returned, course.history._replace(seconds=seconds, warnings=texts), bound, held_out_bound

    def _find_not_finite(self, course: Course, bound: np.ndarray, place: np.ndarray) -> str | None:
        """What is not finite at the last parameters, of the first run where something is not."""
        if self.spread is not None:
            return None
        params, data = course.last, self.data
        if self.seeds is not None:
            bad = np.isnan(course.history.train[..., -1]) | ~np.isfinite(bound) | (place > 0)
            seed = int(np.argmax(bad))
            params = jax.tree.map(lambda leaf: leaf[seed], params)
            if self.data_axis == 0:
                data = jax.tree.map(lambda leaf: leaf[seed], data)
        return find_not_finite(self.model, params, data)

    def _check_spread(self) -> None:
        """Refuse what cannot be spread over devices."""
        if self.spread is None:
            return
        if not isinstance(self.model, RPM):
            raise TypeError(
                f"mesh: only an rpm_jax.RPM is spread, got {type(self.model).__name__}; leave it out"
            )
        if isinstance(self.options.components, Queue | Subset):
            raise ValueError(
                "mesh and components=queue(...) or random_subset(...) do not go together; take 'data' "
                "or 'batch'"
            )
        if self.options.held_out_mixture == "both":
            raise ValueError("mesh and held_out_mixture='both' do not go together; take 'train' or 'given'")
        layout = self.spread.layout
        if self.model.has_rows and layout.is_filled_up:
            raise ValueError(
                f"views: with saturated strategies every device needs as many data, got {layout.counts} data "
                f"of the processes for {self.spread.mesh.size} devices; leave some out, or use another "
                "strategy"
            )

    def _bound_loss(self, components: str | Queue | Subset, em: bool) -> Any:
        if self.spread is None:
            return bound_loss(self.model, components, em)
        assert isinstance(self.model, RPM)
        assert isinstance(components, str)
        return SpreadLoss(self.model, self.spread, components, em)

    def _of_one_seed(self, params: Any) -> tuple[Any, Data]:
        """Shapes of the parameters and data of a single run."""

        def shapes(tree: Any, is_stacked: bool) -> Any:
            first = 1 if is_stacked else 0
            return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[first:], a.dtype), tree)

        return shapes(params, self.seeds is not None), shapes(self.data, self.data_axis == 0)

    def _phases(self, components: str | Queue | Subset) -> "list[Phase]":
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
                self._bound_loss(components, em=False),
                warm_start.bound * any(learned),
                ("prior", "factors"),
            ),
        ]

    def _minimise(
        self, phase: "Phase", params: Any, key: Array, batch_size: int, shown: Reporter, *, quiet: bool
    ) -> Course:
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
            self.spread and self.spread.layout,
        )
        state = _init_state(steps, self.seeds, params, key, self.data, self.hyperparameters)

        def advance(state: Any, start: Array, number: Array) -> tuple[Any, Array]:
            if self.seeds is not None:
                return advance_many(steps, self.seeds, state, self.hyperparameters, self.data, start, number)
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
            reporter=shown,
            callback=None if quiet else options.callback,
            description=phase.name,
        )

    def _update(self, params: Any, fraction: Array) -> tuple[Any, np.ndarray]:
        update = self.options.update
        assert update is not None
        updated = _apply_update(update, self.seeds, params, self.data, fraction)
        return keep_finite(updated, params, stacked=self.seeds is not None)

    def _map(self, function: Callable[..., Any], *axes: int | None) -> Callable[..., Any]:
        if self.seeds is None:
            return function
        mapped = self.seeds.map(function, *(axes or (0,)))
        return mapped if self.seeds.mesh is None else jax.jit(mapped)

    def _evaluate_fit(self, params: Any) -> Array:
        if self.spread is not None:
            return spread_mean_bound(self.model, self.spread, params, self.data)
        mean = self._map(self.model.mean_bound, 0, self.data_axis, self.data_axis)
        return mean(params, self.data, self.data)

    def _held_out_evaluator(self, num_row_steps: int) -> Callable[[Any], Array]:
        """Params -> mean held-out bound; rows for these data go on from one call to the next."""
        axis = self.data_axis
        held_out = self.held_out
        assert held_out is not None
        if self.spread is not None:
            return self._spread_held_out_evaluator(held_out)
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

    def _spread_held_out_evaluator(self, held_out: Data) -> Callable[[Any], Array]:
        """The same where the data of the fit are spread over devices."""
        model, spread = self.model, self.spread
        assert spread is not None
        assert isinstance(model, RPM)
        if model.has_rows:
            raise ValueError("mesh: saturated strategies have no bound of held-out data; leave held_out out")
        held_out = replicate(held_out, spread.mesh)
        if self.options.held_out_mixture == "given":
            return lambda params: model.mean_bound(params, held_out, held_out)
        return lambda params: spread_mean_bound(model, spread, params, self.data, held_out)


class Phase(NamedTuple):
    """A part of a run: what is minimised, for how long, and which parts of the model stay fixed."""

    name: str
    loss: Loss
    num_steps: int
    frozen: tuple[str, ...]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _init(model: Model, seeds: Seeds | None, layout: Layout | None, key: Array, data: Data) -> Any:
    if seeds is not None:
        return seeds.map(model.init, 0, seeds.data_axis)(key, data)
    if layout is not None and layout.is_filled_up:
        rows = layout.rows(jnp.arange(layout.size))
        data = jax.tree.map(lambda leaf: leaf[rows], data._replace(distinct=None, log_weights=None))
    return model.init(key, data)


@partial(jax.jit, static_argnums=(0, 1))
def _init_state(
    steps: Steps,
    seeds: Seeds | None,
    params: Any,
    key: Array,
    data: Data,
    hyperparameters: dict[str, Array],
) -> Any:
    init = partial(init_state, steps)
    if seeds is not None:
        return seeds.map(init, 0, 0, seeds.data_axis, 0)(params, key, data, hyperparameters)
    return init(params, key, data, hyperparameters)


@partial(jax.jit, static_argnums=(0, 1))
def _apply_update(
    update: Callable[..., Any], seeds: Seeds | None, params: Any, data: Data, fraction: Array
) -> Any:
    if seeds is not None:
        return seeds.map(update, 0, seeds.data_axis, None)(params, data, fraction)
    return update(params, data, fraction)
