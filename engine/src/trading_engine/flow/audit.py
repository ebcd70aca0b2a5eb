"""The reckoning: what the flow was told against what the log, the events and the sessions say.

*Lost* is an order that was acknowledged and is not in the log, or was never matched. *Doubled* is an order that is in
the log twice, was taken into the book twice, or whose fills don't add up to what is on record.
"""

import asyncio
from collections.abc import Sequence

import asyncpg
from msgspec import Struct

# Three scans, joined here: without statistics about rows this young PostgreSQL would join them in nested loops.
_COMMANDS = """
SELECT client_order_id, count(*) AS count FROM commands
WHERE shard = 0 AND account = ANY ($1) AND client_order_id LIKE $2 AND payload LIKE '{"type":"submit"%' GROUP BY 1
"""
_HAPPENED = """
SELECT payload ->> 'client_order_id' AS client_order_id,
    count(*) FILTER (WHERE payload ->> 'kind' IN ('accepted', 'rejected')) AS taken,
    COALESCE(sum((payload ->> 'last_quantity_lots')::bigint) FILTER (WHERE payload ->> 'kind' = 'filled'), 0)
        AS filled_lots
FROM events WHERE shard = 0 AND channel = ANY ($1) AND payload ->> 'type' = 'order'
  AND payload ->> 'client_order_id' LIKE $2 GROUP BY 1
"""
_ORDERS = """
SELECT client_order_id, filled_lots FROM orders WHERE shard = 0 AND account = ANY ($1) AND client_order_id LIKE $2
"""


class OrderAudit(Struct, frozen=True):
    """How the acknowledged orders of a run ended; with examples to look at."""

    lost: int
    doubled: int
    examples: list[str]


class Auditor:
    """Reads the database that the services write."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def wait_matched(self, timeout_s: float) -> bool:
        """Waits until everything that is in the log now has been matched; False if that takes too long."""
        last_seq: int = await self._connection.fetchval("SELECT last_seq FROM log_counter WHERE shard = 0")
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            if await self._connection.fetchval("SELECT applied_seq FROM progress WHERE shard = 0") >= last_seq:
                return True
            await asyncio.sleep(0.05)
        return False

    async def audit_orders(self, accounts: Sequence[str], prefix: str, acknowledged: Sequence[str]) -> OrderAudit:
        """Compares the orders of a run, known by the prefix of their ids, with the log and the events."""
        channels = [f"orders:{account}" for account in accounts]
        like = prefix + "%"
        logged = {row[0]: row[1] for row in await self._connection.fetch(_COMMANDS, list(accounts), like)}
        happened = {row[0]: row for row in await self._connection.fetch(_HAPPENED, channels, like)}
        filled_lots = {row[0]: row[1] for row in await self._connection.fetch(_ORDERS, list(accounts), like)}
        lost = [name for name in acknowledged if name not in logged or name not in happened]
        doubled = [
            name
            for name, row in happened.items()
            if logged.get(name) != 1 or row["taken"] != 1 or row["filled_lots"] != filled_lots.get(name)
        ]
        return OrderAudit(len(lost), len(doubled), [*lost[:5], *doubled[:5]])

    async def channel_ends(self, channels: Sequence[str]) -> dict[str, int]:
        """The last number of each channel."""
        rows = await self._connection.fetch(
            "SELECT channel, max(seq) AS seq FROM events WHERE shard = 0 AND channel = ANY ($1) GROUP BY 1",
            list(channels),
        )
        return {row["channel"]: row["seq"] for row in rows}

    async def session_numbers(self, sender: str) -> tuple[int, int]:
        """The numbers the engine has received and sent on a FIX session."""
        row = await self._connection.fetchrow(
            "SELECT incoming_seq, outgoing_seq FROM fix_sessions WHERE sender = $1", sender
        )
        return (row["incoming_seq"], row["outgoing_seq"]) if row is not None else (0, 0)
