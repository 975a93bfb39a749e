"""Parameters on disk."""

import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpm_jax.train import _checkpoint_files as files
from rpm_jax.train import _orbax
from rpm_jax.train._dtypes import EXTENDED, convert, dtype_of, is_held

ENABLE_X64 = 'call jax.config.update("jax_enable_x64", True) first'

Names = tuple[str, ...]
"""Where a leaf is in its tree: keys, fields and positions."""


class Checkpoint(NamedTuple):
    """What `load_checkpoint` returns.

    Attributes:
        params: The parameters: JAX arrays, or NumPy's where JAX in its 32-bit mode has none of their dtype.
        metadata: What `save_checkpoint` was given as `metadata`, a dictionary.
    """

    params: Any
    metadata: dict[str, Any]


def save_checkpoint(
    directory: str | os.PathLike, params: Any, *, metadata: dict[str, Any] | None = None
) -> Path:
    """Write parameters, of one fit or of a sweep, to a directory that orbax can read too.

    Its `metadata.json` names, under "params", the folder in it that is an orbax PyTree checkpoint. Parameters
    are written next to those of an earlier checkpoint, read again, and take their place by one rename:
    whoever loads meanwhile gets either the earlier parameters and metadata or these.

    Args:
        directory: Where to, on this machine; made, with its parents, or replaced if it is a checkpoint.
        params: A pytree of arrays, which keep their dtypes; Python numbers get JAX's.
        metadata: Whatever JSON can hold, such as the options of the run.

    Returns:
        The directory.

    Raises:
        TypeError: If params hold something else than numbers, or metadata what JSON cannot hold.
        ValueError: If one of the arrays is empty, orbax has one name for two, or `directory` is a URL.
        FileExistsError: If `directory` exists and is neither empty nor a checkpoint.
        OSError: If it cannot be written: no permission, no space.
    """
    path = _local(directory)
    arrays = jax.tree_util.tree_map_with_path(_to_numpy, params)
    leaves = _by_names(arrays)
    if not leaves:
        raise ValueError("params must hold at least one array, got none")
    _require_own_names(leaves)
    metadata = {} if metadata is None else metadata
    _require_json(metadata)
    if path.exists() and not files.is_replaceable(path):
        raise FileExistsError(
            f"directory: {path} exists and is no checkpoint, so it is left as it is; choose another name, or "
            "move it away"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.require_space(path.parent, arrays)
        with files.new_folder(path) as folder:
            _orbax.write(folder, arrays)
            _require_same(leaves, _by_names(_orbax.read(folder)))
            earlier = files.folder_of(path / files.METADATA)
            files.publish(folder, metadata)
    except Exception as error:  # orbax and tensorstore have their own for a full disk
        raise OSError(
            f"directory: the checkpoint {path} cannot be written ({files.short(error)}); check permissions "
            "and free space, or choose another directory. An earlier checkpoint there is untouched"
        ) from error
    files.remove([path / earlier] if earlier else [])
    files.remove(files.left_over(path, folder))
    return path


def load_checkpoint(directory: str | os.PathLike, like: Any = None) -> Checkpoint:
    """Read parameters that `save_checkpoint` wrote.

    Args:
        directory: The checkpoint.
        like: Parameters, or `jax.ShapeDtypeStruct`s, that the checkpoint has to agree with in structure and
            shapes; the result has their containers and dtypes, floating-point numbers rounded to them. None:
            the checkpoint as it is, in dictionaries and tuples, as the parameters of an `RPM` are.

    Returns:
        Parameters and metadata, of one save.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it cannot be read, or does not agree with `like`, whose dtypes must hold its numbers.

    Warns:
        UserWarning: If there are 64-bit arrays and JAX is in its 32-bit mode: they stay NumPy's, as computing
            with them would change them.
    """
    path = _local(directory)
    params, metadata = files.read(path)
    if like is not None:
        return Checkpoint(_agree(path, params, like), metadata)
    wide = [_label(names) for names, leaf in _by_names(params).items() if not is_held(leaf.dtype)]
    if wide:
        warnings.warn(
            f"load_checkpoint: {_listed(wide)} of the checkpoint {path} stay NumPy arrays, since JAX cuts "
            f"their 64 bits to 32: {ENABLE_X64}, or load them with `like` of the dtypes that they shall have",
            stacklevel=2,
        )
    return Checkpoint(_tuples(params), metadata)


def _local(directory: str | os.PathLike) -> Path:
    """An absolute path; a URL would become one by losing a slash."""
    if re.match(r"[A-Za-z]\w+:/", str(directory)):
        raise ValueError(f"directory must be a folder of this machine, got the URL {str(directory)!r}")
    return Path(directory).expanduser().absolute()


# Writing.


def _to_numpy(path: Any, leaf: Any) -> np.ndarray:
    # Plain arrays belong to no device, so that any machine can read them.
    name = f"params: {_label(_names(path))}"
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(leaf) if not is_key else np.asarray(None)
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or array.dtype in EXTENDED:
        raise TypeError(
            f"{name} must be an array of numbers that JAX knows, got {type(leaf).__name__}"
            f"{'; store jax.random.key_data(key)' if is_key else f' of {array.dtype}'}"
        )
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}; orbax stores none")
    # What NumPy takes for 64 bits is a Python number of no width.
    return convert(name, array, array.dtype if hasattr(leaf, "dtype") else dtype_of(leaf))


