"""The Lorenz attractor from spikes: one tiny run, its files and scores, models."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, lorenz
from experiments._lorenz_options import Options, check

TINY = shlex.split(
    "-N 4 --num-held-out 3 -T 8 --num-neurons 9 -J 3 --num-steps 3 --num-components 8 --seeds 2 --quiet "
    "--forecast 3 --prior process"
)
FILES = [
    "arrays.npz",
    "bound.png",
    "checkpoints",
    "config.json",
    "errors.png",
    "forecast.png",
    "latents.png",
    "metrics.json",
    "trajectories.png",
]


def read(directory, name):
    return json.loads((directory / name).read_text("utf-8"))


def parsed(*arguments):
    return _cli.parse(Options, "lorenz", None, [*TINY, *arguments], None, check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("lorenz") / "run"
    assert lorenz.main([*TINY, "--output", str(directory)]) == 0
    return directory


def test_all_files_are_written(done):
    assert sorted(path.name for path in done.iterdir()) == FILES
    for name in FILES:
        if name.endswith(".png"):
            assert (done / name).read_bytes().startswith(b"\x89PNG")


def test_scores_follow_from_the_arrays(done):
    metrics, arrays = read(done, "metrics.json"), np.load(done / "arrays.npz")
    assert arrays["counts"].shape == (2, 4, 8, 9)
    assert arrays["factor_means_heldout"].shape == (2, 3, 3, 8, 3)
    assert all(np.isfinite(arrays[name]).all() for name in arrays)
    for seed in range(2):
        true, found = arrays["states_heldout"][seed], arrays["mean_heldout"][seed]
        squares = ((true - found) ** 2).sum((0, 1))
        r2 = 1 - squares / ((true - true.mean((0, 1))) ** 2).sum((0, 1))
        names = [f"r2_{coordinate}_heldout" for coordinate in "xyz"]
        np.testing.assert_allclose([metrics["per_seed"][name][seed] for name in names], r2, rtol=1e-5)
        inside = np.abs(true - found) <= 1.959964 * arrays["deviation_heldout"][seed]
        assert metrics["per_seed"]["coverage_95_heldout"][seed] == pytest.approx(inside.mean())
    for name in lorenz.MEDIANS:
        assert metrics[name] == pytest.approx(np.median(metrics["per_seed"][name]))
    assert metrics["best_seed"] == np.argmax(metrics["per_seed"]["bound_train"])


def test_scores_of_forecasts_follow_from_the_arrays(done):
    scores, arrays = read(done, "metrics.json")["forecast"], np.load(done / "arrays.npz")
    own = scores["per_seed"]
    for seed in range(2):
        came, expected = arrays["forecast_truth"][seed], arrays["forecast_mean"][seed]
        assert came.shape == (3, 3, 3)
        variance = arrays["states"][seed].reshape(-1, 3).var(0)
        last = arrays["mean_heldout"][seed][:, -1:]
        for name, guess in (("forecast", expected), ("persistence", last)):
            errors = ((came - guess) ** 2 / variance).mean((0, 2))
            np.testing.assert_allclose(own[f"error_{name}"][seed], errors, rtol=1e-4)
        inside = np.abs(came - expected) <= 1.959964 * arrays["forecast_deviation"][seed]
        assert own["coverage"][seed] == pytest.approx(inside.mean())
        np.testing.assert_allclose(own["coverage_by_horizon"][seed], inside.mean((0, 2)), rtol=1e-6)
    for name in ("error_forecast", "error_persistence", "error_autoregression", "coverage_by_horizon"):
        np.testing.assert_allclose(scores[name], np.median(own[name], axis=0), rtol=1e-6)
    assert scores["coverage"] == pytest.approx(np.median(own["coverage"]))
    better = np.less(own["error_forecast"], own["error_persistence"])
    assert scores["beats_persistence"] == better.all()


def test_what_is_forecast_was_not_seen():
    """Of longer paths the first T steps are the held-out ones, of the counts as of the states."""
    for train, held_out, longer in lorenz.load(parsed()):
        assert train.states.shape == (4, 8, 3)
        assert longer.states.shape == (3, 11, 3)
        assert train.times.shape == held_out.times.shape == (8,)
        for name in ("counts", "states", "rates"):
            np.testing.assert_array_equal(getattr(longer, name)[:, :8], getattr(held_out, name))


@pytest.mark.parametrize("prior", ["chain", "process"])
def test_forecasts_are_those_of_a_longer_model_with_the_end_masked(prior):
    """On the scale of the states, deviations too."""
    options = parsed("--prior", prior)
    paths = lorenz.load(options)[0]
    short, long = (lorenz.build_model(options, part.times) for part in (paths.held_out, paths.longer))
    train = rpm.as_data(lorenz.views_of(options, paths.train))
    params = short.init(jax.random.key(0), train)
    fit = rpm.train.Fit(short, params, train, history=None, bound=0.0)
    found = lorenz.forecast(options, fit, paths)
    mask = np.broadcast_to(np.arange(11) < 8, (3, 3, 11))
    views = lorenz.views_of(options, paths.longer)
    aligned = rpm.metrics.align_latent(paths.train.states, fit.posterior().mean)
    whole = rpm.train.Fit(long, params, rpm.as_data(views, mask), history=None, bound=0.0).posterior()
    mean, deviation = lorenz.on_scale_of_states(aligned, whole)
    np.testing.assert_allclose(found.mean, mean[:, 8:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.deviation, deviation[:, 8:], rtol=1e-4)
    np.testing.assert_array_equal(found.truth, paths.longer.states[:, 8:])


def test_seeds_have_data_of_their_own(done):
    arrays = np.load(done / "arrays.npz")
    assert not np.allclose(arrays["states"][0], arrays["states"][1])
    options = _cli.from_file(Options, "lorenz", done / "config.json")
    (train, held_out, _), _ = lorenz.load(options)
    np.testing.assert_allclose(train.states, arrays["states"][0], atol=1e-5)
    np.testing.assert_array_equal(held_out.counts, arrays["counts_heldout"][0])


TIMES = np.arange(8) / 50


@pytest.mark.parametrize(
    ("arguments", "prior", "shape"),
    [
        ("--prior chain", rpm.priors.linear_gaussian(3, 8), (3, 3, 3)),
        ("", rpm.priors.gaussian_process(TIMES, "matern32", num_latents=3), (3, 3, 3)),
        (
            "-K 2 --kernel matern52 --precision own --hidden 5",
            rpm.priors.gaussian_process(TIMES, "matern52", num_latents=2),
            (3, 5, 4),
        ),
    ],
)
def test_every_model_can_be_chosen(arguments, prior, shape):
    """Kernels of the last layer are (J, inputs, outputs): K means and, not shared, K precisions."""
    model = lorenz.build_model(parsed(*shlex.split(arguments)), TIMES)
    assert model.prior == prior
    assert model.pooled
    views = tuple(jax.ShapeDtypeStruct((4, 8, 3), float) for _ in range(3))
    params = jax.eval_shape(model.init, jax.random.key(0), views)
    assert shape in {leaf.shape for leaf in jax.tree.leaves(params["factors"])}


@pytest.mark.slow
def test_the_attractor_is_recovered(tmp_path):
    """Linear R² of every coordinate on held-out paths, the median of three seeds of data and model."""
    command = [
        sys.executable,
        "-m",
        "experiments.lorenz",
        "--quiet",
        "--no-figures",
        "--output",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=900)
    metrics = read(tmp_path, "metrics.json")
    for coordinate in "xyz":
        assert metrics[f"r2_{coordinate}_heldout"] > 0.9
        assert metrics[f"r2_{coordinate}_train"] > 0.9
