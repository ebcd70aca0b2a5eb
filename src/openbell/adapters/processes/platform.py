"""Placing, retiring, draining and observing the releases of one environment on this machine.

What is done can be done again: placing what is there changes nothing, retiring what is gone neither. An instance is
written down, started, waited for, and only then sent work; on its way out it gets no more work first, then ends. When
placing fails, what was started for it is taken away again, so the slot is as it was.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import msgspec
import psutil

from openbell.adapters.processes import endpoints, runtime
from openbell.adapters.processes.placement import SYSTEM, Instance, Occupation, PlacementFile
from openbell.adapters.processes.runtime import Runtime, Surroundings
from openbell.core.analysis.limits import ServiceHealth, SideHealth
from openbell.files import write_whole
from openbell.handover import refuse_kept_lead
from openbell.machine import Program, ProgramState, Server, ServiceCheck, Supervisor, Traffic
from openbell.ports import AdapterError, DrainReport, ReleaseRef

if TYPE_CHECKING:
    import httpx

CRASHES_MAX = 1
"""Starts that may fail while an instance is awaited; one more, and it is taken for one that cannot start."""
STATES_POLL_S = 0.25
QUIET_POLL_S = 0.05
LAST_LINES = 12
DATABASE_QUERIES = "database_queries_total"
"""The counter in a service's metrics that says how many queries it has sent."""
MIGRATION_TIMEOUT_S = 600.0


