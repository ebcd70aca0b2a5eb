"""Git: what a commit holds, what a working tree changed, clean copies, and repositories that are none."""

import os
import subprocess
from pathlib import Path

import pytest

from openbell.adapters import git
from openbell.ports import AdapterError
from openbell.tree_index import TreeIndex
from tests.fakes.repositories import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    made.commit("feat: first\n\nbody", {"a.txt": "a\n", "sub/b.txt": "b\n", ".gitignore": "*.log\n"})
    return made


def names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )


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
    assert git.read_files(seen, ["a.txt"]) == {"a.txt": b"a\n"}


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
    git.lay_out(git.snapshot(repository.root), tmp_path / "out")
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


def laid_out(seen: git.Snapshot, folder: Path) -> dict[str, str]:
    """Write a snapshot to a folder, and name what a job would find there."""
    git.lay_out(seen, folder)
    return TreeIndex(folder, None).scan(names(folder))


def test_a_file_that_git_is_to_take_for_unchanged_is_seen(repository: Repository, tmp_path: Path) -> None:
    repository.git("update-index", "--assume-unchanged", "a.txt")
    repository.write({"a.txt": "changed\n"})
    seen = git.snapshot(repository.root)
    assert seen.dirty == ("a.txt",)
    assert laid_out(seen, tmp_path / "out") == seen.files


def test_what_a_sparse_checkout_leaves_out_is_as_in_the_commit(repository: Repository, tmp_path: Path) -> None:
    before = git.snapshot(repository.root).files
    repository.git("update-index", "--skip-worktree", "sub/b.txt")
    (repository.root / "sub/b.txt").unlink()
    repository.write({"a.txt": "changed\n"})
    seen = git.snapshot(repository.root)
    assert seen.dirty == ("a.txt",)
    assert seen.files["sub/b.txt"] == before["sub/b.txt"]
    assert laid_out(seen, tmp_path / "out") == seen.files


@pytest.mark.parametrize("setting", [("core.trustctime", "false"), ("core.checkStat", "minimal")])
def test_an_edit_that_git_is_told_not_to_look_for_is_seen(repository: Repository, setting: tuple[str, str]) -> None:
    repository.git("config", *setting)
    path = repository.root / "a.txt"
    old = path.stat().st_mtime_ns - 10**10
    os.utime(path, ns=(old, old))
    repository.git("update-index", "--refresh")
    path.write_text("z\n")
    os.utime(path, ns=(old, old))
    assert repository.git("status", "--porcelain") == "", "git does not see it"
    assert git.snapshot(repository.root).dirty == ("a.txt",)


def test_modes_that_git_is_to_ignore_are_those_of_the_commit(repository: Repository, tmp_path: Path) -> None:
    repository.git("config", "core.fileMode", "false")
    (repository.root / "a.txt").chmod(0o755)
    seen = git.snapshot(repository.root)
    assert seen.dirty == ()
    assert seen.files["a.txt"].startswith("100644 ")
    assert laid_out(seen, tmp_path / "out") == seen.files


