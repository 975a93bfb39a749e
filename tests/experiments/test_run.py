"""What experiments share, by a small one of its own."""

import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from experiments import _cli, _output, _run
from experiments._options import AllOptions, OptionError, group, library, option

NAME = "adding"


@group
class Numbers:
    """What is added."""

    values: tuple[float, ...] = option((1.0, 2.0), "Numbers to add.", positive=True)
    word: str = option("sum", "What the result is called.")
    scale: float | None = library(1.0, "Factor, if any.", positive=True)


@group
class Nothing:
    """Nothing."""


@group
class Options(AllOptions[Numbers, Nothing, Nothing]):
    """All options."""


def check(options):
    if options.data.word == "bad":
        raise OptionError("--word must be good")


def load(options):
    with _cli.naming_options("load", {"items": "values"}):
        if len(options.data.values) > 3:
            raise ValueError("load: items must be 3 at most")
    return np.array(options.data.values)


class Picture:
    def savefig(self, stream, format):
        stream.write(f"a {format}".encode())


def run(options, data, files):
    files.checkpoint("fit", {"total": data.sum()}, kind="sum")
    if options.data.word == "crash":
        raise RuntimeError("after the fit")
    return _run.Results(
        {"total": float(data.sum()), "nothing": float("nan")},
        {"data": data},
        {"picture.png": Picture},
        summary=f"total {data.sum():.1f}",
        note="a test",
    )


EXPERIMENT = _run.Experiment(NAME, Options, check, load, run, "The end.")


def main(directory, *arguments):
    return _run.main(EXPERIMENT, "Add.", [*arguments, "--output", str(directory)])


def test_files_and_the_line(tmp_path, capsys):
    assert main(tmp_path, "--values", "2", "3.5") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arrays.npz",
        "checkpoints",
        "config.json",
        "metrics.json",
        "picture.png",
    ]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["total"] == 5.5
    assert metrics["nothing"] is None
    assert metrics["seconds"] > 0
    np.testing.assert_array_equal(np.load(tmp_path / "arrays.npz")["data"], [2, 3.5])
    assert (tmp_path / "picture.png").read_bytes() == b"a png"
    params, metadata = rpm.train.load_checkpoint(tmp_path / "checkpoints" / "fit")
    assert params["total"] == 5.5
    config = json.loads((tmp_path / "config.json").read_text())
    assert metadata == {"experiment": NAME, "options": config["options"], "kind": "sum"}
    assert config["options"] == {"values": [2.0, 3.5], "word": "sum", "scale": None, "figures": True}
    assert config["library_defaults"] == {"scale": 1.0}
    printed = capsys.readouterr()
    assert printed.out.startswith("adding (a test): total 5.5, seconds ")
    assert printed.out.endswith(f", output {tmp_path}\n")
    assert printed.err == ""


@pytest.mark.parametrize("name", ["runs[lr=0.1]", "a\\b", os.fsdecode(b"\xff")])
def test_folders_of_any_name(tmp_path, name):
    assert main(tmp_path / name) == 0
    assert rpm.train.load_checkpoint(tmp_path / name / "checkpoints" / "fit")[0]["total"] == 3.0
    assert json.loads((tmp_path / name / "config.json").read_text())["experiment"] == NAME
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_output_in_the_home_folder_and_at_a_url(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main("~/run") == 0
    assert (tmp_path / "home" / "run" / "metrics.json").exists()
    assert main("gs://bucket/run") == 2
    assert "--output must be a folder of this machine, got the URL gs:/bucket/run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_numbers_in_json(tmp_path):
    numbers = {
        "single": np.float32(0.5),
        "wide": np.int64(2**60),
        "flag": np.bool_(True),
        "array": np.array([[1.0, np.nan], [-np.inf, 2.0]]),
        "device": jnp.arange(2),
        "folder": Path("here"),
        "nested": ({"x": [float("inf"), 2**70]},),
        "name": os.fsdecode(b"\xff"),
    }
    _output.write_json(tmp_path / "x.json", numbers)
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {
        "single": 0.5,
        "wide": 2**60,
        "flag": True,
        "array": [[1.0, None], [None, 2.0]],
        "device": [0, 1],
        "folder": "here",
        "nested": [{"x": [None, 2**70]}],
        "name": os.fsdecode(b"\xff"),
    }


def test_arrays_keep_their_dtypes_or_are_refused(tmp_path):
    arrays = {"wide": np.array([2**60]), "half": np.float16([0.5]), "words": np.array(["a"]), "one": 3}
    _output.write_arrays(tmp_path / "x.npz", arrays)
    loaded = np.load(tmp_path / "x.npz")
    for name, array in arrays.items():
        assert loaded[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(loaded[name], array)
    for bad in (jnp.ones(2, jnp.bfloat16), np.array([None])):
        with pytest.raises(TypeError, match=r"y\.npz: bad must have a dtype of NumPy's own, got "):
            _output.write_arrays(tmp_path / "y.npz", {"bad": bad})
    assert not (tmp_path / "y.npz").exists()


def test_the_configuration_is_taken_over(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"experiment": NAME, "options": {"values": [4], "word": "x", "scale": 2}}))
    options = _cli.parse(Options, NAME, None, ["--config", str(path), "--word", "y"])
    assert options.data == Numbers(values=(4.0,), word="y", scale=2.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"word": 3}, "word must be a string, got 3"),
        ({"values": ["x"]}, 'values must be a list of numbers, got ["x"]'),
        ({"scale": "x"}, 'scale must be a number or null, got "x"'),
    ],
)
def test_configurations_that_do_not_fit(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=r"^--config: .*mine.json: ") as caught:
        _cli.from_file(Options, NAME, path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--values", "1", "0"], "--values must be a positive number, got 0.0"),
        (["--scale", "inf"], "--scale must be a positive number, got inf"),
        (["--values", "1", "1", "1", "1"], "--values must be 3 at most"),
        (["--word", "bad"], "--word must be good"),
    ],
)
def test_options_that_do_not_fit_write_nothing(tmp_path, arguments, message, capsys):
    assert main(tmp_path / "new", *arguments) == 2
    assert capsys.readouterr().err == f"python -m experiments.adding: error: {message}\n"
    assert not (tmp_path / "new").exists()


def test_help_ends_with_the_epilogue(capsys):
    with pytest.raises(SystemExit) as leaving:
        _cli.parse(Options, NAME, "Add.", ["--help"], "The end.")
    assert not leaving.value.code
    printed = capsys.readouterr().out
    assert "Numbers to add." in printed
    assert printed.endswith("\nThe end.\n")


def test_a_failure_after_the_fit_does_not_lose_it(tmp_path):
    with pytest.raises(RuntimeError, match="after the fit"):
        main(tmp_path, "--word", "crash")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "config.json"]
    assert rpm.train.load_checkpoint(tmp_path / "checkpoints" / "fit")[0]["total"] == 3.0


def test_a_file_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    def full(_, stream, format):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Picture, "savefig", full)
    assert main(tmp_path) == 1
    assert "picture.png was not written: No space left on device" in capsys.readouterr().err
    assert (tmp_path / "metrics.json").exists()
    assert main(tmp_path, "--no-figures") == 0


def test_where_results_go_without_the_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run.main(EXPERIMENT, None, []) == 0
    assert Path("outputs/adding/metrics.json").exists()
