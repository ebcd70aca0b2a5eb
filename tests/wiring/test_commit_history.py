"""Jobs that name `{history}` see the commits up to the one they are about; the others see none."""

import subprocess
from pathlib import Path

import pytest

from openbell.adapters import git
from openbell.core.pipeline import build_graph
from openbell.core.project import Job, Project, ProjectInfo
from openbell.wiring.commit_history import history_of, lay_out_history
from openbell.wiring.surroundings import Workplace
from tests.fakes.repositories import Repository

JOBS = {"look": Job(stage="quality", run="git -C {history} log -- {folder}"), "lint": Job(stage="quality", run="true")}
LOOK, LINT = build_graph(Project(project=ProjectInfo(name="x"), jobs=JOBS), tuple(JOBS))


def workplace(folder: Path) -> Workplace:
    return Workplace("r", folder, folder / "tree", folder / "cache", "")


def log(folder: str | Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(folder), "log", "--format=%s", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Three commits, of which the last touches nothing below `part`."""
    repository = Repository(tmp_path / "r")
    for name, path in (("one", "part/a"), ("two", "part/b"), ("three", "c")):
        (repository.root / path).parent.mkdir(exist_ok=True)
        (repository.root / path).write_text(name)
        repository.commit(name)
    return repository


def test_a_job_sees_what_led_to_its_commit_and_no_more(repository: Repository, tmp_path: Path) -> None:
    two = git.snapshot(repository.root, commit="HEAD~1")
    values = lay_out_history([LOOK, LINT], two, workplace(tmp_path))
    assert log(values["history"]) == ["two", "one"]
    assert values["folder"] == "."


def test_a_project_below_the_top_knows_its_folder(repository: Repository, tmp_path: Path) -> None:
    values = lay_out_history([LOOK], git.snapshot(repository.root / "part"), workplace(tmp_path))
    assert values["folder"] == "part"
    assert log(values["history"]) == ["three", "two", "one"]
    assert log(values["history"], "--", values["folder"]) == ["two", "one"]


def test_nothing_is_cloned_for_jobs_that_do_not_ask(repository: Repository, tmp_path: Path) -> None:
    lay_out_history([LINT], git.snapshot(repository.root), workplace(tmp_path))
    assert not (tmp_path / "work").exists()


def test_only_what_sees_the_history_depends_on_it(repository: Repository) -> None:
    seen = git.snapshot(repository.root)
    assert history_of(LOOK, seen) == {"history": seen.commit.id}
    assert history_of(LINT, seen) == {}
