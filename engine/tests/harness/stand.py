"""Runs services inside the test's process, on free ports, with handovers between sides.

Killing a process needs a process: `Program` starts a service as a user would.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from trading_engine.api.app import create_app
from trading_engine.api.service import ApiService
from trading_engine.clients.http import HttpClient, Unanswered
from trading_engine.fix_gateway.service import FixGatewayService
from trading_engine.journal.database import Database
from trading_engine.service.handover import Service
from trading_engine.service.operations import AsgiApp
from trading_engine.service.runtime import listen, serve
from trading_engine.settings import ApiKeys, Settings
from trading_engine.websocket.service import WebsocketService
from trading_engine.worker.service import WorkerService

HOST = "127.0.0.1"
KEYS = {"key-flow": "flow", "key-smoke": "smoke", "key-other": "other"}
DEADLINE_S = 10.0


async def wait_until(condition: Callable[[], Any], what: str, *, timeout_s: float = DEADLINE_S) -> None:
    """Waits for a condition, plain or awaitable."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if bool(value):
            return
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(0.01)


class Running:
    """One service that runs in this process."""

    def __init__(self, service: Service, settings: Settings, app: AsgiApp | None, fix: socket.socket | None) -> None:
        self._listening = listen(HOST, 0)
        self.port: int = self._listening.getsockname()[1]
        self.fix_port: int = fix.getsockname()[1] if fix is not None else 0
        self.slot = settings.slot
        self.http = HttpClient(f"http://{HOST}:{self.port}", headers={"X-API-Key": "key-flow"})
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            serve(service, settings, self._listening, app=app, stop=self._stop, settle_s=0)
        )

    async def ready(self) -> None:
        async def answers() -> bool:
            try:
                return bool((await self.http.request("GET", "/readyz")).status == 200)
            except Unanswered:
                return False

        await wait_until(answers, f"{self.port} ready")

    async def drain(self, to: str | None = None, *, spread_s: float = 0.1) -> dict[str, Any]:
        """Drains and waits until that is done."""
        order = msgspec.json.encode({"to": to, "spread_s": spread_s})
        assert (await self.http.request("POST", "/drain", body=order)).status == 202
        state: dict[str, Any] = {}

        async def drained() -> bool:
            nonlocal state
            state = msgspec.json.decode((await self.http.request("GET", "/drain")).body)
            return bool(state["state"] != "draining")

        await wait_until(drained, "drained")
        return state

    async def metric(self, name: str) -> float:
        text = (await self.http.request("GET", "/metrics")).body.decode()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    async def stop(self) -> None:
        self.http.close()
        self._stop.set()
        await self._task


class Stand:
    """Starts services on one database and stops them all."""

    def __init__(self, database_url: str, valkey_url: str) -> None:
        self.database_url = database_url
        self.valkey_url = valkey_url
        self.running: list[Running] = []
        self._count = 0

    def settings(self, slot: str) -> Settings:
        self._count += 1
        return Settings(self.database_url, self.valkey_url, ApiKeys(KEYS), slot, f"{slot}-{self._count}")

    async def api(self, slot: str = "blue") -> Running:
        settings = self.settings(slot)
        database = Database(settings.database_url)
        service = ApiService(database, cast("AsgiApp", create_app(database, settings.keys)))
        return await self._add(service, settings, service.answer)

    async def websocket(self, slot: str = "blue") -> Running:
        settings = self.settings(slot)
        service = WebsocketService(settings)
        return await self._add(service, settings, service.answer)

    async def worker(self, slot: str = "blue") -> Running:
        settings = self.settings(slot)
        return await self._add(WorkerService(settings), settings, None)

    async def fix(self, slot: str = "blue") -> Running:
        settings = self.settings(slot)
        listening = listen(HOST, 0)
        return await self._add(FixGatewayService(settings, listening), settings, None, fix=listening)

    async def stop(self) -> None:
        await asyncio.gather(*(running.stop() for running in self.running))

    async def _add(
        self, service: Service, settings: Settings, app: AsgiApp | None, *, fix: socket.socket | None = None
    ) -> Running:
        running = Running(service, settings, app, fix)
        self.running.append(running)
        await running.ready()
        return running


class Switch:
    """A TCP proxy whose target can be changed for new connections."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def start(self) -> "Switch":
        self._server = await asyncio.start_server(self._carry, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks[task] = None
        try:
            onward_reader, onward_writer = await asyncio.open_connection(HOST, self.target)
            try:
                await asyncio.gather(_pipe(reader, onward_writer), _pipe(onward_reader, writer))
            finally:
                onward_writer.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.pop(task, None)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class Program:
    """A service as a process of its own."""

    def __init__(self, stand: Stand, slot: str, instance: str, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]
        environment = {
            **os.environ,
            "DATABASE_URL": stand.database_url,
            "VALKEY_URL": stand.valkey_url,
            "TRADING_ENGINE_API_KEYS": ",".join(f"{key}:{account}" for key, account in KEYS.items()),
            "OPENBELL_SLOT": slot,
            "OPENBELL_INSTANCE": instance,
        }
        self._log = (directory / f"{instance}.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trading_engine", "worker", "--port", str(self.port)],
            env=environment,
            stdout=self._log,
            stderr=self._log,
        )
        self.http = HttpClient(f"http://{HOST}:{self.port}")

    async def answers(self, path: str) -> bool:
        try:
            return (await self.http.request("GET", path)).status == 200
        except Unanswered:
            return False

    def kill(self) -> None:
        """As if the machine had taken it away."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    async def terminate(self) -> int:
        """Asks it to end, and returns its exit code."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 10)

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.kill()
        self._log.close()


@contextlib.asynccontextmanager
async def closing(stand: Stand) -> AsyncIterator[Stand]:
    try:
        yield stand
    finally:
        await stand.stop()
