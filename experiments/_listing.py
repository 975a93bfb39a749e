"""What `python -m PACKAGE` does: list the programs of a package, or run one of them."""

import ast
import difflib
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path


def descriptions(folder: Path) -> dict[str, str]:
    """The first line of each program's docstring, read without importing it."""
    names = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]
    found = {name: ast.get_docstring(ast.parse((folder / f"{name}.py").read_text("utf-8"))) for name in names}
    return {name: text.splitlines()[0] if text else "" for name, text in found.items()}


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Print one line for each program of a package, or run the one that is named.

    Args:
        folder: The package's.
        arguments: None or --help for the list; else a program's name, and its own arguments. None: those of
            this process.

    Returns:
        The exit status: 0, the program's, or 2 if there is none of this name.
    """
    package = folder.name
    arguments = sys.argv[1:] if arguments is None else arguments
    found = descriptions(folder)
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, found), default=0)
        print("\n".join(f"python -m {package}.{name:{width}}  {line}" for name, line in found.items()))
        return 0
    name, *own = arguments
    if name not in found:
        close = difflib.get_close_matches(name, found, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(found)}"
        print(f"python -m {package}: error: {name!r} is no program of it: {hint}", file=sys.stderr)
        return 2
    before = sys.argv
    sys.argv = [f"{package}.{name}", *own]
    try:
        runpy.run_module(f"{package}.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    finally:
        sys.argv = before
    return 0
