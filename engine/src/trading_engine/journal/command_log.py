"""Appending commands to the log, and reading them back in order.

The sequence is gapless because the number comes from a counter row that is updated in the same transaction as the
insert; a `bigserial` would show gaps to a reader while a slow transaction is under way.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from trading_engine.core.commands import CancelOrder, Command, LoggedCommand
from trading_engine.journal.database import Database
from trading_engine.journal.migrations import SHARD

SEQUENCE_SQL = "SELECT ordinal, seq, fresh, payload FROM sequence_commands($1, $2, $3, $4)"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Command).decode


class Sequenced(Struct, frozen=True):
    """The place of a command in the log. `fresh` is False if it was there before; `conflict` if another one was."""

    seq: int
    fresh: bool
    conflict: bool = False


def command_id(command: Command) -> str:
    """The id under which an account's command is unique in the log."""
    return command.request_id if isinstance(command, CancelOrder) else command.client_order_id


def sequence_arguments(commands: Sequence[Command]) -> tuple[int, list[str], list[str], list[str]]:
    """The arguments of `SEQUENCE_SQL`."""
    return (
        SHARD,
        [command.account for command in commands],
        [command_id(command) for command in commands],
        [_encode(command).decode() for command in commands],
    )


def sequenced_rows(commands: Sequence[Command], rows: Sequence[Any]) -> list[Sequenced]:
    """What `SEQUENCE_SQL` says about each command."""
    return [
        Sequenced(row["seq"], row["fresh"], conflict=_decode(row["payload"]) != command)
        if not row["fresh"]
        else Sequenced(row["seq"], fresh=True)
        for command, row in zip(commands, rows, strict=True)
    ]


async def append_commands(database: Database, commands: Sequence[Command]) -> list[Sequenced]:
    """Commits commands to the log in the given order. May be repeated: a command that is there is found, not added."""
    rows = await database.fetch(SEQUENCE_SQL, *sequence_arguments(commands))
    return sequenced_rows(commands, rows)


async def read_commands(
    database: Database, after_seq: int, *, limit: int = 500, upto_seq: int | None = None
) -> list[LoggedCommand]:
    """The commands that follow `after_seq`, without a gap."""
    rows = await database.fetch(
        "SELECT seq, (extract(epoch FROM recorded_at) * 1000000)::bigint AS at_us, payload FROM commands"
        " WHERE shard = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4",
        SHARD,
        after_seq,
        upto_seq if upto_seq is not None else 2**62,
        limit,
    )
    return [LoggedCommand(row["seq"], row["at_us"], _decode(row["payload"])) for row in rows]
