"""One batch of the matcher is one statement: fence, progress, events and everything that is read from them.

The lease row is locked for share at the leader's epoch, and progress moves only from the expected sequence. If either
does not hold, nothing is written. The primary key of events is a second guard.
"""

from collections.abc import Sequence

from trading_engine.core.codes import UpdateKind
from trading_engine.core.events import BookChange, OrderUpdate
from trading_engine.core.replica import SNAPSHOT_FORMAT, EncodedEvent, Replica
from trading_engine.journal.database import Database
from trading_engine.journal.migrations import SHARD

_COMMIT = """
WITH fence AS MATERIALIZED (
    SELECT epoch FROM lease WHERE shard = $1 AND owner = $2 AND epoch = $3 FOR SHARE
), moved AS (
    UPDATE progress SET applied_seq = $5, state_hash = $6, epoch = $3 FROM fence
    WHERE progress.shard = $1 AND applied_seq = $4 RETURNING progress.shard
), new_events AS (
    INSERT INTO events (shard, command_seq, index, epoch, channel, seq, payload)
    SELECT $1, e.command_seq, e.index, $3, e.channel, e.seq, e.payload::json
    FROM moved, unnest($7::bigint[], $8::int[], $9::text[], $10::bigint[], $11::text[])
        AS e (command_seq, index, channel, seq, payload)
), new_orders AS (
    INSERT INTO orders (shard, order_id, account, client_order_id, instrument, side, order_type, time_in_force,
        price_ticks, quantity_lots, filled_lots, notional_ticks, status, reason, updated_at_us)
    SELECT $1, o.*
    FROM moved, unnest($12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
        $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::text[], $24::text[], $25::bigint[]) AS o
    ON CONFLICT (shard, order_id) DO UPDATE SET filled_lots = excluded.filled_lots,
        notional_ticks = excluded.notional_ticks, status = excluded.status, reason = excluded.reason,
        updated_at_us = excluded.updated_at_us
), new_positions AS (
    INSERT INTO positions (shard, account, instrument, quantity_lots, notional_ticks)
    SELECT $1, p.* FROM moved, unnest($26::text[], $27::text[], $28::bigint[], $29::bigint[]) AS p
    ON CONFLICT (shard, account, instrument) DO UPDATE SET
        quantity_lots = positions.quantity_lots + excluded.quantity_lots,
        notional_ticks = positions.notional_ticks + excluded.notional_ticks
), new_levels AS (
    INSERT INTO book_levels (shard, instrument, side, price_ticks, quantity_lots)
    SELECT $1, l.* FROM moved, unnest($30::text[], $31::text[], $32::bigint[], $33::bigint[])
        AS l (instrument, side, price_ticks, quantity_lots) WHERE l.quantity_lots > 0
    ON CONFLICT (shard, instrument, side, price_ticks) DO UPDATE SET quantity_lots = excluded.quantity_lots
), old_levels AS (
    DELETE FROM book_levels AS b USING moved, unnest($30::text[], $31::text[], $32::bigint[], $33::bigint[])
        AS l (instrument, side, price_ticks, quantity_lots)
    WHERE l.quantity_lots = 0 AND b.shard = $1 AND b.instrument = l.instrument AND b.side = l.side
      AND b.price_ticks = l.price_ticks
), new_books AS (
    INSERT INTO books (shard, instrument, seq)
    SELECT $1, b.* FROM moved, unnest($34::text[], $35::bigint[]) AS b
    ON CONFLICT (shard, instrument) DO UPDATE SET seq = excluded.seq
)
SELECT count(*) FROM moved
"""


async def commit_batch(
    database: Database, owner: str, epoch: int, previous_seq: int, replica: Replica, events: Sequence[EncodedEvent]
) -> bool:
    """Commits what `replica` did since `previous_seq`. False: somebody else leads, and nothing was written."""
    arguments = [*_event_columns(events), *_order_columns(events), *_position_columns(events), *_book_columns(events)]
    moved: int = await database.fetch_value(
        _COMMIT, SHARD, owner, epoch, previous_seq, replica.applied_seq, replica.chain, *arguments
    )
    return moved == 1


