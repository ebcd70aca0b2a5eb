"""Group commit: commands that arrive within two milliseconds, or while a commit is under way, share the next one."""

import asyncio

from trading_engine.core.commands import Command
from trading_engine.journal.command_log import Sequenced, append_commands
from trading_engine.journal.database import Database

_COLLECT_S = 0.002
_BATCH_MAX = 200


class Sequencer:
    """Appends commands to the log and tells each caller when its own is committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Command, asyncio.Future[Sequenced]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def append(self, command: Command) -> Sequenced:
        """Returns after the commit; raises `DatabaseUnavailable` if it is unknown whether that happened."""
        committed: asyncio.Future[Sequenced] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, committed))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(), name="sequencer")
        return await committed

    async def _flush(self) -> None:
        await asyncio.sleep(_COLLECT_S)
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_MAX], self._waiting[_BATCH_MAX:]
            try:
                results = await append_commands(self._database, [command for command, _ in batch])
            except Exception as error:  # noqa: BLE001 - each caller gets it; none may wait for ever
                for _, committed in batch:
                    if not committed.done():
                        committed.set_exception(error)
                continue
            for (_, committed), result in zip(batch, results, strict=True):
                if not committed.done():  # a caller that has gone away does not undo the commit
                    committed.set_result(result)
        self._flusher = None
