import errno
import functools
import gzip
import hashlib
import http.server
import struct
import sys
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from rpm_jax.datasets import _mnist as mnist
from rpm_jax.datasets import download_mnist, load_mnist, read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array):
    """The format, written out by hand."""
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.array([3, 1, 4, 1, 5], np.uint8)


@pytest.mark.parametrize("dtype", list(CODES))
def test_idx_arrays_of_every_type(tmp_path, dtype):
    array = np.arange(-30, 30).reshape(3, 4, 5).astype(dtype)
    (tmp_path / "array").write_bytes(idx_bytes(array))
    read = read_idx(tmp_path / "array")
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)


def test_idx_of_no_and_of_some_axes(tmp_path):
    for shape in [(), (0,), (7,), (2, 1, 3, 2)]:
        array = np.full(shape, 3, np.int16)
        (tmp_path / "array").write_bytes(idx_bytes(array))
        assert np.array_equal(read_idx(tmp_path / "array"), array)
        assert read_idx(tmp_path / "array").shape == shape


def test_gzip_is_told_by_content(tmp_path, labels):
    (tmp_path / "zipped").write_bytes(gzip.compress(idx_bytes(labels)))
    (tmp_path / "plain.gz").write_bytes(idx_bytes(labels))
    assert np.array_equal(read_idx(tmp_path / "zipped"), labels)
    assert np.array_equal(read_idx(str(tmp_path / "plain.gz")), labels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], r"is cut off: .* shape \(5, 4, 3\), 76 bytes in all, got 75"),
        (lambda content: content + b"x", r"is too long: .* got 77"),
        (lambda content: content[:9], r"ends after 9 bytes, within its header"),
        (lambda content: b"", r"must start with bytes 0, 0, type.*got \[\]"),
        (lambda content: b"<html>" + content, r"must start with bytes 0, 0, type.*got \[60, 104, 116, 109\]"),
        (lambda content: content[:2] + b"\x0a" + content[3:], r"must start with .*got \[0, 0, 10, 3\]"),
        (lambda content: gzip.compress(content)[:-20], r"is a damaged gzip file"),
        (lambda content: gzip.compress(content)[:14] + b"\xff" * 30, r"is a damaged gzip file"),
    ],
)
def test_damaged_files_are_named(tmp_path, images, damage, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(idx_bytes(images)))
    with pytest.raises(ValueError, match=rf"read_idx: .*train-images-idx3-ubyte.*{message}"):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_memory_maps_hold_what_is_read(tmp_path, images, zipped):
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(idx_bytes(images)) if zipped else idx_bytes(images))
    mapped = read_idx(path, memory_map=True)
    assert isinstance(mapped, np.memmap) != zipped
    assert np.array_equal(mapped, read_idx(path))
    path.write_bytes(idx_bytes(images)[:-1])
    with pytest.raises(ValueError, match="is cut off"):
        read_idx(path, memory_map=True)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="must start with bytes"):
        read_idx(path, memory_map=True)


def test_mnist_in_its_file(tmp_path, images, labels):
    write(tmp_path, images, labels)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    mapped, whole = load_mnist(tmp_path, memory_map=True), load_mnist(tmp_path)
    assert isinstance(mapped.images, np.memmap)
    assert np.array_equal(mapped.images.astype(np.float32) / 255, whole.images)
    assert np.array_equal(mapped.labels, whole.labels)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read_idx: .*nothing-there does not exist"):
        read_idx(tmp_path / "nothing-there")
    with pytest.raises(FileNotFoundError, match=r"read_idx: .* is a directory"):
        read_idx(tmp_path)


def write(directory, images, labels, prefix="train", form="{}-{}-{}"):
    (directory / form.format(prefix, "images", "idx3-ubyte")).write_bytes(gzip.compress(idx_bytes(images)))
    (directory / form.format(prefix, "labels", "idx1-ubyte")).write_bytes(idx_bytes(labels))


@pytest.mark.parametrize("form", ["{}-{}-{}", "{}-{}-{}.gz", "{}-{}.{}", "{}-{}.{}.gz"])
def test_load_mnist(tmp_path, images, labels, form):
    write(tmp_path, images, labels, form=form)
    write(tmp_path, images[:2], labels[:2], prefix="t10k", form=form)
    train, test = load_mnist(tmp_path), load_mnist(str(tmp_path), "test")
    assert train.images.dtype == jnp.float32
    assert train.labels.dtype == jnp.int32
    np.testing.assert_allclose(train.images, images / 255, rtol=1e-6)
    assert np.array_equal(train.labels, labels)
    assert test.images.shape == (2, 4, 3)
    assert test.labels.tolist() == [3, 1]


def test_load_mnist_says_what_it_found(tmp_path, images, labels):
    with pytest.raises(FileNotFoundError, match=r"load_mnist: .*found there: nothing.*download_mnist"):
        load_mnist(tmp_path)
    write(tmp_path, images, labels)
    message = r"t10k-images-idx3-ubyte.* or .*found there: train-images-idx3-ubyte, train-labels-idx1-ubyte\."
    with pytest.raises(FileNotFoundError, match=message):
        load_mnist(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="there is no such directory"):
        load_mnist(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="load_mnist: part must be one of 'train', 'test', got 'valid'"):
        load_mnist(tmp_path, "valid")


