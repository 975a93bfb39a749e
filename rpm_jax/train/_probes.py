"""Functions and data that a fit is given: whether they give, or are, what they have to."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rpm_jax.data import Data

SCHEDULE_PROBES = 20
"""At how many steps of a run its schedule is looked at."""


def check_weights(log_weights: Array, batch_size: int, *, replacement: bool) -> None:
    """Raise `ValueError` where a minibatch, of whose data F_j consists, may hold data of weight 0 alone.

    Args:
        log_weights: Of the data, shape (..., N).
        batch_size: B.
        replacement: Whether minibatches are drawn with replacement.
    """
    weightless = int(np.isneginf(np.asarray(log_weights)).sum(-1).max())
    if weightless >= (1 if replacement else batch_size):
        raise ValueError(
            f"log_weights: {weightless} of {log_weights.shape[-1]} data have weight 0, so that a minibatch "
            f"of batch_size={batch_size} may hold no component of F_j; leave these data out, take larger "
            "minibatches without replacement, or components=rpm_jax.feeds.full()"
        )


def check_schedule(schedule: Callable[[Any], Any], num_steps: int) -> None:
    """Raise unless a schedule gives finite numbers of at least 0.

    Raises:
        TypeError: For results that are not one real number each.
        ValueError: For numbers that are negative, NaN or infinite.
    """
    shape = jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.number):
        raise TypeError(f"optimizer.schedule must map the number of a step to one number, got {shape}")
    steps = np.unique(np.linspace(0, num_steps - 1, SCHEDULE_PROBES).astype(np.int32))
    values = np.asarray(jax.jit(jax.vmap(schedule))(steps))
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise ValueError(
            f"optimizer.schedule must give factors on the learning rates, finite and at least 0, got "
            f"{values[wrong][0]} at step {steps[wrong][0]}"
        )


def require_scalar(loss: Any) -> None:
    """Raise `TypeError` unless what a loss returned is one real number; while it is traced."""
    if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise TypeError(
            f"objective must return one real number for a batch, such as "
            f"-bound.mean(), got {_described(loss)}"
        )


def call_optimizer(
    optimizer: Any, gradient: Any, optimizer_state: Any, params: Any, loss: Array
) -> tuple[Any, Any]:
    """The updated parameters and state of an optimiser.

    Raises:
        TypeError: For an optimiser that can't be called so, or gives other updates; while it is traced.
    """
    try:
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params, value=loss)
        updated = optax.apply_updates(params, updates)
    except Exception as error:
        raise TypeError(
            "optimizer must be an optax optimiser whose update takes gradients, parameters and value=loss, "
            "such as optax.adam(1e-3); one with a line search, such as optax.lbfgs(), also needs the loss as "
            "a function, which differs from minibatch to minibatch. Its update gave "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    _require_like("optimizer must give updates like the parameters", updated, params)
    return updated, optimizer_state


def check_update(update: Callable[..., Any], params: Any, data: Data) -> None:
    """Raise `TypeError` unless `update` returns parameters of the structure, shapes and types it is given."""
    updated = jax.eval_shape(update, params, data, jax.ShapeDtypeStruct((), jnp.zeros(()).dtype))
    _require_like("update must return parameters like those it is given", updated, params)


def require_same_memory(memory: Any, before: Any) -> None:
    """Raise `TypeError` unless a memory stays as it is but for its values; while it is traced."""
    _require_like(
        "what objective or components remember must keep its structure, shapes and types from init and "
        "from step to step",
        memory,
        before,
        "memory",
    )


def _require_like(rule: str, got: Any, expected: Any, name: str = "params") -> None:
    structure: Any = jax.tree.structure(expected)
    if jax.tree.structure(got) != structure:
        raise TypeError(f"{rule}, a pytree {structure}, got {_described(got)}")
    pairs = zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True)
    for (path, want), leaf in pairs:
        if (leaf.shape, leaf.dtype) != (want.shape, want.dtype):
            raise TypeError(
                f"{rule}: {name}{jax.tree_util.keystr(path)} must be {want.dtype}{list(want.shape)}, got "
                f"{leaf.dtype}{list(leaf.shape)}"
            )


def _described(result: Any) -> str:
    if hasattr(result, "shape"):
        return f"{result.dtype}{list(result.shape)}"
    return "None" if result is None else f"{type(result).__name__} {jax.tree.structure(result)}"
