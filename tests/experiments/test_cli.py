import dataclasses
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rpm_jax as rpm
from experiments import _listing, poisson_balls, textured_balls

ROOT = Path(__file__).parents[2]
BALLS = {"poisson_balls": poisson_balls, "textured_balls": textured_balls}
NAMES = list(_listing.descriptions(ROOT / "experiments"))
EXPERIMENTS = {name: importlib.import_module(f"experiments.{name}") for name in NAMES}


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=100, cwd=ROOT, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        ("experiments poisson_balls --x", 2, "", "Unrecognized options: --x"),
        ("experiments textured_balls --data-seed -1", 2, "", "error: --data-seed must be an integer of at"),
        ("benchmarks step --roundz 3", 2, "", "python -m benchmarks.step: error: unrecognized arguments"),
        ("benchmarks --help", 0, "Time training steps of rpm_jax against torchRPM", ""),
    ],
)
def test_a_program_is_run_by_its_name(arguments, code, out, err):
    done = python("-m", *arguments.split())
    assert done.returncode == code
    assert out in done.stdout
    assert err in done.stderr
    assert bool(out) == bool(done.stdout)


@functools.cache
def helps(name):
    """The help of each option by its name, and the whole text."""
    done = python("-m", f"experiments.{name}", "--help")
    assert done.returncode == 0, done.stderr
    options, _, table = done.stdout.partition("torchRPM's options and these:")
    plain = " ".join(re.sub("[│╭╮╰╯─]", " ", options).split())
    parts = re.split(r"(?:-\w [A-Z]+, )?--(?!no-)([a-z-]+)(?=[ ,])(?!\))", plain)
    found = {}
    for option, text in zip(parts[1::2], parts[2::2], strict=True):
        found[option] = found.get(option, "") + text
    return found, plain, table


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_explains_every_option_with_its_default(name):
    found, plain, _ = helps(name)
    fields = EXPERIMENTS[name].EXPERIMENT.options().flat()
    for field in fields:
        text = found[field.replace("_", "-")]
        assert len(re.findall(r"\w{2,}", text.split("(default")[0])) >= 3, field
    assert plain.count("(default:") == len(fields)
    assert "library's, None" not in plain
    assert EXPERIMENTS[name].EXPERIMENT.name == name


@pytest.mark.parametrize("name", BALLS)
def test_help_of_the_balls_names_the_librarys_defaults_and_torchrpm(name):
    _, plain, table = helps(name)
    default = inspect.signature(rpm.fit).parameters["num_steps"].default
    assert f"Optimisation steps. (default: the library's, {default})" in plain
    assert f"(default: the library's, {rpm.train.LEARNING_RATES['prior']})" in plain
    for word in (
        "rpm_variant",
        "amortize_ivi",
        "iviNatParametrization",
        "init_rb_bandwidth",
        "n_hidden",
        "epochs",
        "batch_size",
        "model_seed",
        "data_seed",
        "temporal",
        "normalized_factors",
        "optim_init_q",
        "optim_init_ivi",
        "optim_vae_params",
    ):
        assert word in table
    for option in re.findall(r"(?<=\s)--[a-z-]+", "\n".join(line[40:] for line in table.splitlines())):
        assert option.removeprefix("--").replace("-", "_") in {
            f for e in BALLS.values() for f in e.EXPERIMENT.options().flat()
        }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_options_are_frozen_and_named_once(name):
    options = EXPERIMENTS[name].EXPERIMENT.options()
    names = [
        f.name for g in dataclasses.fields(options) for f in dataclasses.fields(getattr(options, g.name))
    ]
    assert len(names) == len(set(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.run.quiet = True
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.run = None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--num-steps many", ["--num-steps: it must be an integer, got many"]),
        ("--learning-rate high", ["--learning-rate: it must be a number, got high"]),
        ("--hidden 3 b", ["--hidden: it must be a list of integers, got 3 b"]),
        ("--posterior exact", ["'--posterior'", "exact", "('conjugate', 'amortized', 'saturated')"]),
        ("--kernel rfb", ['--kernel: it must be one of "rbf", "matern12", "matern32", "matern52", got rfb']),
        ("--num-stepz 3", ["--num-stepz"]),
        ("--output", ["Missing value for argument '--output'"]),
        ("poisson", ["Unrecognized options: poisson"]),
    ],
)
def test_what_cannot_be_parsed(arguments, words, capsys):
    with pytest.raises(SystemExit) as leaving:
        poisson_balls.main(arguments.split())
    assert leaving.value.code == 2
    printed = capsys.readouterr()
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", printed.err + printed.out).split())
    assert all(word in text for word in words)
    assert "None" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "is not valid JSON"),
        ("[1, 2]", "must hold a JSON object of options, got list"),
        ('{"num_stepz": 3}', "has the unknown option 'num_stepz'; the options are: auxiliary, "),
        ('{"max_shape": 3}', "has the unknown option 'max_shape'; the options are: auxiliary, "),
        ('{"num_steps": "3"}', 'num_steps must be an integer or null, got "3"'),
        ('{"num_sequences": 3.5}', "num_sequences must be an integer, got 3.5"),
        ('{"static": 1}', "static must be true or false, got 1"),
        ('{"width": null}', "width must be a number, got null"),
        ('{"width": true}', "width must be a number, got true"),
        ('{"hidden": [3, "x"]}', 'hidden must be a list of integers or null, got [3, "x"]'),
        ('{"posterior": "exact"}', 'posterior must be one of "conjugate", "amortized", "saturated"'),
        ('{"output": 3}', "output must be a path or null, got 3"),
        ('{"width": 1, "width": 2}', "is not valid JSON: width is there 2 times"),
        ('{"num-steps": 3, "num_steps": 4}', "is not valid JSON: num_steps is there 2 times"),
        ('{"num-steps": 0}', "--num-steps must be an integer of at least 1, got 0"),
        ('{"experiment": "textured_balls", "options": {}}', "is of the experiment 'textured_balls'"),
    ],
)
def test_configuration_files_that_do_not_fit(tmp_path, content, message, capsys):
    path = tmp_path / "config.json"
    path.write_text(content)
    assert poisson_balls.main(["--config", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_hand_written_configuration(tmp_path):
    from experiments import _cli

    path = tmp_path / "mine.json"
    content = {"num-pixels": 6, "width": 1, "hidden": [5], "kernel": None, "output": "here"}
    content |= {"static": True, "num_steps": 7}
    path.write_text(json.dumps(content))
    kind = poisson_balls.EXPERIMENT.options
    arguments = ["--config", str(path), "--no-static", "--num-steps", "None", "--kernel", "matern12"]
    options = _cli.parse(kind, "poisson_balls", None, arguments)
    assert options.data.num_pixels == 6
    assert options.data.width == 1.0
    assert options.model.hidden == (5,)
    assert options.model.static is False
    assert options.model.kernel == "matern12"
    assert options.training.num_steps is None
    assert options.run.output == Path("here")
