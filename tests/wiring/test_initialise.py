"""`init`: what is found in a folder becomes a configuration that is accepted, and nothing is overwritten."""

import os
from pathlib import Path

import pytest

from openbell.core.proposal import Proposal
from openbell.wiring.initialise import InitError, available_pythons, initialise, list_files
from openbell.wiring.project import open_project
from tests.fakes.projects import isolate
from tests.fakes.repositories import Repository


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    (tmp_path / "p").mkdir()
    return tmp_path / "p"


def test_a_python_project(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.ruff]\n")
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "tests").mkdir()
    (folder / "tests/test_a.py").write_text("")
    done = initialise(folder, force=False)
    assert done.words == "a Python project (pyproject.toml, ruff) and a Dockerfile"
    assert done.proposal.stages == ("quality", "test", "build")
    assert set(open_project(folder).project.jobs) == {"lint", "unit", "wheel", "image"}


def test_what_is_missing_is_told_and_written_down(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    notes = initialise(folder, force=False).proposal.notes
    assert "No test job: there is no folder tests or test, and no test_*.py. Add one: [jobs.unit]." in notes
    assert all(f"# {note}\n" in (folder / "openbell.toml").read_text() for note in notes)


def test_nothing_is_written_that_would_be_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "go.mod").write_text("module x\n")
    unsound = Proposal('[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "{x}"\n', ())
    monkeypatch.setattr("openbell.wiring.initialise.propose", lambda _facts: unsound)
    with pytest.raises(InitError, match=r"nothing was written: .*unknown placeholder \{x\}.*by hand"):
        initialise(folder, force=False)
    assert not (folder / "openbell.toml").exists()


def test_names_of_folders_that_no_configuration_could_have_are_passed_over(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.mypy]\n")
    for name in ("a b", "$(touch x)", "{root}", "new\nline", os.fsdecode(b"\xff")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    initialise(folder, force=False)
    assert open_project(folder).project.jobs["types"].run.endswith("'$(touch x)' 'a b' '{{root}}'\n")


def test_a_go_module(folder: Path) -> None:
    (folder / "go.mod").write_text("module example.org/engine\n")
    (folder / "main.go").write_text("package main\n")
    assert initialise(folder, force=False).words == "a Go module (go.mod)"
    assert set(open_project(folder).project.jobs) == {"format", "vet", "programs"}


def test_nothing_is_overwritten_without_being_told(folder: Path) -> None:
    (folder / "go.mod").write_text("module x\n")
    (folder / "openbell.toml").write_text("mine")
    with pytest.raises(InitError, match=r"is there already\. Replace it with --force"):
        initialise(folder, force=False)
    assert (folder / "openbell.toml").read_text() == "mine"
    initialise(folder, force=True)
    assert (folder / "openbell.toml").read_text() != "mine"


def test_a_folder_with_nothing_known(folder: Path) -> None:
    (folder / "Cargo.toml").write_text("")
    with pytest.raises(InitError, match="found neither a Python project"):
        initialise(folder, force=False)
    assert not (folder / "openbell.toml").exists()


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    (folder / "go.mod").write_text("module x\n")
    (folder / "openbell.toml").mkdir()
    with pytest.raises(InitError, match=r"nothing was written: .*Is a directory"):
        initialise(folder, force=True)


def test_files_are_those_that_git_sees_or_all_but_leftovers(folder: Path) -> None:
    for name in ("a.py", ".venv/b.py", "ignored.log", "node_modules/c.js"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    assert list_files(folder) == ["a.py", "ignored.log"]
    (folder / ".gitignore").write_text("*.log\n.venv\nnode_modules\n")
    Repository(folder)
    assert list_files(folder) == [".gitignore", "a.py"]


def test_pythons_of_this_machine_are_oldest_first() -> None:
    minors = [int(version.partition(".")[2]) for version in available_pythons()]
    assert minors == sorted(set(minors))
