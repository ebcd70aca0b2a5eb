"""The history of tests in SQLite: each test of each execution of a job, bounded, and the timings that follow from it.

It is a help, not a record: a file that is lost costs hints. Several processes may write at once. What is kept is
bounded by executions per job, tests per execution and tests in all; the oldest executions go first.

Source: https://sqlite.org/withoutrowid.html
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openbell.core.history import Execution, Observation, SlowTest
from openbell.core.suite import Case, CaseOutcome
from openbell.ports import AdapterError

SYSTEM = "history"
EXECUTIONS_KEPT = 50
"""Executions of each job that are remembered."""

TESTS_KEPT = 20_000
"""Tests of one execution that are remembered."""

ROWS_MAX = 2_000_000
"""Tests of all executions together; about 60 MB."""

_OUTCOMES: tuple[CaseOutcome, ...] = ("passed", "failed", "skipped", "flaky")
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS executions (
  id INTEGER PRIMARY KEY, job TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL, run TEXT NOT NULL,
  at_s REAL NOT NULL, ref TEXT NOT NULL, revision TEXT NOT NULL, lines_pct REAL, tests INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS executions_of_job ON executions (job, id);
CREATE TABLE IF NOT EXISTS tests (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, file TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cases (
  execution INTEGER NOT NULL, test INTEGER NOT NULL, outcome INTEGER NOT NULL, duration_s REAL NOT NULL,
  PRIMARY KEY (execution, test)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cases_of_test ON cases (test);
CREATE TABLE IF NOT EXISTS splits (job TEXT NOT NULL, inputs TEXT NOT NULL, content TEXT NOT NULL,
  PRIMARY KEY (job, inputs));
"""
_OBSERVED = """
SELECT tests.name, executions.job, executions.fingerprint, executions.run, executions.at_s, cases.outcome
FROM cases JOIN executions ON executions.id = cases.execution JOIN tests ON tests.id = cases.test
WHERE cases.test IN (SELECT DISTINCT test FROM cases WHERE outcome IN (1, 3)) ORDER BY executions.id
"""
_TIMED = """
SELECT tests.name, executions.job, tests.file, cases.duration_s
FROM cases JOIN executions ON executions.id = cases.execution JOIN tests ON tests.id = cases.test
WHERE cases.outcome != 2
"""


