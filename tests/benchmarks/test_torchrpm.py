import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from benchmarks import _torchrpm_ours as ours
from benchmarks import _torchrpm_parameters, _torchrpm_worker, torchrpm
from benchmarks._processes import WorkerError
from benchmarks._torchrpm_cases import CASES, Case

ROOT = Path(__file__).parents[2]
TINY = [
    Case("a", "temporal", "counts", 5, 3, 2, 10),
    Case("b", "static", "textures", 4, 2, 2, 10),
    Case("c", "discrete", "images", 3, 2, 2),
]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with files of the names that a clone has, and no need for PyTorch."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in torchrpm.MODULES:
        (folder / name).write_text("")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "torch")
    monkeypatch.setattr(torchrpm.importlib.metadata, "version", lambda name: "9.8")
    return folder


def error_of(capsys, *arguments):
    with pytest.raises(SystemExit) as leaving:
        torchrpm.main(arguments)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def test_without_a_clone(capsys):
    message = error_of(capsys)
    assert (
        "--torchrpm needs a clone of torchRPM; run: git clone https://github.com/mnonnenm/torchRPM" in message
    )


def test_a_folder_that_is_no_clone(clone, capsys):
    (clone / "rpm.py").unlink()
    (clone / "expFam.py").unlink()
    message = error_of(capsys, "--torchrpm", str(clone))
    assert f"but {clone} lacks rpm.py, expFam.py; run: git clone" in message


def test_without_pytorch(clone, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = error_of(capsys, "--torchrpm", str(clone))
    assert 'needs PyTorch, which is not installed; run: pip install -e ".[bench]"' in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
        (["--seconds", "0"], "--seconds must be at least 0.01, got 0.0"),
        (["--cases", "temporal"], "invalid choice: 'temporal'"),
    ],
)
def test_options_that_do_not_fit(arguments, message, clone, capsys):
    assert message in error_of(capsys, "--torchrpm", str(clone), *arguments)


class FakeWorker:
    """Answers as a training would: 10 ms a step in the one library, 100 ms a thread in the other."""

    bounds: ClassVar = {"ours": -3.0, "theirs": -3.0}
    log: ClassVar = []

    def __init__(self, module, role, name, data, folder, *, environment):
        self.role, self.double = role, environment.get("JAX_ENABLE_X64") == "1"
        self.cost, self.smallest = {"ours": (0.01, 20), "theirs": (0.2, 1), "compare": (0, 0)}[role]
        self.first = True
        assert environment["JAX_PLATFORMS"] == "cpu"
        assert "JAX_COMPILATION_CACHE_DIR" not in environment

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, **request):
        assert self.double == (self.role == "compare")
        if self.role == "compare":
            return self.bounds
        if "finish" in request:
            return {"baseline_mib": 100.0, "peak_mib": {"ours": 30.0, "theirs": 50.0}[self.role]}
        self.cost = 0.1 * request["threads"] if "threads" in request else self.cost
        steps = max(request["steps"], self.smallest)
        self.log.append((self.role, steps))
        late = 3.0 if self.first or self.log.count((self.role, steps)) == 5 else 0.0
        self.first = False
        seconds = self.cost * steps + late
        return {"steps": steps, "seconds": seconds, "processor_seconds": seconds / 2}


@pytest.fixture
def fake(clone, monkeypatch):
    monkeypatch.setattr(torchrpm, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "log", [])
    monkeypatch.setattr(torchrpm.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere")
    return clone


def test_medians_of_turns_after_the_first_steps(fake):
    result = torchrpm.measure("cnn-64", fake, rounds=5, seconds=1.0)
    assert FakeWorker.log[-10:] == [("ours", 100), ("theirs", 10)] * 5
    expected = {
        "ours_ms": 10.0,
        "theirs_ms": 100.0,
        "ratio": 10.0,
        "ours_processor_ms": 5.0,
        "theirs_processor_ms": 50.0,
        "processor_ratio": 10.0,
        "compile_seconds": 3.0,
        "first_step_seconds": 3.2,
        "threads": 1,
        "ours_peak_mib": 30.0,
        "theirs_peak_mib": 50.0,
        "theirs_baseline_mib": 100.0,
    }
    assert {key: result[key] for key in expected} == pytest.approx(expected)
    assert [turn["ours"]["seconds"] for turn in result["rounds"]] == pytest.approx([1, 1, 1, 1, 4])
    assert (result["name"], result["batch_size"], result["bounds"]) == ("cnn-64", 64, FakeWorker.bounds)


def test_compilation_is_not_told_from_long_steps():
    assert torchrpm.compile_seconds({"seconds": 12.0, "steps": 20}, 0.1) == pytest.approx(10.0)
    assert torchrpm.compile_seconds({"seconds": 60.0, "steps": 20}, 3.5) is None


def test_table_and_report(fake, tmp_path, capsys):
    path = tmp_path / "report.json"
    options = [
        "--torchrpm",
        str(fake),
        "--rounds",
        "2",
        "--cases",
        "cnn-64",
        "static-50",
        "--json",
        str(path),
    ]
    assert torchrpm.main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        [name, "10.00", "100.00", "10.0"] for name in ("cnn-64", "static-50")
    ]
    report = json.loads(path.read_text())
    assert [result["name"] for result in report["results"]] == ["cnn-64", "static-50"]
    assert len(report["results"][0]["rounds"]) == 2
    assert report["torch"] == "9.8"
    assert report["torchrpm_commit"] is None
    assert str(tmp_path) not in path.read_text()


def test_a_report_that_cannot_be_written(fake, tmp_path, capsys):
    path = tmp_path / "report.json"
    path.mkdir()
    arguments = ["--torchrpm", str(fake), "--rounds", "1", "--cases", "cnn-64", "--json", str(path)]
    assert torchrpm.main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"--json: cannot write {path}: ")
    assert "cnn-64" in printed.out


