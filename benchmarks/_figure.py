"""Figures of the benchmarks' results."""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import Any


def check_figure(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Leave with a message and status 2, before anything is measured, where a figure cannot be drawn."""
    if arguments.figure is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error('--figure needs matplotlib, which is not installed; run: pip install -e ".[bench]"')


def new_figure(number: int, width: float = 4.4) -> tuple[Any, Any]:
    """A figure, and an array of `number` axes side by side, each of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * number, 3.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, number, squeeze=False)[0]


def write_figure(arguments: argparse.Namespace, draw: Callable[[], Any]) -> bool:
    """Draw the results where `--figure` asks for it.

    Args:
        arguments: The parsed options.
        draw: Returns a figure.

    Returns:
        Whether it was written, or not asked for; if not, a message was printed to standard error.
    """
    if arguments.figure is None:
        return True
    try:
        draw().savefig(arguments.figure)
    except (OSError, ValueError) as error:
        print(f"--figure: cannot write {arguments.figure}: {error}", file=sys.stderr)
        return False
    return True
