"""Files of a run: each complete or not there at all."""

import datetime
import importlib.metadata
import io
import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import rpm_jax as rpm

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")


class Files:
    """The files of a run: what cannot be written is noted, and the rest goes on.

    Of several processes the first writes them.

    Attributes:
        directory: Where they are.
        metadata: Goes with every checkpoint.
        failures: A line for each file that could not be written.
    """

    def __init__(self, directory: Path, metadata: Mapping[str, Any]) -> None:
        self.directory = directory
        self.metadata = dict(metadata)
        self.failures: list[str] = []

    def attempt(self, name: str, write: Callable[..., Any], *content: Any) -> None:
        """Write a file by `write(path, *content)`."""
        if jax.process_index() > 0:
            return
        path = self.directory / name
        try:
            write(path, *content)
        except (OSError, ImportError) as error:
            reason = getattr(error, "strerror", None) or str(error).removeprefix("directory: ")
            self.failures.append(f"--output: {path} was not written: {reason}")

    def checkpoint(self, name: str, params: Any, **metadata: Any) -> None:
        """Write parameters, now: what goes wrong later does not lose them."""
        self.attempt(f"checkpoints/{name}", _save_checkpoint, params, self.metadata | metadata)


def _save_checkpoint(path: Path, params: Any, metadata: dict[str, Any]) -> None:
    rpm.train.save_checkpoint(path, params, metadata=metadata)


def prepare_directory(directory: Path) -> None:
    """Make the directory, and find out now whether it can be written."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"0")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under another name, then rename it; an earlier one stays until then."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, with null for NaN and infinity, and Python's numbers for NumPy's and JAX's."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    # What is no text, such as a folder's name in another encoding, as JSON's escapes.
    write_bytes(path, (text + "\n").encode("utf-8", "backslashreplace"))


def write_arrays(path: Path, content: Mapping[str, Any]) -> None:
    """Write a compressed npz file that `numpy.load` reads anywhere.

    Raises:
        TypeError: If an array has a dtype that NumPy itself does not have: it would be read as bytes.
    """
    arrays = {name: np.asarray(array) for name, array in content.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufcSUMm":
            raise TypeError(f"{path.name}: {name} must have a dtype of NumPy's own, got {array.dtype}")
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    write_bytes(path, stream.getvalue())


def write_figure(path: Path, draw: Callable[[], Any]) -> None:
    """Write the figure that a function draws."""
    stream = io.BytesIO()
    draw().savefig(stream, format="png")
    write_bytes(path, stream.getvalue())


def provenance() -> dict[str, Any]:
    """Versions, commit, device and date."""
    versions = {"python": platform.python_version(), "rpm_jax": rpm.__version__}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "versions": versions,
        **_commit(),
        "device": jax.devices()[0].device_kind,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _commit() -> dict[str, Any]:
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.parent.resolve():
            return {"commit": None, "modified": None}
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "modified": None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
