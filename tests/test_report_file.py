"""What may stand in place of a report: nothing of it holds a run up."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell import report_file
from openbell.ports import AdapterError


def test_a_file_and_a_link_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    assert report_file.read_bytes(tmp_path / "real", "junit") == b"content"
    assert report_file.read_bytes(tmp_path / "link", "junit") == b"content"


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "report is no regular file"),
        (os.mkdir, "report is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "report is no regular file"),
        (lambda path: path.symlink_to(path), "report cannot be read: Too many levels of symbolic links"),
        (bind, "report cannot be read"),
        (lambda path: None, "report was not written"),
        (lambda path: path.symlink_to(path.parent / "gone"), "report was not written"),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "report")
    with pytest.raises(AdapterError, match=message) as raised:
        report_file.read_bytes(tmp_path / "report", "junit")
    assert raised.value.system == "junit"


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_file, "SIZE_BYTES_MAX", 1_000_000)
    file = tmp_path / "report"
    file.write_bytes(b"x" * 1_000_000)
    assert len(report_file.read_bytes(file, "k6")) == 1_000_000
    file.write_bytes(b"x" * 1_000_001)
    with pytest.raises(AdapterError, match="report is larger than 1 MB"):
        report_file.read_bytes(file, "k6")


def test_a_descriptor_is_never_left_open(tmp_path: Path) -> None:
    open_now = Path("/proc/self/fd")
    before = len(list(open_now.iterdir()))
    for _ in range(3):
        with pytest.raises(AdapterError):
            report_file.read_bytes(tmp_path, "junit")
    assert len(list(open_now.iterdir())) == before
