"""What an array is: numbers of every origin as NumPy arrays, and these as JAX arrays, none wrapped."""

import math
import numbers
import warnings
from decimal import Decimal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._checks import caller_level

LARGEST = 0.25
"""Of the largest number of a type: up to here sums and differences of two numbers are finite."""

ROWS_LOOKED_AT = 100
"""From so many rows it is guessed whether a cast loses digits, before a column is looked at as a whole."""

FROM_SEQUENCES = "rpm_jax.from_sequences([sequence, ...])"
"""What takes data of unequal lengths, for messages."""

MOST_LOST = 1e-3
"""Of a column's standard deviation: a cast may round numbers by this much without a warning."""


def to_numpy(name: str, value: Any) -> np.ndarray:
    """Real numbers of NumPy, torch, pandas, xarray, nested lists ... as a NumPy array.

    Args:
        name: Of the argument, for messages.
        value: Anything but a JAX array.

    Returns:
        A boolean, integer or floating array, or `np.ma.MaskedArray` for such an array. Values that pandas or
        a list calls missing (None, NA) are NaN.

    Raises:
        TypeError: For what is no array of real numbers, with what to do about it.
        ValueError: For ragged lists.
    """
    if hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "to_numpy"):
        return _from_frame(name, value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = _from_torch(value)
    elif hasattr(value, "to_numpy") and not isinstance(getattr(value, "dtype", None), np.dtype):
        value = _from_extension(name, value)
    elif hasattr(value, "toarray") and not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name} must be an array of real numbers, got the sparse {type(value).__name__}; pass "
            f"{name}.toarray()"
        )
    try:
        array = value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise ValueError(f"{name} can not be made an array: {error}") from error
        raise ValueError(
            f"{name} must be a rectangular array, got a ragged {type(value).__name__} with an inhomogeneous "
            f"shape; for sequences of unequal lengths pass {FROM_SEQUENCES}, which pads and masks them"
        ) from None
    if array.dtype.kind == "O":
        array = _from_objects(name, array)
    _require_real(name, array.dtype)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _require_real(name: str, dtype: Any) -> None:
    """Raise `TypeError` for a dtype of anything but real numbers."""
    kind = getattr(dtype, "kind", "")
    # NumPy counts durations among the integers, and JAX bfloat16 among the floating types, of kind V.
    is_key = jnp.issubdtype(dtype, jax.dtypes.extended)
    if is_key or (kind not in "biuf" and not jnp.issubdtype(dtype, np.floating)):
        advice = {
            "M": "; pass seconds as numbers, (time - time.min()) / np.timedelta64(1, 's')",
            "m": "; pass seconds as numbers, duration / np.timedelta64(1, 's')",
            "c": "; pass its real and imaginary parts",
            "U": "; turn names into numbers, such as one-hot vectors np.eye(K)[codes]",
            "S": "; turn names into numbers, such as one-hot vectors np.eye(K)[codes]",
            "V": "; pass its fields as features, numpy.lib.recfunctions.structured_to_unstructured",
        }.get(kind, "")
        raise TypeError(f"{name} must be an array of real numbers, got dtype {dtype}{advice}")


def _from_torch(tensor: Any) -> Any:
    """A torch tensor's numbers, from any device, also of one that requires gradients."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def _from_extension(name: str, series: Any) -> Any:
    """A column of one of pandas' own types."""
    dtype = getattr(series, "dtype", None)
    if hasattr(dtype, "categories"):
        raise TypeError(
            f"{name} must be an array of real numbers, got a categorical column; pass one-hot columns "
            "(pandas.get_dummies) or, where categories are numbers, column.astype(float)"
        )
    if getattr(dtype, "kind", "O") not in "biuf":
        return series.to_numpy()
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _from_frame(name: str, frame: Any) -> np.ndarray:
    """A table, column by column, so that a message can name the column."""
    columns = [
        to_numpy(f"{name}, column {label!r},", frame.iloc[:, place])
        for place, label in enumerate(frame.columns)
    ]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def _from_objects(name: str, array: np.ndarray) -> np.ndarray:
    """An array of Python objects, if these are numbers or missing."""
    flat = array.ravel()
    numeric = np.empty(flat.shape, np.float64)
    for place, item in enumerate(flat):
        if item is None or type(item).__name__ == "NAType":
            numeric[place] = np.nan
        elif isinstance(item, numbers.Real | Decimal | np.bool_):
            numeric[place] = item
        else:
            raise TypeError(
                f"{name} must be an array of real numbers, got dtype object that holds the "
                f"{type(item).__name__} {str(item)[:40]!r}; "
                + (
                    f"for sequences of unequal lengths pass {FROM_SEQUENCES}"
                    if hasattr(item, "__len__") and not isinstance(item, str | bytes)
                    else "turn names into numbers, such as one-hot vectors"
                )
            )
    return numeric.reshape(array.shape)


