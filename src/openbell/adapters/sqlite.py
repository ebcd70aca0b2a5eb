"""The journal in SQLite: append-only, WAL, synchronous FULL. When `append` returns, the event survives a power cut.

Several processes may share the file; a stream has one writer at a time by its `expect`ed sequence, an environment one
driver at a time by a lease whose owner is named by host and process, so that the lease of a process of this machine
that died is taken over at once. Source: SQLite's documentation on WAL and `PRAGMA synchronous`.
"""

import contextlib
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from openbell.ports import AdapterError, Record

T = TypeVar("T")

SCHEMA_VERSION = 1
ROOM_MIN_BYTES = 64 * 1024
"""What SQLite wants at least for a journal that is opened."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  stream TEXT NOT NULL, sequence INTEGER NOT NULL, at_s REAL NOT NULL, kind TEXT NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (stream, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, expires_at_s REAL NOT NULL);
"""
_READ = """
SELECT stream, sequence, at_s, kind, payload FROM events WHERE stream = ? AND sequence > ? ORDER BY sequence LIMIT ?
"""


def process_owner() -> str:
    """Name this process for a lease: host, process id and start time, which no other process shares."""
    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def owner_is_gone(owner: str) -> bool:
    """Whether a lease's owner was a process of this host that no longer runs; False when that cannot be known."""
    import psutil

    host, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def read_now(path: Path, stream: str) -> list[Record]:
    """Read a stream without an event loop, whose import is what a run that executes nothing would wait for longest.

    A journal that is not there is empty. Raises `AdapterError` when it cannot be read.
    """
    if not path.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=10.0)) as connection:
            if not connection.execute("PRAGMA user_version").fetchone()[0]:
                return []
            return [Record(*row) for row in connection.execute(_READ, (stream, 0, -1))]
    except sqlite3.Error as error:
        raise AdapterError("journal", "read", _explain(error, path), effect="not_applied") from error


def append_now(path: Path, stream: str, kind: str, payload: bytes, *, at_s: float) -> None:
    """Append to a stream without an event loop; makes the journal where there is none. Raises `AdapterError`."""
    try:
        with contextlib.closing(connect(path)) as connection:
            _append(connection, stream, kind, payload, at_s=at_s)
    except (sqlite3.Error, OSError) as error:
        raise AdapterError("journal", "append", _explain(error, path), effect="not_applied") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal for writing, made if it is not there; raises `AdapterError` for that of a newer openbell."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # SQLite would make it readable to everybody; its own files beside it take over the mode of this one.
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        connection.close()
        message = f"{path} was written by a newer openbell (schema {version}, this one knows {SCHEMA_VERSION})"
        raise AdapterError("journal", "open", message, effect="not_applied")
    if version < SCHEMA_VERSION:
        connection.executescript(_SCHEMA + f"PRAGMA user_version = {SCHEMA_VERSION};")
    return connection


def _append(
    connection: sqlite3.Connection, stream: str, kind: str, payload: bytes, *, at_s: float, expect: int | None = None
) -> int:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute("SELECT max(sequence) FROM events WHERE stream = ?", (stream,)).fetchone()
        sequence = int(row[0] or 0) + 1
        if expect is not None and sequence != expect:
            message = f"event {expect} of {stream} was written by another openbell; this one stops"
            raise AdapterError("journal", "append", message, effect="not_applied")
        if sequence == 1:
            connection.execute("INSERT OR IGNORE INTO streams (name) VALUES (?)", (stream,))
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", (stream, sequence, at_s, kind, payload))
    return sequence


class SqliteJournal:
    """A `Journal` in one SQLite file; use as an async context manager. All access goes through one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None
        self._file = 0

    async def __aenter__(self) -> Self:
        await self._call("open", self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._call("close", lambda connection: connection.close())
        self._thread.shutdown()

    async def append(self, stream: str, kind: str, payload: bytes, *, at_s: float, expect: int | None = None) -> int:
        """Append to a stream and return the sequence number, from 1 without gaps; see `openbell.ports.Journal`."""

        def work(connection: sqlite3.Connection) -> int:
            self._require_in_place()
            return _append(connection, stream, kind, payload, at_s=at_s, expect=expect)

        return await self._call("append", work)

    async def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """The events of a stream after a sequence number, in order: all, or the first `limit`."""
        most = -1 if limit is None else limit
        rows = await self._call("read", lambda c: c.execute(_READ, (stream, after, most)).fetchall())
        return [Record(*row) for row in rows]

    async def streams(self, prefix: str) -> list[str]:
        """Names of the streams that begin so, oldest first."""
        query = "SELECT name FROM streams WHERE substr(name, 1, ?) = ? ORDER BY number"
        rows = await self._call("read", lambda c: c.execute(query, (len(prefix), prefix)).fetchall())
        return [row[0] for row in rows]

    async def acquire(self, name: str, owner: str, *, ttl_s: float, now_s: float) -> str | None:
        """Take or renew the lease `name`; returns None when it is ours now, else the owner that holds it."""

        def work(connection: sqlite3.Connection) -> str | None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                row = connection.execute("SELECT owner, expires_at_s FROM leases WHERE name = ?", (name,)).fetchone()
                if row and row[0] != owner and row[1] > now_s and not owner_is_gone(row[0]):
                    return str(row[0])
                connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (name, owner, now_s + ttl_s))
            return None

        return await self._call("lease", work)

    async def release(self, name: str, owner: str) -> None:
        """Give the lease up, if it is ours."""

        def work(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("DELETE FROM leases WHERE name = ? AND owner = ?", (name, owner))

        await self._call("lease", work)

    def _open(self, _: sqlite3.Connection | None) -> None:
        self._connection = connect(self.path)
        self._file = self.path.stat().st_ino

    def _require_in_place(self) -> None:
        """Refuse to write where nobody will read: SQLite goes on with a file that was deleted or replaced."""
        try:
            if self.path.stat().st_ino == self._file:
                return
        except FileNotFoundError:
            pass
        message = f"{self.path} was removed or replaced while it was in use; put it back, then: openbell resume"
        raise AdapterError("journal", "append", message, effect="not_applied")

    async def _call(self, operation: str, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                return work(self._connection)  # type: ignore[arg-type]
            except (sqlite3.Error, OSError) as error:
                raise AdapterError("journal", operation, _explain(error, self.path), effect="not_applied") from error

        import asyncio

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)


def _explain(error: Exception, path: Path) -> str:
    text = str(error)
    if "full" in text or "No space" in text or ("I/O" in text and _has_no_room(path)):
        return f"the disk that holds {path} is full ({text}); free some space, then: openbell resume"
    if "not a database" in text or "malformed" in text:
        return f"{path} is damaged ({text}); restore it from a copy, or move it away to begin anew"
    return f"{path}: {text}"


def _has_no_room(path: Path) -> bool:
    """Whether its disk is full: where SQLite cannot make the file beside its log larger, it only says "I/O error"."""
    try:
        return shutil.disk_usage(path.parent).free < ROOM_MIN_BYTES
    except OSError:
        return False
