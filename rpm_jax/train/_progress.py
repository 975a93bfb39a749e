"""What a fit shows of itself while it runs."""

import sys
import time
from typing import Any, Protocol

LINE_WIDTH = 79


class Reporter(Protocol):
    """Shows how far a run is."""

    def note(self, text: str) -> None:
        """What is being done, where no steps are counted: compiling, evaluating."""
        ...

    def begin(self, description: str, total: int) -> None:
        """A phase of `total` steps begins."""
        ...

    def advance(self, number: int, summary: str) -> None:
        """So many more steps are done."""
        ...

    def end(self) -> None:
        """The phase, or the run, has ended, in whatever way."""
        ...


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def begin(self, description: str, total: int) -> None:
        """Nothing."""

    def advance(self, number: int, summary: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class Line:
    """One line on stderr that is written over."""

    def __init__(self) -> None:
        self._description, self._total, self._done = "", 0, 0
        self._started = time.perf_counter()
        self._is_open = False

    def note(self, text: str) -> None:
        """Show the text."""
        self._write(f"{self._description}: {text}" if self._description else text)

    def begin(self, description: str, total: int) -> None:
        """Start to count."""
        self._description, self._total, self._done = description, total, 0
        self._started = time.perf_counter()
        self.note("compiling …")

    def advance(self, number: int, summary: str) -> None:
        """Show steps, seconds and the bound."""
        self._done += number
        seconds = time.perf_counter() - self._started
        self._write(f"{self._description}: {self._done}/{self._total} steps, {seconds:.0f} s, {summary}")

    def end(self) -> None:
        """Leave the line as it is."""
        if self._is_open:
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._description, self._is_open = "", False

    def _write(self, text: str) -> None:
        sys.stderr.write("\r" + text[:LINE_WIDTH].ljust(LINE_WIDTH))
        sys.stderr.flush()
        self._is_open = True


class Bar:
    """A tqdm bar for every phase, and a line for what is done between them."""

    def __init__(self, tqdm: Any) -> None:
        self._tqdm, self._bar = tqdm, None
        self._line = Line()

    def note(self, text: str) -> None:
        """Show the text at the bar, or without one as a line."""
        if self._bar is None:
            self._line.note(text)
        else:
            self._bar.set_postfix_str(text)

    def begin(self, description: str, total: int) -> None:
        """Open a bar."""
        self.end()
        bar: Any = self._tqdm(total=total, desc=description, unit="step")
        bar.set_postfix_str("compiling …")
        self._bar = bar

    def advance(self, number: int, summary: str) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(summary, refresh=False)
            self._bar.update(number)

    def end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._line.end()


def reporter(progress: bool | None) -> Reporter:
    """What shows the progress of a run.

    Args:
        progress: Whether to show it; None: in an interactive terminal or a notebook, not where stderr goes to
            a file or a pipe.
    """
    if not (is_interactive() if progress is None else progress):
        return Silent()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return Line()
    return Bar(tqdm)


def is_interactive() -> bool:
    """Whether somebody is looking: stderr is a terminal, or Python runs in a notebook."""
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"
