"""The loop around the compiled steps: progress, held-out bound, early stopping, callback."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rpm_jax._checks import require_number, require_positive_integer
from rpm_jax._record import record
from rpm_jax.train._guard import Sound, before_last_step, select
from rpm_jax.train._held_out import Watch
from rpm_jax.train._history import History
from rpm_jax.train._progress import Reporter

LOST = 20
"""After so many steps in a row that had to be left out a run is ended."""


@record
class EarlyStopping:
    """Stop when a bound no longer grows, and keep the best parameters, of those with a finite bound.

    It watches the held-out bound, or without held-out data the mean of the minibatches' bounds since the
    last look.

    Attributes:
        patience: Looks without improvement after which the run ends; one look per `steps_per_call`.
        min_delta: What counts as an improvement, in nats.
    """

    patience: int = 10
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive_integer("stopping.patience", self.patience)
        require_number("stopping.min_delta (in nats)", self.min_delta, at_least=0.0)


class Progress(NamedTuple):
    """What a callback sees; with seeds, arrays have a leading axis of them.

    Attributes:
        step: Steps made so far.
        num_steps: Of the whole run.
        params: The parameters now, which may be kept.
        train: The mean of the minibatches' bounds since the last call.
        held_out: The held-out bound, or None.
    """

    step: int
    num_steps: int
    params: Any
    train: np.ndarray
    held_out: np.ndarray | None


Callback = Callable[[Progress], Any]
"""Called after every `steps_per_call` steps; the run ends where it returns True."""


class Course(NamedTuple):
    """How a run went.

    Attributes:
        params: The last parameters, or with early stopping the best.
        last: The last parameters.
        earlier: Functions that return what to fall back to, the latest first; None where there is nothing.
        history: Its history.
        refused: Steps whose loss and gradient were finite, and the state after them was not.
        undone: How often what `update` returned was not finite.
    """

    params: Any
    last: Any
    earlier: tuple[Callable[[], Any], ...]
    history: History
    refused: np.ndarray
    undone: np.ndarray

    def before_fault(self) -> Any:
        """The parameters, but where the last step was left out those before the last step made."""
        earlier = self.earlier[0]()
        at_fault = np.isnan(self.history.train[..., -1])
        return self.params if earlier is None else select(jnp.asarray(at_fault), earlier, self.params)

    @property
    def ends_unmade(self) -> bool:
        """Whether in some run the last step had to be left out."""
        return bool(np.isnan(self.history.train[..., -1:]).any())


class Best(NamedTuple):
    """The best parameters so far, for early stopping.

    Attributes:
        params: These, or None before the first look.
        score: Their bound.
        waited: Looks since the last improvement.
    """

    params: Any = None
    score: Any = -np.inf
    waited: Any = 0

    def after(self, params: Any, score: np.ndarray, stopping: EarlyStopping) -> "Best":
        """With another look."""
        running = np.asarray(self.waited) < stopping.patience
        improved = running & np.isfinite(score) & (score > self.score + stopping.min_delta)
        if self.params is not None:
            params = select(jnp.asarray(improved), params, self.params)
        return Best(
            params,
            np.where(improved, score, self.score),
            np.where(running & improved, 0, np.asarray(self.waited) + 1),
        )


class Watcher(NamedTuple):
    """Who looks on while the steps are made.

    Attributes:
        held_out: How the held-out bound is taken, or None.
        stopping: When to stop early, or None.
        reporter: Of the progress.
        callback: See `Callback`.
        description: For the reporter.
    """

    held_out: Watch | None
    stopping: EarlyStopping | None
    reporter: Reporter
    callback: Callback | None
    description: str


def run_steps(
    advance: Callable[[Any, int, int], tuple[Any, np.ndarray]],
    state: Any,
    *,
    num_steps: int,
    steps_per_call: int,
    watcher: Watcher,
    update: Callable[[Any, Any], tuple[Any, np.ndarray]] | None = None,
) -> Course:
    """Make all steps.

    Args:
        advance: (state, start, number) -> (state, losses (..., number)). It leaves the old state as it is.
        state: A `TrainState`, possibly with a leading axis of seeds.
        num_steps: Of the run.
        steps_per_call: Between two looks.
        watcher: Who looks on.
        update: (params, fraction of the run) -> (params, whether they are new), applied after each call; or
            None.
    """
    watch, stopping, reporter, callback, description = watcher
    rows: Any = None
    train: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    held_out_steps: list[int] = []
    best, sound = Best(), Sound()
    before: tuple[Any, int, np.ndarray] | None = None
    before_fault: Any = None
    lost: Any = 0
    undone = np.zeros(np.shape(state.skipped), int)
    done, stopped = 0, "finished"
    reporter.begin(description, num_steps)
    try:
        while done < num_steps:
            number = min(steps_per_call, num_steps - done)
            start, first, before = state, done, None
            state, losses = advance(state, done, number)
            bounds = -losses
            bounds = np.where(np.isfinite(bounds), bounds, np.nan)
            train.append(bounds)
            done += number
            left_out = np.isnan(bounds)
            before = start, first, bounds
            if (left_out[..., -1] & ~left_out.all(-1)).any():
                # Something went wrong after a step of this call: its parameters may be at fault.
                params = before_last_step(advance, *before)
                at_fault = jnp.asarray(left_out[..., -1] & ~left_out.all(-1))
                before_fault = params if before_fault is None else select(at_fault, params, before_fault)
            sound = sound.after(state.params, left_out.any(-1))
            if update is not None:
                params, is_new = update(state.params, np.asarray(done / num_steps))
                state = state._replace(params=params)
                undone = undone + ~is_new
            recent = _nanmean(bounds)
            score = recent
            if watch is not None:
                rows = watch.init(state.params) if rows is None else rows
                value, rows = watch.look(state.params, rows)
                score = np.asarray(value)
                held_out.append(score)
                held_out_steps.append(done)
            reporter.advance(number, _summary(recent, held_out[-1] if held_out else None))
            lost = np.where(left_out.all(-1), lost + number, np.argmax(~left_out[..., ::-1], axis=-1))
            if (lost >= min(LOST, num_steps)).all():
                stopped = "not finite"
                break
            if stopping is not None:
                best = best.after(state.params, score, stopping)
                if (best.waited >= stopping.patience).all():
                    stopped = "early stopping"
                    break
            if callback is not None:
                info = Progress(done, num_steps, state.params, recent, held_out[-1] if held_out else None)
                answer = callback(info)
                if isinstance(answer, bool | np.bool_) and answer:
                    stopped = "callback"
                    break
    finally:
        reporter.end()
    shape = np.shape(state.skipped)
    history = History(
        np.concatenate(train, axis=-1) if train else np.zeros((*shape, 0)),
        np.asarray(held_out_steps, dtype=int),
        np.stack(held_out, axis=-1) if held_out else np.zeros((*shape, 0)),
        np.asarray(state.skipped),
        stopped,
    )

    def before_the_last() -> Any:
        return None if before is None else before_last_step(advance, *before)

    earlier = (lambda: before_fault, before_the_last, lambda: sound.params)
    params = state.params if best.params is None else best.params
    return Course(params, state.params, earlier, history, np.asarray(state.refused), undone)


def _nanmean(bounds: np.ndarray) -> np.ndarray:
    count = np.sum(~np.isnan(bounds), axis=-1)
    return np.where(count > 0, np.nansum(bounds, axis=-1) / np.maximum(count, 1), np.nan)


def _summary(train: np.ndarray, held_out: np.ndarray | None) -> str:
    text = f"bound {_median(train)}"
    return text if held_out is None else f"{text}, held-out {_median(held_out)}"


def _median(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    return f"{np.median(finite):.2f}" if finite.size else "not finite"
