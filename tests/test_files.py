"""Files whole or not at all, and locks between processes."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from openbell.files import exclusive, write_whole
from openbell.ports import AdapterError


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_in_one_step(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one", durable=durable)
    with path.open("rb") as reader:
        write_whole(path, b"two", durable=durable)
        assert reader.read() == b"one", "a reader keeps what it opened"
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(AdapterError, match=r"Not a directory|File exists"):
        write_whole(path / "below a file", b"")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AdapterError, match=r"file: No space left on device\. Free space there, and repeat"):
        write_whole(path, b"new", durable=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside = 0
    most = 0

    async def work() -> None:
        nonlocal inside, most
        async with exclusive(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert most == 1


async def test_a_lock_that_stays_taken_says_so(tmp_path: Path) -> None:
    async with exclusive(tmp_path / "lock"):
        with pytest.raises(AdapterError, match="is held by another process"):
            async with exclusive(tmp_path / "lock", timeout_s=0.0):
                pass