def _require_own_names(leaves: Iterable[Names]) -> None:
    seen: dict[str, Names] = {}
    for names in leaves:
        other = seen.setdefault(".".join(names), names)
        if other != names:
            raise ValueError(
                f"params: {_label(other)!r} and {_label(names)!r} are one name to orbax, "
                f"{'.'.join(names)!r}, so one of them would be lost; give one another name"
            )


def _require_json(metadata: Any) -> None:
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dictionary, got {type(metadata).__name__}")
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be a dictionary that JSON can hold: {error}") from error
    inner: list[Any] = [metadata]
    while inner:
        value = inner.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"metadata must have strings for keys, got {key!r}: JSON has no others")
            inner.extend(value.values())
        elif isinstance(value, list | tuple):
            inner.extend(value)


def _require_same(written: Mapping[Names, np.ndarray], found: Mapping[Names, np.ndarray]) -> None:
    """What orbax has written must be what was to be written, to the last bit."""
    for names in {**written, **found}:
        old, new = written.get(names), found.get(names)
        if old is None or new is None or _content(old) != _content(new):
            raise ValueError(f"{_label(names)} is not what was written when it is read again")


def _content(array: np.ndarray) -> tuple[Any, ...]:
    native = array.astype(array.dtype.newbyteorder("="))
    return native.dtype, native.shape, native.tobytes()


def _tuples(tree: Any) -> Any:
    """What was read, with tuples for lists and JAX arrays."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return tuple(_tuples(value) for value in tree)
    return jnp.asarray(tree) if isinstance(tree, np.ndarray) and is_held(tree.dtype) else tree


def _agree(path: Path, params: Any, like: Any) -> Any:
    """The parameters in the containers and dtypes of `like`."""
    found = _by_names(params)
    expected, structure = _by_names(like), jax.tree.structure(like)
    missing = sorted(_label(names) for names in expected if names not in found)
    surplus = sorted(_label(names) for names in found if names not in expected)
    shapes = [
        f"{_label(names)} {found[names].shape} where like has {jnp.shape(leaf)}"
        for names, leaf in expected.items()
        if names in found and found[names].shape != jnp.shape(leaf)
    ]
    differences = [
        f"{label} {_listed(items)}"
        for label, items in (("it lacks", missing), ("it also has", surplus), ("it has", shapes))
        if items
    ]
    if differences:
        raise ValueError(
            f"like: the checkpoint {path} holds other parameters: {'; '.join(differences)}. Make `like` with "
            "the model that was saved (its options may be in the checkpoint's metadata), or leave it out"
        )
    leaves = []
    for names, leaf in expected.items():
        dtype = dtype_of(leaf)
        if not is_held(dtype):
            raise ValueError(f"like: {_label(names)} is {dtype}, which JAX cuts to 32 bits: {ENABLE_X64}")
        name = f"like: {_label(names)} of the checkpoint {path}"
        leaves.append(jnp.asarray(convert(name, found[names], dtype)))
    return jax.tree.unflatten(structure, leaves)


def _by_names(tree: Any) -> dict[Names, Any]:
    return {_names(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _names(path: Any) -> Names:
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _label(names: Names) -> str:
    return "/".join(names)


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:3])}{f' and {len(items) - 3} more' if len(items) > 3 else ''}"
