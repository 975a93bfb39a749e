"""The IDX format: big-endian arrays behind a header of their type and shape."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_START = b"\x1f\x8b"


def read_idx(path: str | os.PathLike, *, memory_map: bool = False) -> np.ndarray:
    """Read an array from an IDX file, gzipped or not, whatever its name.

    A header of four bytes (0, 0, type, number of axes), one 32-bit size an axis, then the numbers; all
    big-endian.

    Args:
        path: The file.
        memory_map: Leave the numbers in the file until they are looked at, as they are in `numpy.memmap`.
            Zipped files are read whole all the same.

    Returns:
        The array, in the byte order of this machine; of a memory map, in that of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, cut off, too long or in another format.

    References:
        LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a directory" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"read_idx: path must be a file, {path} {kind}")
    content = _mapped(path) if memory_map and not _is_zipped(path) else unzipped(path)
    head = bytes(content[:4])
    if len(head) < 4 or head[:2] != b"\x00\x00" or head[2] not in IDX_TYPES:
        raise ValueError(
            f"read_idx: {path} must start with bytes 0, 0, type, number of axes of an IDX file, "
            f"got {list(head)}; is it another format?"
        )
    dtype, num_axes = np.dtype(IDX_TYPES[head[2]]), head[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise ValueError(
            f"read_idx: {path} ends after {len(content)} bytes, within its header; fetch it again"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", num_axes, offset=4))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        fault = "is cut off" if len(content) < expected else "is too long"
        raise ValueError(
            f"read_idx: {path} {fault}: its header promises shape {shape}, {expected} bytes in all, "
            f"got {len(content)}; fetch it again"
        )
    if isinstance(content, np.memmap):
        return content[start:].view(dtype).reshape(shape)
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _mapped(path: Path) -> np.memmap | bytes:
    """The bytes of a file; an empty one cannot be mapped."""
    return np.memmap(path, np.uint8, mode="r") if path.stat().st_size else b""


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP_START)) == GZIP_START


def unzipped(path: Path) -> bytes:
    """What a file holds, unzipped if it is a gzip file.

    Raises:
        ValueError: If it is a damaged gzip file.
    """
    content = path.read_bytes()
    if not content.startswith(GZIP_START):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"read_idx: {path} is a damaged gzip file ({error}); fetch it again") from error