class History:
    """What is known of earlier executions, in one file; nothing is made before something is recorded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, execution: Execution, cases: Sequence[Case]) -> None:
        """Remember an execution and its tests, and forget the oldest; raises `AdapterError` when that is impossible."""
        kept = {case.name: case for case in cases[:TESTS_KEPT]}
        with self._open(create=True) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            row = (
                execution.job, execution.name, execution.fingerprint, execution.run, execution.at_s, execution.ref,
                execution.commit, execution.lines_pct, len(kept),
            )  # fmt: skip
            insert = "INSERT INTO executions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            number = connection.execute(insert, row).lastrowid
            connection.executemany(
                "INSERT INTO tests (name, file) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET file = excluded.file",
                [(_text(case.name), _text(case.file)) for case in kept.values()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO cases SELECT ?, id, ?, ? FROM tests WHERE name = ?",
                [(number, _OUTCOMES.index(c.outcome), c.duration_s, _text(c.name)) for c in kept.values()],
            )
            _forget(connection, execution.job)

    def observations(self) -> list[Observation]:
        """Return what became of every test that ever failed, or passed on a rerun only, oldest first."""
        return [
            Observation(test, job, fingerprint, run, at_s, _OUTCOMES[outcome])
            for test, job, fingerprint, run, at_s, outcome in self._read(_OBSERVED)
        ]

    def slowest(self, *, limit: int) -> list[SlowTest]:
        """Return the tests that take longest in the middle of their executions, the slowest first."""
        import statistics

        times: dict[tuple[str, str], list[float]] = {}
        for test, job, _, duration_s in self._read(_TIMED):
            times.setdefault((test, job), []).append(duration_s)
        found = [SlowTest(*key, statistics.median(seen), max(seen), len(seen)) for key, seen in times.items()]
        return sorted(found, key=lambda slow: (-slow.median_s, slow.test))[:limit]

    def known(self) -> tuple[int, int]:
        """Count the tests and the executions that are remembered."""
        counts = self._read("SELECT (SELECT count(*) FROM tests), (SELECT count(*) FROM executions)")
        return (counts[0][0], counts[0][1]) if counts else (0, 0)

    def last_outcomes(self, tests: Sequence[str]) -> dict[str, CaseOutcome]:
        """Return how each of some tests, named with or without parameters, ended last; the worst of the parameters'."""
        rows = self._read(
            "SELECT tests.name, cases.outcome, max(cases.execution) FROM cases JOIN tests ON tests.id = cases.test"
            " GROUP BY tests.id"
        )
        found: dict[str, CaseOutcome] = {}
        for name, outcome, _ in rows:
            for test in tests:
                if name == test or (name.startswith(f"{test}[") and found.get(test) != "failed"):
                    found[test] = _OUTCOMES[outcome]
        return found

    def durations_of_files(self, name: str) -> dict[str, float]:
        """Return how long the tests of each file, or package, of a job take together, by the reports' names."""
        query = """
            SELECT tests.file, avg(total) FROM (
              SELECT cases.execution AS execution, tests.file AS file, sum(cases.duration_s) AS total
              FROM cases JOIN tests ON tests.id = cases.test JOIN executions ON executions.id = cases.execution
              WHERE executions.name = ? GROUP BY cases.execution, tests.file
            ) AS sums JOIN tests ON tests.file = sums.file WHERE tests.file != '' GROUP BY tests.file
        """
        return dict(self._read(query, name))

    def last_coverage(self, job: str, refs: Sequence[str], *, but: str) -> float | None:
        """Return a job's last coverage on the first of some branches that has any; the result `but` does not count."""
        query = """
            SELECT lines_pct FROM executions WHERE job = ? AND ref = ? AND fingerprint != ? AND lines_pct IS NOT NULL
            ORDER BY id DESC LIMIT 1
        """
        for ref in refs:
            for row in self._read(query, job, ref, but):
                return float(row[0])
        return None

    def split(self, job: str, inputs: str) -> str | None:
        """Return how the tests of a job were split for some inputs, as it was kept."""
        rows = self._read("SELECT content FROM splits WHERE job = ? AND inputs = ?", job, inputs)
        return str(rows[0][0]) if rows else None

    def keep_split(self, job: str, inputs: str, content: str) -> None:
        """Keep how the tests of a job are split for some inputs; what another process kept first stays."""
        with self._open(create=True) as connection, connection:
            connection.execute("INSERT OR IGNORE INTO splits VALUES (?, ?, ?)", (job, inputs, content))
            older = "SELECT rowid FROM splits WHERE job = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?"
            connection.execute(f"DELETE FROM splits WHERE rowid IN ({older})", (job, EXECUTIONS_KEPT))  # noqa: S608

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with self._open(create=False) as connection:
            return connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _open(self, *, create: bool) -> Iterator[sqlite3.Connection]:
        try:
            if create and not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.path.touch(mode=0o600)
            with contextlib.closing(sqlite3.connect(self.path, timeout=10.0, isolation_level=None)) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > _VERSION:
                    message = (
                        f"{self.path} was written by a newer openbell (schema {version}, this one knows {_VERSION})"
                    )
                    raise AdapterError(SYSTEM, "open", message, effect="not_applied")
                if version < _VERSION:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(f"{_SCHEMA}PRAGMA user_version = {_VERSION};")
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except (sqlite3.Error, OSError) as error:
            message = f"{self.path}: {error}. Move it away to begin anew; only hints are lost."
            raise AdapterError(SYSTEM, "open", message, effect="not_applied") from error


def _forget(connection: sqlite3.Connection, job: str) -> None:
    """Forget executions beyond what is kept of a job and in all, and the tests that nothing remembers any more."""
    older = connection.execute(
        "SELECT id, tests FROM executions WHERE job = ? ORDER BY id DESC LIMIT -1 OFFSET ?", (job, EXECUTIONS_KEPT)
    ).fetchall()
    total = connection.execute("SELECT coalesce(sum(tests), 0) FROM executions").fetchone()[0]
    total -= sum(tests for _, tests in older)
    if total > ROWS_MAX:
        for number, tests in connection.execute("SELECT id, tests FROM executions ORDER BY id"):
            if total <= ROWS_MAX:
                break
            older.append((number, tests))
            total -= tests
    if older:
        numbers = [(number,) for number, _ in older]
        connection.executemany("DELETE FROM cases WHERE execution = ?", numbers)
        connection.executemany("DELETE FROM executions WHERE id = ?", numbers)
        connection.execute("DELETE FROM tests WHERE id NOT IN (SELECT test FROM cases)")


def _text(text: str) -> str:
    """SQLite keeps UTF-8 only; what is none is written with escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
