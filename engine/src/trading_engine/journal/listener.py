"""Wakes whoever waits for something in the database, by LISTEN / NOTIFY.

A notification is a hint: it can be missed while the connection is away, so every waiter also looks from time to time.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import asyncpg

from trading_engine.journal.database import DATABASE_ERRORS


class Listener:
    """One connection that listens on channels and sets an event for each."""

    def __init__(self, url: str, channels: Sequence[str]) -> None:
        self._url = url
        self._events = {channel: asyncio.Event() for channel in channels}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to listen, and to reconnect whenever that is needed."""
        self._task = asyncio.create_task(self._run(), name="listener")

    async def stop(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def wait_notified(self, channel: str, timeout_s: float) -> bool:
        """Returns at the next notification (True) or after the timeout (False); one since the last call counts."""
        event = self._events[channel]
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            return False
        event.clear()
        return True

    def wake(self, channel: str) -> None:
        """Lets a waiter of this process look at once."""
        self._events[channel].set()

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except DATABASE_ERRORS:
                await asyncio.sleep(0.2)

    async def _listen(self) -> None:
        lost = asyncio.Event()
        connection = await asyncpg.connect(
            self._url, timeout=5, server_settings={"application_name": "trading-engine listener"}
        )
        try:
            connection.add_termination_listener(lambda *_: lost.set())
            for channel in self._events:
                await connection.add_listener(channel, self._notified)
            for event in self._events.values():
                event.set()  # whatever happened while nobody listened
            await lost.wait()
        finally:
            connection.terminate()

    def _notified(self, _connection: object, _pid: int, channel: str, _payload: str) -> None:
        self._events[channel].set()
