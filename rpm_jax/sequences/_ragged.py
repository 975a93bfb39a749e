"""Sequences of unequal lengths, padded and masked, and answers about them without the padding."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rpm_jax._arrays import to_numpy
from rpm_jax._checks import require_positive_integer
from rpm_jax.data import Data, as_data
from rpm_jax.priors import as_locations


def from_sequences(
    sequences: Sequence[Any],
    *,
    times: Sequence[Any] | None = None,
    mask: Sequence[Any] | None = None,
    log_weights: Any = None,
    inputs: Sequence[Any] | None = None,
    num_sites: int | None = None,
    missing: str = "error",
) -> Data:
    """Sequences of unequal lengths T_n as `Data` of one length T, what is behind their ends being masked.

    Padding changes no number: a masked step has potential 0, no term in the bound, is in no statistic and no
    component of F_jt. Where the prior of T_n steps is that of the first T_n of T, as of every chain, process
    and set of independent sites, and the factors look at one step alone, the bound of a sequence is that of
    the sequence as it is.

    Args:
        sequences: N sequences, each an array (T_n,) or (T_n, ...), or a tuple of J such views of one length.
        times: When each was observed, N increasing arrays (T_n,) of numbers, dates or durations (in seconds),
            for a prior with times of their own: since each sequence's first, subtracted in double precision,
            they become `inputs["times"]`, shape (N, T), continued behind the ends with the last spacing.
        mask: For each sequence a boolean array (T_n,), or (J, T_n), False where a step is missing; or None.
        log_weights: As in `as_data`.
        inputs: For each sequence a pytree of arrays. Those with first axis T_n, or T_n − 1 (of transitions),
            are padded by their last row; all others must have one shape.
        num_sites: T; None: that of the longest. New data have to be as long as those of the fit.
        missing: As in `as_data`.

    Returns:
        Views (N, T, ...), a mask (N, J, T) where anything is padded or missing, and `lengths`, by which
        `unpad` takes the padding off what is inferred.

    Raises:
        TypeError: For sequences that are no arrays.
        ValueError: For empty sequences, and lengths and shapes that do not fit; the message names them.
    """
    given = [_as_views(n, sequence) for n, sequence in enumerate(_as_list("sequences", sequences))]
    lengths = _checked_lengths(given)
    longest = max(lengths)
    if num_sites is None:
        num_sites = longest
    require_positive_integer("num_sites", num_sites)
    if num_sites < longest:
        raise ValueError(
            f"num_sites must be at least the longest sequence's {longest} steps (sequence "
            f"{lengths.index(longest)}), got {num_sites}; cut it by rpm_jax.windows, or fit with more sites"
        )
    size, num_views = len(given), len(given[0])
    views = tuple(_stack([pad(own[j], num_sites) for own in given]) for j in range(num_views))
    observed = np.zeros((size, num_views, num_sites), bool)
    for n, length in enumerate(lengths):
        observed[n, :, :length] = True
    if mask is not None:
        _require_number("mask", mask, size)
        for n, own in enumerate(mask):
            if own is not None:
                observed[n, :, : lengths[n]] &= _own_mask(n, own, num_views, lengths[n])
    padded = None
    if inputs is not None:
        _require_number("inputs", inputs, size)
        padded = _padded_inputs(inputs, lengths, num_sites)
    if times is not None:
        padded = _with_times(padded, times, lengths, num_sites)
    data = as_data(
        views, None if observed.all() else observed, log_weights, padded, missing=missing, name="sequences"
    )
    return data._replace(lengths=jnp.asarray(lengths, jnp.int32))


def unpad(values: Any, data: Any, *, axis: int = 0) -> list[Any]:
    """Values of padded sequences as a list of N, each of its own length.

        rpm_jax.unpad(fit.posterior().mean, fit)             # N arrays (T_n, K)
        rpm_jax.unpad(fit.infer(new).sample(key, (9,)), new, axis=1)     # N arrays (9, T_n, K)

    Args:
        values: An array whose axis `axis` is N and whose next one T, or a pytree of such arrays.
        data: The `Data`, or a fit to them.
        axis: Where N is.

    Raises:
        TypeError: For anything but `Data` or a fit.
        ValueError: For values of another shape.
    """
    data = getattr(data, "data", data)
    if not isinstance(data, Data):
        raise TypeError(f"data must be rpm_jax.Data, or a fit, got {type(data).__name__}")
    sites = data.views[0].shape[1] if data.views[0].ndim > 1 else 1
    lengths = [sites] * data.size if data.lengths is None else np.asarray(data.lengths).tolist()

    def of_one(n: int) -> Any:
        def cut(leaf: Any) -> Any:
            if leaf.shape[axis : axis + 2] != (data.size, sites):
                raise ValueError(
                    f"values must have the N = {data.size} data on axis {axis} and the T = {sites} sites on "
                    f"the next one, got shape {leaf.shape}; axis= says where N is"
                )
            return leaf[(*[slice(None)] * axis, n, slice(lengths[n]))]

        return jax.tree.map(cut, values)

    return [of_one(n) for n in range(data.size)]


def pad(array: Any, length: int) -> Any:
    """An array with its last row repeated up to a length, or a masked array, still masked."""
    return array[np.minimum(np.arange(length), len(array) - 1)]


def _as_list(name: str, values: Any) -> list[Any]:
    if isinstance(values, Data | str | bytes) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a list of N sequences, got {type(values).__name__}")
    if len(values) == 0:
        raise ValueError(f"{name} must hold at least one sequence, got none")
    return list(values)


def _as_views(n: int, sequence: Any) -> list[Any]:
    """The views of one sequence as NumPy arrays."""
    has_views = isinstance(sequence, tuple) or (
        isinstance(sequence, list) and all(getattr(view, "ndim", 0) > 0 for view in sequence)
    )
    if has_views and len(sequence) == 0:
        raise ValueError(f"sequences[{n}] must hold at least one step, got none")
    arrays = []
    for j, view in enumerate(sequence if has_views else (sequence,)):
        name = f"sequences[{n}][{j}]" if has_views else f"sequences[{n}]"
        array = np.asarray(view) if isinstance(view, Array) else to_numpy(name, view)
        if array.ndim == 0:
            raise ValueError(f"{name} must have the steps on its first axis, got a scalar")
        arrays.append(array)
    return arrays


def _checked_lengths(given: list[list[Any]]) -> list[int]:
    """T_n of every sequence."""
    first = given[0]
    for n, views in enumerate(given):
        lengths = [len(view) for view in views]
        if len(views) != len(first):
            raise ValueError(
                f"sequences[{n}] must have J = {len(first)} views like the first sequence, got {len(views)}"
            )
        if 0 in lengths:
            raise ValueError(f"sequences[{n}] must hold at least one step, got a length of 0; leave it out")
        if len(set(lengths)) > 1:
            raise ValueError(
                f"sequences[{n}] must have views of one length, got {lengths}; for views sampled at "
                "different times see rpm_jax.on_common_times"
            )
        for j, (view, other) in enumerate(zip(views, first, strict=True)):
            if view.shape[1:] != other.shape[1:]:
                raise ValueError(
                    f"sequences[{n}], view {j}, must have steps of shape {other.shape[1:]} like the first "
                    f"sequence, got {view.shape[1:]}"
                )
    return [len(views[0]) for views in given]


def _stack(arrays: list[Any]) -> Any:
    masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays)
    return np.ma.stack(arrays) if masked else np.stack(arrays)


def _require_number(name: str, values: Any, size: int) -> None:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a list with an entry for each sequence, got {type(values).__name__}")
    if len(values) != size:
        raise ValueError(f"{name} must have an entry for each of the N = {size} sequences, got {len(values)}")


def _own_mask(n: int, mask: Any, num_views: int, length: int) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask[{n}] must be boolean, got dtype {mask.dtype}")
    if mask.shape not in ((length,), (num_views, length)):
        raise ValueError(
            f"mask[{n}] must have shape (T_n,) = ({length},) or (J, T_n) = ({num_views}, {length}), got "
            f"{mask.shape}"
        )
    return mask


def _padded_inputs(inputs: Sequence[Any], lengths: list[int], num_sites: int) -> Any:
    """Inputs of all sequences, each leaf with N on its first axis."""
    structures: list[Any] = [jax.tree.structure(own) for own in inputs]
    for n, structure in enumerate(structures):
        if structure != structures[0]:
            raise ValueError(
                f"inputs[{n}] must have the entries of inputs[0], {structures[0]}, got {structure}"
            )

    def join(path: tuple, *leaves: Any) -> Any:
        name = jax.tree_util.keystr(path)
        arrays = [
            np.asarray(leaf) if isinstance(leaf, Array) else to_numpy(f"inputs[{n}]{name}", leaf)
            for n, leaf in enumerate(leaves)
        ]
        for less in (0, 1):
            if all(a.ndim > 0 and len(a) == t - less > 0 for a, t in zip(arrays, lengths, strict=True)):
                return _stack([pad(array, num_sites - less) for array in arrays])
        shapes = [array.shape for array in arrays]
        if len(set(shapes)) > 1:
            n = next(
                (n for n, a in enumerate(arrays) if a.shape[:1] not in ((lengths[n],), (lengths[n] - 1,))), 0
            )
            raise ValueError(
                f"inputs[{n}]{name} must have its sequence's {lengths[n]} steps (or {lengths[n] - 1} "
                f"transitions) on its first axis, or the same shape for all sequences, got {shapes[n]}"
            )
        return _stack(arrays)

    return jax.tree_util.tree_map_with_path(join, *inputs)


def _with_times(inputs: Any, times: Sequence[Any], lengths: list[int], num_sites: int) -> dict[str, Any]:
    """Inputs with times among them, continued behind the ends."""
    if inputs is not None and (not isinstance(inputs, dict) or "times" in inputs):
        raise ValueError("inputs must be dictionaries without an entry 'times' to go with times=")
    _require_number("times", times, len(lengths))
    rows = []
    for n, (own, length) in enumerate(zip(times, lengths, strict=True)):
        if np.shape(own) != (length,):
            raise ValueError(
                f"times[{n}] must have its sequence's {length} steps, shape ({length},), got {np.shape(own)}"
            )
        try:
            row = np.asarray(as_locations(own), np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"times[{n}]: {error}") from error
        gap = row[-1] - row[-2] if length > 1 else 1.0
        rows.append(np.concatenate([row, row[-1] + gap * np.arange(1, num_sites - length + 1)]))
    return {**(inputs or {}), "times": np.stack(rows)}