@pytest.mark.parametrize(
    ("theirs", "said"),
    [(-3.001, "relative difference 3.3e-04"), (float("nan"), "nan in torchRPM"), (-3.0000001, None)],
)
def test_different_bounds_are_not_timed(theirs, said, fake, monkeypatch, capsys):
    monkeypatch.setattr(FakeWorker, "bounds", {"ours": -3.0, "theirs": theirs})
    status = torchrpm.main(["--torchrpm", str(fake), "--rounds", "1", "--cases", "cnn-64"])
    printed = capsys.readouterr()
    assert (status, bool(FakeWorker.log)) == ((0, True) if said is None else (1, False))
    if said is not None:
        assert printed.err.startswith("cnn-64: not timed, since the bounds differ: -3.0 nats in rpm_jax, ")
        assert said in printed.err
        assert printed.out.splitlines()[1].split()[:3] == ["cnn-64", "-", "-"]


def test_the_others_go_on_where_a_case_fails(fake, monkeypatch, capsys):
    def measure(name, *_):
        if name == "cnn-64":
            raise WorkerError("no memory")
        return {"name": name, "ours_ms": 1.0}

    monkeypatch.setattr(torchrpm, "measure", measure)
    assert torchrpm.main(["--torchrpm", str(fake), "--cases", "cnn-64", "static-50"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "cnn-64: failed: no memory\n"
    assert printed.out.splitlines()[2].split()[:2] == ["static-50", "1.00"]


def test_cases():
    assert all(case.family in ours.FAMILIES for case in CASES.values())
    assert {case.family for case in CASES.values() if not case.tuned} == set(ours.FAMILIES)
    assert CASES["temporal-1000"].bandwidth == pytest.approx(960.4)


@pytest.mark.parametrize("case", TINY)
def test_views(case):
    views = ours.make_views(case)
    shape = (28, 28) if case.inputs == "images" else (case.num_times,)
    assert [(view.shape, view.dtype) for view in views] == [
        ((case.num_data, *shape), np.float32)
    ] * case.num_views
    whole = all((view == np.round(view)).all() for view in views)
    assert whole == (case.inputs == "counts")
    assert len({view.tobytes() for view in views}) == case.num_views


class FakeRequests:
    def __init__(self, *requests):
        self.requests, self.answers = list(requests), []

    def next(self):
        return self.requests.pop(0)

    def answer(self, **content):
        self.answers.append(content)


def test_training_is_held_between_rounds():
    requests = FakeRequests({"steps": 3, "threads": 4}, {"steps": 1}, {"finish": True})
    threads = []
    rounds = _torchrpm_worker.Rounds(requests, 1.0, threads.append)
    rounds.made(2)
    assert requests.answers == []
    rounds.made(2)
    with pytest.raises(SystemExit):
        rounds.made(1)
    assert threads == [4]
    assert [answer.get("steps") for answer in requests.answers] == [4, 1, None]
    assert all(answer["seconds"] > 0 for answer in requests.answers[:2])
    assert requests.answers[2]["baseline_mib"] == 1.0
    assert requests.answers[2]["peak_mib"] > 10


def test_the_first_layer_takes_over_standardisation():
    random = np.random.default_rng(0)
    inputs, kernel, bias = random.normal(size=(4, 6)), random.normal(size=(2, 3, 5)), random.normal(size=5)
    mean, scale = np.array(0.7), np.array(2.5)
    folded, shifted = _torchrpm_parameters.without_standardisation(kernel, bias, mean, scale)
    np.testing.assert_allclose(
        inputs @ folded.reshape(6, 5) + shifted, (inputs - mean) / scale @ kernel.reshape(6, 5) + bias
    )


def test_weights_have_outputs_first():
    images, sequences = CASES["cnn-64"], CASES["temporal-100"]
    kernel = np.random.default_rng(0).normal(size=(5, 4, 3, 2))
    weight = _torchrpm_parameters.as_weight("Conv_0", kernel, images)
    assert weight.shape == (2, 3, 5, 4)
    assert weight[1, 2, 4, 3] == kernel[4, 3, 2, 1]
    pointwise = _torchrpm_parameters.as_weight("Dense_0", kernel[0, 0], sequences)
    np.testing.assert_array_equal(pointwise, kernel[0, 0].T[..., None])
    features = np.random.default_rng(1).normal(size=(4, 4, 20))
    dense = np.random.default_rng(2).normal(size=(320, 7))
    moved = _torchrpm_parameters.as_weight("Dense_0", dense, images)
    np.testing.assert_allclose(moved @ features.transpose(2, 0, 1).ravel(), features.ravel() @ dense)
    last = _torchrpm_parameters.as_weight("Dense_1", dense, images)
    np.testing.assert_array_equal(last, dense.T)


class FakeParameter:
    """As much of a PyTorch parameter as a copy needs."""

    def __init__(self, *shape):
        self.data = np.zeros(shape)

    @property
    def shape(self):
        return self.data.shape

    def new_tensor(self, values):
        return np.array(values)


def test_assigned_values_keep_the_parameters_shape():
    parameter = FakeParameter(1)
    _torchrpm_parameters._assign(parameter, np.array(3.0))
    np.testing.assert_array_equal(parameter.data, [3.0])
    with pytest.raises(ValueError, match="reshape"):
        _torchrpm_parameters._assign(parameter, np.ones(2))


def test_workers_need_no_jax_for_torchrpm():
    """JAX in torchRPM's process would count as its memory and threads."""
    program = "import benchmarks._torchrpm_worker, benchmarks._torchrpm_cases, benchmarks._torch_cnn, sys; "
    program += "sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
