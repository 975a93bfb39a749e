"""Model, keys and hyperparameters of fits, checked."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import as_keys, require_choice
from rpm_jax.train._optimizer import LEARNING_RATES


def keys_of_runs(keys: Any) -> Array:
    """Random keys of S runs, shape (S,), from an array or a list of them.

    Raises:
        TypeError: For anything else.
        ValueError: For a single key.
    """
    if isinstance(keys, list | tuple) and keys and all(hasattr(key, "dtype") for key in keys):
        keys = jnp.stack([as_keys(f"keys[{i}]", key, 0) for i, key in enumerate(keys)])
    if hasattr(keys, "ndim") and (
        keys.ndim == 0 or (not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) and keys.ndim == 1)
    ):
        raise ValueError(
            f"keys must have shape (S,), one key per run, got shape {keys.shape}; "
            "jax.random.split(key, S) makes S keys of one"
        )
    keys = as_keys("keys", keys, 1)
    if len(keys) == 0:
        raise ValueError("keys must hold at least one key, got none")
    return keys


def as_hyperparameters(values: Any, num_runs: int, *, are_rates: bool) -> dict[str, Array]:
    """Hyperparameters of a sweep as arrays with first axis S.

    Args:
        values: A mapping from names to arrays, or None.
        num_runs: S.
        are_rates: Whether they are learning rates of the default optimiser, finite and positive.

    Raises:
        TypeError: For anything but a mapping from names to arrays of numbers.
        ValueError: For another first axis, or numbers that are not finite.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise TypeError(
            "hyperparameters must be a mapping from names to arrays with one value per key, got "
            f"{type(values).__name__}"
        )
    arrays = {}
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"hyperparameters[{name!r}] must be an array of numbers, got dtype {array.dtype}")
        if array.shape[:1] != (num_runs,):
            raise ValueError(
                f"hyperparameters[{name!r}] must have one value per key, first axis {num_runs}, got shape "
                f"{array.shape}"
            )
        if not np.isfinite(array.astype(np.float64)).all():
            raise ValueError(f"hyperparameters[{name!r}] must be finite, got {array}")
        if are_rates:
            require_choice("hyperparameters (learning rates by group): name", name, tuple(LEARNING_RATES))
            if array.shape != (num_runs,) or not (array >= 0).all():
                raise ValueError(
                    f"hyperparameters[{name!r}] must be one learning rate of at least 0 per key, got {array}"
                )
        arrays[name] = jnp.asarray(value)
    return arrays
