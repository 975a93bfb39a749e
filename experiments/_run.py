"""Run an experiment: options, data, results, files, exit status.

A new experiment is a module `experiments/NAME.py`, found by its file and listed with its docstring's first
line. It has

    Options     a `_options.group` of groups, derived from `_options.AllOptions`, with `run: Run` last;
                `_vocabulary` has those that others have too
    check       check(options) raises `_options.OptionError` for values that do not fit together
    load        load(options) makes or reads the data, before any file is written, of several processes each
                its share (`_devices`) where the options have the group `devices`; `_fits.draw` draws those
                of `rpm_jax.datasets`; within `_cli.naming_options` the library's errors become those of
                options
    run         run(options, data, files) fits, saves parameters as soon as a fit has ended, scores, and
                returns `Results`; `_fits` has the arguments of a fit, all seeds, and the best one
    EXPERIMENT  = _run.Experiment("NAME", Options, check, load, run)
    main        = functools.partial(_run.main, EXPERIMENT, __doc__)

and ends with `if __name__ == "__main__": sys.exit(main())`. All else is here: --help, --config, --output,
config.json, metrics.json, arrays.npz, figures, checkpoints, the line that sums it up, and errors.
"""

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import _cli, _devices, _output
from experiments._options import AllOptions, OptionError
from experiments._output import Files


class Results(NamedTuple):
    """What a run found.

    Attributes:
        metrics: Numbers, or lists and dictionaries of them; the run's seconds are added.
        arrays: All that figures are made of.
        figures: File names, and functions that draw the figures.
        summary: The most important numbers in words.
        note: What they are of, such as "medians of 3 seeds".
    """

    metrics: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    figures: Mapping[str, Callable[[], Any]]
    summary: str
    note: str = ""


class Experiment(NamedTuple):
    """What tells one experiment from another.

    Attributes:
        name: Of its module.
        options: Its options' class.
        check: Raises `OptionError` for options that do not fit.
        load: The data that the options ask for.
        run: Results of options, data and `Files`.
        epilogue: Last paragraphs of --help.
    """

    name: str
    options: type[AllOptions]
    check: Callable[[Any], None]
    load: Callable[[Any], Any]
    run: Callable[[Any, Any, Files], Results]
    epilogue: str | None = None


def main(experiment: Experiment, description: str | None, arguments: Sequence[str] | None = None) -> int:
    """Run an experiment from the command line.

    Returns:
        The exit status: 0; 1 if a file could not be written; 2 for options that do not fit; 130 if
        interrupted.
    """
    program = f"python -m experiments.{experiment.name}"
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = _cli.parse(
            experiment.options,
            experiment.name,
            description,
            arguments,
            experiment.epilogue,
            experiment.check,
        )
        return run(experiment, options, shlex.join([*program.split(), *arguments]))
    except OptionError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the files written so far are complete", file=sys.stderr)
        return 130


def run(experiment: Experiment, options: AllOptions, command: str = "") -> int:
    """Run an experiment and save what it found.

    Returns:
        0, or 1 if some file could not be written; the others are.
    """
    started = time.perf_counter()
    directory = output_directory(experiment, options)
    _devices.start(options)
    data = experiment.load(options)
    try:
        if jax.process_index() == 0:
            _output.prepare_directory(directory)
    except OSError as error:
        raise OSError(f"--output: cannot write to {directory}: {error.strerror or error}") from error
    config = _config(experiment, options, command)
    files = Files(directory, {key: config[key] for key in ("experiment", "options")})
    # The results of an earlier run keep their configuration until there are new ones.
    if not (directory / "metrics.json").exists():
        files.attempt("config.json", _output.write_json, config)

    results = experiment.run(options, data, files)
    metrics = {**results.metrics, "seconds": time.perf_counter() - started}
    files.attempt("config.json", _output.write_json, config)
    files.attempt("metrics.json", _output.write_json, metrics)
    files.attempt("arrays.npz", _output.write_arrays, results.arrays)
    if options.run.figures:
        for name, draw in results.figures.items():
            files.attempt(name, _output.write_figure, draw)
    if jax.process_index() > 0:
        return 0
    note = f" ({results.note})" if results.note else ""
    seconds = f"seconds {metrics['seconds']:.1f}"
    print(f"{experiment.name}{note}: {results.summary}, {seconds}, output {directory}")
    for failure in files.failures:
        print(f"python -m experiments.{experiment.name}: error: {failure}", file=sys.stderr)
    return 1 if files.failures else 0


def output_directory(experiment: Experiment, options: AllOptions) -> Path:
    """The folder of the results.

    Raises:
        OptionError: If it is a URL, which would become a folder of this machine by losing a slash.
    """
    directory = options.run.output or Path("outputs") / experiment.name
    if re.match(r"[A-Za-z]\w+:/", directory.as_posix()):
        raise OptionError(f"--output must be a folder of this machine, got the URL {directory}")
    return directory.expanduser()


def _config(experiment: Experiment, options: AllOptions, command: str) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "options": options.recorded(),
        "library_defaults": options.library_defaults(),
        "command": command,
        **_output.provenance(),
    }
