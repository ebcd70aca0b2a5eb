"""What it means for a service to be drained, independent of what it has to move.

Draining is one shot and may be repeated: it moves what lives here now, and the service can serve again afterwards.
"""

from typing import Protocol

from msgspec import Struct


class DrainOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /drain`: the slot that takes over, and how long closing streams is spread over."""

    to: str | None = None
    spread_s: float = 2.0


class DrainState(Struct, frozen=True, omit_defaults=True):
    """The answer to `/drain`: `serving`, `draining` or `drained`, and what is left to move, in the service's unit.

    While a drain runs, `remaining` counts what was here when it began; else what is here now. `reason` says why a
    drain stopped halfway; asking again continues it.
    """

    state: str
    remaining: int
    unit: str
    service: str
    slot: str
    instance: str
    reason: str = ""


class Service(Protocol):
    """One of the four services, as the runtime sees it."""

    name: str
    unit: str

    async def start(self) -> None:
        """Begins to work in the background; must not wait for the database."""
        ...

    async def unready_reason(self) -> str | None:
        """Why no work should be sent here, or None."""
        ...

    def remaining(self) -> int:
        """What is still to be moved, in `unit`."""
        ...

    def refuse_new(self) -> None:
        """Takes no new connections, because the process is going to end."""
        ...

    async def drain(self, order: DrainOrder) -> None:
        """Moves what lives here to the other side; returns when that is done or cannot be."""
        ...

    async def stop(self) -> None:
        """Ends everything, after draining."""
        ...
