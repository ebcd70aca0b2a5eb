"""Sequence numbers and messages of FIX sessions in PostgreSQL, fenced by the session's epoch.

Whoever holds a session's lease may write; taking it raises the epoch, so that a gateway which was thought dead cannot
write any more. Incoming number and command are one transaction, outgoing number and message are one transaction.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from trading_engine.core.commands import Command
from trading_engine.core.events import orders_channel
from trading_engine.fix_gateway.codec import encode_fields
from trading_engine.fix_gateway.session import Reply
from trading_engine.journal.command_log import SEQUENCE_SQL, Sequenced, sequence_arguments, sequenced_rows
from trading_engine.journal.database import Database
from trading_engine.journal.migrations import SHARD

LEASE_S = 3.0


class SessionFenced(Exception):
    """Another gateway holds this session now; nothing was written."""


class SessionRow(Struct, frozen=True):
    """A session as it was when the lease was taken."""

    epoch: int
    incoming_seq: int
    outgoing_seq: int
    reported_seq: int


class StoredMessage(Struct, frozen=True):
    """A message that was sent."""

    seq: int
    message_type: str
    sent_at: str
    body: bytes


class SessionWrite(Struct, frozen=True):
    """What one transaction changes: numbers, commands for the log, messages that go out."""

    incoming_seq: int
    outgoing_seq: int
    reported_seq: int
    commands: Sequence[Command] = ()
    messages: Sequence[StoredMessage] = ()
    release: bool = False


class SessionStore:
    """All sessions of one gateway process."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def acquire(self, sender: str, account: str) -> SessionRow | None:
        """Takes a session's lease if nobody else holds it, and makes the session if it is new.

        A new session reports what happens from now on, not what the account did before.
        """
        row = await self._database.fetch_row(
            "INSERT INTO fix_sessions AS s (sender, account, epoch, owner, expires_at, reported_seq)"
            " VALUES ($1, $2, 1, $3, now() + make_interval(secs => $4),"
            " (SELECT COALESCE(max(seq), 0) FROM events WHERE shard = $5 AND channel = $6))"
            " ON CONFLICT (sender) DO UPDATE SET epoch = s.epoch + 1, owner = excluded.owner,"
            " expires_at = excluded.expires_at"
            " WHERE s.account = excluded.account AND (s.owner IS NULL OR s.owner = excluded.owner"
            " OR s.expires_at < now())"
            " RETURNING epoch, incoming_seq, outgoing_seq, reported_seq",
            sender,
            account,
            self._owner,
            LEASE_S,
            SHARD,
            orders_channel(account),
        )
        return SessionRow(**row) if row is not None else None

    async def write(self, sender: str, epoch: int, write: SessionWrite) -> list[Sequenced]:
        """Commits numbers, commands and messages together and keeps the lease; says where the commands are now."""
        async with self._database.connection() as connection, connection.transaction():
            await self._fence(connection, sender, epoch, write)
            if write.messages:
                await connection.execute(
                    "INSERT INTO fix_messages SELECT $1, m.*"
                    " FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bytea[]) AS m",
                    sender,
                    [message.seq for message in write.messages],
                    [message.message_type for message in write.messages],
                    [message.sent_at for message in write.messages],
                    [message.body for message in write.messages],
                )
            if not write.commands:
                return []
            # Last, because it locks the counter of the log, which everybody needs.
            rows = await connection.fetch(SEQUENCE_SQL, *sequence_arguments(write.commands))
            return sequenced_rows(write.commands, rows)

    async def forget(self, sender: str, epoch: int) -> None:
        """Starts both directions at 1 again, because the counterparty asked for it (141=Y)."""
        async with self._database.connection() as connection, connection.transaction():
            await self._fence(connection, sender, epoch, SessionWrite(0, 0, 0))
            await connection.execute("DELETE FROM fix_messages WHERE sender = $1", sender)

    async def sent_messages(self, sender: str, begin_seq: int, end_seq: int) -> list[StoredMessage]:
        """The messages with numbers from `begin_seq` to `end_seq`, in order."""
        rows = await self._database.fetch(
            "SELECT seq, message_type, sent_at, body FROM fix_messages"
            " WHERE sender = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
            sender,
            begin_seq,
            end_seq,
        )
        return [StoredMessage(**row) for row in rows]

    async def _fence(self, connection: Any, sender: str, epoch: int, write: SessionWrite) -> None:
        held = await connection.fetchval(
            "UPDATE fix_sessions SET incoming_seq = $4, outgoing_seq = $5, reported_seq = GREATEST(reported_seq, $6),"
            " owner = CASE WHEN $7 THEN NULL ELSE owner END,"
            " expires_at = CASE WHEN $7 THEN now() ELSE now() + make_interval(secs => $8) END"
            " WHERE sender = $1 AND owner = $2 AND epoch = $3 RETURNING epoch",
            sender,
            self._owner,
            epoch,
            write.incoming_seq,
            write.outgoing_seq,
            write.reported_seq,
            write.release,
            LEASE_S,
        )
        if held is None:
            raise SessionFenced(sender)
        if write.release:
            await connection.execute("SELECT pg_notify('fix_sessions', $1)", sender)


def stored_message(seq: int, reply: Reply, sent_at: str) -> StoredMessage:
    """A reply with the number and time under which it is sent."""
    return StoredMessage(seq, reply.type, sent_at, encode_fields(reply.fields))
