import argparse
import json
from pathlib import Path

import pytest

from benchmarks import _report
from benchmarks._report import Column


def options(**values):
    return argparse.Namespace(json=None, **values)


def test_table(capsys):
    columns = (Column("name", "name", "<6"), Column("N", "size", "4"), Column("ms", "ms", "+7.2f"))
    rows = [{"name": "a", "size": 3, "ms": 1.234}, {"name": "b", "size": 40, "ms": None}, {"name": "c"}]
    assert _report.print_table(columns, iter(rows)) == rows
    assert capsys.readouterr().out.splitlines() == [
        "name      N      ms",
        "a         3   +1.23",
        "b        40       -",
        "c         -       -",
    ]


def test_rows_are_printed_as_they_come(capsys):
    seen = []

    def rows():
        for size in (1, 2):
            seen.append(capsys.readouterr().out.strip())
            yield {"size": size}

    _report.print_table((Column("N", "size", "1"),), rows())
    assert seen == ["N", "1"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "--batch-size must be at least 1, got 0"),
        ([3, -2], "--batch-size must be at least 1, got -2"),
        (float("nan"), "--batch-size must be at least 1, got nan"),
        ([1.0, float("nan")], "--batch-size must be at least 1, got nan"),
        (float("inf"), "--batch-size must be at least 1, got inf"),
        (1, None),
        ([], None),
        ([4, 1], None),
    ],
)
def test_least_values(value, message, capsys):
    benchmark = _report.Benchmark("some", "What it does.")
    if message is None:
        benchmark.require_at_least(options(batch_size=value), 1, "batch_size")
        return
    with pytest.raises(SystemExit) as leaving:
        benchmark.require_at_least(options(batch_size=value), 1, "batch_size")
    assert leaving.value.code == 2
    assert f"python -m benchmarks.some: error: {message}\n" in capsys.readouterr().err


def test_report(tmp_path):
    path = tmp_path / "report.json"
    arguments = argparse.Namespace(json=path, clone=Path("/somewhere"), rounds=3)
    assert _report.write_report(arguments, {"results": [{"ms": 1.5}, {"ms": float("nan")}]})
    report = json.loads(path.read_text())
    assert report["results"] == [{"ms": 1.5}, {"ms": None}]
    assert report["arguments"] == {"rounds": 3}
    assert {"python", "rpm_jax", "jax", "jaxlib", "flax", "optax", "numpy"} <= set(report["versions"])
    assert {"commit", "date", "devices", "dtype", "cores"} <= set(report)
    assert str(tmp_path) not in path.read_text()


def test_no_report_where_none_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _report.write_report(options(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written(tmp_path, capsys):
    path = tmp_path / "missing" / "report.json"
    assert not _report.write_report(argparse.Namespace(json=path), {})
    assert capsys.readouterr().err.startswith(f"--json: cannot write {path}: ")


def benchmark(draw=None):
    made = _report.Benchmark("some", "What it does.", draw)
    made.number("--sizes", [2, 3], "N", least=2)
    made.number("--queues", [1], "L", none=True)
    made.number("--seconds", 0.5, "of a turn", least=0.1)
    made.number("--correlation", -0.5, "", least=None)
    made.choices("--cases", ("a", "b"), "which")
    return made


def test_options_and_their_defaults(capsys):
    parsed = vars(benchmark().parse([]))
    assert parsed == {
        "json": None,
        "sizes": [2, 3],
        "queues": [1],
        "seconds": 0.5,
        "correlation": -0.5,
        "cases": ["a", "b"],
    }
    given = benchmark().parse(
        ["--sizes", "4", "--queues", "--seconds", "2", "--correlation", "-7", "--cases", "b"]
    )
    assert (given.sizes, given.queues, given.seconds, given.correlation) == ([4], [], 2.0, -7.0)
    with pytest.raises(SystemExit):
        benchmark().parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "N (default: 2 3)" in text
    assert "of a turn (default: 0.5)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--sizes 2 1", "--sizes must be at least 2, got 1"),
        ("--seconds 0.01", "--seconds must be at least 0.1, got 0.01"),
        ("--seconds inf", "--seconds must be at least 0.1, got inf"),
        ("--sizes", "argument --sizes: expected at least one argument"),
        ("--cases c", "argument --cases: invalid choice: 'c'"),
        ("--json nowhere/x.json", "--json: there is no folder nowhere to write x.json to"),
        ("--figure nowhere/x.png", "--figure: there is no folder nowhere to write x.png to"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_measured(arguments, message, capsys):
    with pytest.raises(SystemExit) as leaving:
        benchmark(lambda report: None).parse(arguments.split())
    assert leaving.value.code == 2
    assert f"python -m benchmarks.some: error: {message}" in capsys.readouterr().err


def test_results_are_written_and_drawn(tmp_path):
    drawn = []

    class Figure:
        def savefig(self, path):
            path.write_bytes(b"drawn")

    made = benchmark(lambda report: drawn.append(report) or Figure())
    files = ["--json", str(tmp_path / "x.json"), "--figure", str(tmp_path / "x.png")]
    assert made.report(made.parse(files), {"results": [1]})
    assert drawn == [{"results": [1]}]
    assert (tmp_path / "x.png").read_bytes() == b"drawn"
    assert json.loads((tmp_path / "x.json").read_text())["results"] == [1]
