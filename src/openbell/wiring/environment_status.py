"""What runs where in an environment, as facts: the document of `openbell status --json`.

Looks, and changes nothing: an environment that was never up stays untouched, a supervisor that was killed stays dead.
"""

from typing import Literal

import msgspec

from openbell.adapters.haproxy import PROGRAM as HAPROXY
from openbell.adapters.processes import Instance, Occupation
from openbell.core.project import Service
from openbell.machine import ProgramState, ServerState
from openbell.ports import AdapterError
from openbell.wiring.environment import POSTGRES, SLOTS, VALKEY, Environment

EnvironmentState = Literal["up", "down", "unsupervised"]
"""`unsupervised`: the supervisor was killed and its processes live on; `openbell up` adopts them."""


class PartStatus(msgspec.Struct, frozen=True):
    """PostgreSQL, Valkey or HAProxy."""

    name: str
    state: str
    pid: int | None
    restarts: int


class InstanceStatus(msgspec.Struct, frozen=True):
    """One process of a service; `sessions` are the requests, streams and sessions that it serves now."""

    name: str
    port: int
    state: str
    pid: int | None
    healthy: bool
    restarts: int
    failed_health_checks: int
    sessions: int


class ServiceStatus(msgspec.Struct, frozen=True):
    """One service of a release; `address` leads to this slot's instances, whatever its weight."""

    service: str
    protocol: str
    address: str | None
    instances: tuple[InstanceStatus, ...]


class SlotStatus(msgspec.Struct, frozen=True):
    """An occupied slot: its release, the share of new requests that it gets, and whether FIX sessions begin there."""

    slot: str
    release: str
    version: str
    placed_at_s: float
    weight_pct: int
    fix_sessions: bool
    services: tuple[ServiceStatus, ...]

    @property
    def instances(self) -> tuple[InstanceStatus, ...]:
        """The instances of all services."""
        return tuple(instance for service in self.services for instance in service.instances)


class EnvironmentStatus(msgspec.Struct, frozen=True):
    """One environment; `addresses` are those of its customers, by service."""

    environment: str
    state: EnvironmentState
    parts: tuple[PartStatus, ...] = ()
    slots: tuple[SlotStatus, ...] = ()
    addresses: dict[str, str] = {}
    logs: str = ""


class View(msgspec.Struct, frozen=True):
    """What supervisor and load balancer say at one moment."""

    programs: dict[str, ProgramState] = {}
    servers: dict[str, ServerState] = {}
    weights: dict[str, int] = {}


async def look(environment: Environment) -> EnvironmentStatus:
    """Look at an environment as it is now."""
    if not environment.folder.exists():
        return EnvironmentStatus(environment.name, "down")
    supervised = await environment.supervisor.is_running()
    state: EnvironmentState = "up" if supervised else "down" if environment.supervisor.is_cold() else "unsupervised"
    view = await _view(environment, supervised=supervised)
    return EnvironmentStatus(
        environment=environment.name,
        state=state,
        parts=tuple(_part(name, view.programs.get(name)) for name in (POSTGRES, VALKEY, HAPROXY)),
        slots=tuple(
            _slot(environment, slot, occupation, view)
            for slot in SLOTS
            if (occupation := environment.placements().get(slot))
        ),
        addresses={} if state == "down" else _addresses(environment, None),
        logs=str(environment.logs),
    )


async def _view(environment: Environment, *, supervised: bool) -> View:
    programs = await environment.supervisor.states() if supervised else {}
    try:
        return View(programs, await environment.router.states(), await environment.router.weights())
    except AdapterError:  # HAProxy is down, as its own state says.
        return View(programs)


def _part(name: str, program: ProgramState | None) -> PartStatus:
    if program is None:
        return PartStatus(name, "stopped", None, 0)
    return PartStatus(name, program.state, program.pid, program.restarts)


def _slot(environment: Environment, slot: str, occupation: Occupation, view: View) -> SlotStatus:
    addresses = _addresses(environment, slot)
    services = dict.fromkeys(instance.service for instance in occupation.instances)
    return SlotStatus(
        slot=slot,
        release=occupation.digest,
        version=occupation.version,
        placed_at_s=occupation.placed_at_s,
        weight_pct=view.weights.get(slot, 0),
        fix_sessions=environment.router.sessions() == slot,
        services=tuple(
            ServiceStatus(
                service=name,
                protocol=environment.project.services.get(name, _UNKNOWN).protocol,
                address=addresses.get(name),
                instances=tuple(_instance(one, view) for one in occupation.of_service(name)),
            )
            for name in services
        ),
    )


def _instance(instance: Instance, view: View) -> InstanceStatus:
    program, server = view.programs.get(instance.name), view.servers.get(instance.name)
    return InstanceStatus(
        name=instance.name,
        port=instance.port,
        state=program.state if program else "stopped",
        pid=program.pid if program else None,
        healthy=bool(program and program.pid and server and server.up),
        restarts=program.restarts if program else 0,
        failed_health_checks=server.failed_checks if server else 0,
        sessions=server.sessions if server else 0,
    )


def _addresses(environment: Environment, slot: str | None) -> dict[str, str]:
    found = environment.addresses(slot)
    return {name.rpartition("_")[0]: address for name, address in found.items()}


_UNKNOWN = Service(protocol="http", run="")
