"""The ledger's file: what is written is read, by several processes, and what cannot be read says why."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from openbell.adapters.ledger import Event, LastLook, Ledger
from openbell.core.findings import Change, JobScan, Moment, Scan
from openbell.core.sightings import Look, Sighting
from openbell.ports import AdapterError


def scan(*rules: str, at_s: float = 1.0, job: str = "sast") -> Scan:
    found = tuple(Sighting("t", rule, "high", "m", "a.py", 1, key=rule) for rule in rules)
    return Scan(Moment(at_s, "r", "c"), ("a.py",), (JobScan(job, found, (Look("t"),), ("a.py",)),), (job,))


def last(at_s: float, *, looked: bool = True) -> LastLook:
    return LastLook("sast", at_s, "r", "c", "success" if looked else "not-checked", "", at_s if looked else None)


def everything(change: Change) -> bool:
    return change.kind == "new"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state/findings.sqlite")


def test_a_ledger_that_is_not_there_is_empty_and_is_not_made_by_reading(ledger: Ledger) -> None:
    assert (ledger.branches(), ledger.entries("main"), ledger.jobs("main"), ledger.history("main", "x")) == (
        (),
        {},
        (),
        (),
    )
    assert ledger.untold("main") == ()
    ledger.path.parent.mkdir()
    ledger.path.touch()
    assert ledger.branches() == ()


def test_what_is_recorded_is_there_for_the_next_one(ledger: Ledger) -> None:
    entries, changes = ledger.record("main", scan("A", "B"), [last(1.0)], must_tell=everything)
    assert len(changes) == 2
    again = Ledger(ledger.path)
    assert again.entries("main") == entries
    assert again.entries("develop") == {}
    assert again.branches() == ("main",)
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    again.record("main", scan("A", at_s=2.0), [last(2.0)], must_tell=everything)
    again.record("main", scan("A", "B", at_s=3.0), [last(3.0)], must_tell=everything)
    id_ = next(id_ for id_, entry in entries.items() if entry.seen.rule == "B")
    assert again.history("main", id_) == (
        Event(1.0, "new", "r", "c", "high"), Event(2.0, "fixed", "r", "c", "high"),
        Event(3.0, "reopened", "r", "c", "high"),
    )  # fmt: skip


def test_a_job_that_did_not_look_keeps_the_time_when_it_did(ledger: Ledger) -> None:
    ledger.record("main", scan(), [last(1.0)], must_tell=everything)
    ledger.record("main", scan(at_s=2.0), [last(2.0, looked=False)], must_tell=everything)
    (found,) = ledger.jobs("main")
    assert (found.at_s, found.outcome, found.looked_at_s) == (2.0, "not-checked", 1.0)


def test_what_must_be_told_stays_until_it_is(ledger: Ledger) -> None:
    ledger.record("main", scan("A"), [], must_tell=everything)
    ledger.record("develop", scan("A"), [], must_tell=lambda change: False)
    ledger.record("main", scan("A", at_s=2.0), [], must_tell=everything)
    (entry,) = ledger.untold("main")
    assert entry.last.at_s == 2.0
    assert ledger.untold("develop") == ()
    ledger.tell("main", [entry.id])
    ledger.tell("main", [entry.id])
    assert ledger.untold("main") == ()


@pytest.mark.parametrize("damage", ["no database " * 100, None])
def test_a_damaged_ledger_is_named_with_what_to_do(ledger: Ledger, damage: str | None) -> None:
    ledger.record("main", scan("A"), [], must_tell=everything)
    if damage:
        ledger.path.write_text(damage)
    else:
        with sqlite3.connect(ledger.path) as connection:
            connection.execute("UPDATE findings SET entry = '{'")
        connection.close()
    with pytest.raises(AdapterError, match=r"is damaged .* begin anew with: openbell scan") as raised:
        ledger.entries("main")
    assert str(ledger.path) in raised.value.message


def test_a_ledger_of_a_newer_openbell_is_left_alone(ledger: Ledger) -> None:
    ledger.record("main", scan("A"), [], must_tell=everything)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(AdapterError, match=r"newer openbell \(schema 99"):
        ledger.record("main", scan("B"), [], must_tell=everything)


def test_a_scan_that_fails_halfway_leaves_nothing(ledger: Ledger) -> None:
    def fail(change: Change) -> bool:
        raise RuntimeError(change.kind)

    before, _ = ledger.record("main", scan("A"), [last(1.0)], must_tell=everything)
    with pytest.raises(RuntimeError):
        ledger.record("main", scan("B", at_s=2.0), [last(2.0)], must_tell=fail)
    assert ledger.entries("main") == before
    assert [one.at_s for one in ledger.jobs("main")] == [1.0]


def _record(path: str, number: int) -> None:
    Ledger(Path(path)).record("main", scan(f"R{number}", job=f"job{number}"), [], must_tell=everything)


@pytest.mark.slow
def test_several_runs_at_once_lose_nothing(ledger: Ledger) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_record, args=(str(ledger.path), number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    # Each job is unknown to the others' projects here, so the last to look may have closed earlier ones: all are there.
    assert sorted(entry.seen.rule for entry in ledger.entries("main").values()) == ["R0", "R1", "R2", "R3"]


def test_what_was_said_of_a_release_is_kept_for_the_newest_of_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openbell.adapters.ledger.RELEASES_KEPT", 2)
    assert ledger.release("sha256:1") is None
    for number in (1, 2, 3):
        ledger.keep_release(f"sha256:{number}", scan("A", at_s=number))
    assert not ledger.has_release("sha256:1")
    kept = ledger.release("sha256:3")
    assert kept is not None
    assert (kept.moment.at_s, [one.rule for one in kept.jobs[0].sightings]) == (3.0, ["A"])
    assert "a.py" in kept.tree


def test_a_ledger_of_an_earlier_openbell_is_read_and_added_to(ledger: Ledger) -> None:
    before, _ = ledger.record("main", scan("A"), [], must_tell=everything)
    with sqlite3.connect(ledger.path) as connection:
        connection.execute("DROP TABLE releases")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert ledger.entries("main") == before
    assert ledger.release("sha256:1") is None
    ledger.keep_release("sha256:1", scan("A"))
    assert ledger.has_release("sha256:1")
    assert ledger.entries("main") == before
