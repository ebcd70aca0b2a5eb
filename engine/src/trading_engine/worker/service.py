"""The worker as a service: what lives here is the lead."""

import asyncio
import contextlib

from trading_engine.journal.database import Database
from trading_engine.journal.feed import HINT_CHANNEL
from trading_engine.journal.hint import Hints
from trading_engine.journal.listener import Listener
from trading_engine.service.handover import DrainOrder
from trading_engine.service.runtime import run_service
from trading_engine.settings import Settings
from trading_engine.worker.matcher import Matcher, stop_matcher


class WorkerService:
    """Runs the matcher next to the operational endpoints."""

    name = "worker"
    unit = "leaders"

    def __init__(self, settings: Settings) -> None:
        self._database = Database(
            settings.database_url, connections_max=2, application=f"trading-engine worker {settings.instance}"
        )
        self._listener = Listener(settings.database_url, ("commands", "lease"))
        self._hints = Hints(settings.valkey_url, HINT_CHANNEL)
        self._matcher = Matcher(
            self._database, self._listener, self._hints, owner=settings.instance, slot=settings.slot
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follows the log as soon as the database answers."""
        self._task = asyncio.create_task(self._run(), name="matcher")

    async def _run(self) -> None:
        await self._database.start()
        self._listener.start()
        await self._matcher.run()

    async def unready_reason(self) -> str | None:
        """Ready when the log has been read and everything computed agrees with what was committed."""
        if self._matcher.diverged is not None:
            return f"diverged {self._matcher.diverged}"
        reason = await self._database.unready_reason()
        if reason is None and not self._matcher.caught_up:
            return "reading the log"
        return reason

    def remaining(self) -> int:
        """1 if this worker leads."""
        return int(self._matcher.leads)

    def refuse_new(self) -> None:
        """Never takes the lead again."""
        self._matcher.retire()

    async def drain(self, order: DrainOrder) -> None:
        """Hands the lead over."""
        await self._matcher.hand_over(order.to)

    async def stop(self) -> None:
        """Ends the matcher and closes its connections."""
        if self._task is not None:
            await stop_matcher(self._task)
        await self._listener.stop()
        with contextlib.suppress(OSError):
            await self._hints.stop()
        await self._database.stop()


def run(settings: Settings, *, host: str, port: int) -> int:
    """Runs the worker service; returns the exit code."""
    return run_service(WorkerService(settings), settings, host=host, port=port)
