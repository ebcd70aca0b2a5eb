"""What runs where in an environment, as facts: the document of `openbell status --json`.

Looks, and changes nothing: an environment that was never up stays untouched, a supervisor that was killed stays dead.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from openbell.adapters.haproxy import PROGRAM as HAPROXY
from openbell.adapters.processes import Instance, Occupation
from openbell.core.project import Service
from openbell.machine import ProgramState, ServerState
from openbell.ports import SLOTS, AdapterError
from openbell.wiring.environment import POSTGRES, VALKEY, Environment
from openbell.wiring.state import StateFolder

if TYPE_CHECKING:
    from openbell.core.rollout_state import Rollout

EnvironmentState = Literal["up", "down", "unsupervised", "unreachable"]
"""`unsupervised`: the supervisor was killed and its processes live on; `openbell up` adopts them. `unreachable`:
whoever would know how it is does not answer us, as `reason` says."""


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


class RolloutStatus(msgspec.Struct, frozen=True):
    """The rollout under way in an environment, or the last one there.

    `age_s` counts from its end, or from its begin while it is under way; `next` is the command that leads on, if any.
    """

    id: str
    version: str
    outcome: Literal["promoted", "rolled-back", "waiting", "running"]
    step: str
    waits_for: str | None
    reason: str
    age_s: float
    failed_checks: tuple[str, ...]
    next: str | None


class EnvironmentStatus(msgspec.Struct, frozen=True):
    """One environment; `addresses` are those of its customers, by service."""

    environment: str
    state: EnvironmentState
    reason: str = ""
    parts: tuple[PartStatus, ...] = ()
    slots: tuple[SlotStatus, ...] = ()
    addresses: dict[str, str] = {}
    logs: str = ""
    rollout: RolloutStatus | None = None


class View(msgspec.Struct, frozen=True):
    """What supervisor and load balancer say at one moment."""

    programs: dict[str, ProgramState] = {}
    servers: dict[str, ServerState] = {}
    weights: dict[str, int] = {}


async def look(environment: Environment, rollout: RolloutStatus | None = None) -> EnvironmentStatus:
    """Look at an environment as it is now; of its rollouts it knows what it is told."""
    if not environment.folder.exists():
        return EnvironmentStatus(environment.name, "down", rollout=rollout)
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
        rollout=rollout,
    )


async def last_rollouts(state_folder: StateFolder, environments: Sequence[str]) -> dict[str, RolloutStatus]:
    """Look up the newest rollout of each environment. Raises `AdapterError` when the journal cannot be read."""
    if not state_folder.journal.exists():
        return {}
    # Imported where there was a rollout: it costs more than all the rest of a status.
    from openbell.adapters.sqlite import SqliteJournal
    from openbell.wiring import rollouts

    found = {}
    async with SqliteJournal(state_folder.journal) as journal:
        for name in environments:
            state = await rollouts.latest(journal, name)
            if state is not None:
                found[name] = describe_rollout(state, await rollouts.failed_checks(journal, state), now_s=time.time())
    return found


def describe_rollout(state: "Rollout", failed_checks: tuple[str, ...], *, now_s: float) -> RolloutStatus:
    """Write down where a rollout stands, and what leads on from there."""
    from openbell.core.narrative import step_text

    count = f"step {state.position + 1} of {len(state.steps)}{' back' if state.direction == 'back' else ''}"
    since_s = state.started_at_s if state.ended_at_s is None else state.ended_at_s
    return RolloutStatus(
        id=state.plan.id,
        version=state.plan.candidate.version,
        outcome=state.outcome or ("waiting" if state.waiting_for else "running"),
        step="" if state.step is None else f"{count}: {step_text(state, state.step)}",
        waits_for=state.waiting_for,
        reason=state.reason,
        age_s=round(max(0.0, now_s - since_s), 3),
        failed_checks=failed_checks,
        next=_next(state, failed_checks),
    )


def _next(state: "Rollout", failed_checks: tuple[str, ...]) -> str | None:
    from openbell.core.strategy import Approve, Hold, Watch

    if state.direction == "ended":
        if state.outstanding:
            return "openbell resume"
        return f"openbell why {state.plan.id}" if state.outcome == "rolled-back" or failed_checks else None
    if not state.waiting_for:
        return f"openbell watch {state.plan.id}"
    return f"openbell approve {state.plan.id}" if isinstance(state.step, Approve | Hold | Watch) else "openbell resume"


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