class Processes:
    """Implements `openbell.ports.Platform`. `port` returns the port of a name, and remembers it; `forget` frees it."""

    def __init__(
        self,
        folder: Path,
        supervisor: Supervisor,
        traffic: Traffic,
        surroundings: Surroundings,
        *,
        release_folder: Callable[[str], Path],
        port: Callable[[str], int],
        forget_ports: Callable[[set[str]], None],
    ) -> None:
        self._logs = folder / "logs"
        self._placements = PlacementFile(folder / "instances.json")
        self._migrations = folder / "migrations.json"
        self._supervisor = supervisor
        self._traffic = traffic
        self._surroundings = surroundings
        self._release_folder = release_folder
        self._port = port
        self._forget_ports = forget_ports
        self._lock = asyncio.Lock()

    def placements(self) -> dict[str, Occupation]:
        """What each occupied slot holds."""
        return self._placements.read()

    async def place(self, slot: str, release: ReleaseRef, replicas: int, *, timeout_s: float, key: str) -> None:
        """Bring every service of the release to `replicas` healthy instances in the slot, or leave more as they are."""
        del key  # Placing is defined by what shall be there, so a repetition finds it there.
        async with self._lock:
            made = await self._prepare(release.digest)
            occupation = self._claim(slot, release)
            new = self._missing(slot, made, occupation, replicas)
            self._placements.write(slot, occupation.with_instances((*occupation.instances, *new)))
            await self._bring_up(slot, made, timeout_s=timeout_s)

    async def restore(self, *, timeout_s: float, is_free: Callable[[int], bool]) -> list[str]:
        """Start again what was ready and is gone, after the environment or the machine was stopped; returns problems.

        An instance whose port somebody else has taken meanwhile gets another; `is_free` tells. Instances that never
        were ready are forgotten: whoever placed them places them again.
        """
        async with self._lock:
            running = set(await self._supervisor.states())
            work = [self._restore_slot(slot, running, timeout_s, is_free) for slot in self.placements()]
            return [problem for problem in await asyncio.gather(*work) if problem]

    async def _restore_slot(
        self, slot: str, running: set[str], timeout_s: float, is_free: Callable[[int], bool]
    ) -> str | None:
        occupation = self.placements()[slot]
        if running.issuperset(instance.name for instance in occupation.instances):
            return None
        lost = [one.name for one in occupation.instances if not one.ready and one.name not in running]
        await self._take_away(slot, lost)
        occupation = self.placements().get(slot, occupation.with_instances(()))
        instances = tuple(
            one if one.name in running or (is_free(one.port) and is_free(one.http_port)) else self._moved(one)
            for one in occupation.instances
        )
        if not instances:
            return None
        self._placements.write(slot, occupation.with_instances(instances))
        try:
            await self._bring_up(slot, await self._prepare(occupation.digest), timeout_s=timeout_s)
        except AdapterError as error:
            return f"{occupation.version} ({slot}): {error.message}"
        return None

    async def retire(self, slot: str, replicas: int, *, key: str) -> None:
        """Stop instances of the slot, oldest first, until `replicas` of each service are left; SIGTERM, then kill."""
        del key
        async with self._lock:
            occupation = self.placements().get(slot)
            if occupation is None:
                return
            surplus = occupation.surplus(replicas)
            names = [instance.name for instance in surplus]
            if names:
                await self._traffic.pause(names)
                await self._wait_quiet(occupation, surplus)
            await self._take_away(slot, names)
            if replicas == 0:
                self._placements.write(slot, None)

    async def drain(self, slot: str, to: str, keep: int, *, key: str) -> list[DrainReport]:
        """Move what lives on all but `keep` instances to the slot `to`, service by service in the release's order.

        Raises a retryable `AdapterError` when a leader keeps its lead for longer than its `drain_timeout_s`.
        """
        del key  # Services take a repeated request as the same.
        occupation = self.placements().get(slot)
        if occupation is None:
            return []
        project = self._load(occupation.digest).release.project
        surplus = occupation.surplus(keep)
        if keep > 0:
            # Else all of the slot would be out of service, and a rollback could not send work straight back.
            await self._traffic.pause([instance.name for instance in surplus])
        reports = []
        async with endpoints.client() as http:
            for name in project.service_order:
                leaving = [instance for instance in surplus if instance.service == name]
                if leaving:
                    service = project.services[name]
                    moves = await asyncio.gather(*(endpoints.drain(http, one, service, to) for one in leaving))
                    reports.append(DrainReport(name, sum(moved for moved, _ in moves), sum(left for _, left in moves)))
                    if service.protocol == "leader":
                        await self._take_lead(http, to, name)
                        kept = {instance.name: left for instance, (_, left) in zip(leaving, moves, strict=True)}
                        refuse_kept_lead(SYSTEM, kept, to, timeout_s=service.drain_timeout_s)
        return reports

    async def _take_lead(self, http: "httpx.AsyncClient", slot: str, name: str) -> None:
        """Ask the side that takes over as well: a leader that died cannot pass its lead on."""
        occupation = self.placements().get(slot)
        services = self._load(occupation.digest).release.project.services if occupation else {}
        if occupation and name in services:
            for instance in occupation.of_service(name):
                await endpoints.take_over(http, instance, services[name], slot)

    async def migrate(self, phase: str, digest: str, *, key: str) -> None:
        """Run the release's `expand` or `contract` command against the environment; nothing if it has none."""
        async with self._lock:
            made = await self._prepare(digest)
            settings = made.release.project.release
            command = settings.expand if phase == "expand" else settings.contract
            done = self._done_migrations()
            if command is None or key in done:
                return
            env = runtime.environment_of(made, self._surroundings)
            script = made.script(command)
            log = self._log("migrate")
            mask = runtime.mask_of(made, self._surroundings, env)
            await runtime.run(phase, script, made.artifacts, env, log, timeout_s=MIGRATION_TIMEOUT_S, mask=mask)
            write_whole(self._migrations, msgspec.json.encode({**done, key: time.time()}), durable=True)

    async def observe(self, slot: str) -> SideHealth:
        """Instances, healthy instances, restarts and failed health checks since the slot's release was placed."""
        occupation = self.placements().get(slot)
        if occupation is None:
            return SideHealth(observed=True)
        servers = await self._traffic.states()
        programs = await self._supervisor.states()
        healthy = {
            instance.name
            for instance in occupation.instances
            if instance.name in servers and servers[instance.name].up and _lives(programs.get(instance.name))
        }
        services = list(dict.fromkeys(instance.service for instance in occupation.instances))
        names = [instance.name for instance in occupation.instances]
        memory_bytes, cpu_s = await asyncio.to_thread(_consumption, [programs[n].pid for n in names if n in programs])
        return SideHealth(
            observed=True,
            services=tuple(
                ServiceHealth(service, len(own), sum(one.name in healthy for one in own))
                for service in services
                if (own := occupation.of_service(service))
            ),
            restarts=sum(programs[name].restarts for name in names if name in programs),
            failed_health_checks=sum(servers[name].failed_checks for name in names if name in servers),
            version=occupation.version,
            memory_bytes=memory_bytes,
            cpu_s=cpu_s,
            database_queries=await self._queries(occupation),
        )

    async def _queries(self, occupation: Occupation) -> int | None:
        """Add up what instances of http services say they have asked their database; None unless all say so."""
        services = self._load(occupation.digest).release.project.services
        asked = [one for one in occupation.instances if services[one.service].protocol == "http"]
        async with endpoints.client() as http:
            counts = await asyncio.gather(
                *(endpoints.counter(http, one, services[one.service], DATABASE_QUERIES) for one in asked)
            )
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    def _load(self, digest: str) -> Runtime:
        return runtime.load(self._release_folder(digest), digest)

    async def _prepare(self, digest: str) -> Runtime:
        made = self._load(digest)
        log = self._log(f"prepare-{digest.removeprefix('sha256:')[:16]}")
        await runtime.prepare(made, log, self._surroundings.base)
        return made

    def _log(self, name: str) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._logs / f"{name}.log"

    def _claim(self, slot: str, release: ReleaseRef) -> Occupation:
        """Return what the slot holds of the release; raises `AdapterError` when it holds another."""
        occupation = self.placements().get(slot)
        if occupation is None or not occupation.instances:
            return Occupation(release.digest, release.version, time.time())
        if occupation.digest != release.digest:
            message = f"slot {slot} holds {occupation.version}; retire it before {release.version} is placed there"
            raise AdapterError(SYSTEM, "place", message, effect="not_applied")
        return occupation

    def _missing(self, slot: str, made: Runtime, occupation: Occupation, replicas: int) -> list[Instance]:
        """Make up the instances that are missing for `replicas` of each service, with free names and ports."""
        taken = {instance.name for instance in occupation.instances}
        new = []
        for name in made.release.project.service_order:
            numbers = (number for number in range(1, 10_000) if f"{slot}-{name}-{number}" not in taken)
            for _ in range(replicas - len(occupation.of_service(name))):
                instance = f"{slot}-{name}-{next(numbers)}"
                port = self._port(instance)
                fix = made.release.project.services[name].protocol == "fix"
                new.append(Instance(instance, name, port, self._port(f"{instance}/http") if fix else port))
        return new

    def _moved(self, instance: Instance) -> Instance:
        self._forget_ports({instance.name, f"{instance.name}/http"})
        port = self._port(instance.name)
        http_port = port if instance.http_port == instance.port else self._port(f"{instance.name}/http")
        return msgspec.structs.replace(instance, port=port, http_port=http_port)

    async def _bring_up(self, slot: str, made: Runtime, *, timeout_s: float) -> None:
        """Start what is written down for the slot and does not run, wait until it is ready, and send it work."""
        occupation = self.placements()[slot]
        services = made.release.project.services
        checks = {name: ServiceCheck(one.protocol, one.health, one.closed) for name, one in services.items()}
        await self._traffic.declare(slot, checks)
        fresh = [instance.name for instance in occupation.instances if not instance.ready]
        try:
            await self._supervisor.add(self._programs(slot, made, occupation))
            await self._wait_ready(occupation.instances, made, timeout_s)
        except AdapterError:
            await self._take_away(slot, fresh)
            raise
        await self._traffic.add([_server(slot, instance) for instance in occupation.instances])
        ready = tuple(msgspec.structs.replace(instance, ready=True) for instance in occupation.instances)
        self._placements.write(slot, occupation.with_instances(ready))

    def _programs(self, slot: str, made: Runtime, occupation: Occupation) -> list[Program]:
        return [
            runtime.program_of(made, self._surroundings, slot, occupation.version, instance)
            for instance in occupation.instances
        ]

    async def _wait_ready(self, instances: Sequence[Instance], made: Runtime, timeout_s: float) -> None:
        """Wait until all are ready; raises `AdapterError` at once when one cannot start, else after `timeout_s`."""
        services = made.release.project.services
        hindrances: dict[str, str] = {}
        async with endpoints.client() as http:
            waits = {
                instance: asyncio.ensure_future(
                    endpoints.wait_ready(
                        http, instance, services[instance.service], partial(hindrances.__setitem__, instance.name)
                    )
                )
                for instance in instances
            }
            crash = asyncio.ensure_future(self._watch_crashes(instances))
            ready = asyncio.gather(*waits.values())
            either: set[asyncio.Future[Any]] = {ready, crash}
            try:
                await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                late = [instance for instance, wait in waits.items() if not wait.done()]
                if crash.done():
                    late = [crash.result(), *late]
                if not late:
                    return
                unanswered = f"GET {services[late[0].service].ready} was not answered"
                last = hindrances.get(late[0].name, unanswered)
                problem = "ends again and again"
                if not crash.done():
                    problem = f"did not get ready within {timeout_s:g} s: {last}"
                raise await self._unhealthy(made, late[0], problem)
            finally:
                crash.cancel()
                ready.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.gather(crash, ready, return_exceptions=True)

    async def _watch_crashes(self, instances: Sequence[Instance]) -> Instance:
        """Return the first instance that cannot start: its supervisor gave up, or it ended too often."""
        begun = {name: state.restarts for name, state in (await self._supervisor.states()).items()}
        while True:
            states = await self._supervisor.states()
            for instance in instances:
                state = states.get(instance.name)
                if state is not None:
                    # A start that failed and is not repeated yet counts as well.
                    starts = state.restarts - begun.get(instance.name, 0) + (state.state == "backoff")
                    if state.state == "fatal" or starts > CRASHES_MAX:
                        return instance
            await asyncio.sleep(STATES_POLL_S)

    async def _unhealthy(self, made: Runtime, instance: Instance, problem: str) -> AdapterError:
        mask = runtime.mask_of(made, self._surroundings, runtime.environment_of(made, self._surroundings))
        lines = indent(mask(await self._supervisor.last_lines(instance.name, lines=LAST_LINES)).strip(), "    ")
        log = self._logs / f"{instance.name}.log"
        end = f"its log ends ({log})\n{lines}" if lines else f"its log is empty ({log})"
        return AdapterError(SYSTEM, "place", f"{instance.name} {problem}\n{end}", effect="not_applied")

    async def _wait_quiet(self, occupation: Occupation, leaving: Sequence[Instance]) -> None:
        """Wait until requests in flight have finished; streams and sessions end by the service's own SIGTERM."""
        services = self._load(occupation.digest).release.project.services
        waited = {one.name for one in leaving if services[one.service].protocol == "http"}
        deadline = time.monotonic() + max((services[one.service].drain_timeout_s for one in leaving), default=0.0)
        while time.monotonic() < deadline:
            servers = await self._traffic.states()
            if not any(servers[name].sessions for name in waited if name in servers and servers[name].up):
                return
            await asyncio.sleep(QUIET_POLL_S)

    async def _take_away(self, slot: str, names: Sequence[str]) -> None:
        """Stop instances, and forget them and their ports."""
        if not names:
            return
        await self._supervisor.remove(names)
        await self._traffic.remove(names)
        occupation = self.placements()[slot]
        left = tuple(instance for instance in occupation.instances if instance.name not in names)
        self._placements.write(slot, occupation.with_instances(left) if left else None)
        self._forget_ports({port for name in names for port in (name, f"{name}/http")})

    def _done_migrations(self) -> dict[str, float]:
        try:
            return msgspec.json.decode(self._migrations.read_bytes(), type=dict[str, float])
        except FileNotFoundError:
            return {}


def _server(slot: str, instance: Instance) -> Server:
    return Server(instance.name, instance.service, slot, instance.port, instance.http_port)


def _lives(state: ProgramState | None) -> bool:
    return state is not None and state.pid is not None


def _consumption(pids: Sequence[int | None]) -> tuple[int, float]:
    """Sum the resident memory in bytes and the CPU time in seconds of processes that live."""
    memory_bytes, cpu_s = 0, 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid) if pid is not None else None
            if process is not None:
                memory_bytes += process.memory_info().rss
                times = process.cpu_times()
                cpu_s += times.user + times.system
    return memory_bytes, cpu_s
