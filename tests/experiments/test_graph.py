"""Angles from graphs: one tiny run, its files and scores, baselines, options that do not fit."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, graph
from experiments._graph_baselines import informed_angles, spectral_angles
from experiments._graph_options import Options, check

TINY = shlex.split("-N 4 --num-held-out 3 -T 8 --num-steps 3 --seeds 2 --features 3 --hidden 4 --quiet")
FILES = [
    "adjacency.png",
    "angles.png",
    "arrays.npz",
    "bound.png",
    "checkpoints",
    "circle.png",
    "config.json",
    "metrics.json",
]


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


def parsed(*arguments):
    return _cli.parse(Options, "graph", None, [*TINY, *arguments], None, check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("graphs") / "run"
    assert graph.main([*TINY, "--output", str(directory)]) == 0
    return directory


def test_all_files_are_written(done):
    assert sorted(path.name for path in done.iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            assert (done / name).read_bytes().startswith(b"\x89PNG")


def test_scores_follow_from_the_arrays(done):
    metrics, arrays = read(done, "metrics.json"), np.load(done / "arrays.npz")
    assert arrays["views"].shape == (2, 4, 8, 8)
    assert arrays["recovered_heldout"].shape == (3, 8)
    assert all(np.isfinite(arrays[name]).all() for name in arrays)

    def error(found):
        return np.degrees(np.abs(np.angle(np.exp(1j * (found - arrays["angles"])))).mean())

    for suffix, scores in {
        "": metrics,
        "_spectral": metrics["spectral"],
        "_informed": metrics["informed"],
    }.items():
        assert scores["error_train"] == pytest.approx(error(arrays[f"recovered{suffix}"]))
        assert scores["error_heldout"] == pytest.approx(error(arrays[f"recovered_heldout{suffix}"]))
        assert scores["error_nodes"] == pytest.approx(error(arrays[f"recovered_nodes{suffix}"]))
    chosen = metrics["chosen_seed"]
    assert chosen == np.argmax(metrics["per_seed"]["bound_train"])
    for name in graph.MEDIANS:
        assert metrics[name] == metrics["per_seed"][name][chosen]
        assert metrics["medians"][name] == pytest.approx(np.median(metrics["per_seed"][name]))


def test_the_checkpoint_is_the_chosen_fit(done):
    params, metadata = rpm.train.load_checkpoint(done / "checkpoints" / "fit")
    assert metadata["seed"] == read(done, "metrics.json")["chosen_seed"]
    options = _cli.from_file(Options, "graph", done / "config.json")
    data = graph.load(options)
    model = graph.build_model(options)
    fit = rpm.train.Fit(model, params, rpm.as_data(data[0].views), history=None, bound=0.0)
    recovered = graph.recover(fit, data)
    arrays = np.load(done / "arrays.npz")
    np.testing.assert_allclose(recovered.nodes, arrays["recovered_nodes"], atol=1e-6)
    np.testing.assert_allclose(recovered.held_out, arrays["recovered_heldout"], atol=1e-6)


def test_true_angles_have_no_error():
    """However they are turned; what all graphs say together is turned alike."""
    data = graph.load(parsed())
    angles = np.asarray(data[0].angles)
    truth = graph.Recovered(np.tile(angles, (4, 1)), np.tile(angles, (3, 1)), angles, np.ones((4, 8)))
    scores = graph.score(data, truth)
    for part in ("train", "heldout", "nodes"):
        assert scores[f"error_{part}"] == pytest.approx(0.0, abs=1e-10)
        assert scores[f"correlation_{part}"] == pytest.approx(1.0)


def test_eigenvectors_find_the_circle_of_mean_graphs():
    graphs = rpm.datasets.circle_graphs(jax.random.key(0), num_graphs=1, num_nodes=60, width=0.8)
    found = spectral_angles(np.asarray(graphs.probabilities)[None])
    assert found.shape == (1, 60)
    assert np.degrees(rpm.metrics.mean_angular_error(graphs.angles, found[0])) < 2.0


def test_the_informed_observer_maximises_the_likelihood():
    graphs = rpm.datasets.circle_graphs(jax.random.key(0), num_graphs=2, num_nodes=9)
    angles, views = np.asarray(graphs.angles), [np.asarray(view) for view in graphs.views]

    def log_likelihood(n, node, angle):
        p = np.asarray(rpm.datasets.circle_edge_probability(angle - angles))
        terms = [np.log(np.where(view[n, node] > 0, p, 1 - p)) for view in views]
        return np.delete(np.sum(terms, axis=0), node).sum()

    found = informed_angles(tuple(views), angles, rpm.datasets.circle_edge_probability)
    assert found.shape == (2, 9)
    grid = np.linspace(-np.pi, np.pi, 90, endpoint=False)
    for n, node in [(0, 0), (1, 4)]:
        best = max(log_likelihood(n, node, angle) for angle in grid)
        assert log_likelihood(n, node, found[n, node]) >= best - 1e-9


@pytest.mark.parametrize("arguments", [[], ["--no-shared", "--no-pooled", "--rounds", "2"]])
def test_every_model_can_be_chosen(arguments):
    options = parsed(*arguments)
    model = graph.build_model(options)
    views = (jax.ShapeDtypeStruct((4, 8, 8), float),) * 2
    params = jax.eval_shape(model.init, jax.random.key(0), views)
    bound = jax.eval_shape(
        lambda p, d: rpm.bound(model, p, d.batch(np.arange(2)), d), params, rpm.Data(views)
    )
    assert bound.shape == (2,)
    shapes = {leaf.shape for leaf in jax.tree.leaves(params["factors"])}
    assert ((2, 8, 3) if arguments else (8, 3)) in shapes


@pytest.mark.slow
def test_angles_of_nodes(tmp_path):
    """The run that the bound chooses is nearly as close as eigenvectors, and far from chance, 90 degrees."""
    command = [
        sys.executable,
        "-m",
        "experiments.graph",
        "--quiet",
        "--no-figures",
        "--output",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=900)
    metrics = read(tmp_path, "metrics.json")
    assert metrics["error_heldout"] < 9.5
    assert metrics["error_nodes"] < 4.0
    assert metrics["error_heldout"] < 1.7 * metrics["informed"]["error_heldout"]
    assert abs(metrics["correlation_heldout"]) > 0.9
