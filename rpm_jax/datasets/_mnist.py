"""MNIST: 70 000 handwritten digits of 28 x 28 pixels."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from rpm_jax._checks import require_choice
from rpm_jax.datasets._idx import read_idx, unzipped
from rpm_jax.datasets._labelled_images import LabelledImages

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
PREFIXES = {"train": "train", "test": "t10k"}


class _Checksums(NamedTuple):
    """SHA-256 of a file as it is published, and of what it holds: others zip the same content anew."""

    archive: str
    content: str


MNIST_FILES = {
    "train-images-idx3-ubyte.gz": _Checksums(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": _Checksums(
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte.gz": _Checksums(
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": _Checksums(
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def load_mnist(
    directory: str | os.PathLike, part: str = "train", *, memory_map: bool = False
) -> LabelledImages:
    """Read MNIST, or another data set in its format, from files that are there.

    Looks for `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` (`t10k-...` for the test images),
    spelled with a point before `idx` too, with and without `.gz`.

    Args:
        directory: Where the files are.
        part: "train" (60 000 images) or "test" (10 000).
        memory_map: Leave the images in their file, as bytes from 0 to 255, until they are looked at: for
            those who want a share of them. Zipped files are read whole all the same.

    Returns:
        Images of shape (N, 28, 28), float32 from 0 to 1, and labels 0 to 9, int32.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If `part` is no part, a file is damaged, or images and labels don't belong together.

    References:
        LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
        Proceedings of the IEEE 1998.
    """
    require_choice("load_mnist: part", part, tuple(PREFIXES))
    directory = Path(directory).expanduser()
    image_file = _find(directory, f"{PREFIXES[part]}-images", "idx3-ubyte")
    label_file = _find(directory, f"{PREFIXES[part]}-labels", "idx1-ubyte")
    images, labels = read_idx(image_file, memory_map=memory_map), read_idx(label_file)
    for path, array, num_axes in ((image_file, images, 3), (label_file, labels, 1)):
        if array.ndim != num_axes or array.dtype != np.uint8:
            raise ValueError(
                f"load_mnist: {path} must hold bytes with {num_axes} axes, "
                f"got shape {array.shape} of {array.dtype}"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"load_mnist: images and labels must agree in number, got {len(images)} in {image_file} "
            f"and {len(labels)} in {label_file}"
        )
    grey_values = images if memory_map else jnp.asarray(images.astype(np.float32) / 255)
    return LabelledImages(grey_values, jnp.asarray(labels.astype(np.int32)))


def download_mnist(directory: str | os.PathLike, *, url: str = MNIST_URL, progress: bool = False) -> Path:
    """Fetch the four files of MNIST (11 MB) that are not there yet.

    Each file takes its place only when it is complete and its checksum is right; a file of the same name
    with other content is replaced then.

    Args:
        directory: Where the files go; made if need be.
        url: Where they come from, for `load_mnist`'s names with `.gz`.
        progress: Show a bar.

    Returns:
        The directory, for `load_mnist`.

    Raises:
        ImportError: If pooch (or tqdm for the bar) is not installed.
        OSError: If a file can't be fetched or written.
        ValueError: If a file that came has the wrong checksum.
    """
    try:
        import pooch

        if progress:
            import tqdm  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'download_mnist needs pooch and tqdm: pip install "rpm_jax[experiments]"'
        ) from error
    directory = Path(directory).expanduser()
    by_hand = f"or put {', '.join(MNIST_FILES)} into {directory} yourself: load_mnist reads them"
    for name, checksums in MNIST_FILES.items():
        if _is_there(directory / name, checksums):
            continue
        source = f"{url.rstrip('/')}/{name}"
        downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=2**16)
        try:
            pooch.retrieve(source, f"sha256:{checksums.archive}", name, directory, downloader=downloader)
        except ValueError as error:
            raise ValueError(
                f"download_mnist: what {source} sent is not MNIST's {name}, its checksum is wrong: {error} "
                f"Try again or another url, {by_hand}"
            ) from error
        except OSError as error:
            raise OSError(
                f"download_mnist: {source} could not be written to {directory}: {error}. Check the network, "
                f"the free space and the permissions and call it again, which goes on with what is missing; "
                f"{by_hand}"
            ) from error
    return directory


def _find(directory: Path, name: str, format_name: str) -> Path:
    candidates = [directory / f"{name}{dot}{format_name}{end}" for dot in "-." for end in ("", ".gz")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if directory.is_dir():
        names = sorted(path.name for path in directory.iterdir())
        found = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        found = f"found there: {found or 'nothing'}"
    else:
        found = "there is no such directory"
    raise FileNotFoundError(
        f"load_mnist: directory {directory} must hold "
        f"{' or '.join(path.name for path in candidates)}; {found}. "
        f"rpm_jax.datasets.download_mnist({str(directory)!r}) fetches it"
    )


def _is_there(path: Path, checksums: _Checksums) -> bool:
    if not path.is_file():
        return False
    if hashlib.sha256(path.read_bytes()).hexdigest() == checksums.archive:
        return True
    try:
        return hashlib.sha256(unzipped(path)).hexdigest() == checksums.content
    except ValueError:
        return False