def floating_type(dtype: Any) -> np.dtype:
    """The type that numbers of a type are computed in: at least float32; of integers JAX's default."""
    if jnp.issubdtype(dtype, np.floating) and jnp.finfo(dtype).bits < 32:
        return np.dtype(np.float32)
    if jnp.issubdtype(dtype, np.floating):
        return np.dtype(
            jax.dtypes.canonicalize_dtype(np.float32 if jnp.finfo(dtype).bits == 32 else np.float64)
        )
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def to_floating(array: np.ndarray) -> np.ndarray:
    """A NumPy array in its `floating_type`, cast by NumPy; what is beyond its range is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(array, floating_type(array.dtype))


def as_floating(name: str, value: Any) -> Array:
    """Real numbers of any origin as a JAX array of floating type.

    JAX itself wraps 64-bit integers to 32 bits before it makes them floating.

    Args:
        name: Of the argument, for messages.
        value: A JAX array, which may be traced, or anything that `to_numpy` takes.

    Raises:
        TypeError: For what is no array of real numbers.
        ValueError: For finite numbers beyond the range of the floating type.
    """
    if isinstance(value, Array):
        _require_real(name, value.dtype)
        wanted = floating_type(value.dtype)
        return value if value.dtype == wanted else value.astype(wanted)
    array = to_numpy(name, value)
    cast = to_floating(array)
    if array.dtype.itemsize > cast.dtype.itemsize and not in_range(cast):
        beyond = np.isinf(cast) & np.isfinite(array)
        if beyond.any():
            raise ValueError(beyond_range(name, array, beyond, cast.dtype))
    return jnp.asarray(cast)


def in_range(array: np.ndarray) -> bool:
    """Whether all numbers are finite and far enough from the largest one."""
    if array.size == 0:
        return True
    limit = LARGEST * float(np.finfo(array.dtype).max)
    return bool(array.min() >= -limit) and bool(array.max() <= limit)


def beyond_range(name: str, array: np.ndarray, beyond: np.ndarray, dtype: Any) -> str:
    """The message for numbers that are finite and too large.

    Args:
        name: Of the argument.
        array: The numbers.
        beyond: Which of them.
        dtype: The type that is too narrow.
    """
    where = tuple(int(i) for i in np.argwhere(beyond)[0])
    advice = "divide them by a constant"
    if np.dtype(dtype).itemsize < 8:
        advice += ', or compute in float64: jax.config.update("jax_enable_x64", True)'
    return (
        f"{name} holds {int(beyond.sum())} numbers that are finite but beyond the range of {np.dtype(dtype)} "
        f"(up to {LARGEST * float(np.finfo(dtype).max):.2g} here), the first, {array[where]:.4g}, at index "
        f"{where}; {advice}"
    )


def warn_of_lost_digits(name: str, array: np.ndarray, cast: np.ndarray) -> None:
    """Warn where a cast rounds a column by more than a thousandth of its standard deviation.

    Args:
        name: Of the argument.
        array: The numbers, rows on the first axis, columns on the last one (if there are two axes or more).
        cast: The same in a narrower type.
    """
    if array.dtype.itemsize <= cast.dtype.itemsize or array.dtype.kind not in "iuf" or array.size == 0:
        return
    rows = array.reshape(len(array), -1) if array.ndim < 3 else array.reshape(-1, array.shape[-1])
    same = cast.reshape(rows.shape)
    unit = float(np.finfo(cast.dtype).eps) / 2

    some = rows[:: max(1, len(rows) // ROWS_LOOKED_AT)]
    lowest, highest = np.asarray(some.min(0), np.float64), np.asarray(some.max(0), np.float64)
    # n numbers have at least a deviation of their range over √(2n).
    least = (highest - lowest) / math.sqrt(2 * len(some))
    suspects = np.flatnonzero(~(unit * np.maximum(-lowest, highest) <= MOST_LOST * least))
    if not len(suspects):
        return
    columns = rows[:, suspects].astype(np.float64)
    finite = np.isfinite(columns)
    columns = np.where(finite, columns, 0.0)
    size = np.maximum(finite.sum(0), 1)
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = np.sqrt(np.where(finite, (columns - columns.sum(0) / size) ** 2, 0.0).sum(0) / size)
        lost = np.where(finite, np.abs(columns - same[:, suspects]), 0.0).max(0)
    worst = np.flatnonzero((lost > MOST_LOST * deviation) & (deviation > 0))
    if len(worst):
        named = ", ".join(str(int(suspects[k])) for k in worst[:5]) + (", ..." if len(worst) > 5 else "")
        ratio = float(np.max(lost[worst] / deviation[worst]))
        warnings.warn(
            f"{name}, column {named}: rounding to {cast.dtype} moves numbers by up to {ratio:.2g} of the "
            "column's standard deviation, since they are far from 0 compared with how much they vary; "
            "subtract the column's mean before passing it (in float64), or compute in float64: "
            'jax.config.update("jax_enable_x64", True)',
            RuntimeWarning,
            stacklevel=caller_level(),
        )