CONVERTED = {
    "line ends": ("*.txt text eol=crlf\n", (), b"one\r\ntwo\r\n"),
    "line ends by configuration": ("", (("core.autocrlf", "true"),), b"one\r\ntwo\r\n"),
    "a filter": (
        "*.txt filter=upper\n",
        (("filter.upper.clean", "tr A-Z a-z"), ("filter.upper.smudge", "tr a-z A-Z")),
        b"ONE\nTWO\n",
    ),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_what_git_converts_is_clean_and_seen_as_it_is(repository: Repository, tmp_path: Path, kind: str) -> None:
    attributes, settings, content = CONVERTED[kind]
    for setting in settings:
        repository.git("config", *setting)
    repository.write({".gitattributes": attributes})
    (repository.root / "c.txt").write_bytes(content)
    repository.commit("feat: converted")
    (repository.root / "a.txt").write_bytes(b"one\n")
    seen = git.snapshot(repository.root)
    assert seen.dirty == ("a.txt",), "what is only converted is no change"
    assert laid_out(seen, tmp_path / "out") == seen.files
    assert (tmp_path / "out/c.txt").read_bytes() == content
    assert git.read_files(seen, ["c.txt"]) == {"c.txt": content}
    (repository.root / "c.txt").write_bytes(b"other")
    with pytest.raises(AdapterError, match="changed while it was read"):
        git.read_files(seen, ["c.txt"])
    (repository.root / "c.txt").write_bytes(content)
    head = git.snapshot(repository.root, commit=repository.git("rev-parse", "HEAD"))
    assert laid_out(head, tmp_path / "head") == head.files, "a commit is seen as the repository has it"


def test_git_is_asked_once_about_what_it_converts(repository: Repository, tmp_path: Path) -> None:
    repository.write({".gitattributes": "*.txt text eol=crlf\n"})
    (repository.root / "c.txt").write_bytes(b"one\r\n")
    repository.commit("feat: converted")
    (tmp_path / "state").mkdir()
    index = tmp_path / "state/index"
    first = git.snapshot(repository.root, index=index)
    before = index.read_bytes()
    assert git.snapshot(repository.root, index=index).files == first.files
    assert b" > " in before
    assert b" > " in index.read_bytes()


def test_links_and_folders_in_each_others_place(repository: Repository, tmp_path: Path) -> None:
    repository.write({"other/b.txt": "elsewhere\n"})
    (repository.root / "sub/b.txt").unlink()
    (repository.root / "sub").rmdir()
    (repository.root / "sub").symlink_to("other")
    (repository.root / "a.txt").unlink()
    repository.write({"a.txt/deep": "d\n"})
    seen = git.snapshot(repository.root)
    assert list(seen.files) == [".gitignore", "a.txt/deep", "other/b.txt", "sub"]
    assert laid_out(seen, tmp_path / "out") == seen.files


def test_a_submodule_is_an_empty_folder(repository: Repository, tmp_path: Path) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit("feat: inner", {"x": "x\n"})
    repository.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(inner.root), "module")
    repository.commit("feat: a module")
    seen = git.snapshot(repository.root)
    assert seen.dirty == ()
    assert seen.files["module"] == f"160000 {inner.git('rev-parse', 'HEAD')}"
    (repository.root / "module/x").write_text("changed\n")
    repository.write({"a.txt": "changed\n"})
    seen = git.snapshot(repository.root)
    assert seen.dirty == ("a.txt",)
    git.lay_out(seen, tmp_path / "out")
    assert (tmp_path / "out/module").is_dir()
    assert names(tmp_path / "out/module") == []


def test_a_repository_that_names_contents_by_sha256(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(tmp_path / "r")], check=True)
    made = Repository(tmp_path / "r")
    made.commit("feat: first", {"a.txt": "a\n"})
    assert git.snapshot(made.root).dirty == ()
    made.write({"b.txt": "b\n"})
    seen = git.snapshot(made.root)
    git.lay_out(seen, tmp_path / "out")
    assert TreeIndex(tmp_path / "out", None, algorithm="sha256").scan(names(tmp_path / "out")) == seen.files


def test_a_working_tree_beside_its_repository(repository: Repository, tmp_path: Path) -> None:
    repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "second"))
    seen = git.snapshot(tmp_path / "second")
    assert seen.files == git.snapshot(repository.root).files
    assert laid_out(seen, tmp_path / "out") == seen.files


def test_a_tree_that_changes_after_it_was_taken_down_is_not_laid_out(repository: Repository, tmp_path: Path) -> None:
    repository.write({"a.txt": "one\n"})
    (repository.root / "new").symlink_to("one")
    seen = git.snapshot(repository.root)
    (repository.root / "new").unlink()
    (repository.root / "new").symlink_to("two")
    with pytest.raises(AdapterError, match="changed while it was copied"):
        git.lay_out(seen, tmp_path / "out")


def test_hooks_of_the_repository_are_not_called(repository: Repository, tmp_path: Path) -> None:
    repository.write({".hooks/post-index-change": f"#!/bin/sh\ntouch {tmp_path}/called\n"})
    (repository.root / ".hooks/post-index-change").chmod(0o755)
    repository.git("config", "core.hooksPath", str(repository.root / ".hooks"))
    git.check_out(repository.root, repository.git("rev-parse", "HEAD"), tmp_path / "out")
    git.lay_out(git.snapshot(repository.root), tmp_path / "again")
    assert not (tmp_path / "called").exists()