def test_images_and_labels_belong_together(tmp_path, images, labels):
    write(tmp_path, images, labels[:4])
    with pytest.raises(ValueError, match=r"must agree in number, got 5 in .*images.* and 4 in .*labels"):
        load_mnist(tmp_path)
    write(tmp_path, labels, images)
    with pytest.raises(ValueError, match=r"train-images.* must hold bytes with 3 axes, got shape \(5,\)"):
        load_mnist(tmp_path)


@pytest.fixture
def server(tmp_path, images, labels, monkeypatch):
    """Serves four tiny files, whose checksums stand in for those of MNIST; counts what it is asked for."""
    pytest.importorskip("pooch")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    directory = tmp_path / "served"
    directory.mkdir()
    write(directory, images, labels, form="{}-{}-{}.gz")
    write(directory, images[:2], labels[:2], prefix="t10k", form="{}-{}-{}.gz")
    contents = {name: (directory / name).read_bytes() for name in mnist.MNIST_FILES}
    checksums = {
        name: mnist._Checksums(
            hashlib.sha256(content).hexdigest(),
            hashlib.sha256(gzip.decompress(content) if "images" in name else content).hexdigest(),
        )
        for name, content in contents.items()
    }
    monkeypatch.setattr(mnist, "MNIST_FILES", checksums)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            self.server.asked.append(self.path)

    handler = functools.partial(Handler, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.asked, running.directory = [], directory
        running.url = f"http://127.0.0.1:{running.server_port}/"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_download_fetches_what_is_missing(server, tmp_path, images):
    target = tmp_path / "new" / "mnist"
    assert download_mnist(target, url=server.url) == target
    assert len(server.asked) == 4
    np.testing.assert_allclose(load_mnist(target).images, images / 255, rtol=1e-6)
    assert len(load_mnist(target, "test").labels) == 2

    download_mnist(target, url=server.url)
    assert len(server.asked) == 4

    (target / "t10k-labels-idx1-ubyte.gz").unlink()
    # The same content zipped anew counts as there; something else does not.
    again = gzip.compress(idx_bytes(images), compresslevel=1, mtime=7)
    (target / "train-images-idx3-ubyte.gz").write_bytes(again)
    (target / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"half")[:-3])
    download_mnist(target, url=server.url)
    assert sorted(server.asked[4:]) == ["/t10k-labels-idx1-ubyte.gz", "/train-labels-idx1-ubyte.gz"]
    assert (target / "train-images-idx3-ubyte.gz").read_bytes() == again
    assert len(load_mnist(target).labels) == 5


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    (server.directory / "train-labels-idx1-ubyte.gz").write_bytes(b"not what was promised")
    target = tmp_path / "target"
    message = (
        r"download_mnist: .*train-labels-idx1-ubyte.gz, its checksum is wrong.*another url, or put .*yourself"
    )
    with pytest.raises(ValueError, match=message):
        download_mnist(target, url=server.url)
    assert [path.name for path in target.iterdir()] == ["train-images-idx3-ubyte.gz"]


def test_a_file_is_not_replaced_by_a_wrong_one(server, tmp_path):
    (server.directory / "train-images-idx3-ubyte.gz").write_bytes(b"not what was promised")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"mine")
    with pytest.raises(ValueError, match="its checksum is wrong"):
        download_mnist(tmp_path, url=server.url)
    assert (tmp_path / "train-images-idx3-ubyte.gz").read_bytes() == b"mine"


def test_no_network_and_no_file_leave_nothing(server, tmp_path):
    target = tmp_path / "target"
    with pytest.raises(OSError, match=r"download_mnist: .*elsewhere/train-images.*404.*Check the network"):
        download_mnist(target, url=f"{server.url}elsewhere")
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=r"download_mnist: .*could not be written.*Check the network, the free"):
        download_mnist(target, url=server.url)
    assert not list(target.iterdir())


def test_a_full_disk_leaves_nothing(server, tmp_path, monkeypatch):
    import pooch

    class Full(pooch.HTTPDownloader):
        def __call__(self, url, output_file, pooch):
            with open(output_file, "wb") as file:
                file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch, "HTTPDownloader", Full)
    target = tmp_path / "target"
    with pytest.raises(OSError, match=r"No space left on device.*the free space"):
        download_mnist(target, url=server.url)
    assert not list(target.iterdir())


def test_without_pooch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError, match=r'download_mnist needs pooch.*pip install "rpm_jax\[experiments\]"'
    ):
        download_mnist(tmp_path)


def test_the_checksums_are_complete():
    assert len(mnist.MNIST_FILES) == 4
    assert all(len(checksum) == 64 for pair in mnist.MNIST_FILES.values() for checksum in pair)
    assert len({checksum for pair in mnist.MNIST_FILES.values() for checksum in pair}) == 8
