"""A shared folder: one that is away is not written into."""

import os
from pathlib import Path

import pytest

from openbell.adapters.folder_blobs import FolderBlobs
from openbell.ports import AdapterError


def test_a_folder_that_is_away_is_not_made(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "mount")
    (tmp_path / "source").write_text("x")
    for ask in (
        lambda: blobs.get("a/b", tmp_path / "t", size_bytes_max=1),
        lambda: blobs.put("a/b", tmp_path / "source"),
    ):
        with pytest.raises(AdapterError, match=r"mount: there is no such folder; is it mounted\?"):
            ask()
    assert not (tmp_path / "mount").exists()


def test_reading_marks_as_used_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    blobs = FolderBlobs(tmp_path / "shared")
    (tmp_path / "source").write_text("x")
    blobs.put("a/b", tmp_path / "source")
    os.utime(tmp_path / "shared/a/b", (0, 0))
    assert blobs.get("a/b", tmp_path / "t", size_bytes_max=1)
    assert (tmp_path / "shared/a/b").stat().st_mtime > 1_600_000_000
    (tmp_path / "shared/file").write_text("")
    with pytest.raises(AdapterError, match=r"Not a directory|File exists"):
        blobs.put("file/b", tmp_path / "source")
    assert sorted(path.name for path in (tmp_path / "shared").rglob("*")) == ["a", "b", "file"]
