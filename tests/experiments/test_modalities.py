"""Several modalities: one tiny run, its files and scores; data of one's own; what is dropped."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import _cli, modalities
from experiments._modalities_data import Modalities, drop, load, read
from experiments._modalities_options import Options, check
from experiments._options import OptionError

TINY = shlex.split(
    "-N 5 --num-held-out 3 -T 5 --image-size 8 --num-agents 1 --num-steps 3 --hidden 3 --channels 2 --quiet"
)
RNG = np.random.default_rng(0)


def parsed(*arguments):
    return _cli.parse(Options, "modalities", None, list(arguments), None, check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("modalities") / "run"
    assert modalities.main([*TINY, "--output", str(directory)]) == 0
    return directory


def test_files_and_numbers(done):
    figures = {"bound.png", "images.png", "states.png"}
    files = {"arrays.npz", "checkpoints", "config.json", "metrics.json", *figures}
    assert {path.name for path in done.iterdir()} == files
    metrics, arrays = json.loads((done / "metrics.json").read_text()), np.load(done / "arrays.npz")
    design = np.concatenate([arrays["mean"], np.ones((5, 5, 1))], axis=-1)
    slope = np.linalg.lstsq(design.reshape(25, -1), arrays["states"].reshape(25, -1))[0]

    def r2(name, where=slice(None)):
        latents = np.concatenate([arrays[f"mean_heldout_{name}"], np.ones((3, 5, 1))], axis=-1)
        true = arrays["states_heldout"][where].reshape(-1, 2)
        left = true - (latents @ slope)[where].reshape(-1, 2)
        return 1 - (left**2).sum() / ((true - true.mean(0)) ** 2).sum()

    gone = arrays["dropped_heldout"].any(1)
    assert gone.sum() == 3 * 2
    for name in ("observed", "all", "images", "distances"):
        assert metrics[f"r2_{name}"] == pytest.approx(r2(name), rel=1e-4)
    assert metrics["r2_while_dropped"] == pytest.approx(r2("observed", gone), rel=1e-4)
    assert metrics["r2_else"] == pytest.approx(r2("observed", ~gone), rel=1e-4)
    assert not np.allclose(arrays["mean_heldout_all"], arrays["mean_heldout_distances"])


def test_what_is_dropped():
    views = {"a": np.ones((4, 10, 2)), "b": np.ones((4, 10))}
    present = np.ones((4, 2, 10), bool)
    present[0, 1, 3] = False
    data = Modalities(views, present, np.zeros_like(present), None)
    found = drop(parsed("--data", "x", "--drop", "b", "--dropped", "0.4"), data)
    assert found.dropped[:, 0].sum() == 0
    for n in range(1, 4):
        steps = np.flatnonzero(found.dropped[n, 1])
        np.testing.assert_array_equal(steps, np.arange(steps[0], steps[0] + 4))
    assert not found.dropped[0, 1, 3]
    assert len({tuple(each) for each in found.dropped[1:, 1].tolist()}) > 1
    np.testing.assert_array_equal(found.present | found.dropped, present)
    seen = found.data(("b",), with_dropped=True).mask
    assert not np.asarray(seen)[:, 0].any()
    np.testing.assert_array_equal(np.asarray(seen)[:, 1], present[:, 1])
    with pytest.raises(OptionError, match="--drop must be none or one of the views a, b, got images"):
        drop(parsed("--data", "x"), data)


def test_data_of_ones_own(tmp_path):
    pixels, heat = RNG.normal(size=(10, 6, 9, 8)), RNG.normal(size=(10, 6))
    heat[2, 3] = np.nan
    there = np.ones((10, 6))
    there[4, 5] = 0
    np.savez(tmp_path / "own.npz", view_pixels=pixels, view_heat=heat, mask_pixels=there)
    data = read(tmp_path / "own.npz")
    assert list(data.views) == ["heat", "pixels"]
    np.testing.assert_array_equal(np.argwhere(~data.present), [[2, 0, 3], [4, 1, 5]])
    assert data.states is None
    train, held_out = load(parsed("--data", str(tmp_path / "own.npz"), "--drop", "none"))
    assert [len(train.present), len(held_out.present)] == [8, 2]
    model = modalities.build_model(parsed("--data", "x"), train)
    assert model.prior.num_latents == 2


@pytest.mark.slow
def test_a_run_with_data_of_ones_own(tmp_path):
    """Without states it says how far views agree."""
    np.savez(tmp_path / "own.npz", view_a=RNG.normal(size=(10, 6, 3)), view_b=RNG.normal(size=(10, 6)))
    words = f"--data {tmp_path / 'own.npz'} --drop b --num-steps 3 --hidden 3 --quiet --output {tmp_path}"
    assert modalities.main(words.split()) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {"agreement_a", "agreement_b"} <= set(metrics)
    assert not any(name.startswith("r2_") for name in metrics)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"states": np.ones((2, 3))}, "must hold view_NAME for each view, .* got states"),
        (
            {"view_a": np.ones((2, 3)), "extra": np.ones(2)},
            "may hold mask_NAME and states, got extra, view_a",
        ),
        ({"view_a": np.ones(2)}, r"view_a must have N sequences of T steps, \(N, T\) = \(2,\)"),
        ({"view_a": np.ones((2, 3)), "view_b": np.ones((2, 4))}, r"view_b must have .* got \(2, 4\)"),
        ({"view_a": np.ones((2, 3)), "mask_a": np.ones((2, 3, 1))}, "mask_a must have"),
    ],
)
def test_files_that_do_not_fit(arrays, message, tmp_path):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(OptionError, match=f"--data: .*{message}"):
        read(tmp_path / "own.npz")


@pytest.mark.slow
def test_one_view_makes_up_for_the_other(tmp_path):
    command = [sys.executable, "-m", "experiments.modalities", "--quiet", "--no-figures"]
    root = Path(__file__).parents[2]
    subprocess.run([*command, "--output", str(tmp_path)], cwd=root, check=True, timeout=1800)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["r2_all"] > max(metrics["r2_images"], metrics["r2_distances"])
    assert metrics["r2_while_dropped"] > 0.85
