"""The code of README and docs runs as it stands."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / path).read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_readme_example(capsys):
    (example,) = blocks("README.md")
    assert len(example.strip().splitlines()) <= 22
    namespace = {}
    exec(compile(example, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    recovered, new = (float(number) for number in re.findall(r"R² (\d\.\d+)", printed))
    assert recovered > 0.99
    assert new > 0.98


PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_documentation(path):
    namespace = {}
    for block in blocks(path):
        exec(compile(block, path, "exec"), namespace)


def test_readme_names_only_what_exists():
    """Every rpm.… name in README and docs is an attribute of the package."""
    import rpm_jax

    text = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    names = set(re.findall(r"\brpm\.([a-z_A-Z0-9.]+[a-zA-Z0-9])", text))
    assert names
    for name in names:
        value = rpm_jax
        for part in name.split("."):
            value = getattr(value, part)
