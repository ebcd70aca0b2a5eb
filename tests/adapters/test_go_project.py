"""Go modules: names, tests, programs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from openbell.adapters import go_project
from openbell.core.proposal import GoFacts


def detect(folder: Path, files: Mapping[str, str]) -> GoFacts | None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return go_project.detect(folder, sorted(files))


@pytest.mark.parametrize(
    ("module", "name"), [("example.org/team/engine", "engine"), ("example.org/x/v2", "x"), ("plain", "plain")]
)
def test_the_name_is_the_modules_last_part(tmp_path: Path, module: str, name: str) -> None:
    found = detect(tmp_path, {"go.mod": f"// c\nmodule {module}\n\ngo 1.24\n"})
    assert found is not None
    assert found.name == name
    assert not found.has_tests
    assert not found.has_programs


def test_tests_programs_and_linter(tmp_path: Path) -> None:
    found = detect(
        tmp_path,
        {"go.mod": "module x\n", "cmd/a/main.go": "package main\n", "a_test.go": "package x\n", ".golangci.yml": ""},
    )
    assert found is not None
    assert (found.has_tests, found.has_programs, found.has_golangci) == (True, True, True)
    assert found.found == ("go.mod", "golangci-lint")


def test_what_is_not_the_modules_own_does_not_count(tmp_path: Path) -> None:
    found = detect(
        tmp_path,
        {"go.mod": "module x\n", "vendor/y/main.go": "package main\n", "testdata/z_test.go": "package main\n"},
    )
    assert found is not None
    assert not found.has_programs
    assert not found.has_tests


def test_no_module(tmp_path: Path) -> None:
    assert detect(tmp_path, {"sub/go.mod": "module x\n"}) is None


def test_a_file_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    found = go_project.detect(tmp_path, ["go.mod", "main.go"])
    assert found is not None
    assert (found.name, found.has_programs) == (tmp_path.name, False)
