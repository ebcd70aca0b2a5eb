"""The journal in SQLite: durable, gapless, one writer, leases that the dead give up, errors that say what to do."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from openbell.adapters.sqlite import SqliteJournal, owner_is_gone, process_owner, read_now
from openbell.ports import AdapterError


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    async with SqliteJournal(tmp_path / "state" / "journal.sqlite") as opened:
        yield opened


async def test_streams_count_from_one_and_keep_their_order(journal: SqliteJournal) -> None:
    for stream in ("rollout/b", "rollout/a", "rollout/b", "run/c"):
        await journal.append(stream, "kind", b"{}", at_s=1.5)
    records = await journal.read("rollout/b")
    assert [(r.sequence, r.at_s, r.kind, r.payload) for r in records] == [
        (1, 1.5, "kind", b"{}"),
        (2, 1.5, "kind", b"{}"),
    ]
    assert await journal.read("rollout/b", after=1) == records[1:]
    assert await journal.streams("rollout/") == ["rollout/b", "rollout/a"]


async def test_a_second_writer_is_refused(journal: SqliteJournal) -> None:
    await journal.append("s", "k", b"1", at_s=0.0, expect=1)
    with pytest.raises(AdapterError, match="was written by another openbell") as caught:
        await journal.append("s", "k", b"2", at_s=0.0, expect=1)
    assert caught.value.effect == "not_applied"
    assert len(await journal.read("s")) == 1


async def test_two_connections_never_give_one_number_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with SqliteJournal(path) as one, SqliteJournal(path) as two:
        given = await asyncio.gather(*(j.append("s", "k", b"", at_s=0.0) for j in (one, two) for _ in range(20)))
    assert sorted(given) == list(range(1, 41))


async def test_it_is_as_durable_as_it_says(journal: SqliteJournal) -> None:
    other = sqlite3.connect(journal.path)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    synchronous = await journal._call("read", lambda c: c.execute("PRAGMA synchronous").fetchone())
    assert synchronous == (2,), "synchronous = FULL"


async def test_only_its_owner_reads_it(journal: SqliteJournal) -> None:
    await journal.append("s", "k", b"", at_s=0.0)
    files = list(journal.path.parent.iterdir())
    assert len(files) == 3, "the journal, its log ahead, and their index"
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


async def test_leases(journal: SqliteJournal) -> None:
    mine, other = process_owner(), "elsewhere:1:2.00"
    assert await journal.acquire("environment/x", mine, ttl_s=10, now_s=100) is None
    assert await journal.acquire("environment/x", mine, ttl_s=10, now_s=105) is None
    assert await journal.acquire("environment/x", other, ttl_s=10, now_s=114) == mine
    assert await journal.acquire("environment/x", other, ttl_s=10, now_s=116) is None
    await journal.release("environment/x", mine)
    assert await journal.acquire("environment/x", mine, ttl_s=10, now_s=117) == other


@pytest.fixture
def other_process() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that owns something, and the name it owns it by."""
    code = "from openbell.adapters.sqlite import process_owner; print(process_owner(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


async def test_the_lease_of_a_killed_process_is_taken_over_at_once(
    journal: SqliteJournal, other_process: tuple[str, subprocess.Popen[str]]
) -> None:
    owner, process = other_process
    assert not owner_is_gone(owner)
    assert await journal.acquire("environment/x", owner, ttl_s=1000, now_s=0) is None
    assert await journal.acquire("environment/x", process_owner(), ttl_s=10, now_s=1) == owner
    process.kill()
    process.wait()
    assert await journal.acquire("environment/x", process_owner(), ttl_s=10, now_s=1) is None


@pytest.mark.parametrize("owner", ["elsewhere:1:2.00", "nonsense", ""])
def test_owners_of_other_machines_are_not_declared_dead(owner: str) -> None:
    assert not owner_is_gone(owner)


async def test_a_full_disk_says_so_and_loses_nothing(journal: SqliteJournal) -> None:
    await journal.append("s", "k", b"kept", at_s=0.0)
    pages = await journal._call("read", lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await journal._call("read", lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(AdapterError, match=r"disk .* is full .*openbell resume") as caught:
        await journal.append("s", "k", b"x" * 100_000, at_s=0.0)
    assert caught.value.effect == "not_applied"
    assert [r.payload for r in await journal.read("s")] == [b"kept"]


async def test_an_error_of_a_full_disk_is_known_as_one(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file beside the log cannot grow, SQLite says "disk I/O error" and no more."""

    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    for free, words in ((0, r"disk .* is full \(disk I/O error\); free some space"), (1 << 30, r"sqlite: disk I/O")):
        usage = SimpleNamespace(total=1 << 30, used=0, free=free)
        monkeypatch.setattr("shutil.disk_usage", lambda _path, usage=usage: usage)
        with pytest.raises(AdapterError, match=words):
            await journal._call("append", fail)


async def test_the_first_events_only(journal: SqliteJournal) -> None:
    for payload in (b"1", b"2", b"3"):
        await journal.append("s", "k", payload, at_s=0.0)
    assert [r.payload for r in await journal.read("s", limit=2)] == [b"1", b"2"]
    assert [r.payload for r in await journal.read("s", after=1, limit=1)] == [b"2"]
    assert [r.payload for r in read_now(journal.path, "s")] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("replaced", [True, False])
async def test_nothing_is_written_where_nobody_will_read_it(journal: SqliteJournal, replaced: bool) -> None:
    await journal.append("s", "k", b"1", at_s=0.0)
    aside = journal.path.rename(journal.path.with_name("aside"))
    if replaced:
        journal.path.write_bytes(b"")
    with pytest.raises(AdapterError, match="was removed or replaced while it was in use"):
        await journal.append("s", "k", b"2", at_s=0.0)
    aside.rename(journal.path)
    assert await journal.append("s", "k", b"2", at_s=0.0) == 2


def test_a_journal_that_is_not_there_or_empty_has_no_events(tmp_path: Path) -> None:
    assert read_now(tmp_path / "j", "s") == []
    assert not (tmp_path / "j").exists()
    (tmp_path / "j").touch()
    assert read_now(tmp_path / "j", "s") == []


async def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(AdapterError, match=r"journal.sqlite is damaged"):
        async with SqliteJournal(path):
            pass


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(AdapterError, match="written by a newer openbell"):
        async with SqliteJournal(path):
            pass
