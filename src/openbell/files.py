"""Files that are written whole or not at all, and locks between processes; for every adapter that keeps files.

Knows nothing of what is in the files. Source: rename(2) and flock(2).
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from openbell.ports import AdapterError


def write_whole(path: Path, content: bytes, *, mode: int = 0o600, durable: bool = False) -> None:
    """Replace a file's content in one step; a reader sees the old content or the new. May be repeated.

    With `durable` the content survives a crash of the machine once this returns. Raises `AdapterError` when it cannot
    be written (disk full), and then the old content is untouched.
    """
    try:
        _write(path, content, mode, durable=durable)
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError) -> AdapterError:
    remedy = ". Free space there, and repeat." if error.errno == errno.ENOSPC else ""
    return AdapterError("disk", "write", f"{path}: {error.strerror}{remedy}", retryable=True)


def _write(path: Path, content: bytes, mode: int, *, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextlib.asynccontextmanager
async def exclusive(path: Path, *, timeout_s: float = 60.0) -> AsyncIterator[int]:
    """Hold the lock file `path` against other processes and tasks; freed when its holder ends, however it ends.

    Yields the descriptor that holds the lock: a child that inherits it keeps the lock until it has ended as well.
    Raises a retryable `AdapterError` when another holds it for longer than `timeout_s`, or it cannot be written.
    """
    # Imported here: a run in which all is known writes files, and waits for nobody.
    import asyncio

    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        deadline = time.monotonic() + timeout_s
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                message = f"{path} is held by another process for more than {timeout_s:.0f} s. Wait for it, or end it."
                raise AdapterError("lock", "take", message, retryable=True, effect="not_applied")
            await asyncio.sleep(0.02)
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
