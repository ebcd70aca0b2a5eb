"""Logs are copied and emptied in place, and their writers notice nothing."""

import os
from pathlib import Path

import pytest

from openbell.programs import log_rotation


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 10)
    assert not log_rotation.rotate(str(log), bytes_max=10)
    assert list(tmp_path.iterdir()) == [log]


def test_a_writer_goes_on_in_the_same_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(4):
            writer.write(b"%d" % number * 11)
            assert log_rotation.rotate(str(log), bytes_max=10, backups=2)
        writer.write(b"end")
    assert log.read_bytes() == b"end"
    assert (tmp_path / "a.log.1").read_bytes() == b"3" * 11
    assert (tmp_path / "a.log.2").read_bytes() == b"2" * 11
    assert not (tmp_path / "a.log.3").exists()
    assert (tmp_path / "a.log.1").stat().st_mode & 0o077 == 0


def test_the_loop_rotates_logs_only_and_survives_what_it_cannot_rotate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class EnoughError(Exception):
        pass

    def stop(_seconds: float) -> None:
        raise EnoughError

    seen = []

    def rotate(path: str) -> bool:
        seen.append(os.path.basename(path))  # noqa: PTH119
        raise PermissionError("no")

    for name in ("a.log", "b.log", "a.log.1", "c.txt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(log_rotation, "rotate", rotate)
    monkeypatch.setattr("time.sleep", stop)
    with pytest.raises(EnoughError):
        log_rotation.main(str(tmp_path))
    assert sorted(seen) == ["a.log", "b.log"]
    assert "a.log: no" in capsys.readouterr().err
