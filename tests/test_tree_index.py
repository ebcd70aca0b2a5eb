"""The index of a tree: what is not read again, and every edit that must be."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.ports import AdapterError
from openbell.tree_index import SETTLED_NS, TreeIndex, blob_id, hash_blob

NAMES = ("a.txt", "sub/b.txt", "run.sh", "link")
LATER_NS = 10 * SETTLED_NS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a\n")
    (folder / "sub/b.txt").write_text("b\n")
    (folder / "run.sh").write_text("x\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("./a.txt")
    (tmp_path / "state").mkdir()
    return folder


def scan(root: Path, *, after_ns: int = LATER_NS) -> tuple[dict[str, str], int]:
    """Scan as if the time was later, so that what was just written has settled."""
    index = TreeIndex(root, root.parent / "state/index", now_ns=time.time_ns() + after_ns)
    entries = index.scan(NAMES)
    index.save()
    return entries, index.read_files


def test_contents_are_named_as_git_names_them(root: Path) -> None:
    entries, _ = scan(root)
    named = subprocess.run(["git", "hash-object", "a.txt"], cwd=root, capture_output=True, text=True, check=True)
    assert entries["a.txt"] == f"100644 {named.stdout.strip()}"
    assert entries["run.sh"].startswith("100755 ")
    assert entries["link"] == f"120000 {blob_id(b'./a.txt', 'sha1')}"
    assert len(TreeIndex(root, None, algorithm="sha256").scan(["a.txt"])["a.txt"]) == 7 + 64


def test_what_has_not_changed_is_not_read_again(root: Path) -> None:
    first = scan(root)
    assert first[1] == 3
    assert scan(root) == (first[0], 0)
    (root / "a.txt").write_text("other\n")
    entries, read = scan(root)
    assert read == 1
    assert entries != first[0]
    (root / "sub/b.txt").unlink()
    assert "sub/b.txt" not in scan(root)[0]


def same_size(root: Path) -> None:
    (root / "a.txt").write_text("z\n")


def time_kept(root: Path) -> None:
    status = (root / "a.txt").stat()
    (root / "a.txt").write_text("z\n")
    os.utime(root / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))


def replaced_with_time_kept(root: Path) -> None:
    status = (root / "a.txt").stat()
    (root / "new").write_text("z\n")
    os.utime(root / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (root / "new").rename(root / "a.txt")


def long_ago(root: Path) -> None:
    (root / "a.txt").write_text("z\n")
    os.utime(root / "a.txt", ns=(0, 0))


def to_come(root: Path) -> None:
    (root / "a.txt").write_text("z\n")
    os.utime(root / "a.txt", ns=(0, time.time_ns() + 10**15))


def a_mode(root: Path) -> None:
    (root / "a.txt").chmod(0o755)


def a_link_instead(root: Path) -> None:
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("z")


def another_target(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("./b.txt")


def a_folder_instead(root: Path) -> None:
    (root / "a.txt").unlink()
    (root / "a.txt").mkdir()


def a_pipe_instead(root: Path) -> None:
    (root / "a.txt").unlink()
    os.mkfifo(root / "a.txt")


@pytest.mark.parametrize(
    "edit",
    [
        same_size, time_kept, replaced_with_time_kept, long_ago, to_come, a_mode, a_link_instead, another_target,
        a_folder_instead, a_pipe_instead,
    ],
)  # fmt: skip
def test_an_edit_is_seen(root: Path, edit: Callable[[Path], None]) -> None:
    before = scan(root)[0]
    edit(root)
    after = scan(root)[0]
    assert after != before
    assert after == TreeIndex(root, None).scan(NAMES)


def test_what_was_just_changed_is_read_again(root: Path) -> None:
    assert scan(root, after_ns=0)[1] == 3
    assert scan(root, after_ns=0)[1] == 3, "an edit within the same tick would look the same"
    assert scan(root)[1] == 3
    assert scan(root)[1] == 0


def test_a_clock_that_was_set_back_makes_everything_read_again(root: Path) -> None:
    scan(root)
    assert scan(root, after_ns=LATER_NS // 2)[1] == 3


def test_a_file_from_the_future_is_read_each_time(root: Path) -> None:
    os.utime(root / "a.txt", ns=(0, time.time_ns() + 10**15))
    assert [scan(root)[1] for _ in range(2)] == [3, 1]


@pytest.mark.parametrize("where", [0, 5, 40, -1])
def test_a_damaged_index_is_none(root: Path, where: int) -> None:
    scan(root)
    file = root.parent / "state/index"
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(bytes(content))
    assert scan(root)[1] == 3


def test_the_index_of_another_folder_is_none(root: Path, tmp_path: Path) -> None:
    scan(root)
    root.rename(tmp_path / "moved")
    assert scan(tmp_path / "moved")[1] == 3
    assert (
        TreeIndex(tmp_path / "moved", tmp_path / "state/index", algorithm="sha256").scan(NAMES)["link"][:6] == "120000"
    )


def test_an_index_that_cannot_be_kept_is_done_without(root: Path) -> None:
    index = TreeIndex(root, root.parent / "nowhere/index")
    index.scan(NAMES)
    index.save()
    assert not (root.parent / "nowhere").exists()
    (root.parent / "state/index").mkdir()
    assert scan(root)[1] == 3


def test_large_files_are_read_in_parts(root: Path) -> None:
    content = os.urandom(3_000_001)
    (root / "large").write_bytes(content)
    assert hash_blob(str(root / "large"), "sha1") == blob_id(content, "sha1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(root: Path) -> None:
    (root / "a.txt").chmod(0)
    with pytest.raises(AdapterError, match=r"a\.txt cannot be read: Permission denied"):
        scan(root)


def test_answers_are_remembered_for_the_same_attributes(root: Path) -> None:
    file = root.parent / "state/index"
    index = TreeIndex(root, file)
    assert index.remembered("a", "b", "x") is None
    index.remember({("a", "b"): True, ("c", "d"): False}, "x")
    index.save()
    again = TreeIndex(root, file, now_ns=time.time_ns() + 1)
    assert (again.remembered("a", "b", "x"), again.remembered("c", "d", "x")) == (True, False)
    assert again.remembered("a", "b", "y") is None
    again.remember({("e", "f"): True}, "y")
    assert again.remembered("a", "b", "y") is None
