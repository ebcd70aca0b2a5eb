"""The worlds that the contracts are held against: the fake in memory, and an environment of real processes.

A third one, on a real cluster, is in `tests.conformance.cluster_world`.
"""

import asyncio
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

import httpx
import msgspec

from openbell.adapters.haproxy.balancer import MAP_NAME
from openbell.core.project import ReleaseInfo
from openbell.core.release import Release
from openbell.ports import SLOTS, MetricSource, Platform, ReleaseRef, Router
from openbell.wiring.environment import Environment
from openbell.wiring.state import StateFolder
from tests.fakes.releases import project, write_release
from tests.fakes.world import FakeWorld


class World(Protocol):
    """One environment, with what a test needs beside the ports."""

    platform: Platform
    router: Router
    metrics: MetricSource

    timeout_s: float
    """How long instances may take until they are ready, on a machine that is busy."""
    refused_s_max: float
    """How long it may take to see that they never will be, and to take them away again."""
    switch_ms_max: float
    """How long a change of the routing may take."""
    refusals: frozenset[int]
    """What a customer is answered who asks for a path that is closed to customers."""
    api_instance: str
    """A pattern for the name of the only instance of `api` in slot green."""
    migration_failed: str
    """A pattern for what is said of a migration `false`."""

    def release(self, version: str, *, migration: ReleaseInfo | None = None, **env: str) -> ReleaseRef:
        """Build a release; `env` makes it misbehave (tests/fakes/service.py)."""

    async def request(self, count: int) -> list[tuple[int, str]]:
        """Do what customers do; returns status and slot of each answer."""

    async def ask(self, path: str) -> int:
        """Ask for a path as a customer; returns the status."""

    async def wait_counted(self) -> None:
        """Wait until all that was requested has reached the source of metrics."""

    async def disturb(self) -> None:
        """Change the weights as somebody else would, beside the router."""

    async def reset(self) -> None:
        """Empty both slots."""

    async def break_metrics(self) -> None:
        """Make the source of metrics go away."""

    async def mend_metrics(self) -> None:
        """Bring it back."""


class MemoryWorld:
    """The fake."""

    timeout_s = 20.0
    refused_s_max = 1.0
    switch_ms_max = 50.0
    refusals = frozenset({404})
    api_instance = "green-api-1"
    migration_failed = "`false` ended with 1"

    def __init__(self) -> None:
        fake = FakeWorld()
        self.platform: Platform = fake
        self.router: Router = fake
        self.metrics: MetricSource = fake
        self._fake = fake

    def release(self, version: str, *, migration: ReleaseInfo | None = None, **env: str) -> ReleaseRef:
        content = msgspec.structs.replace(project(**env), release=migration or ReleaseInfo())
        made = ReleaseRef(Release(content, version, ()).digest, version)
        self._fake.add(made, content, env)
        return made

    async def request(self, count: int) -> list[tuple[int, str]]:
        return [self._fake.request() for _ in range(count)]

    async def ask(self, path: str) -> int:
        return 404 if unquote(path) in self._fake.closed() else 200

    async def wait_counted(self) -> None:
        """It counts at once."""

    async def disturb(self) -> None:
        self._fake.disturb()

    async def reset(self) -> None:
        for slot in SLOTS:
            await self._fake.retire(slot, 0, key="reset")
            await self._fake.sample(slot)

    async def break_metrics(self) -> None:
        self._fake.is_up = False

    async def mend_metrics(self) -> None:
        self._fake.is_up = True


class LocalWorld:
    """An environment of real processes: supervisord, HAProxy, PostgreSQL, Valkey, and the tiny service."""

    timeout_s = 20.0
    refused_s_max = 12.0
    switch_ms_max = 50.0
    refusals = frozenset({404})
    api_instance = "green-api-1"
    migration_failed = "`false` ended with 1"

    def __init__(self, folder: Path) -> None:
        self.state = StateFolder(folder)
        self.environment = Environment(project(), "production", self.state)
        self.platform: Platform = self.environment.platform
        self.router: Router = self.environment.router
        self.metrics: MetricSource = self.environment.metrics

    def release(self, version: str, *, migration: ReleaseInfo | None = None, **env: str) -> ReleaseRef:
        return write_release(self.state, version, project(**env), release=migration)

    async def request(self, count: int) -> list[tuple[int, str]]:
        url = self.environment.addresses()["api_url"]
        found = []
        async with httpx.AsyncClient(trust_env=False) as http:
            for _ in range(count):
                answer = await http.get(url)
                found.append((answer.status_code, answer.json()["slot"]))
        return found

    async def ask(self, path: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(self.environment.addresses()["api_url"] + path)).status_code

    async def wait_counted(self) -> None:
        """HAProxy counts before it answers."""

    async def disturb(self) -> None:
        socket = self.state.sockets(self.environment.name) / "haproxy.sock"
        reader, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(f"set map {MAP_NAME} api:50 api_green\n".encode())
        await writer.drain()
        await reader.read()
        writer.close()

    async def reset(self) -> None:
        for slot in SLOTS:
            await self.platform.retire(slot, 0, key="reset")
            await self.metrics.sample(slot)

    async def break_metrics(self) -> None:
        await self.environment.supervisor.remove(["haproxy"])

    async def mend_metrics(self) -> None:
        await self.environment.up()
