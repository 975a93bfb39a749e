"""What all benchmarks share around their measurements: checks of options, a table, a JSON file."""

import argparse
import os
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments._output import provenance, write_json


class Column(NamedTuple):
    """A column of a printed table.

    Attributes:
        title: Its head.
        key: Of the results that it shows.
        format: How a value is written, as in `format(value, ...)`; its width is the column's.
    """

    title: str
    key: str
    format: str


def parser_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser of `python -m benchmarks.NAME` with the option that every benchmark has.

    Args:
        name: The module's, in `benchmarks`.
        description: Its docstring.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=pathlib.Path, help="also write the results to this file")
    return parser


def require_at_least(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, least: float, *names: str
) -> None:
    """Leave with a message and status 2 unless options, or all of their values, are at least `least`.

    Args:
        parser: Prints the message.
        arguments: The parsed options.
        least: The smallest value allowed.
        *names: Of the options, as attributes of `arguments`.
    """
    for name in names:
        value = getattr(arguments, name)
        values = value if isinstance(value, list) else [value]
        if values and not min(values) >= least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}, got {min(values)}")


def print_table(columns: Sequence[Column], rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print a head, and a line for each row as soon as it is there.

    Args:
        columns: From left to right.
        rows: Values by key; what a row lacks, or is None, is a dash.

    Returns:
        The rows.
    """
    print(" ".join(_cell(column.title, column.format) for column in columns), flush=True)
    printed = []
    for row in rows:
        print(" ".join(_cell(row.get(column.key), column.format) for column in columns), flush=True)
        printed.append(row)
    return printed


def _cell(value: Any, form: str) -> str:
    """A value in its column's format, text in the width and direction of that."""
    if isinstance(value, int | float):
        return format(value, form)
    direction = "<" if form.startswith("<") else ">"
    return format("-" if value is None else value, direction + form.lstrip("<>+").split(".")[0])


def write_report(arguments: argparse.Namespace, content: Mapping[str, Any]) -> bool:
    """Write the results with versions, date, devices and options as JSON, where `--json` asks for it.

    Options that are paths are left out: they say nothing about the measurement.

    Args:
        arguments: The parsed options.
        content: The results.

    Returns:
        Whether it was written, or not asked for; if not, a message was printed to standard error.
    """
    if arguments.json is None:
        return True
    report = {
        **provenance(),
        "devices": [device.device_kind for device in jax.devices()],
        "dtype": str(jnp.zeros(()).dtype),
        "cores": os.cpu_count(),
        "arguments": {
            name: value for name, value in vars(arguments).items() if not isinstance(value, pathlib.Path)
        },
        **content,
    }
    try:
        write_json(arguments.json, report)
    except OSError as error:
        print(f"--json: cannot write {arguments.json}: {error}", file=sys.stderr)
        return False
    return True
