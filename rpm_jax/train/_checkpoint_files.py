"""Files of a checkpoint: the folders that orbax writes, one a save, and the one name of the newest."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rpm_jax.train import _orbax

METADATA = "metadata.json"
PARAMS = "params-"
"""How the folders begin that orbax writes."""
SPARE_BYTES = 2**17
"""What a checkpoint takes besides its arrays, at most."""
STALE_SECONDS = 86400
"""How long a save takes at most: what is older and unfinished was left by one that was killed."""
MAX_READS = 100
"""How often a checkpoint is read that others replace meanwhile."""


def is_replaceable(path: Path) -> bool:
    """Whether nothing but an earlier checkpoint, or what is left of one, would be lost."""
    if not path.is_dir():
        return False
    names = {entry.name for entry in path.iterdir()}
    is_all_ours = all(name == METADATA or name.startswith(PARAMS) for name in names)
    return folder_of(path / METADATA) is not None or (is_all_ours and names != {METADATA})


def folder_of(metadata: Path) -> str | None:
    """The folder that a checkpoint's metadata name; None if they are no checkpoint's."""
    try:
        content = json.loads(metadata.read_text())
    except (OSError, ValueError):
        return None
    name = content.get("params") if isinstance(content, dict) and "sha256" in content else None
    return name if isinstance(name, str) and re.fullmatch(rf"{PARAMS}\w+", name) else None


def require_space(parent: Path, arrays: Any) -> None:
    """Raise `OSError` where the arrays do not fit."""
    # orbax's threads print long traces where the disk gets full.
    needed = sum(array.nbytes for array in jax.tree.leaves(arrays)) + SPARE_BYTES
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes are needed, {free} are free")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A name in the checkpoint for what orbax writes; if something fails, all under this name goes."""
    existed = path.exists()
    path.mkdir(exist_ok=True)
    folder = path / f"{PARAMS}{uuid.uuid4().hex[:12]}"
    try:
        yield folder
    except BaseException:
        remove(entry for entry in path.iterdir() if entry.name.startswith(folder.name))
        if not existed:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def publish(folder: Path, metadata: dict[str, Any]) -> None:
    """Make a folder the checkpoint's by one rename."""
    content = {"metadata": metadata, "params": folder.name, "sha256": _digest(folder, metadata)}
    complete = folder.with_suffix(".json")
    with complete.open("x") as file:
        file.write(json.dumps(content, indent=2))
        file.flush()
        os.fsync(file.fileno())
    complete.replace(folder.parent / METADATA)


def left_over(path: Path, current: Path) -> Iterator[Path]:
    """What saves that were killed have left; those that go on are younger."""
    for entry in path.iterdir():
        if entry.name.startswith(PARAMS) and entry != current:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime > STALE_SECONDS:
                    yield entry


def remove(entries: Iterable[Path]) -> None:
    """Remove files and folders, as far as that goes."""
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    """Parameters, numpy arrays, and metadata of one save, the newest if it is replaced meanwhile.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it cannot be read.
    """
    for _ in range(MAX_READS):
        before = _text(path)
        try:
            content = json.loads(before)
            metadata, folder = content["metadata"], path / content["params"]
            if content["sha256"] != _digest(folder, metadata):
                raise ValueError("its checksum does not match its files")
            return jax.tree.map(np.asarray, _orbax.read(folder)), metadata
        except Exception as error:
            if _text(path) == before:
                raise ValueError(
                    f"directory: the checkpoint {path} is damaged or incomplete and cannot be read "
                    f"({short(error)}); use another, or fit again"
                ) from error
    raise ValueError(
        f"directory: the checkpoint {path} was replaced {MAX_READS} times while it was read; stop what "
        "saves it"
    )


def _text(path: Path) -> bytes:
    try:
        return (path / METADATA).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        found = "has no checkpoint in it" if path.exists() else "does not exist"
        raise FileNotFoundError(
            f"directory: {path} {found}; give one that save_checkpoint has written"
        ) from error


def _digest(folder: Path, metadata: dict[str, Any]) -> str:
    """Of all that a checkpoint holds."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def short(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}{'…' if len(text) > 160 else ''}"
