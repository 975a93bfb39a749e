"""Packages of programs: listed, or run by name."""

import json
import sys

import pytest

from experiments import _listing

PROGRAM = '''"""{title}

More."""
import json, pathlib, sys
if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(json.dumps(sys.argv))
    sys.exit({code})
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "a_package_of_programs"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, title, code in (("first", "Does this.", 0), ("second", "Does that.", 3)):
        (folder / f"{name}.py").write_text(PROGRAM.format(title=title, code=code))
    (folder / "broken.py").write_text('"""Needs something."""\nimport nowhere\n')
    (folder / "_private.py").write_text('"""Not listed."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_list_is_of_the_files_and_imports_none(package, arguments, capsys):
    assert _listing.main(package, arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "python -m a_package_of_programs.broken  Needs something.",
        "python -m a_package_of_programs.first   Does this.",
        "python -m a_package_of_programs.second  Does that.",
    ]


@pytest.mark.parametrize(("name", "code"), [("first", 0), ("second", 3)])
def test_a_program_gets_its_arguments_and_gives_its_status(package, tmp_path, monkeypatch, name, code):
    monkeypatch.setattr(sys, "argv", ["python", "untouched"])
    written = tmp_path / "arguments.json"
    assert _listing.main(package, [name, str(written), "--help", "-x"]) == code
    assert json.loads(written.read_text())[1:] == [str(written), "--help", "-x"]
    assert sys.argv == ["python", "untouched"]


@pytest.mark.parametrize(
    ("name", "hint"), [("secnd", "did you mean second?"), ("--x", "there are broken, first, second")]
)
def test_an_unknown_name(package, name, hint, capsys):
    assert _listing.main(package, [name, "--help"]) == 2
    printed = capsys.readouterr()
    assert printed.err == f"python -m a_package_of_programs: error: {name!r} is no program of it: {hint}\n"
    assert not printed.out
