"""Git: what a commit holds, what a working tree changed, clean copies, and repositories that are none."""

from pathlib import Path

import pytest

from openbell.adapters import git
from openbell.ports import AdapterError
from tests.fakes.repositories import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    made.commit("feat: first\n\nbody", {"a.txt": "a\n", "sub/b.txt": "b\n", ".gitignore": "*.log\n"})
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_clean_tree_is_its_commit(repository: Repository) -> None:
    seen = git.snapshot(repository.root)
    assert seen.commit.id == repository.git("rev-parse", "HEAD")
    assert (seen.commit.subject, seen.commit.author) == ("feat: first", "Ada <ada@example.org>")
    assert seen.commit.committed_at_s > 1_600_000_000
    assert seen.branch == "develop"
    assert seen.dirty == ()
    assert list(seen.files) == [".gitignore", "a.txt", "sub/b.txt"]
    assert seen.files["a.txt"] == "100644 " + repository.git("rev-parse", "HEAD:a.txt")


def test_a_changed_tree_is_named_as_it_would_be_when_committed(repository: Repository) -> None:
    repository.write({"a.txt": "changed\n", "new/ü €.txt": "n\n", "x.log": "ignored\n", "-dash": "d\n"})
    (repository.root / "sub/b.txt").unlink()
    (repository.root / "link").symlink_to("a.txt")
    (repository.root / "run.sh").write_text("#!/bin/sh\n")
    (repository.root / "run.sh").chmod(0o755)
    seen = git.snapshot(repository.root)
    assert set(seen.dirty) == {"a.txt", "sub/b.txt", "new/ü €.txt", "link", "run.sh", "-dash"}
    repository.commit("chore: all of it")
    after = git.snapshot(repository.root)
    assert after.dirty == ()
    assert after.files == seen.files
    assert after.files["run.sh"].startswith("100755 ")
    assert after.files["link"].startswith("120000 ")


def test_a_renamed_file_is_gone_from_its_old_place(repository: Repository) -> None:
    repository.git("mv", "a.txt", "c.txt")
    seen = git.snapshot(repository.root)
    assert "a.txt" not in seen.files
    assert "c.txt" in seen.files


def test_a_detached_head_has_no_branch(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--detach")
    assert git.snapshot(repository.root).branch is None


def test_a_project_below_the_top_sees_its_own_folder(repository: Repository, tmp_path: Path) -> None:
    repository.write({"a.txt": "changed\n", "sub/c.txt": "c\n"})
    seen = git.snapshot(repository.root / "sub")
    assert list(seen.files) == ["b.txt", "c.txt"]
    assert seen.dirty == ("c.txt",)
    git.check_out(repository.root / "sub", seen.commit.id, tmp_path / "out")
    assert names(tmp_path / "out") == ["b.txt"]


def test_another_commit_is_seen_without_the_working_tree(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.commit("feat: second", {"a.txt": "second\n"})
    repository.write({"a.txt": "changed\n"})
    seen = git.snapshot(repository.root, commit=first)
    assert seen.commit.subject == "feat: first"
    assert seen.dirty == ()
    assert git.read_files(repository.root, {"a.txt": seen.files["a.txt"]}) == {"a.txt": b"a\n"}


def test_checking_out_leaves_index_and_tree_alone(repository: Repository, tmp_path: Path) -> None:
    repository.write({"a.txt": "staged\n"})
    repository.git("add", "a.txt")
    before = repository.git("status", "--porcelain")
    git.check_out(repository.root, repository.git("rev-parse", "HEAD"), tmp_path / "out")
    assert (tmp_path / "out/a.txt").read_text() == "a\n"
    assert repository.git("status", "--porcelain") == before


def test_a_working_tree_is_copied_as_it_is(repository: Repository, tmp_path: Path) -> None:
    repository.write({"a.txt": "changed\n", "new.txt": "n\n", "x.log": "ignored\n"})
    (repository.root / "link").symlink_to("a.txt")
    (repository.root / "sub/b.txt").unlink()
    git.copy_working_tree(git.snapshot(repository.root), tmp_path / "out")
    assert names(tmp_path / "out") == [".gitignore", "a.txt", "link", "new.txt"]
    assert (tmp_path / "out/a.txt").read_text() == "changed\n"
    assert (tmp_path / "out/link").is_symlink()


def test_refs(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "v1.0.0")
    repository.git("tag", "--annotate", "v1.1.0", "--message", "x")
    repository.git("branch", "feature/x")
    assert git.resolve(repository.root, "feature/x") == (first, "branch")
    assert git.resolve(repository.root, "v1.0.0") == (first, "tag")
    assert git.resolve(repository.root, "v1.1.0") == (first, "tag")
    assert git.resolve(repository.root, first[:8]) == (first, "commit")
    assert git.resolve(repository.root, "HEAD") == (first, "commit")
    repository.git("branch", "v1.0.0")
    assert git.resolve(repository.root, "refs/tags/v1.0.0")[0] == first
    assert git.resolve(repository.root, "v1.0.0") == (first, "branch")
    assert git.tags_at(repository.root, first) == ("v1.0.0", "v1.1.0")


def test_a_branch_wins_over_a_tag_of_another_commit(repository: Repository) -> None:
    tagged = repository.git("rev-parse", "HEAD")
    repository.git("tag", "release")
    repository.commit("feat: second", {"a.txt": "second\n"})
    repository.git("branch", "release")
    head = repository.git("rev-parse", "refs/heads/release")
    assert git.resolve(repository.root, "release") == (head, "branch")
    assert git.resolve(repository.root, "refs/tags/release") == (tagged, "commit")
    assert git.resolve(repository.root, "develop~1") == (tagged, "commit")


@pytest.mark.parametrize("ref", ["nowhere", "--help", "-x", "a b", "refs/heads/"])
def test_a_ref_that_is_none(repository: Repository, ref: str) -> None:
    with pytest.raises(AdapterError, match=r"is no ref|names no branch"):
        git.resolve(repository.root, ref)


def test_no_repository_no_commit_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    with pytest.raises(AdapterError, match=r"no git repository here.*git init"):
        git.snapshot(tmp_path / "plain")
    empty = Repository(tmp_path / "empty")
    with pytest.raises(AdapterError, match="no such commit"):
        git.snapshot(empty.root)
    with pytest.raises(AdapterError, match="the folder is gone"):
        git.snapshot(tmp_path / "gone")


def test_files_of_the_working_tree(repository: Repository) -> None:
    repository.write({"new.txt": "n\n", "x.log": "ignored\n"})
    (repository.root / "a.txt").unlink()
    assert git.list_files(repository.root) == (".gitignore", "new.txt", "sub/b.txt")
