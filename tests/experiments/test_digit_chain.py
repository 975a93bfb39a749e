"""Chains of digits: one tiny run, its files and scores."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, digit_chain
from experiments._digit_chain_options import Options, check

TINY = shlex.split(
    "-N 3 --num-held-out 2 -T 4 --num-steps 4 --steps-per-update 2 --seeds 2 --hidden 3 --quiet"
)
FIGURES = ("bound", "chains", "confusion", "transitions")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("chains") / "run"
    assert digit_chain.main([*TINY, "--output", str(directory)]) == 0
    return directory


def test_all_files_are_written(done):
    files = {"arrays.npz", "checkpoints", "config.json", "metrics.json", *(f"{name}.png" for name in FIGURES)}
    assert {path.name for path in done.iterdir()} == files


def test_scores_follow_from_the_arrays(done):
    metrics, arrays = json.loads((done / "metrics.json").read_text()), np.load(done / "arrays.npz")
    labels = arrays["assignment"]
    for part, suffix in (("train", ""), ("heldout", "_heldout")):
        for name, states in (("accuracy", "recovered_states"), ("accuracy_viterbi", "paths")):
            right = labels[arrays[f"{states}{suffix}"]] == arrays[f"states{suffix}"]
            assert metrics[f"{name}_{part}"] == pytest.approx(right.mean())
    assert metrics["chosen_seed"] == np.argmax(metrics["per_seed"]["bound_train"])
    np.testing.assert_allclose(arrays["recovered_transition"].sum(1), 1)


def test_held_out_chains_show_other_images():
    options = _cli.parse(Options, "digit_chain", None, ["-N", "30", "--num-held-out", "30"], None, check)
    train, held_out = (
        {image.tobytes() for image in np.asarray(part.views).reshape(-1, 64)}
        for part in digit_chain.load(options)
    )
    assert len(train) > 400
    assert not train & held_out


def test_single_images_are_judged_by_their_factors(done):
    """As the posterior of a chain of one step would have it."""
    options = _cli.from_file(Options, "digit_chain", done / "config.json")
    data = digit_chain.load(options)
    params, _ = rpm.train.load_checkpoint(done / "checkpoints" / "fit")
    model = digit_chain.build_model(options, data[0])
    fit = rpm.train.Fit(model, params, rpm.as_data((data[0].views,)), history=None, bound=0.0)
    recovered = digit_chain.recover(fit, data)
    np.testing.assert_array_equal(
        recovered.states[1], np.load(done / "arrays.npz")["recovered_states_heldout"]
    )
    mask = jnp.zeros((2, 1, 4), bool).at[:, :, 2].set(True)
    alone = fit.infer(rpm.as_data((data[1].views,), mask))
    np.testing.assert_array_equal(np.asarray(alone.mean)[:, 2].argmax(-1), recovered.alone[:, 2])


def test_transitions_in_the_order_of_labels():
    transition = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.5, 0.1, 0.4]])
    ordered = digit_chain.in_order_of_labels(transition, np.array([1, -1, 0]), 3)
    expected = [[0.4, 0.5, np.nan], [0.7, 0.1, np.nan], [np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(ordered, expected)


@pytest.mark.slow
def test_digits_and_their_order(tmp_path):
    command = [sys.executable, "-m", "experiments.digit_chain", "--quiet", "--no-figures", "--seeds", "4"]
    root = Path(__file__).parents[2]
    subprocess.run([*command, "--output", str(tmp_path)], cwd=root, check=True, timeout=900)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["accuracy_heldout"] > 0.9
    assert metrics["accuracy_heldout"] > metrics["accuracy_alone_heldout"]
    assert metrics["transition_error"] < 0.15
