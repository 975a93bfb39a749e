"""The maze: one tiny run, its files and scores, and options that do not fit."""

import json

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, maze_hmm
from experiments._maze_options import Options, check, sizes
from experiments._maze_scores import view_log_likelihood
from experiments._maze_warm_start import kmeans_responsibilities

WALLS = "#####\n#...#\n#.#.#\n#####\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A maze of five places, and short walks through it."""
    walls = tmp_path_factory.mktemp("maze") / "walls.txt"
    walls.write_text(WALLS)
    options = "-N 6 --num-held-out 3 -T 8 --visual-field 3 --num-steps 4 --warm-start-steps 4 --batch-size 3"
    return [*options.split(), "--kmeans-restarts", "1", "--seeds", "2", "--quiet", "--walls", str(walls)]


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "maze"
    assert maze_hmm.main([*tiny, "--output", str(directory)]) == 0
    return directory


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


def test_files_and_numbers(done):
    found = {path.name for path in done.iterdir()}
    figures = {"maze.png", "transitions.png", "views.png", "bound.png"}
    assert found == {"arrays.npz", "checkpoints", "config.json", "metrics.json"} | figures
    metrics, arrays = read(done, "metrics.json"), np.load(done / "arrays.npz")
    chosen = metrics["chosen_seed"]
    assert chosen == int(np.argmax(metrics["per_seed"]["bound_train"]))
    assert metrics["num_places"] == metrics["num_states"] == 5
    states = arrays["probabilities"].argmax(-1)
    correct = arrays["assignment"][states] == arrays["states"]
    assert metrics["accuracy_train"] == pytest.approx(correct.mean())
    paths = arrays["assignment"][arrays["paths_heldout"]] == arrays["states_heldout"]
    assert metrics["accuracy_viterbi_heldout"] == pytest.approx(paths.mean())
    error = rpm.metrics.transition_error(
        arrays["transition"], arrays["recovered_transition"], arrays["assignment"]
    )
    assert metrics["transition_error"] == pytest.approx(float(error), rel=1e-5)
    np.testing.assert_allclose(arrays["recovered_transition"].sum(-1), 1.0, rtol=1e-5)
    assert metrics["true_model"]["accuracy_train"] >= metrics["accuracy_train"] - 0.05


def test_long_trajectories_in_the_place_of_many_walks():
    def found(*arguments):
        return sizes(_cli.parse(Options, "maze_hmm", None, list(arguments), None, check))

    assert found() == (50, 50, 100)
    assert found("--trajectories", "1") == (1, 1, 10_000)
    assert found("--trajectories", "3", "-T", "70", "--num-held-out", "2") == (3, 2, 70)


@pytest.mark.slow
def test_one_trajectory_is_fitted(tiny, tmp_path):
    words = ["--trajectories", "1", "-T", "30", "--no-figures", "--seeds", "1", "--flips", "0.05"]
    both = [*tiny[2:], *words, "--batch-size", "1", "--num-held-out", "1", "--output", str(tmp_path)]
    assert maze_hmm.main(both) == 0
    arrays = np.load(tmp_path / "arrays.npz")
    assert arrays["states"].shape == arrays["paths_heldout"].shape == (1, 30)
    assert np.isfinite(read(tmp_path, "metrics.json")["bound_train"])


def test_the_true_model_knows_of_flips_and_looks_aside():
    walks = rpm.datasets.maze_walk(
        jax.random.key(0), num_sequences=2, num_steps=3, noise=0.5, flips=0.2, jitter=0.4, visual_field=3
    )
    found = view_log_likelihood(walks, 0.5, 0.2, 0.4)
    assert found.shape == (2, 3, 28)
    view, place = np.asarray(walks.views)[1, 2].ravel(), 7
    total = 0.0
    for scene, chance in [(walks.scenes, 0.6), *((aside, 0.1) for aside in walks.asides)]:
        seen = np.asarray(scene)[place].ravel()
        each = [np.exp(-((view - sign * seen) ** 2) / (2 * 0.25)) for sign in (1, -1)]
        total += chance * np.prod(0.8 * each[0] + 0.2 * each[1])
    assert found[1, 2, place] == pytest.approx(np.log(total))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(tiny, done, tmp_path):
    assert maze_hmm.main([*tiny, "--no-figures", "--output", str(tmp_path)]) == 0
    assert read(tmp_path, "metrics.json")["per_seed"] == read(done, "metrics.json")["per_seed"]


@pytest.mark.slow
def test_transitions_by_gradient_from_random_networks(tiny, tmp_path):
    arguments = [*tiny, "--transition", "gradient", "--warm-start", "none", "--no-figures"]
    assert maze_hmm.main([*arguments, "--output", str(tmp_path)]) == 0
    assert np.isfinite(read(tmp_path, "metrics.json")["bound_train"])


def test_responsibilities_are_distributions():
    views = np.random.default_rng(0).normal(size=(4, 10, 3)) + 10.0 * np.repeat([0, 1], 5)[:, None]
    targets = kmeans_responsibilities(views, 2, 1, 0)
    assert targets.shape == (4, 10, 2)
    np.testing.assert_allclose(targets.sum(-1), 1.0, rtol=1e-5)
    first = targets[..., 0] > 0.5
    assert np.all(first[:, :5] == first[0, 0])
    assert np.all(first[:, 5:] != first[0, 0])


def test_defaults_are_parsed():
    options = _cli.parse(Options, "maze_hmm", None, [], None, maze_hmm.check)
    assert options.model.transition == "closed-form"
    assert options.model.pooled
