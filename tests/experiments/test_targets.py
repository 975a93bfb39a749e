"""What the default settings have to reach, in single precision, without peeking at R² or labels."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("poisson_balls", 0.996), ("textured_balls", 0.998)])
def test_recovered_latent(name, least, tmp_path):
    command = [sys.executable, "-m", f"experiments.{name}", "--seeds", "3", "--num-steps", "1000"]
    command += ["--quiet", "--no-figures", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["r2_torchrpm"] >= least
    assert metrics["r2_torchrpm_heldout"] >= least
    assert metrics["r2"] >= least
    assert min(metrics["per_seed"]["r2_torchrpm"]) >= least - 0.002


@pytest.mark.slow
def test_digits_without_labels(tmp_path):
    """The seed that the likelihood chooses has found the digits."""
    command = [sys.executable, "-m", "experiments.peer_supervision", "--seeds", "4", "--num-steps", "200"]
    command += ["--quiet", "--no-figures", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["accuracy_heldout"] >= 0.9
    assert metrics["log_likelihood"] > 2.2


@pytest.mark.slow
def test_textures_from_sets_of_patches(tmp_path):
    command = [sys.executable, "-m", "experiments.texture_lda", "--seeds", "2", "--num-steps", "200"]
    command += ["--quiet", "--no-figures", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["accuracy_train"] > 0.95
    assert metrics["accuracy_heldout"] > 0.95
    assert metrics["proportions_error_heldout"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "most",
    [{"gaussian": 0.03, "implicit": 0.03}, {"unnormalised": 0.04, "discrete": 0.06}],
    ids=" ".join,
)
def test_densities_of_pairs(most, tmp_path):
    """Independence would have a divergence of 0.63 nats; N = 1000 leaves about 0.02 to chance."""
    command = [sys.executable, "-m", "experiments.copula", "--seeds", "3", "--num-held-out", "1000"]
    command += ["--variants", *most, "--quiet", "--no-figures", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    (truth,) = json.loads((tmp_path / "metrics.json").read_text())["truths"]
    assert truth["kl_independent"] > 0.6
    found = truth["variants"]
    for name, limit in most.items():
        assert 0 < found[name]["kl"] < limit
        assert found[name]["bound_heldout"] <= found[name]["log_likelihood_heldout"]
        assert abs(found[name]["mass"] - 1.0) < 0.02


@pytest.mark.slow
def test_mutual_information(tmp_path):
    command = [sys.executable, "-m", "experiments.copula", "--correlation", "0.3", "0.6", "0.85"]
    command += ["-N", "5000", "--seeds", "5", "--variants", "implicit", "--num-steps", "3000"]
    command += ["--quiet", "--no-figures", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=1800)
    for truth in json.loads((tmp_path / "metrics.json").read_text())["truths"]:
        exact = truth["mutual_information"]
        found = truth["variants"]["implicit"]["mutual_information"]
        assert abs(found - exact) < max(0.1 * exact, 0.01)
