"""Each layer imports only those above it; optional and heavy packages wait until they are asked for."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "rpm_jax"

TOOLS = {"_arrays", "_checks", "_columns", "_devices", "_factorise", "_folds", "_linalg", "_products"}
TOOLS |= {"_equality", "_if_needed", "_jit", "_pickling", "_pytree", "_record", "_repr"}
TOOLS |= {"_split_products", "_structure"}
LAYERS = [
    {"expfam"},
    {"priors"},
    {"normalizers"},
    {"objectives"},
    {"marginals"},
    {"data", "distinct", "incomplete", "sequences"},
    {"networks", "outputs"},
    {"factors", "posteriors"},
    {"auxiliaries"},
    {"feeds"},
    {"model"},
    {"inference"},
    {"forecasting"},
    {"diagnostics"},
    {"generation"},
    {"train"},
]
"""From first to last; modules of one layer may import each other."""

EDGES = {
    "interop": {"expfam"},
    "copulas": {"expfam", "marginals"},
    "datasets": set(),
    "metrics": set(),
    "decoding": {"networks"},
    "plots": {
        "data",
        "model",
        "inference",
        "forecasting",
        "diagnostics",
        "generation",
        "train",
        "priors",
        "normalizers",
        "objectives",
        "expfam",
        "metrics",
    },
}
"""At the edge: nobody imports them but the package's face."""

ALLOWED = dict(EDGES)
for number, names in enumerate(LAYERS):
    for name in names:
        ALLOWED[name] = set().union(*LAYERS[: number + 1])
ALLOWED["feeds"] = {"data", "normalizers", "expfam"}


def module_files():
    return sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """(module, whether at import time) for every import statement of a file."""
    tree = ast.parse(path.read_text())
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in later) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "rpm_jax":
                found += [(f"rpm_jax.{alias.name}", id(node) not in later) for alias in node.names]
            else:
                found.append((node.module, id(node) not in later))
    return found


def layer(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_a_layer():
    layers = {layer(path) for path in module_files()} - {"__init__"}
    assert layers <= set(ALLOWED) | TOOLS


@pytest.mark.parametrize("path", module_files(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports(path):
    own = layer(path)
    for module, _ in imports(path):
        parts = module.split(".")
        assert parts[0] not in ("experiments", "benchmarks", "tests"), f"{path.name} imports {module}"
        if parts[0] != "rpm_jax" or own == "__init__":
            continue
        target = parts[1]
        if own in TOOLS:
            assert target in TOOLS, f"a tool imports {module}"
        else:
            assert target in ALLOWED[own] | TOOLS | {own}, f"{own} imports {module}, a layer below it"


def test_the_first_layers_know_no_networks():
    """Anybody can use them with equinox, haiku or their own code."""
    for path in module_files():
        if layer(path) in ("expfam", "priors", "normalizers", "objectives", "marginals", "copulas", *TOOLS):
            names = {module.split(".")[0] for module, _ in imports(path)}
            assert not names & {"flax", "optax", "orbax", "chex", "distrax"}, path


OPTIONAL = (
    "matplotlib",
    "sklearn",
    "tqdm",
    "distrax",
    "orbax",
    "torch",
    "tensorflow_probability",
    "tyro",
    "pooch",
)


def test_optional_packages_are_only_imported_inside_functions():
    for path in module_files():
        at_import = {module.split(".")[0] for module, immediately in imports(path) if immediately}
        optional = set(OPTIONAL) & at_import
        # Modules that are nothing but a bridge to one package, and that the face does not import.
        assert not optional or layer(path) in ("interop", "plots"), f"{path} imports {optional}"


def test_importing_the_package_imports_no_optional_package():
    """Except what jax, flax and optax import themselves."""
    code = (
        "import sys, jax, flax.linen, optax; before = set(sys.modules); import rpm_jax;"
        f"print(sorted(({{m.split('.')[0] for m in set(sys.modules) - before}}) & set({OPTIONAL!r})))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_importing_the_package_starts_no_device():
    """No array is made at import time, so that a user may still choose platform and precision."""
    code = (
        "import rpm_jax; from jax._src import xla_bridge;"
        "assert not xla_bridge.backends_are_initialized(), 'a backend was initialised'"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr


def lines_with(pattern):
    return [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in module_files()
        for line in path.read_text().splitlines()
        if re.search(pattern, line)
    ]


def test_no_argument_of_a_compiled_function_is_static():
    """`rpm_jax._jit.jit` takes anything: what holds an array is never a constant of a program."""
    found = [line for line in lines_with(r"static_argn(ums|ames)") if "jax.checkpoint" not in line]
    assert found == []


def test_only_models_know_classes_of_models():
    """All others ask for members of the protocol."""
    found = lines_with(r"isinstance\(.*RPM|type\(.*\) (is|==) .*RPM")
    assert [line for line in found if not line.startswith("model/")] == []
