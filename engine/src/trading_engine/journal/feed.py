"""The stream of committed events, in order, for the processes that pass them on.

The leader publishes each batch after its commit; a reader that holds the batch before it takes it as it comes. Whoever
missed one, or hears nothing for a while, reads the events table. A reader without subscribers does not read at all.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from trading_engine.core.replica import EncodedEvent
from trading_engine.journal.database import Database, DatabaseUnavailable
from trading_engine.journal.hint import Hints
from trading_engine.journal.migrations import SHARD

HINT_CHANNEL = f"trading-engine:events:{SHARD}"
_POLL_WITH_HINTS_S = 0.25
_POLL_ALONE_S = 0.05
_COMMANDS_PER_READ = 500


class FeedEvent(Struct, frozen=True, array_like=True):
    """One committed event; `payload` is JSON text."""

    command_seq: int
    index: int
    channel: str
    seq: int
    payload: str


class FeedBatch(Struct, frozen=True, array_like=True):
    """The events of the commands after `after_seq` up to and including `upto_seq`."""

    after_seq: int
    upto_seq: int
    events: list[FeedEvent]


Subscriber = Callable[[Sequence[FeedEvent]], None]


def encode_batch(after_seq: int, upto_seq: int, events: Sequence[EncodedEvent]) -> bytes:
    """The message that the leader publishes after a commit."""
    batch = FeedBatch(
        after_seq,
        upto_seq,
        [FeedEvent(e.command_seq, e.index, e.channel, e.seq, e.payload.decode()) for e in events],
    )
    return msgspec.json.encode(batch)


class Feed:
    """Follows the events table and calls every subscriber with each piece of it, in order."""

    def __init__(self, database: Database, hints: Hints) -> None:
        self._database = database
        self._hints = hints
        self._subscribers: dict[Subscriber, None] = {}
        self._position: int | None = None
        self._advance = asyncio.Lock()
        self._heard = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts to follow."""
        self._tasks = [
            asyncio.create_task(self._follow_hints(), name="feed hints"),
            asyncio.create_task(self._follow_table(), name="feed table"),
        ]

    async def stop(self) -> None:
        """Stops following."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def subscribe(self, subscriber: Subscriber) -> int:
        """Calls `subscriber` with all events after the returned command sequence. It must not wait."""
        async with self._advance:
            if self._position is None:
                self._position = await self._database.fetch_value(
                    "SELECT applied_seq FROM progress WHERE shard = $1", SHARD
                )
            self._subscribers[subscriber] = None
            return self._position or 0

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Calls `subscriber` no more. May be repeated."""
        self._subscribers.pop(subscriber, None)
        if not self._subscribers:
            self._position = None

    async def _follow_hints(self) -> None:
        async for message in self._hints.messages():
            if not self._subscribers:
                continue
            batch = msgspec.json.decode(message, type=FeedBatch)
            async with self._advance:
                in_order = self._position is not None and batch.after_seq <= self._position
                if in_order:
                    self._deliver(batch.upto_seq, [e for e in batch.events if e.command_seq > (self._position or 0)])
            if in_order:
                self._heard.set()
            else:
                with contextlib.suppress(DatabaseUnavailable):
                    await self._read_table()

    async def _follow_table(self) -> None:
        while True:
            # A hint that came in order makes a look into the table unnecessary; silence, or a gap, makes it due.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._heard.wait(), _POLL_WITH_HINTS_S if self._hints.connected else _POLL_ALONE_S
                )
                self._heard.clear()
                continue
            with contextlib.suppress(DatabaseUnavailable):
                await self._read_table()

    async def _read_table(self) -> None:
        async with self._advance:
            while self._position is not None:
                events = await read_events(self._database, self._position, self._position + _COMMANDS_PER_READ)
                if not events:
                    return
                self._deliver(events[-1].command_seq, events)

    def _deliver(self, upto_seq: int, events: Sequence[FeedEvent]) -> None:
        if self._position is None or upto_seq <= self._position:
            return
        self._position = upto_seq
        for subscriber in list(self._subscribers):
            subscriber(events)


async def read_events(database: Database, after_seq: int, upto_seq: int) -> list[FeedEvent]:
    """All events of the commands after `after_seq` up to and including `upto_seq`."""
    rows = await database.fetch(
        "SELECT command_seq, index, channel, seq, payload FROM events"
        " WHERE shard = $1 AND command_seq > $2 AND command_seq <= $3 ORDER BY command_seq, index",
        SHARD,
        after_seq,
        upto_seq,
    )
    return [FeedEvent(**row) for row in rows]


async def read_channel(
    database: Database, channel: str, after_seq: int, *, upto_command: int | None = None, limit: int = 1000
) -> list[FeedEvent]:
    """Up to `limit` events of a channel after its number `after_seq`."""
    rows = await database.fetch(
        "SELECT command_seq, index, channel, seq, payload FROM events"
        " WHERE shard = $1 AND channel = $2 AND seq > $3 AND command_seq <= $4 ORDER BY seq LIMIT $5",
        SHARD,
        channel,
        after_seq,
        upto_command if upto_command is not None else 2**62,
        limit,
    )
    return [FeedEvent(**row) for row in rows]


async def channel_end(database: Database, channel: str) -> int:
    """The last number of a channel, 0 if nothing happened in it yet."""
    seq: int | None = await database.fetch_value(
        "SELECT max(seq) FROM events WHERE shard = $1 AND channel = $2", SHARD, channel
    )
    return seq or 0
