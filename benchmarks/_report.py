"""What all benchmarks share around their measurements: options, a table, a JSON file, the exit status."""

import argparse
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from benchmarks._figure import check_figure, write_figure
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


NO_TORCH = 'needs PyTorch, which is not installed; run: pip install -e ".[bench]"'


class Benchmark:
    """The command line of `python -m benchmarks.NAME`, with the options that every benchmark has.

    Attributes:
        parser: Of its options; those that the methods here do not know are added to it.
    """

    def __init__(
        self, name: str, description: str | None, draw: Callable[[Mapping[str, Any]], Any] | None = None
    ) -> None:
        """Begin without options of its own.

        Args:
            name: The module's, in `benchmarks`.
            description: Its docstring.
            draw: Makes a figure of what is reported; there is an option for its file then.
        """
        self.parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.parser.add_argument("--json", type=pathlib.Path, help="also write the results to this file")
        self._draw = draw
        self._least: dict[str, float] = {}
        if draw is not None:
            self.parser.add_argument(
                "--figure", type=pathlib.Path, help="also draw them to this file, such as a PNG"
            )

    def number(self, name: str, default: Any, help: str, least: float | None = 1, none: bool = False) -> None:
        """Add an option for a number, or for several where the default has several.

        Args:
            name: With its dashes.
            default: A number, or a list of numbers of one type.
            help: What it is; the default is added.
            least: The smallest value allowed; None: any.
            none: Whether a list may be empty.
        """
        several = isinstance(default, list)
        if least is not None:
            self._least[name.removeprefix("--").replace("-", "_")] = least
        kind: Any = type(default[0] if several else default)
        shown = " ".join(map(str, default)) if several else default
        more: dict[str, Any] = {"nargs": "*" if none else "+"} if several else {}
        self.parser.add_argument(
            name, type=kind, default=default, help=f"{help} (default: {shown})".strip(), **more
        )

    def choices(self, name: str, choices: Iterable[str], help: str, none: bool = False) -> None:
        """Add an option for some of a few words, by default all."""
        words = list(choices)
        nargs = "*" if none else "+"
        self.parser.add_argument(name, nargs=nargs, default=words, choices=words, help=help)

    def parse(self, options: Sequence[str] | None = None) -> argparse.Namespace:
        """The options; leaves with a message and status 2, before measuring, if one does not fit."""
        arguments = self.parser.parse_args(options)
        for name, least in self._least.items():
            self.require_at_least(arguments, least, name)
        for name in ("json", "figure"):
            path = getattr(arguments, name, None)
            if path is not None and not path.absolute().parent.is_dir():
                self.refuse(f"--{name}: there is no folder {path.parent} to write {path.name} to")
        if self._draw is not None:
            check_figure(self.parser, arguments)
        return arguments

    def refuse(self, message: str) -> NoReturn:
        """Leave with a message and status 2."""
        self.parser.error(message)

    def require_at_least(self, arguments: argparse.Namespace, least: float, *names: str) -> None:
        """Leave with a message and status 2 unless options, or all their values, are at least `least`."""
        for name in names:
            value = getattr(arguments, name)
            for each in value if isinstance(value, list) else [value]:
                if not least <= each < math.inf:
                    option = name.replace("_", "-")
                    self.refuse(f"--{option} must be at least {least}, got {each}")

    def report(self, arguments: argparse.Namespace, content: Mapping[str, Any]) -> bool:
        """Write the results as JSON, and draw them, where that was asked for.

        Returns:
            Whether all was written; if not, a message was printed to standard error.
        """
        written = write_report(arguments, content)
        if self._draw is None:
            return written
        draw = self._draw
        return write_figure(arguments, lambda: draw(content)) and written


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
