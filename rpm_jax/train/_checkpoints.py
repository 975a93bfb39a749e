"""Parameters on disk."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

PARAMS = "params"
METADATA = "metadata.json"
SPARE_BYTES = 2**17
"""What a checkpoint takes besides its arrays, at most."""


class Checkpoint(NamedTuple):
    """What `load_checkpoint` returns.

    Attributes:
        params: The parameters, JAX arrays.
        metadata: What `save_checkpoint` was given as `metadata`, a dictionary.
    """

    params: Any
    metadata: dict[str, Any]


def save_checkpoint(
    directory: str | os.PathLike, params: Any, *, metadata: dict[str, Any] | None = None
) -> Path:
    """Write parameters, of one fit or of a sweep, to a directory that orbax can read too.

    The checkpoint is written next to `directory` and then takes its name: an earlier checkpoint there stays
    as it was until the new one is complete.

    Args:
        directory: Where to; made, with its parents, or replaced if it is a checkpoint. Its folder `params`
            is an orbax PyTree checkpoint.
        params: A pytree of real arrays.
        metadata: Whatever JSON can hold, such as the options of the run.

    Returns:
        The directory.

    Raises:
        TypeError: If params hold something else than real arrays, or metadata what JSON cannot hold.
        ValueError: If one of the arrays is empty.
        FileExistsError: If `directory` exists and is neither empty nor a checkpoint.
        OSError: If it cannot be written: no permission, no space.
    """
    path = Path(directory).absolute()
    arrays = jax.tree_util.tree_map_with_path(_to_numpy, params)
    if not jax.tree.leaves(arrays):
        raise ValueError("params must hold at least one array, got none")
    metadata = {} if metadata is None else metadata
    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be a dictionary that JSON can hold: {error}") from error
    if path.exists() and not _is_replaceable(path):
        raise FileExistsError(
            f"directory: {path} exists and is no checkpoint, so it is left as it is; choose another name, or "
            "move it away"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_space(path.parent, arrays)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
            complete = Path(temporary) / "new"
            complete.mkdir()
            _checkpointer().save(complete / PARAMS, arrays)
            content = {"metadata": metadata, "sha256": _digest(complete, metadata)}
            (complete / METADATA).write_text(json.dumps(content, indent=2))
            _exchange(complete, path, Path(temporary) / "old")
    except Exception as error:  # orbax and tensorstore have their own for a full disk
        raise OSError(
            f"directory: the checkpoint {path} cannot be written ({_short(error)}); check permissions and "
            "free space, or choose another directory. An earlier checkpoint there is untouched"
        ) from error
    return path


def _checkpointer() -> Any:
    """Orbax's, which of several processes waits for none but this one."""
    from orbax.checkpoint import Checkpointer, PyTreeCheckpointHandler
    from orbax.checkpoint.options import MultiprocessingOptions

    process = jax.process_index()
    alone = MultiprocessingOptions(
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"rpm_jax_{process}"
    )
    options = alone if jax.process_count() > 1 else MultiprocessingOptions()
    handler = PyTreeCheckpointHandler(multiprocessing_options=options)
    return Checkpointer(handler, multiprocessing_options=options)


def load_checkpoint(directory: str | os.PathLike, like: Any = None) -> Checkpoint:
    """Read parameters that `save_checkpoint` wrote.

    Args:
        directory: The checkpoint.
        like: Parameters, or `jax.ShapeDtypeStruct`s, that the checkpoint has to agree with in structure and
            shapes; the result has their containers and dtypes. None: the checkpoint as it is, in
            dictionaries and tuples, as the parameters of an `RPM` are.

    Returns:
        Parameters and metadata.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it cannot be read, or does not agree with `like`.
    """
    path = Path(directory).absolute()
    if not (path / METADATA).is_file():
        found = "has no checkpoint in it" if path.exists() else "does not exist"
        raise FileNotFoundError(f"directory: {path} {found}; give one that save_checkpoint has written")
    try:
        content = json.loads((path / METADATA).read_text())
        metadata = content["metadata"]
        if content["sha256"] != _digest(path, metadata):
            raise ValueError("its checksum does not match its files")
        params = _tuples(_checkpointer().restore(path / PARAMS))
    except Exception as error:
        raise ValueError(
            f"directory: the checkpoint {path} is damaged or incomplete and cannot be read "
            f"({_short(error)}); use another, or fit again"
        ) from error
    return Checkpoint(params if like is None else _agree(path, params, like), metadata)


def _is_replaceable(path: Path) -> bool:
    """Whether nothing but an earlier checkpoint would be lost."""
    return path.is_dir() and ((path / METADATA).is_file() or not any(path.iterdir()))


def _require_space(parent: Path, arrays: Any) -> None:
    # orbax's threads print long traces where the disk gets full.
    needed = sum(array.nbytes for array in jax.tree.leaves(arrays)) + SPARE_BYTES
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed, {free} are free")


def _digest(directory: Path, metadata: dict[str, Any]) -> str:
    """Of all that a checkpoint holds."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for file in sorted(file for file in (directory / PARAMS).rglob("*") if file.is_file()):
        digest.update(file.relative_to(directory).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _exchange(new: Path, path: Path, old: Path) -> None:
    """Put `new` in the place of `path`, which moves to `old`."""
    existed = path.exists()
    if existed:
        path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if existed:
            with contextlib.suppress(FileExistsError):
                shutil.move(old, path)
        raise


def _to_numpy(path: Any, leaf: Any) -> np.ndarray:
    # Plain arrays belong to no device, so that any machine can read them.
    array = np.asarray(leaf) if not _is_key(leaf) else np.asarray(None)
    if array.dtype == object or not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
        raise TypeError(
            f"params: {_name(path)} must be a real array, got {type(leaf).__name__}"
            f"{'; store jax.random.key_data(key)' if _is_key(leaf) else ''}"
        )
    if array.size == 0:
        raise ValueError(
            f"params: {_name(path)} must not be empty, got shape {array.shape}; orbax stores none"
        )
    return array


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _tuples(tree: Any) -> Any:
    """What was read, with tuples for lists and JAX arrays."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return tuple(_tuples(value) for value in tree)
    return tree if tree is None else jnp.asarray(tree)


def _agree(path: Path, params: Any, like: Any) -> Any:
    """The parameters in the containers and dtypes of `like`."""
    found = {_name(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(params)}
    expected, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [_name(key) for key, _ in expected]
    missing = sorted(set(names) - set(found))
    surplus = sorted(set(found) - set(names))
    shapes = [
        f"{name} {found[name].shape} where like has {jnp.shape(leaf)}"
        for name, (_, leaf) in zip(names, expected, strict=True)
        if name in found and found[name].shape != jnp.shape(leaf)
    ]
    differences = [
        f"{label} {', '.join(items[:3])}{f' and {len(items) - 3} more' if len(items) > 3 else ''}"
        for label, items in (("it lacks", missing), ("it also has", surplus), ("it has", shapes))
        if items
    ]
    if differences:
        raise ValueError(
            f"like: the checkpoint {path} holds other parameters: {'; '.join(differences)}. Make `like` with "
            "the model that was saved (its options may be in the checkpoint's metadata), or leave it out"
        )
    leaves = [
        found[name].astype(jnp.result_type(leaf)) for name, (_, leaf) in zip(names, expected, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'…' if len(text) > 160 else ''}"
