import json

import numpy as np
import pytest

import rpm_jax as rpm
from experiments import textured_balls

TINY = ["-N", "4", "-T", "6", "-J", "2", "--num-steps", "3", "--hidden", "3", "--quiet"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("seeds")
    assert textured_balls.main([*TINY, "--seeds", "2", "--output", str(directory)]) == 0
    return directory


def test_files(directory):
    assert sorted(path.name for path in directory.iterdir()) == [
        "arrays.npz",
        "bound.png",
        "bound_all_seeds.png",
        "checkpoints",
        "config.json",
        "metrics.json",
        "mixtures.png",
        "observations.png",
    ]


def test_metrics_are_medians(directory):
    metrics = json.loads((directory / "metrics.json").read_text())
    each = metrics["per_seed"]
    for name in ("r2", "r2_torchrpm", "r2_heldout", "r2_torchrpm_heldout", "bound_train", "bound_heldout"):
        assert len(each[name]) == 2
        np.testing.assert_allclose(metrics[name], np.median(each[name]))
    assert len(set(each["bound_train"])) == len(each["lengthscale"]) == 2
    assert metrics["best_seed"] == int(np.argmax(each["bound_train"]))
    assert metrics["seconds"] > 0


def test_arrays_have_an_axis_of_seeds(directory):
    arrays = np.load(directory / "arrays.npz")
    assert arrays["views"].shape == (2, 4, 6, 2)
    assert arrays["posterior_mean"].shape == (2, 4, 6, 1)
    assert arrays["bound_train"].shape == (2, 3)
    assert arrays["bound_heldout"].shape == (2, 1)
    assert arrays["times"].shape == (6,)
    assert not np.array_equal(arrays["latent"][0], arrays["latent"][1])


def test_checkpoints_of_the_best_and_of_all(directory):
    best, metadata = rpm.train.load_checkpoint(directory / "checkpoints" / "fit")
    everything, _ = rpm.train.load_checkpoint(directory / "checkpoints" / "all_seeds")
    assert metadata["seed"] == json.loads((directory / "metrics.json").read_text())["best_seed"]
    name = "log_lengthscale"
    np.testing.assert_array_equal(
        best["prior"]["kernel"][name], everything["prior"]["kernel"][name][metadata["seed"]]
    )
