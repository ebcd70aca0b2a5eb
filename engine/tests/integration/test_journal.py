"""The rules of the log that only a real PostgreSQL can keep."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from harness.stand import wait_until
from trading_engine.core.codes import OrderType, Side
from trading_engine.core.commands import CancelOrder, SubmitOrder
from trading_engine.core.replica import Replica
from trading_engine.fix_gateway.session import Reply
from trading_engine.fix_gateway.store import SessionFenced, SessionStore, SessionWrite, stored_message
from trading_engine.journal.batch import commit_batch, load_replica, read_progress, write_snapshot
from trading_engine.journal.command_log import append_commands, read_commands
from trading_engine.journal.database import Database
from trading_engine.journal.hint import Hints
from trading_engine.journal.lease import (
    acquire_lease,
    give_up_lease,
    pass_eligibility_on,
    read_lease,
    renew_lease,
)
from trading_engine.journal.migrations import EXPAND, migrate


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.start()
    yield database
    await database.stop()


def order(name: str, *, account: str = "a", price: int = 100) -> SubmitOrder:
    return SubmitOrder(account, name, "ACME", Side.BUY, OrderType.LIMIT, 5, price)


async def test_migrations_may_be_repeated_and_run_by_many_at_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url, "expand") for _ in range(4)))
    assert sorted(len(steps) for steps in applied) == [0, 0, 0, len(EXPAND)]
    assert await migrate(empty_database_url, "expand") == []
    assert await migrate(empty_database_url, "contract") == []


async def test_the_log_is_gapless_with_many_writers_and_repeats(database: Database) -> None:
    batches = [[order(f"o{n % 30}"), order(f"o{n % 30}"), order(f"p{n}")] for n in range(60)]
    results = await asyncio.gather(*(append_commands(database, batch) for batch in batches))
    fresh = [place.seq for result in results for place in result if place.fresh]
    assert sorted(fresh) == list(range(1, 91))
    logged = await read_commands(database, 0)
    assert [command.seq for command in logged] == list(range(1, 91))
    assert all(earlier.at_us <= later.at_us for earlier, later in itertools.pairwise(logged))


async def test_another_command_under_a_known_id_is_a_conflict(database: Database) -> None:
    await append_commands(database, [order("o1"), CancelOrder("a", "c1", "o1")])
    same, other, cancel, stranger = await append_commands(
        database, [order("o1"), order("o1", price=101), CancelOrder("a", "c1", "o2"), order("o1", account="b")]
    )
    assert (same.fresh, same.conflict, same.seq) == (False, False, 1)
    assert (other.conflict, cancel.conflict) == (True, True)
    assert (stranger.fresh, stranger.seq) == (True, 3)


async def lead(database: Database, owner: str, slot: str = "blue") -> int:
    epoch = await acquire_lease(database, owner, slot)
    assert epoch is not None
    return epoch


async def apply_next(database: Database, owner: str, epoch: int, replica: Replica) -> bool:
    before = replica.applied_seq
    events = [event for logged in await read_commands(database, before, limit=1) for event in replica.apply(logged)]
    return await commit_batch(database, owner, epoch, before, replica, events)


async def test_a_leader_whose_epoch_has_passed_writes_nothing(database: Database) -> None:
    await append_commands(database, [order(f"o{n}") for n in range(5)])
    old_epoch = await lead(database, "old")
    old, new = Replica(), Replica()
    assert await apply_next(database, "old", old_epoch, old)
    assert await acquire_lease(database, "new", "blue") is None, "the lease is held"
    await database.fetch("UPDATE lease SET expires_at = now() - interval '1 second'")
    new_epoch = await lead(database, "new")
    assert new_epoch == old_epoch + 1
    assert not await renew_lease(database, "old", old_epoch)
    assert not await apply_next(database, "old", old_epoch, old), "fenced"
    assert await read_progress(database) == (1, await _chain_at(database, 1))
    for logged in await read_commands(database, 0, upto_seq=1):
        new.apply(logged)
    assert await apply_next(database, "new", new_epoch, new)
    assert not await apply_next(database, "new", new_epoch, Replica()), "progress has moved on"
    assert (await read_progress(database)) == (2, new.chain)


async def _chain_at(database: Database, seq: int) -> str:
    replica = Replica()
    for logged in await read_commands(database, 0, upto_seq=seq):
        replica.apply(logged)
    return replica.chain


async def test_who_may_lead(database: Database) -> None:
    epoch = await lead(database, "b1")
    assert (await read_lease(database)).eligible_slot == "blue"
    assert not await give_up_lease(database, "b1", epoch, 7, "green"), "7 commands were never applied"
    assert await give_up_lease(database, "b1", epoch, 0, "green")
    assert await acquire_lease(database, "b2", "blue") is None
    assert await acquire_lease(database, "g1", "green") == epoch + 1
    # A wish of the side that is left: it counts when the leader dies, and only then.
    assert not await pass_eligibility_on(database, "blue", "blue"), "blue has nothing to say"
    assert await pass_eligibility_on(database, "green", "blue")
    assert await acquire_lease(database, "b1", "blue") is None
    await database.fetch("UPDATE lease SET expires_at = now() - interval '1 second'")
    assert await acquire_lease(database, "g2", "green") is None
    assert await acquire_lease(database, "b1", "blue") == epoch + 2
    assert (await read_lease(database)).eligible_slot == "blue"


async def test_an_old_wish_is_forgotten(database: Database) -> None:
    await lead(database, "b1")
    await pass_eligibility_on(database, "blue", "green")
    await database.fetch("UPDATE lease SET successor_until = now() - interval '1 s', expires_at = '-infinity'")
    assert await acquire_lease(database, "g1", "green") is None
    assert await acquire_lease(database, "b2", "blue") is not None


async def test_a_sealed_log_waits_for_whoever_has_applied_all_of_it(database: Database) -> None:
    epoch = await lead(database, "b1")
    await give_up_lease(database, "b1", epoch, 0, None)
    await database.fetch("UPDATE lease SET sealed_seq = 9")
    assert await acquire_lease(database, "b2", "blue") is None


async def test_snapshots_shorten_the_way_and_only_three_are_kept(database: Database) -> None:
    await append_commands(database, [order(f"o{n}") for n in range(50)])
    replica = await load_replica(database)
    for logged in await read_commands(database, 0):
        replica.apply(logged)
        if logged.seq % 10 == 0:
            await write_snapshot(database, replica.applied_seq, replica.snapshot())
            await write_snapshot(database, replica.applied_seq, replica.snapshot())
    loaded = await load_replica(database)
    assert (loaded.applied_seq, loaded.chain) == (50, replica.chain)
    assert await database.fetch_value("SELECT count(*) FROM snapshots") == 3


async def test_a_session_is_fenced_by_its_epoch(database: Database) -> None:
    one, two = SessionStore(database, "one"), SessionStore(database, "two")
    row = await one.acquire("DESK", "a")
    assert row is not None
    assert await two.acquire("DESK", "a") is None
    await database.fetch("UPDATE fix_sessions SET expires_at = now() - interval '1 second'")
    taken = await two.acquire("DESK", "a")
    assert taken is not None
    assert taken.epoch == row.epoch + 1
    message = stored_message(1, Reply("8", [(58, "x")]), "now")
    late = SessionWrite(1, 1, 0, commands=[order("late")], messages=[message])
    try:
        await one.write("DESK", row.epoch, late)
    except SessionFenced:
        pass
    else:
        raise AssertionError("the old gateway could write")
    assert await read_commands(database, 0) == [], "neither number nor command nor message"
    assert await two.sent_messages("DESK", 1, 9) == []
    assert await two.acquire("DESK", "somebody-else") is None, "a session belongs to one account"


async def test_hints_arrive_and_survive_a_reconnect(valkey_url: str) -> None:
    publisher, subscriber = Hints(valkey_url, "test"), Hints(valkey_url, "test")
    received: list[bytes] = []

    async def follow() -> None:
        async for message in subscriber.messages():
            received.append(message)  # noqa: PERF401 - an endless loop

    following = asyncio.create_task(follow())
    await wait_until(lambda: subscriber.connected, "subscribed")
    for number in range(3):
        assert await publisher.publish(b"message %d\r\n" % number)
    await wait_until(lambda: len(received) == 3, "all three")
    assert received == [b"message 0\r\n", b"message 1\r\n", b"message 2\r\n"]
    await publisher.stop()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_fence_holds_against_a_real_race(database: Database, database_url: str) -> None:
    """While a batch is being committed, a takeover has to wait for it; what comes after the takeover is refused."""
    await append_commands(database, [order("o1")])
    epoch = await lead(database, "old")
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM lease WHERE epoch = $1 FOR SHARE", epoch)
            takeover = asyncio.create_task(
                database.fetch("UPDATE lease SET epoch = epoch + 1, owner = 'new' WHERE shard = 0 RETURNING epoch")
            )
            await wait_until(lambda: _waits_for_lock(database), "the takeover waits")
            assert not takeover.done()
        await takeover
    finally:
        await connection.close()
    assert not await apply_next(database, "old", epoch, Replica())


async def _waits_for_lock(database: Database) -> bool:
    return bool(await database.fetch_value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
