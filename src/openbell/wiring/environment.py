"""An environment on this machine: PostgreSQL, Valkey and HAProxy of its own, and the releases that are placed in it.

Everything of it is in one folder: ports, credentials, data, logs, and what is placed where. This module brings the
adapters together and keeps the order of starting and stopping; what is released when is not its business.
"""

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

from openbell.adapters import postgres, valkey
from openbell.adapters.haproxy import PROGRAM as HAPROXY
from openbell.adapters.haproxy import Haproxy, HaproxyLog
from openbell.adapters.haproxy import binary as haproxy_binary
from openbell.adapters.loopback import PortBook, holder, is_free
from openbell.adapters.processes import Occupation, Processes
from openbell.adapters.processes.runtime import Surroundings
from openbell.adapters.supervisor import Supervisord, refuse_missing
from openbell.core.project import Project, Service
from openbell.files import exclusive, write_whole
from openbell.machine import Program, ServiceCheck
from openbell.ports import SLOTS, AdapterError, Held
from openbell.wiring.doctor import examine_parts
from openbell.wiring.site import Check, Progress, addresses, find_secret, silent
from openbell.wiring.state import StateFolder
from openbell.wiring.surroundings import base_environment, search_path

if TYPE_CHECKING:
    from openbell.wiring.environment_status import EnvironmentStatus, RolloutStatus

POSTGRES, VALKEY = "postgres", "valkey"
RESTORE_TIMEOUT_S = 60.0
INFRASTRUCTURE_CRASHES_MAX = 1
INFRASTRUCTURE_POLL_S = 0.25


class Credentials(msgspec.Struct, frozen=True):
    """The generated passwords of an environment's database and cache."""

    postgres: str
    valkey: str


