"""The benchmarks that need nothing else: refused options, and a table with its report from a tiny run."""

import json
import sys

import pytest

from benchmarks import convolution, minibatch_bias, score_matching, step

MODULES = {
    "step": step,
    "convolution": convolution,
    "minibatch_bias": minibatch_bias,
    "score_matching": score_matching,
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("step --rounds 0", "--rounds must be at least 1, got 0"),
        ("step --num-sequences 5 0", "--num-sequences must be at least 1, got 0"),
        ("step --batch-size -1", "--batch-size must be at least 1, got -1"),
        ("convolution --threads 0", "--threads must be at least 1, got 0"),
        ("minibatch_bias --num-steps 0", "--num-steps must be at least 1, got 0"),
        ("minibatch_bias --batch-sizes 16 1", "--batch-sizes must be at least 2, got 1"),
        ("minibatch_bias --queues 0", "--queues must be at least 1, got 0"),
        ("score_matching --views 1", "--views must be at least 2, got 1"),
        ("score_matching --rounds 0", "--rounds must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_fit(arguments, message, monkeypatch, capsys):
    name, *options = arguments.split()
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit) as leaving:
        MODULES[name].main()
    assert leaving.value.code == 2
    assert f"python -m benchmarks.{name}: error: {message}\n" in capsys.readouterr().err


def test_step(tmp_path, monkeypatch, capsys):
    calls = []

    def measure(*sizes):
        calls.append(sizes)
        return {"compile_seconds": 1.25, "median_ms": 3.0, "min_ms": 2.0}

    path = tmp_path / "step.json"
    monkeypatch.setattr(step, "measure", measure)
    options = "step --num-sequences 7 9 --num-times 5 --num-pixels 4 --batch-size 3 --rounds 2 --json"
    monkeypatch.setattr(sys, "argv", [*options.split(), str(path)])
    assert step.main() == 0
    assert calls == [(7, 5, 4, 3, 2), (9, 5, 4, 3, 2)]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "       7        1.2       3.00     2.00",
        "       9        1.2       3.00     2.00",
    ]
    report = json.loads(path.read_text())
    assert [result["num_sequences"] for result in report["results"]] == [7, 9]


def test_minibatch_bias(tmp_path, monkeypatch, capsys):
    rows = [{"batch_size": 16, "queue": 0, "mean": 0.5, "deviation": 0.1}]
    report = {"exact": 0.75, "num_data": 99, "results": rows}
    monkeypatch.setattr(minibatch_bias, "measure", lambda *_: report)
    path = tmp_path / "bias.no_format"
    monkeypatch.setattr(sys, "argv", ["minibatch_bias", "--figure", str(path)])
    assert minibatch_bias.main() == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "log-likelihood with F_j over all 99 data: 0.7500",
        "   batch    queue   subset      mean      bias  deviation       ms",
        "      16        0        -    0.5000   -0.2500     0.1000        -",
    ]
    assert printed.err.startswith(f"--figure: cannot write {path}: ")


def test_convolution_without_pytorch(monkeypatch, capsys):
    monkeypatch.setattr(convolution.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["convolution", "--torch"])
    with pytest.raises(SystemExit) as leaving:
        convolution.main()
    assert leaving.value.code == 2
    assert "--torch needs PyTorch, which is not installed" in capsys.readouterr().err


def test_score_matching(tmp_path, monkeypatch, capsys):
    path = tmp_path / "score.json"
    views = []

    def runs(given):
        views.extend(given)
        return {"one by one": (lambda: None, 1), "in a loop": (lambda: None, 20)}

    monkeypatch.setattr(score_matching, "jax_runs", runs)
    options = "score_matching --size 4 --views 3 --rounds 2 --json"
    monkeypatch.setattr(sys, "argv", [*options.split(), str(path)])
    assert score_matching.main() == 0
    assert [view.shape for view in views] == [(4, 1)] * 3
    results = json.loads(path.read_text())["results"]
    assert [result["variant"] for result in results] == ["one by one", "in a loop"]
    assert all(0 <= result["min_ms"] <= result["median_ms"] for result in results)
    assert [line[:10].strip() for line in capsys.readouterr().out.splitlines()[1:]] == [
        "one by one",
        "in a loop",
    ]
