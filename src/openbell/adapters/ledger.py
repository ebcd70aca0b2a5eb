"""The ledger of findings in SQLite, beside the journal: one ledger for each branch that is built.

What a scan changes is written in one transaction, together with its history and with what people must still be told, so
that a crash neither loses a notice nor leaves half a scan. Which results are the same finding, and what is fixed, is
decided by `openbell.core.findings`.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from openbell.core.findings import Change, Entry, Scan, record
from openbell.ports import AdapterError

SYSTEM = "findings"
SCHEMA_VERSION = 2
RELEASES_KEPT = 200
_SCHEMA = """
CREATE TABLE IF NOT EXISTS findings (branch TEXT, id TEXT, entry BLOB, PRIMARY KEY (branch, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (
  branch TEXT, id TEXT, number INTEGER, at_s REAL, kind TEXT, run TEXT, commit_id TEXT, severity TEXT,
  PRIMARY KEY (branch, id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (branch TEXT, job TEXT, last BLOB, PRIMARY KEY (branch, job)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS releases (digest TEXT PRIMARY KEY, at_s REAL, scan BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS untold (branch TEXT, id TEXT, PRIMARY KEY (branch, id)) WITHOUT ROWID;
"""


class LastLook(msgspec.Struct, frozen=True):
    """How a job's last scan of a branch ended, and when it last really looked; None when it never has."""

    job: str
    at_s: float
    run: str
    commit: str
    outcome: str
    reason: str
    looked_at_s: float | None


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to a finding."""

    at_s: float
    kind: str
    run: str
    commit: str
    severity: str


class Ledger:
    """The ledgers of one project; several processes may use them at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self, branch: str) -> dict[str, Entry]:
        """Return every finding of a branch by its id, open or fixed."""
        with self._open() as connection:
            return _entries(connection, branch) if connection else {}

    def branches(self) -> tuple[str, ...]:
        """Name the branches that have been scanned."""
        with self._open() as connection:
            query = "SELECT DISTINCT branch FROM jobs ORDER BY branch"
            return tuple(row[0] for row in connection.execute(query)) if connection else ()

    def jobs(self, branch: str) -> tuple[LastLook, ...]:
        """Return how each job's last scan of a branch ended."""
        with self._open() as connection:
            return _jobs(connection, branch) if connection else ()

    def history(self, branch: str, id_: str) -> tuple[Event, ...]:
        """Return what happened to a finding, the oldest first."""
        query = "SELECT at_s, kind, run, commit_id, severity FROM history WHERE branch = ? AND id = ? ORDER BY number"
        with self._open() as connection:
            return tuple(Event(*row) for row in connection.execute(query, (branch, id_))) if connection else ()

    def record(
        self, branch: str, scan: Scan, jobs: Sequence[LastLook], *, must_tell: Callable[[Change], bool]
    ) -> tuple[dict[str, Entry], tuple[Change, ...]]:
        """Take a scan into a branch's ledger; what `must_tell` says stays untold until `tell` is called for it.

        Returns the entries as they are now, and what changed.
        """
        with self._open(write=True) as connection:
            if connection is None:
                raise AssertionError("a ledger that is written is made")
            before = _entries(connection, branch)
            entries, changes = record(before, scan)
            rows = [(branch, id_, _ENCODE(entry)) for id_, entry in entries.items() if before.get(id_) != entry]
            connection.executemany("INSERT OR REPLACE INTO findings VALUES (?, ?, ?)", rows)
            for change in changes:
                _append(connection, branch, change, scan)
            told = [(branch, change.entry.id) for change in changes if must_tell(change)]
            connection.executemany("INSERT OR IGNORE INTO untold VALUES (?, ?)", told)
            known = {last.job: last for last in _jobs(connection, branch)}
            for last in jobs:
                earlier = known[last.job].looked_at_s if last.job in known else None
                kept = last if last.looked_at_s is not None else replace(last, looked_at_s=earlier)
                connection.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", (branch, last.job, _ENCODE(kept)))
        return entries, changes

    def untold(self, branch: str) -> tuple[Entry, ...]:
        """Return the findings that people have not been told of yet."""
        query = "SELECT entry FROM untold JOIN findings USING (branch, id) WHERE branch = ? ORDER BY id"
        with self._open() as connection:
            rows = connection.execute(query, (branch,)).fetchall() if connection else []
        return tuple(_ENTRY.decode(row[0]) for row in rows)

    def tell(self, branch: str, ids: Sequence[str]) -> None:
        """Write down that people were told of findings. May be repeated."""
        with self._open(write=True) as connection:
            if connection:
                pairs = [(branch, id_) for id_ in ids]
                connection.executemany("DELETE FROM untold WHERE branch = ? AND id = ?", pairs)

    def keep_release(self, digest: str, scan: Scan) -> None:
        """Keep what the run said that built a release; the newest run of the same content counts."""
        jobs = tuple(replace(job, files=tuple(job.files)) for job in scan.jobs)
        content = zlib.compress(_ENCODE(replace(scan, tree=tuple(scan.tree), jobs=jobs)), 1)
        with self._open(write=True) as connection:
            if connection:
                connection.execute(
                    "INSERT OR REPLACE INTO releases VALUES (?, ?, ?)", (digest, scan.moment.at_s, content)
                )
                newest = "SELECT digest FROM releases ORDER BY at_s DESC LIMIT ?"
                connection.execute(f"DELETE FROM releases WHERE digest NOT IN ({newest})", (RELEASES_KEPT,))  # noqa: S608

    def has_release(self, digest: str) -> bool:
        """Whether it is known what the run said that built a release."""
        return self.release(digest) is not None

    def release(self, digest: str) -> Scan | None:
        """Return what the run said that built a release; None when that is not known."""
        with self._open() as connection:
            # Ledgers of an earlier openbell had no releases.
            if connection is None or connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
                return None
            row = connection.execute("SELECT scan FROM releases WHERE digest = ?", (digest,)).fetchone()
        return _decode_scan(row[0]) if row else None

    @contextlib.contextmanager
    def _open(self, *, write: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Open the file; None when there is none and nothing is to be written."""
        if not write and not self.path.exists():
            yield None
            return
        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.path.touch(mode=0o600)
            with contextlib.closing(sqlite3.connect(self.path, timeout=10.0, isolation_level=None)) as connection:
                if not self._is_ready(connection, write=write):
                    yield None
                    return
                with connection:
                    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                    yield connection
        except (sqlite3.Error, OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AdapterError(
                SYSTEM, "write" if write else "read", self._explain(error), effect="not_applied"
            ) from error

    def _is_ready(self, connection: sqlite3.Connection, *, write: bool) -> bool:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            message = f"{self.path} was written by a newer openbell (schema {version}, this one knows {SCHEMA_VERSION})"
            raise AdapterError(SYSTEM, "open", message, effect="not_applied")
        if version < SCHEMA_VERSION and write:
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        return version >= 1 or write

    def _explain(self, error: Exception) -> str:
        text = str(error)
        if (
            "not a database" in text
            or "malformed" in text
            or isinstance(error, msgspec.DecodeError | UnicodeDecodeError)
        ):
            remedy = "restore it from a copy, or move it away and begin anew with: openbell scan"
            return f"the ledger {self.path} is damaged ({text}); {remedy}"
        return f"the ledger {self.path} cannot be used: {text}"


_ENCODE = msgspec.json.encode
_ENTRY = msgspec.json.Decoder(Entry)
_SCAN = msgspec.json.Decoder(Scan)
_LAST = msgspec.json.Decoder(LastLook)


def _decode_scan(content: bytes) -> Scan | None:
    """Read what a run said; damaged it is as good as unknown."""
    try:
        scan = _SCAN.decode(zlib.decompress(content))
    except (zlib.error, msgspec.DecodeError):
        return None
    jobs = tuple(replace(job, files=dict.fromkeys(job.files)) for job in scan.jobs)
    return replace(scan, tree=dict.fromkeys(scan.tree), jobs=jobs)


def _entries(connection: sqlite3.Connection, branch: str) -> dict[str, Entry]:
    rows = connection.execute("SELECT id, entry FROM findings WHERE branch = ? ORDER BY id", (branch,))
    return {id_: _ENTRY.decode(entry) for id_, entry in rows}


def _jobs(connection: sqlite3.Connection, branch: str) -> tuple[LastLook, ...]:
    rows = connection.execute("SELECT last FROM jobs WHERE branch = ? ORDER BY job", (branch,))
    return tuple(_LAST.decode(row[0]) for row in rows)


def _append(connection: sqlite3.Connection, branch: str, change: Change, scan: Scan) -> None:
    at = (branch, change.entry.id)
    last = connection.execute("SELECT max(number) FROM history WHERE branch = ? AND id = ?", at).fetchone()[0]
    moment = scan.moment
    row = (*at, (last or 0) + 1, moment.at_s, change.kind, moment.run, moment.commit, change.entry.seen.severity)
    connection.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
