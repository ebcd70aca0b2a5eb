"""What the adapters of one machine ask of each other: a supervisor of processes, a balancer of load.

The hosts see neither: to them there is a `Platform` and a `Router` (`openbell.ports`). These Protocols exist so that
the adapters that implement them need not know each other; `openbell.wiring.environment` brings them together.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

ProcessState = Literal["starting", "running", "backoff", "stopping", "stopped", "exited", "fatal", "unknown"]


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A process that a supervisor keeps running: started again whenever it ends, until it is removed.

    The environment is all the process gets. Lower priorities start first and stop last.
    """

    name: str
    command: tuple[str, ...]
    folder: str
    env: dict[str, str] = {}
    stop_signal: str = "TERM"
    stop_timeout_s: float = 10.0
    priority: int = 50


class ProgramState(msgspec.Struct, frozen=True):
    """A program as its supervisor sees it; `restarts` counts since the program was added."""

    state: ProcessState
    pid: int | None
    restarts: int
    since_s: float


class Supervisor(Protocol):
    """What keeps processes running on a machine, also when no openbell runs."""

    async def add(self, programs: Sequence[Program]) -> None:
        """Start programs; those that are there already keep running as they are."""

    async def remove(self, names: Sequence[str]) -> None:
        """Stop programs together and forget them; returns when they have ended. Absent names are passed over."""

    async def states(self) -> dict[str, ProgramState]:
        """All programs by name."""

    async def last_lines(self, name: str, *, lines: int = 20) -> str:
        """The end of a program's log."""


class ServiceCheck(msgspec.Struct, frozen=True):
    """What a load balancer must know of a service: its protocol, and the path that tells an instance's health.

    `closed` are paths that no customer may ask for, although they are served on the same port.
    """

    protocol: str
    health: str
    closed: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True):
    """One instance as a load balancer sees it; `check_port` answers its health path."""

    name: str
    service: str
    slot: str
    port: int
    check_port: int


class ServerState(msgspec.Struct, frozen=True):
    """What a load balancer knows of a server; failed checks count since it was added."""

    service: str
    slot: str
    up: bool
    failed_checks: int
    sessions: int


class Traffic(Protocol):
    """What balances load over the instances of a slot's services; which slot gets how much is the `Router`'s."""

    async def declare(self, slot: str, services: dict[str, ServiceCheck]) -> None:
        """Make the services of a slot's release known, before servers are added."""

    async def add(self, servers: Sequence[Server]) -> None:
        """Send new work to servers, too; those that are known and paused are taken back into service."""

    async def pause(self, names: Sequence[str]) -> None:
        """Send no new work to servers; what they do goes on."""

    async def remove(self, names: Sequence[str]) -> None:
        """Cut what servers still do, and forget them. Absent names are passed over."""

    async def states(self) -> dict[str, ServerState]:
        """All servers by name. Raises `AdapterError` when the load balancer does not answer."""
