"""The benchmark of a copula without PyTorch: options, scores by natural parameters, table and report."""

import importlib.util
import json

import jax
import numpy as np
import pytest

import rpm_jax as rpm
from benchmarks import copula, torchrpm
from benchmarks._processes import WorkerError
from experiments._copula_grid import divergence, quantile_grid
from rpm_jax import marginals

NODES = 8


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with files of the names that a clone has, and no need for PyTorch."""
    for name in torchrpm.MODULES:
        (tmp_path / name).write_text("")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "torch")
    monkeypatch.setattr(copula.importlib.metadata, "version", lambda name: "9.8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--num-data", "31"], "--num-data must be at least 32, got 31"),
        (["--correlation", "1"], "--correlation must lie between -1 and 1, got 1.0"),
        ([], "--torchrpm needs a clone of torchRPM"),
    ],
)
def test_options_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit) as leaving:
        copula.main(arguments)
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err


def natural_parameters(key, *shape):
    """Of normal distributions that are narrower than the standard one."""
    first, second = jax.random.normal(key, (2, *shape))
    return np.stack([first, -0.5 - np.exp(second)], axis=-1)


@pytest.fixture
def answer():
    """What a worker says of N = 20 data, with factors that see nothing at the nodes of the second view."""
    factors = natural_parameters(jax.random.key(0), 20, 2)
    at_nodes = natural_parameters(jax.random.key(1), NODES, 2)
    prior = rpm.priors.Static(copula.natural([0.0, -0.5]))
    mixture = copula.natural(factors)[..., None]
    bound = float(rpm.objectives.inner_bound(prior, mixture, mixture).mean())
    return {
        "prior": [0.0, -0.5],
        "factors": factors.tolist(),
        "at_nodes": at_nodes.tolist(),
        "bound": bound,
        "seconds": 3.0,
    }


def test_scores_by_natural_parameters(answer):
    """Against sums over a fine grid of the latent."""
    grid = quantile_grid([marginals.Normal()] * 2, NODES)
    z = np.linspace(-12, 12, 4001)

    def density(values):
        eta1, eta2 = np.moveaxis(np.asarray(values), -1, 0)[..., None]
        mean, precision = -0.5 * eta1 / eta2, -2 * eta2
        return np.sqrt(precision / (2 * np.pi)) * np.exp(-0.5 * precision * (z - mean) ** 2)

    mixtures = density(answer["factors"]).mean(0)
    ratios = density(answer["at_nodes"]) / mixtures
    prior = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    log_ratio = np.log(np.einsum("gz,hz,z->gh", ratios[:, 0], ratios[:, 1], prior) * np.diff(z)[0]).ravel()
    log_true = np.sin(np.arange(NODES**2))
    found = copula.score_theirs(answer, grid, log_true)
    expected = divergence(grid, log_true, log_ratio)
    assert found["theirs_kl"] == pytest.approx(expected.divergence, abs=1e-6)
    assert found["theirs_mass"] == pytest.approx(expected.mass, rel=1e-6)
    assert (found["theirs_bound"], found["theirs_seconds"]) == (pytest.approx(answer["bound"]), 3.0)


def test_another_bound_is_not_scored(answer):
    grid = quantile_grid([marginals.Normal()] * 2, NODES)
    with pytest.raises(ValueError, match="nats in torchRPM, "):
        copula.score_theirs(answer | {"bound": answer["bound"] + 0.01}, grid, grid.weights)


class FakeWorker:
    def __init__(self, module, data, folder, *, environment):
        assert module == "benchmarks._copula_worker"
        assert environment["JAX_PLATFORMS"] == "cpu"
        with np.load(data) as stored:
            assert stored["views"].shape == (2, 40, 1)
            assert stored["nodes"].shape[0] == 2

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, *, seed, **request):
        assert request == {"epochs": 100, "batch_size": 32, "hidden": 10}
        if seed == 1:
            raise WorkerError("no memory")
        return {"seed": seed}


def test_table_and_report(clone, tmp_path, monkeypatch, capsys):
    keys = ("kl", "mass", "bound", "seconds")
    monkeypatch.setattr(copula, "Worker", FakeWorker)
    monkeypatch.setattr(copula, "score_ours", lambda _, name, *rest: {f"{name}_{key}": 0.5 for key in keys})
    monkeypatch.setattr(
        copula, "score_theirs", lambda answer, *_: {f"theirs_{key}": answer["seed"] + 1.0 for key in keys}
    )
    path = tmp_path / "report.json"
    arguments = ["--torchrpm", str(clone), "--seeds", "4", "--num-data", "40", "--json", str(path)]
    assert copula.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err == "seed 1: torchRPM is not scored: no memory\n"
    lines = printed.out.splitlines()
    assert lines[1].split() == ["0", "0.5000", "1.0000", "0.5000", "0.5000", "1.0000", "0.5", "1.0"]
    assert lines[2].split()[:3] == ["1", "0.5000", "-"]
    assert lines[5].startswith("medians: relu_kl 0.5000, theirs_kl 3.0000")
    report = json.loads(path.read_text())
    assert report["medians"]["theirs_kl"] == 3.0
    assert report["torch"] == "9.8"
    assert len(report["results"]) == 4
    assert str(tmp_path) not in path.read_text()
