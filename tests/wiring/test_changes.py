"""What a commit changed, and since when."""

from pathlib import Path

import pytest

from openbell.adapters import git
from openbell.wiring.changes import ChangeFinder, Changes
from tests.fakes.projects import QUICK, ScratchProject, isolate


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    return ScratchProject(tmp_path / "p", QUICK)


def find(project: ScratchProject, target: str | None = None) -> Changes:
    place = project.open()
    found = ChangeFinder(place.project, git.snapshot(place.root), target=target).find()
    assert found is not None
    return found


def lines(changes: Changes) -> dict[str, list[int]]:
    return {path: [line for part in parts for line in part] for path, parts in changes.lines.items()}


def test_the_first_commit_has_nothing_before_it(project: ScratchProject) -> None:
    place = project.open()
    assert ChangeFinder(place.project, git.snapshot(place.root)).find() is None


def test_on_the_main_branch_a_commit_is_compared_with_its_parent(project: ScratchProject) -> None:
    before = git.snapshot(project.root).commit.id
    project.repository.commit("feat: more", {"a.txt": "hello\nb\nc\n", "new.txt": "x\n"})
    found = find(project)
    assert found.since == before
    assert lines(found) == {"a.txt": [2, 3], "new.txt": [1]}


def test_a_branch_is_compared_with_where_it_left(project: ScratchProject) -> None:
    before = git.snapshot(project.root).commit.id
    project.repository.git("checkout", "-q", "-b", "feature")
    project.repository.commit("feat: one", {"one.txt": "1\n"})
    project.repository.commit("feat: two", {"two.txt": "2\n2\n"})
    found = find(project)
    assert (found.since, lines(found)) == (before, {"one.txt": [1], "two.txt": [1, 2]})
    project.repository.git("branch", "main", "HEAD~2")
    project.repository.git("branch", "-f", "develop", "HEAD~1")
    assert lines(find(project)) == {"two.txt": [1, 2]}, "the nearest of the branches counts"
    project.repository.git("branch", "release", "HEAD~1")
    assert lines(find(project, "release")) == {"two.txt": [1, 2]}


def test_changes_that_are_not_committed_count(project: ScratchProject) -> None:
    (project.root / "a.txt").write_text("b\n")
    (project.root / "untracked.txt").write_text("1\n2")
    assert lines(find(project)) == {"a.txt": [1], "untracked.txt": [1, 2]}


def test_content_cannot_pose_as_a_diff(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"a.txt": "++ b/evil.txt\n@@ -1 +1,99 @@\n-- a\n", 'ä "b\t.txt': "1\n"})
    assert lines(find(project)) == {"a.txt": [1, 2, 3], 'ä "b\t.txt': [1]}


def test_a_digest_names_the_lines_of_its_files_only(project: ScratchProject) -> None:
    project.repository.commit("feat: more", {"a.txt": "x\n", "b.txt": "y\n"})
    found = find(project)
    assert found.digest(["a.txt"]) != found.digest(["a.txt", "b.txt"])
    assert found.digest(["a.txt", "c.txt"]) == found.digest(["a.txt"])