class Environment:
    """One environment. Opening it touches nothing; `up` starts it, and may be called whenever it must be up."""

    def __init__(self, project: Project, name: str, state: StateFolder) -> None:
        self.name = name
        self.project = project
        self.folder = state.environment(name)
        self.logs = self.folder / "logs"
        self.ports = PortBook(self.folder / "ports.json")
        self.supervisor = Supervisord(self.folder / "supervisor", self.logs, state.sockets(name), name)
        self.router = Haproxy(self.folder / "haproxy", state.sockets(name), self.ports.port, self._reload_haproxy)
        self.metrics = HaproxyLog(self.logs / f"{HAPROXY}.log", self.router.is_running)
        self._state = state

    @functools.cached_property
    def platform(self) -> Processes:
        """Where releases run. Implements `openbell.ports.Platform`."""
        path = search_path()
        return Processes(
            self.folder,
            self.supervisor,
            self.router,
            Surroundings(self.name, self.backing_services, self.secret, path, base_environment(path)),
            release_folder=self._state.release,
            port=self.ports.port,
            forget_ports=self.ports.forget,
        )

    @property
    def cluster(self) -> postgres.Cluster:
        """The environment's PostgreSQL."""
        return postgres.Cluster(self.folder / POSTGRES, self.ports.port(POSTGRES), self._credentials().postgres)

    @property
    def cache(self) -> valkey.Cache:
        """The environment's Valkey."""
        return valkey.Cache(self.folder / VALKEY, self.ports.port(VALKEY), self._credentials().valkey)

    def backing_services(self) -> dict[str, str]:
        """DATABASE_URL and VALKEY_URL; they hold passwords."""
        return {"DATABASE_URL": self.cluster.url, "VALKEY_URL": self.cache.url}

    def addresses(self, slot: str | None = None) -> dict[str, str]:
        """Where the services answer customers, or one slot's instances whatever its weight, as placeholders of jobs."""
        prefix = "" if slot is None else f"{slot}/"
        return addresses(self.project, lambda name: ("127.0.0.1", self.ports.port(prefix + name)))

    @contextlib.asynccontextmanager
    async def reach(self, slot: str | None = None) -> AsyncIterator[dict[str, str]]:
        """Addresses of the services: those of customers, or a slot's whatever its weight."""
        yield self.addresses(slot)

    async def holdings(self) -> dict[str, Held]:
        """What each occupied slot holds."""
        placed = self.placements()
        return {slot: Held(one.digest, one.version, len(one.instances)) for slot, one in placed.items()}

    def placements(self) -> dict[str, Occupation]:
        """What each occupied slot holds."""
        return self.platform.placements()

    async def is_up(self) -> bool:
        """Say whether the environment's supervisor runs."""
        return await self.supervisor.is_running()

    async def up(
        self,
        progress: Progress = silent,
        *,
        new_ports: bool = False,
        releases: Sequence[str] = (),
        judged: bool = True,
    ) -> list[str]:
        """Start what does not run: PostgreSQL, Valkey, HAProxy, and the instances that were ready before.

        Raises `AdapterError` when a part is missing, a port is taken, or one of the three does not come up; with
        `new_ports` ports that others have taken are chosen anew. Returns what is wrong with releases that did not come
        up: the environment itself is up then.
        """
        del releases, judged  # All need the same here.
        async with self._alone("up"):
            refuse_missing_wheels()
            cold = not await self.supervisor.is_running() and self.supervisor.is_cold()
            if cold:
                self.supervisor.forget_all()
                self.router.forget_servers()
            else:
                await self.supervisor.start()
            if cold and new_ports:
                self.ports.forget({name for name, port in self.ports.ports().items() if not is_free(port)})
            await self._declare_services()
            await self._refuse_taken_ports(cold=cold)
            if cold:
                progress(f"{self.name}: starting PostgreSQL, Valkey and HAProxy")
            await self._start_infrastructure()
            if cold and self.placements():
                progress(f"{self.name}: starting {_describe(self.placements())}")
            return await self.platform.restore(timeout_s=RESTORE_TIMEOUT_S, is_free=is_free)

    async def down(self, progress: Progress = silent, *, purge: bool = False) -> None:
        """Stop everything, services first; data and placements stay for the next `up`, unless `purge` removes them."""
        async with self._alone("down"):
            if await self.supervisor.is_running() or not self.supervisor.is_cold():
                progress(f"{self.name}: stopping")
                await self._stop()
            shutil.rmtree(self._state.sockets(self.name), ignore_errors=True)
            if purge:
                progress(f"{self.name}: removing {self.folder}")
                shutil.rmtree(self.folder, ignore_errors=True)

    async def _stop(self) -> None:
        await self.supervisor.start()  # If it was killed, what it left behind is adopted, to be stopped cleanly.
        names = list(await self.supervisor.states())
        infrastructure = (HAPROXY, VALKEY, POSTGRES)
        await self.supervisor.remove([name for name in names if name not in infrastructure])
        for name in infrastructure:
            await self.supervisor.remove([name])
        await self.supervisor.stop()

    @contextlib.asynccontextmanager
    async def _alone(self, operation: str) -> AsyncIterator[None]:
        """Keep other processes from starting or stopping this environment meanwhile; say plainly what a file said."""
        try:
            async with exclusive(self.folder / "lock"):
                yield
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise AdapterError(self.name, operation, f"{where}{error.strerror or error}") from error

    async def _declare_services(self) -> None:
        """Give HAProxy the services of slots that were never used, so that their ports are there from the start."""
        known = self.router.declared()
        for slot in SLOTS:
            if not known.get(slot):
                await self.router.declare(slot, _checks(self.project.services))

    async def _refuse_taken_ports(self, *, cold: bool) -> None:
        """Raise `AdapterError` naming who holds a port of ours, before anything is started."""
        running = set() if cold else {name for name, s in (await self.supervisor.states()).items() if s.pid}
        wanted = {name: self.ports.port(name) for name in (POSTGRES, VALKEY) if name not in running}
        if HAPROXY not in running:
            wanted |= self.router.ports()
        taken = [f"port {p} ({name}) is in use by {holder(p)}" for name, p in wanted.items() if not is_free(p)]
        if taken:
            remedy = f"Stop it, or choose other ports: openbell up {self.name} --new-ports"
            raise AdapterError(self.name, "up", "\n".join([*taken, remedy]), effect="not_applied")

    async def _start_infrastructure(self) -> None:
        cluster, cache = self.cluster, self.cache
        await postgres.initialise(cluster)
        postgres.clear_stale_lock(cluster.data, is_server=_is_server(postgres.lock_owner(cluster.data), cluster.data))
        valkey.configure(cache)
        path = {"PATH": os.environ.get("PATH", os.defpath)}
        database = Program(
            name=POSTGRES,
            command=tuple(postgres.server_command(cluster)),
            folder=str(self.folder),
            env=path,
            stop_signal="INT",
            stop_timeout_s=30.0,
            priority=10,
        )
        store = Program(
            name=VALKEY, command=tuple(valkey.server_command(cache)), folder=str(cache.folder), env=path, priority=20
        )
        await self.supervisor.start()
        await self.supervisor.add([database, store, self.router.program()])
        for name, ready in (
            (POSTGRES, functools.partial(postgres.wait_ready, cluster)),
            (VALKEY, functools.partial(valkey.wait_ready, cache)),
            (HAPROXY, self.router.wait_ready),
        ):
            await self._wait_up(name, ready)
        await postgres.create_database(cluster)

    async def _wait_up(self, name: str, ready: Callable[[], Coroutine[None, None, None]]) -> None:
        """Wait until a part is ready; raises `AdapterError` with its last log lines at once when it cannot start."""
        task = asyncio.ensure_future(ready())
        before = (await self.supervisor.states())[name].restarts
        problem = ""
        try:
            while not task.done() and not problem:
                await asyncio.wait({task}, timeout=INFRASTRUCTURE_POLL_S)
                state = (await self.supervisor.states())[name]
                starts = state.restarts - before + (state.state == "backoff")
                if state.state == "fatal" or starts > INFRASTRUCTURE_CRASHES_MAX:
                    problem = "ends again and again"
        finally:
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, AdapterError):
            problem = result.message
        if problem:
            lines = await self.supervisor.last_lines(name, lines=8)
            raise AdapterError(name, "start", f"{problem}; {self.logs / name}.log ends\n{lines}", retryable=True)

    async def _reload_haproxy(self) -> None:
        await self.supervisor.send_signal(HAPROXY, "USR2")

    def _credentials(self) -> Credentials:
        path = self.folder / "credentials.json"
        if not path.exists():
            made = Credentials(secrets.token_urlsafe(24), secrets.token_urlsafe(24))
            write_whole(path, msgspec.json.encode(made), durable=True)
        return msgspec.json.decode(path.read_bytes(), type=Credentials)

    def secret(self, name: str) -> str | None:
        """Look a secret up in the caller's environment, then in the environment's `secrets.toml`."""
        return find_secret(self.folder, name)

    async def examine(self, tree: Path | None = None) -> list[Check]:
        """What this machine has of its parts, its ports and its supervisor; all releases need the same."""
        del tree
        parts, name = await examine_parts(), f"environment {self.name}"
        if await self.is_up():
            return [*parts, Check(name, True, True, "up")]
        if not self.supervisor.is_cold():
            remedy = f"adopt what lives on: openbell up {self.name}"
            return [*parts, Check(name, False, True, "its supervisor was killed, its processes live on", remedy)]
        checks = [*parts, Check(name, True, True, f"down; start it: openbell up {self.name}")]
        for part, port in self.ports.ports().items():
            if not is_free(port):
                remedy = f"stop it, or choose other ports: openbell up {self.name} --new-ports"
                checks.append(Check(f"port {port} ({part})", False, True, f"in use by {holder(port)}", remedy))
        return checks

    async def close(self) -> None:
        """Nothing: everything that connects to it is opened for a moment only."""

    async def look(self, rollout: "RolloutStatus | None" = None) -> "EnvironmentStatus":
        """Look at it as it is now, and change nothing."""
        from openbell.wiring.environment_status import look

        return await look(self, rollout)


def refuse_missing_wheels() -> None:
    """Raise `AdapterError` with the remedy when a part of an environment is not installed."""
    refuse_missing()
    postgres.binaries()
    valkey.binary()
    haproxy_binary()


def _checks(services: dict[str, Service]) -> dict[str, ServiceCheck]:
    return {name: ServiceCheck(service.protocol, service.health, service.closed) for name, service in services.items()}


def _describe(placements: dict[str, Occupation]) -> str:
    return ", ".join(f"{o.version} ({slot}, {len(o.instances)} instances)" for slot, o in sorted(placements.items()))


def _is_server(pid: int | None, data: Path) -> bool:
    """Say whether a process is the PostgreSQL of a data directory."""
    if pid is None:
        return False
    try:
        return str(data) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
