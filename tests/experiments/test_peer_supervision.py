"""Peer supervision: a tiny run of every variant, the files, the options that do not fit."""

import gzip
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import peer_supervision
from experiments._peer_options import Data, Model, Options, Training
from experiments.peer_supervision import build_model, load

TINY = ["--num-images", "60", "--held-out", "0.95", "--num-steps", "3", "--hidden", "4", "--quiet"]


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("peers") / "run"
    assert (
        peer_supervision.main([*TINY, "--seeds", "2", "--kind", "unnormalised", "--output", str(directory)])
        == 0
    )
    return directory


def test_files_and_numbers(done):
    found = sorted(path.name for path in done.iterdir())
    assert found == [
        "arrays.npz",
        "checkpoints",
        "config.json",
        "confusion.png",
        "drift.png",
        "likelihood.png",
        "metrics.json",
        "states.png",
    ]
    metrics = read(done, "metrics.json")
    per_seed = metrics["per_seed"]
    chosen = int(np.argmax(per_seed["log_likelihood"]))
    assert metrics["chosen_seed"] == chosen
    for name in ("accuracy_train", "accuracy_heldout", "mutual_information", "log_likelihood"):
        assert metrics[name] == per_seed[name][chosen]
        assert len(per_seed[name]) == 2
    assert metrics["maximum"] == pytest.approx(np.log(10))
    arrays = np.load(done / "arrays.npz")
    states = arrays["probabilities"].argmax(-1)
    correct = arrays["assignment"][states] == arrays["labels"]
    assert metrics["accuracy_train"] == pytest.approx(correct.mean())
    assert arrays["log_masses"].shape == (1, 2)
    np.testing.assert_allclose(arrays["probabilities"].sum(-1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(done, tmp_path):
    arguments = [*TINY, "--seeds", "2", "--kind", "unnormalised", "--no-figures", "--output", str(tmp_path)]
    assert peer_supervision.main(arguments) == 0
    first, second = (read(folder, "metrics.json") for folder in (done, tmp_path))
    assert first["per_seed"] == second["per_seed"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--local-states", "2", "3", "--views", "rotated-coloured"], marks=pytest.mark.slow),
        pytest.param(["--joint", "--batch-size", "8"], marks=pytest.mark.slow),
        pytest.param(["--latent", "gaussian", "-J", "3", "--batch-size", "8"], marks=pytest.mark.slow),
        pytest.param(
            ["--queue", "16", "--batch-size", "8", "--networks", "separate", "--learn-prior"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda arguments: arguments[0],
)
def test_variants_run(arguments, tmp_path):
    assert peer_supervision.main([*TINY, "--seeds", "1", *arguments, "--output", str(tmp_path)]) == 0
    metrics = read(tmp_path, "metrics.json")
    assert 0 < metrics["accuracy_heldout"] <= 1
    assert np.isfinite(metrics["log_likelihood"])
    assert (tmp_path / ("latent.png" if "gaussian" in arguments else "confusion.png")).exists()


def options(**groups):
    kinds = {"data": Data, "model": Model, "training": Training}
    return Options(**{name: kinds[name](**values) for name, values in groups.items()})


def test_sets_hold_images_of_one_label():
    data = load(options(data={"num_views": 3, "shares": (2.0, 1.0, 1.0, *[0.0] * 7)}))
    assert len(data.train.views) == 3
    counts = np.bincount(data.train.labels)
    assert len(counts) == 3
    assert abs(counts[0] - 2 * counts[1]) <= 2
    for j in range(3):
        assert np.unique(data.train.indices[:, j]).size == len(data.train.labels)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder with a test part alone: 40 random images."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    write_idx(folder / "t10k-images-idx3-ubyte.gz", rng.integers(0, 256, (40, 28, 28)))
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(40) % 4)
    return folder


def test_mnist_in_one_part_and_in_two(mnist, tmp_path, monkeypatch):
    data = load(options(data={"data": mnist, "held_out": 0.2}))
    assert len(data.train.labels) == 32
    assert len(data.held_out.labels) == 8
    assert data.train.views[0].shape == (32, 28, 28)
    assert isinstance(build_model(options(), data).factors.networks[0], type(rpm_cnn()))
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"):
        content = (mnist / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        (tmp_path / name.replace("t10k", "train")).write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    for folder in (tmp_path, Path("~") / tmp_path.name):
        both = load(options(data={"data": folder}))
        assert len(both.train.labels) == len(both.held_out.labels) == 40


def rpm_cnn():
    from rpm_jax.networks import CNN

    return CNN()


def test_networks_follow_the_images():
    data = load(options(data={"num_images": 60}))
    model = build_model(options(), data)
    assert type(model.factors.networks[0]).__name__ == "MLP"
    assert model.prior.apply({}).natural.logits.shape == (10,)
    assert jax.tree.leaves(model.prior.init(jax.random.key(0))) == []
