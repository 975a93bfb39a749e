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
        (1, None),
        ([], None),
        ([4, 1], None),
    ],
)
def test_least_values(value, message, capsys):
    parser = _report.parser_of("some", "What it does.")
    if message is None:
        _report.require_at_least(parser, options(batch_size=value), 1, "batch_size")
        return
    with pytest.raises(SystemExit) as leaving:
        _report.require_at_least(parser, options(batch_size=value), 1, "batch_size")
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
