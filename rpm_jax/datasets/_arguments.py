"""What the data sets ask of their arguments."""

import math
from typing import Any, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

from rpm_jax._checks import as_keys, is_concrete, require_positive_integer

Split = TypeVar("Split", bound=Any)


def generator(function: str, key: Any) -> np.random.Generator:
    """A NumPy generator that a JAX key determines, for sizes that depend on the data."""
    key = as_keys(f"{function}: key", key, 0)
    if not is_concrete(key):
        raise TypeError(f"{function}: its sizes depend on the data, so it can't be jitted; call it outside")
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def require_at_least(name: str, value: Any, least: float) -> None:
    """Raise `ValueError` where a known number is less than `least`, infinite or NaN."""
    if is_concrete(value) and not least <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least {least}, got {value!r}")


def require_positive(name: str, value: Any) -> None:
    """Raise `ValueError` where a known number is not positive, infinite or NaN."""
    if is_concrete(value) and not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")


def require_probability(name: str, value: Any) -> None:
    """Raise `ValueError` unless a known number lies strictly between 0 and 1."""
    if is_concrete(value) and not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, both excluded, got {value!r}")


def labelled(function: str, images: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, ...) and as many whole labels (N,) from 0 on, as NumPy arrays."""
    pixels, names = np.asarray(images), np.asarray(labels)
    if not np.issubdtype(names.dtype, np.integer):
        raise TypeError(f"{function}: labels must be integers, got {names.dtype}")
    if pixels.ndim < 1 or names.shape != pixels.shape[:1] or not names.size:
        raise ValueError(
            f"{function}: images and labels must have shapes (N, H, W) and (N,) with the same N > 0, "
            f"got {pixels.shape} and {names.shape}"
        )
    if names.min() < 0:
        raise ValueError(f"{function}: labels must be at least 0, got {names.min()}")
    return pixels, names


def split_sequences(data: Split, fields: tuple[str, ...], num_first: int) -> tuple[Split, Split]:
    """Part a NamedTuple of sequences in two.

    Args:
        data: N sequences.
        fields: The fields with an entry for each sequence, on the first axis of every array in them.
        num_first: How many go to the first part, 0 < num_first < N.

    Raises:
        ValueError: If either part would be empty.
    """
    name = type(data).__name__
    size = len(jax.tree.leaves(getattr(data, fields[0]))[0])
    require_positive_integer(f"{name}.split: num_first", num_first)
    if num_first >= size:
        raise ValueError(
            f"{name}.split: num_first must be less than the {size} sequences there are, got {num_first}"
        )

    def part(which: slice) -> Split:
        values = {field: jax.tree.map(lambda array: array[which], getattr(data, field)) for field in fields}
        return data._replace(**values)

    return part(slice(None, num_first)), part(slice(num_first, None))
