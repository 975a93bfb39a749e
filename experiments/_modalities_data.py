"""Sequences seen by several views: agents, or one's own from a file; one view missing at times."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import rpm_jax as rpm
from experiments import _fits
from experiments._modalities_options import AGENTS, HELD_OUT, Options
from experiments._options import OptionError


@dataclasses.dataclass(frozen=True)
class Modalities:
    """N sequences of T steps.

    Attributes:
        views: Arrays (N, T, ...) by the names of the views.
        present: Where there is each view, boolean, shape (N, J, T).
        dropped: Where a view is that was taken away, boolean, shape (N, J, T); not `present`.
        states: What is to be found, shape (N, T, S), or None.
    """

    views: dict[str, np.ndarray]
    present: np.ndarray
    dropped: np.ndarray
    states: np.ndarray | None

    def data(self, views: tuple[str, ...] | None = None, *, with_dropped: bool = False) -> rpm.Data:
        """As the model takes them.

        Args:
            views: Those that are seen; None: all.
            with_dropped: Whether what was dropped is seen.
        """
        mask = self.present | self.dropped if with_dropped else self.present
        if views is not None:
            mask = mask & np.array([name in views for name in self.views])[None, :, None]
        return rpm.as_data(tuple(self.views.values()), mask)

    def part(self, rows: slice) -> "Modalities":
        """Some of the sequences."""
        return Modalities(
            {name: view[rows] for name, view in self.views.items()},
            self.present[rows],
            self.dropped[rows],
            None if self.states is None else self.states[rows],
        )


def load(options: Options) -> tuple[Modalities, Modalities]:
    """Sequences to fit, and held-out ones."""
    wanted = options.data
    if wanted.data is None:
        train, held_out = _fits.draw(
            rpm.datasets.agents,
            wanted,
            wanted.num_sequences or AGENTS["num_sequences"],
            wanted.num_held_out or HELD_OUT,
            renamed={"num_steps": "sequence_length"},
        )
        both = jax.tree.map(lambda *parts: np.concatenate(parts), train.views, held_out.views)
        views = dict(zip(("images", "distances"), both, strict=True))
        states = np.concatenate([train.states, held_out.states])
        everything = _complete(views, states, {})
        size = len(train.states)
    else:
        everything = read(wanted.data)
        size = _size_to_fit(options, len(everything.present))
    everything = drop(options, everything)
    end = None if wanted.num_held_out is None else size + wanted.num_held_out
    return everything.part(slice(size)), everything.part(slice(size, end))


def read(path: Path) -> Modalities:
    """Sequences from a file, by the keys that --data describes."""
    try:
        with np.load(path.expanduser()) as file:
            content = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise OptionError(f"--data: cannot read {path} as an npz file: {error}") from error
    names = sorted(name.removeprefix("view_") for name in content if name.startswith("view_"))
    known = {"states", *(f"{kind}_{name}" for kind in ("view", "mask") for name in names)}
    if not names or set(content) - known:
        raise OptionError(
            f"--data: {path} must hold view_NAME for each view, and may hold mask_NAME and states, got "
            f"{', '.join(sorted(content)) or 'nothing'}"
        )
    views = {name: np.asarray(content[f"view_{name}"], np.float32) for name in names}
    shape = views[names[0]].shape[:2]
    for key, array in content.items():
        if array.shape[:2] != shape or len(shape) < 2 or (key.startswith("mask_") and array.ndim != 2):
            raise OptionError(
                f"--data: {path}: {key} must have N sequences of T steps, (N, T) = {shape}, got {array.shape}"
            )
    masks = {name: content[f"mask_{name}"].astype(bool) for name in names if f"mask_{name}" in content}
    states = content.get("states")
    if states is not None:
        states = np.asarray(states, float).reshape(*shape, -1)
    return _complete(views, states, masks)


def _complete(views: dict[str, Any], states: Any, masks: dict[str, np.ndarray]) -> Modalities:
    """Views are missing where a mask says so, or any of their numbers is NaN."""
    present = []
    for name, view in views.items():
        known = np.isfinite(view).reshape(*view.shape[:2], -1).all(-1)
        present.append(known & masks.get(name, np.ones_like(known)))
        views[name] = np.where(known.reshape(*known.shape, *[1] * (view.ndim - 2)), view, 0)
    mask = np.stack(present, axis=1)
    return Modalities(views, mask, np.zeros_like(mask), None if states is None else np.asarray(states))


def _size_to_fit(options: Options, number: int) -> int:
    wanted = options.data
    size = wanted.num_sequences or number * 4 // 5
    if not 2 <= size <= number - (wanted.num_held_out or 1):
        raise OptionError(
            f"--num-sequences and --num-held-out must be parts of the {number} sequences of --data, at least "
            f"2 to fit and 1 held out, got {size} and {wanted.num_held_out or number - size}"
        )
    return size


def drop(options: Options, data: Modalities) -> Modalities:
    """Take one view away for a piece of each sequence."""
    wanted, names = options.data, list(data.views)
    num_steps = data.present.shape[-1]
    length = round(wanted.dropped * num_steps)
    if wanted.drop == "none" or not length:
        return data
    if wanted.drop not in names:
        raise OptionError(f"--drop must be none or one of the views {', '.join(names)}, got {wanted.drop}")
    random = np.random.default_rng((wanted.data_seed, 1))
    start = random.integers(0, num_steps - length + 1, size=len(data.present))[:, None]
    piece = (np.arange(num_steps) >= start) & (np.arange(num_steps) < start + length)
    dropped = np.zeros_like(data.present)
    dropped[:, names.index(wanted.drop)] = piece
    dropped &= data.present
    return dataclasses.replace(data, present=data.present & ~dropped, dropped=dropped)
