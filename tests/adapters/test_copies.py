"""Copies: what they keep, and that whoever may not be disturbed is not."""

import errno
import os
from pathlib import Path

import pytest

from openbell.adapters import copies
from openbell.adapters.copies import copy_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"a" * 700_000)
    (folder / "a").chmod(0o755)
    (folder / "empty").touch()
    (folder / "sub/b").write_text("b")
    (folder / "link").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    os.utime(folder / "a", ns=(1_000_000_007, 2_000_000_009))
    return folder


NAMES = ("a", "empty", "sub/b", "link", "pipe", "gone", "a/gone")


@pytest.mark.parametrize("links", [False, True])
def test_content_modes_and_times_stay(source: Path, tmp_path: Path, *, links: bool) -> None:
    target = tmp_path / "it's a copy"
    copy_files(source, target, NAMES, links=links)
    assert (target / "a").read_bytes() == (source / "a").read_bytes()
    assert (target / "a").stat().st_mode == (source / "a").stat().st_mode
    assert (target / "a").stat().st_mtime_ns == 2_000_000_009
    assert (target / "sub/b").read_text() == "b"
    assert (target / "link").readlink() == Path("nowhere")
    assert sorted(path.name for path in target.iterdir()) == ["a", "empty", "link", "sub"]


def test_who_writes_to_a_copy_has_not_written_to_the_source(source: Path, tmp_path: Path) -> None:
    copy_files(source, tmp_path / "target", NAMES)
    with (tmp_path / "target/sub/b").open("a") as stream:
        stream.write("more")
    (tmp_path / "target/a").chmod(0o600)
    assert (source / "sub/b").read_text() == "b"
    assert (source / "a").stat().st_mode & 0o777 == 0o755


def test_a_link_is_the_same_file(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no clones here")

    monkeypatch.setattr(copies, "_clone", refuse)
    copy_files(source, tmp_path / "target", NAMES, links=True)
    assert (tmp_path / "target/a").samefile(source / "a")
    copy_files(source, tmp_path / "other", NAMES)
    assert not (tmp_path / "other/a").samefile(source / "a")


def test_a_full_disk_is_no_reason_to_try_another_way(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copies, "_clone", refuse)
    with pytest.raises(OSError, match="No space left"):
        copy_files(source, tmp_path / "target", NAMES, links=True)
