"""A linear system: one tiny run, its files and scores, the models with inputs and without."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, linear_system
from experiments._linear_system_options import Options, check
from experiments._spectra import eigenvalue_error, eigenvalues

TINY = shlex.split("-N 5 --num-held-out 3 -T 4 -D 3 --forecast 3 --num-steps 3 --seeds 2 --hidden 3 --quiet")
FIGURES = (
    "eigenvalues",
    *(
        f"{name}_{kind}"
        for name in ("bound", "errors", "forecast", "states")
        for kind in ("driven", "undriven")
    ),
)


def parsed(*arguments):
    return _cli.parse(Options, "linear_system", None, [*TINY, *arguments], None, check)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("system") / "run"
    assert linear_system.main([*TINY, "--output", str(directory)]) == 0
    return directory


def test_all_files_are_written(done):
    files = {"arrays.npz", "checkpoints", "config.json", "metrics.json", *(f"{name}.png" for name in FIGURES)}
    assert {path.name for path in done.iterdir()} == files
    for name in FIGURES:
        assert (done / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_scores_follow_from_the_arrays(done):
    metrics, arrays = json.loads((done / "metrics.json").read_text()), np.load(done / "arrays.npz")
    true = np.linalg.eigvals(arrays["transition"])
    for kind in ("driven", "undriven"):
        scores, chosen = metrics[kind], metrics[kind]["chosen_seed"]
        assert chosen == np.argmax(scores["per_seed"]["bound_train"])
        assert scores["bound_train"] == scores["per_seed"]["bound_train"][chosen]
        found = arrays[f"eigenvalues_{kind}"]
        pairs = [np.abs(true - found), np.abs(true - found[::-1])]
        assert scores["eigenvalue_error"] == pytest.approx(min(pairs, key=np.sum).max())
        left = arrays["states_heldout"] - arrays[f"mean_heldout_{kind}"]
        around = arrays["states_heldout"] - arrays["states_heldout"].mean((0, 1))
        assert scores["r2_heldout"] == pytest.approx(1 - (left**2).sum() / (around**2).sum())
        assert (arrays[f"deviation_heldout_{kind}"] > 0).all()
        came, expected = arrays[f"forecast_truth_{kind}"], arrays[f"forecast_mean_{kind}"]
        variance = arrays["states"].reshape(-1, 2).var(0)
        last = arrays[f"mean_heldout_{kind}"][:, -1:]
        for name, guess in (("forecast", expected), ("persistence", last)):
            errors = ((came - guess) ** 2 / variance).mean((0, 2))
            np.testing.assert_allclose(scores["forecast"][f"error_{name}"], errors, rtol=1e-5)
        inside = np.abs(came - expected) < 1.96 * arrays[f"forecast_deviation_{kind}"]
        assert scores["forecast"]["coverage"] == pytest.approx(inside.mean(), abs=0.06)
    gain = metrics["driven"]["bound_heldout"] - metrics["undriven"]["bound_heldout"]
    assert metrics["gain_of_inputs"] == pytest.approx(gain)


def test_the_checkpoint_is_the_chosen_fit(done):
    options = _cli.from_file(Options, "linear_system", done / "config.json")
    data, arrays = linear_system.load(options), np.load(done / "arrays.npz")
    for kind in ("driven", "undriven"):
        params, _ = rpm.train.load_checkpoint(done / "checkpoints" / f"{kind}_fit")
        model = linear_system.build_model(options, kind)
        fit = rpm.train.Fit(model, params, linear_system.as_data(data[0], kind), history=None, bound=0.0)
        recovered = linear_system.recover(fit, data, kind)
        np.testing.assert_allclose(recovered.mean[1], arrays[f"mean_heldout_{kind}"], atol=1e-6)
        np.testing.assert_allclose(recovered.eigenvalues, arrays[f"eigenvalues_{kind}"], atol=1e-8)


def test_what_is_forecast_was_not_seen():
    data = linear_system.load(parsed())
    assert data.train.states.shape == (5, 4, 2)
    assert data.longer.states.shape == (3, 7, 2)
    np.testing.assert_array_equal(data.longer.views[0][:, :4], data.held_out.views[0])
    np.testing.assert_array_equal(data.longer.inputs[:, :4], data.held_out.inputs)


def test_forecasts_go_on_as_the_chain_does():
    """The mean goes on by A and what inputs do."""
    options = parsed("--inputs", "on")
    data = linear_system.load(options)
    model = linear_system.build_model(options, "driven")
    train = linear_system.as_data(data.train, "driven")
    fit = rpm.train.Fit(model, model.init(jax.random.key(0), train), train, history=None, bound=0.0)
    found = linear_system.forecast(options, fit, data, "driven")
    aligned = rpm.metrics.align_latent(data.train.states, fit.posterior().mean)
    last = np.asarray(fit.infer(linear_system.as_data(data.held_out, "driven")).mean)[:, -1]
    prior = model.prior.apply(fit.params["prior"], data.longer.inputs[:, 3:7])
    for h in range(3):
        bias = np.asarray(prior.bias)[:, h] if np.ndim(prior.bias) == 3 else np.asarray(prior.bias)
        last = last @ np.asarray(prior.transition).T + bias
        mapped = last @ np.asarray(aligned.slope) + np.asarray(aligned.intercept)
        np.testing.assert_allclose(found.mean[:, h], mapped, rtol=1e-5, atol=1e-8)


def test_which_models_are_fitted():
    assert linear_system.kinds(parsed()) == ("driven", "undriven")
    assert linear_system.kinds(parsed("--inputs", "on")) == ("driven",)
    assert linear_system.kinds(parsed("--inputs", "off")) == ("undriven",)
    assert linear_system.kinds(parsed("--num-inputs", "0")) == ("undriven",)


def test_regression_of_the_states_finds_the_eigenvalues():
    system = rpm.datasets.linear_system(jax.random.key(0), num_sequences=4000, num_inputs=1)
    assert linear_system.regression_error(system) < 0.003


def test_eigenvalues_are_matched():
    turn = 0.9 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    values = eigenvalues(turn)
    np.testing.assert_allclose(values, [0.9 * np.exp(-0.4j), 0.9 * np.exp(0.4j)], rtol=1e-12)
    assert eigenvalue_error(values, np.array([5.0, *(values[::-1] + 0.1)])) == pytest.approx(0.1)
    assert eigenvalue_error(values, values[:1]) == np.inf


@pytest.mark.slow
def test_a_noisy_rotation(tmp_path):
    """Eigenvalues to 0.01, and inputs that the held-out bound knows of."""
    command = [sys.executable, "-m", "experiments.linear_system", "--quiet", "--no-figures"]
    root = Path(__file__).parents[2]
    rotation = shlex.split("--num-inputs 0 --radius 0.98 0.98 --angle 0.5 0.5 -N 64 -T 15")
    for name, arguments in {"rotation": rotation, "driven": []}.items():
        folder = ["--output", str(tmp_path / name)]
        subprocess.run([*command, *arguments, *folder], cwd=root, check=True, timeout=900)
    rotation, driven = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("rotation", "driven")
    )
    assert rotation["undriven"]["eigenvalue_error"] <= 0.01
    assert rotation["undriven"]["r2_heldout"] > 0.96
    assert driven["driven"]["eigenvalue_error"] <= 0.01
    assert driven["gain_of_inputs"] > 10
    for kind in ("driven", "undriven"):
        assert driven[kind]["forecast"]["beats_persistence"]
        assert 0.88 < driven[kind]["forecast"]["coverage"] < 0.98
