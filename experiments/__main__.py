"""List the experiments."""

import ast
import pkgutil
from pathlib import Path


def descriptions() -> dict[str, str]:
    """The first line of each experiment's docstring, read without importing it."""
    folder = Path(__file__).parent
    names = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]
    found = {name: ast.get_docstring(ast.parse((folder / f"{name}.py").read_text("utf-8"))) for name in names}
    return {name: text.splitlines()[0] if text else "" for name, text in found.items()}


def main() -> None:
    """Print one line for each experiment."""
    found = descriptions()
    width = max(map(len, found), default=0)
    print("\n".join(f"python -m experiments.{name:{width}}  {line}" for name, line in found.items()))


if __name__ == "__main__":
    main()
