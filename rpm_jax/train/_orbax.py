"""The edge to orbax: a pytree of numpy arrays in a folder, and back."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

PLAIN = re.compile(r"[\w./ -]*")
"""Paths that tensorstore takes as they are. It writes to others, such as `[a]` or a backslash, and does not
find again what it wrote."""


def write(folder: Path, arrays: Any) -> None:
    """Write numpy arrays to a folder that is not there yet."""
    with _plain(folder.parent) as parent:
        _checkpointer().save(parent / folder.name, arrays)


def read(folder: Path) -> Any:
    """The numpy arrays of a folder, in dictionaries and lists."""
    with _plain(folder.parent) as parent:
        return _checkpointer().restore(parent / folder.name)


@contextlib.contextmanager
def _plain(folder: Path) -> Iterator[Path]:
    """The folder under a name that tensorstore takes as it is."""
    if PLAIN.fullmatch(folder.relative_to(folder.anchor).as_posix()):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rpm_jax_") as temporary:
        link = Path(temporary) / "link"
        try:
            os.symlink(folder, link, target_is_directory=True)
        except OSError as error:
            raise OSError(
                f"{folder} has characters that tensorstore does not take, and no link can be made to it "
                f"({error}); use letters, digits, '.', '-' and '_' alone"
            ) from error
        yield link


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
