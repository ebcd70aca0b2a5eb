"""The api as a service: nothing lives here but requests in flight."""

import asyncio
from typing import cast

from trading_engine.api.app import ROUTES, create_app
from trading_engine.journal.database import Database
from trading_engine.service.handover import DrainOrder
from trading_engine.service.operations import AsgiApp, Message, Receive, Send
from trading_engine.service.runtime import run_service
from trading_engine.settings import Settings

_FINISH_S = 5.0


class ApiService:
    """Stateless: a drain only waits until the requests that are here have been answered."""

    name = "api"
    unit = "requests"
    routes = ROUTES

    def __init__(self, database: Database, app: AsgiApp) -> None:
        self._database = database
        self._app = app
        self._in_flight = 0
        self._connecting: asyncio.Task[None] | None = None

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request (the ASGI interface) and counts it while it is in flight."""
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1

    async def start(self) -> None:
        """Connects to the database in the background."""
        self._connecting = asyncio.create_task(self._database.start(), name="database")

    async def unready_reason(self) -> str | None:
        """Ready when the database answers."""
        return await self._database.unready_reason()

    def remaining(self) -> int:
        """Requests in flight."""
        return self._in_flight

    def refuse_new(self) -> None:
        """Nothing to refuse: `/readyz` keeps new work away."""

    async def drain(self, order: DrainOrder) -> None:
        """Nothing has to be moved: the router sends new requests elsewhere already. Waits for those that are here."""
        deadline = asyncio.get_running_loop().time() + _FINISH_S
        while self._in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - ends soon
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Closes the database."""
        if self._connecting is not None:
            self._connecting.cancel()
        await self._database.stop()


def run(settings: Settings, *, host: str, port: int) -> int:
    """Runs the api service; returns the exit code."""
    database = Database(settings.database_url, application=f"trading-engine api {settings.instance}")
    service = ApiService(database, cast("AsgiApp", create_app(database, settings.keys)))
    return run_service(service, settings, host=host, port=port, app=service.answer)