async def read_progress(database: Database) -> tuple[int, str]:
    """The last committed sequence and the hash chain there."""
    row = await database.fetch_row("SELECT applied_seq, state_hash FROM progress WHERE shard = $1", SHARD)
    return row["applied_seq"], row["state_hash"]


async def write_snapshot(database: Database, command_seq: int, blob: bytes) -> None:
    """Keeps a snapshot, and of the older ones the last two. May be repeated: the content depends on the log alone."""
    await database.fetch(
        "INSERT INTO snapshots VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        SHARD,
        command_seq,
        SNAPSHOT_FORMAT,
        blob,
    )
    await database.fetch(
        "DELETE FROM snapshots WHERE shard = $1 AND format_version = $2 AND command_seq < (SELECT min(command_seq)"
        " FROM (SELECT command_seq FROM snapshots WHERE shard = $1 AND format_version = $2"
        " ORDER BY command_seq DESC LIMIT 3) AS kept)",
        SHARD,
        SNAPSHOT_FORMAT,
    )


async def load_replica(database: Database) -> Replica:
    """The newest snapshot that this build can read, or an empty replica."""
    blob = await database.fetch_value(
        "SELECT blob FROM snapshots WHERE shard = $1 AND format_version = $2 ORDER BY command_seq DESC LIMIT 1",
        SHARD,
        SNAPSHOT_FORMAT,
    )
    return Replica.from_snapshot(blob) if blob is not None else Replica()


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [[row[column] for row in rows] for column in range(width)]


def _event_columns(events: Sequence[EncodedEvent]) -> list[list[object]]:
    return _columns([(e.command_seq, e.index, e.channel, e.seq, e.payload.decode()) for e in events], 5)


def _order_columns(events: Sequence[EncodedEvent]) -> list[list[object]]:
    latest = {encoded.event.order_id: encoded.event for encoded in events if isinstance(encoded.event, OrderUpdate)}
    rows: list[tuple[object, ...]] = [
        (
            order.order_id,
            order.account,
            order.client_order_id,
            order.instrument,
            order.side.value,
            order.order_type.value,
            order.time_in_force.value,
            order.price_ticks,
            order.quantity_lots,
            order.filled_lots,
            order.notional_ticks,
            order.status.value,
            order.reason.value if order.reason is not None else None,
            order.at_us,
        )
        for order in latest.values()
    ]
    return _columns(rows, 14)


def _position_columns(events: Sequence[EncodedEvent]) -> list[list[object]]:
    changes: dict[tuple[str, str], tuple[int, int]] = {}
    for encoded in events:
        order = encoded.event
        if isinstance(order, OrderUpdate) and order.kind is UpdateKind.FILLED:
            quantity_lots, notional_ticks = changes.get((order.account, order.instrument), (0, 0))
            signed_lots = order.last_quantity_lots if order.side == "buy" else -order.last_quantity_lots
            changes[order.account, order.instrument] = (
                quantity_lots + signed_lots,
                notional_ticks + signed_lots * order.last_price_ticks,
            )
    return _columns([(*key, *change) for key, change in changes.items()], 4)


def _book_columns(events: Sequence[EncodedEvent]) -> list[list[object]]:
    levels: dict[tuple[object, ...], int] = {}
    books: dict[str, int] = {}
    for encoded in events:
        if isinstance(encoded.event, BookChange):
            books[encoded.event.instrument] = encoded.seq
            for level in encoded.event.levels:
                levels[encoded.event.instrument, level.side.value, level.price_ticks] = level.quantity_lots
    level_rows = [(*key, quantity_lots) for key, quantity_lots in levels.items()]
    return [*_columns(level_rows, 4), *_columns(list(books.items()), 2)]
