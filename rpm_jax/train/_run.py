"""The loop around the compiled steps: progress, held-out bound, early stopping, callback."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import require_positive_integer
from rpm_jax.train._history import History


class EarlyStopping(NamedTuple):
    """Stop when a bound no longer grows, and keep the best parameters.

    It watches the held-out bound, or without held-out data the mean of the minibatches' bounds since the
    last look.

    Attributes:
        patience: Looks without improvement after which the run ends; one look per `steps_per_call`.
        min_delta: What counts as an improvement, in nats.
    """

    patience: int = 10
    min_delta: float = 0.0

    def check(self) -> None:
        """Raise `ValueError` for numbers that make no sense."""
        require_positive_integer("early_stopping.patience", self.patience)
        if not 0 <= self.min_delta < np.inf:
            raise ValueError(f"early_stopping.min_delta must be at least 0 nats, got {self.min_delta}")


class Progress(NamedTuple):
    """What a callback sees; with seeds, arrays have a leading axis of them.

    Attributes:
        step: Steps made so far.
        num_steps: Of the whole run.
        params: The parameters now. Copy what you keep: their buffers are reused by the next steps.
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


def run_steps(
    advance: Callable[[Any, Any, Any], tuple[Any, Array]],
    state: Any,
    *,
    num_steps: int,
    steps_per_call: int,
    evaluate: Callable[[Any], Array] | None,
    update: Callable[[Any, Any], Any] | None,
    early_stopping: EarlyStopping | None,
    progress: bool,
    callback: Callback | None,
    description: str,
) -> tuple[Any, History]:
    """Make all steps.

    Args:
        advance: (state, start, number) -> (state, losses (..., steps_per_call)).
        state: A `TrainState`, possibly with a leading axis of seeds.
        num_steps: Of the run.
        steps_per_call: Between two looks.
        evaluate: params -> held-out bound (...), or None.
        update: (params, fraction of the run) -> params, applied after each call, or None.
        early_stopping: See `EarlyStopping`.
        progress: Whether to show a progress bar.
        callback: See `Callback`.
        description: For the progress bar.

    Returns:
        The parameters and the history.
    """
    bar = progress_bar(num_steps, description) if progress and jax.process_index() == 0 else None
    train: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    held_out_steps: list[int] = []
    best: Any = None
    best_score: Any = -np.inf
    waited: Any = 0
    done, stopped = 0, "finished"
    try:
        while done < num_steps:
            number = min(steps_per_call, num_steps - done)
            state, losses = advance(state, np.asarray(done), np.asarray(number))
            bounds = -np.asarray(losses)[..., :number]
            bounds = np.where(np.isfinite(bounds), bounds, np.nan)
            train.append(bounds)
            done += number
            if update is not None:
                state = state._replace(params=update(state.params, np.asarray(done / num_steps)))
            recent = _nanmean(bounds)
            score = recent
            if evaluate is not None:
                score = np.asarray(evaluate(state.params))
                held_out.append(score)
                held_out_steps.append(done)
            if bar is not None:
                bar.set_postfix_str(_summary(recent, held_out[-1] if held_out else None))
                bar.update(number)
            if np.isnan(bounds).all():
                stopped = "not finite"
                break
            if early_stopping is not None:
                score = np.nan_to_num(score, nan=-np.inf)
                running = np.asarray(waited) < early_stopping.patience
                improved = running & (score > best_score + early_stopping.min_delta)
                if best is None:
                    best, best_score = jax.tree.map(jnp.copy, state.params), score
                else:
                    best = _select(jnp.asarray(improved), state.params, best)
                    best_score = np.where(improved, score, best_score)
                waited = np.where(running & improved, 0, waited + 1)
                if (waited >= early_stopping.patience).all():
                    stopped = "early stopping"
                    break
            if callback is not None:
                info = Progress(done, num_steps, state.params, recent, held_out[-1] if held_out else None)
                answer = callback(info)
                if isinstance(answer, bool | np.bool_) and answer:
                    stopped = "callback"
                    break
    finally:
        if bar is not None:
            bar.close()
    skipped = np.asarray(state.skipped)
    _warn_skipped(skipped, done, stopped)
    shape = skipped.shape
    history = History(
        np.concatenate(train, axis=-1) if train else np.zeros((*shape, 0)),
        np.asarray(held_out_steps, dtype=int),
        np.stack(held_out, axis=-1) if held_out else np.zeros((*shape, 0)),
        skipped,
        stopped,
    )
    return (state.params if best is None else best), history


@jax.jit
def _select(condition: Array, yes: Any, no: Any) -> Any:
    def choose(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(choose, yes, no)


def _nanmean(bounds: np.ndarray) -> np.ndarray:
    count = np.sum(~np.isnan(bounds), axis=-1)
    return np.where(count > 0, np.nansum(bounds, axis=-1) / np.maximum(count, 1), np.nan)


def _summary(train: np.ndarray, held_out: np.ndarray | None) -> str:
    text = f"bound {np.nanmedian(train):.2f}"
    return text if held_out is None else f"{text}, held-out {np.nanmedian(held_out):.2f}"


def _warn_skipped(skipped: np.ndarray, done: int, stopped: str) -> None:
    if not skipped.any():
        return
    runs = "" if skipped.ndim == 0 else f" in {int((skipped > 0).sum())} of {skipped.size} runs"
    end = " The run was ended, its last finite parameters are kept." if stopped == "not finite" else ""
    warnings.warn(
        f"{int(skipped.max())} of {done} steps{runs} had a NaN or infinite bound or gradient and were left "
        f"out.{end} Lower learning rates (learning_rates=...) or float64 usually help.",
        RuntimeWarning,
        stacklevel=4,
    )


def progress_bar(total: int, description: str) -> Any:
    """A tqdm bar.

    Raises:
        ImportError: If tqdm is missing.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            'progress=True needs tqdm: pip install "rpm_jax[experiments]", or leave progress=False'
        ) from error
    return tqdm(total=total, desc=description, unit="step")
