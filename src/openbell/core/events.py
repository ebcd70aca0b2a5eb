"""What happens to a rollout: events carry their time (`at_s`, Unix seconds) and are what the journal stores.

The journal is read by later versions, so a field may be added with a default but never renamed or removed.
"""

from typing import Literal

import msgspec

from openbell.core.analysis.limits import Tick
from openbell.core.project import OnDrift, RollbackTriggers, WatchLimits
from openbell.core.strategy import AnyStep

Outcome = Literal["promoted", "rolled-back"]


class Side(msgspec.Struct, frozen=True):
    """A slot with the release in it and the replicas it has when it is whole."""

    slot: str
    digest: str
    version: str
    replicas: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a rollout was begun with; fixed from then on, whatever the configuration says later."""

    id: str
    environment: str
    strategy: str
    candidate: Side
    stable: Side | None
    steps: tuple[AnyStep, ...]
    author: str
    approvers: tuple[str, ...] = ()
    approval_timeout_s: float = 86400.0
    healthy_timeout_s: float = 30.0
    undecided_s: float = 300.0
    tick_s: float = 2.0
    triggers: RollbackTriggers = RollbackTriggers()
    watch_for: WatchLimits = WatchLimits()
    on_drift: OnDrift = "take-over"
    part_of: str = ""
    """The command of `openbell.core.waves` that this rollout carries out, if it is one of several."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    """What every event has: when it happened."""

    at_s: float


class Begun(Event, frozen=True, kw_only=True):
    """A rollout was begun by a person or a trigger."""

    plan: Plan
    by: str


class CommandSucceeded(Event, frozen=True, kw_only=True):
    """A command was carried out; `switch_ms` for routing, `detail` in words."""

    id: str
    detail: str = ""
    switch_ms: float | None = None


class CommandFailed(Event, frozen=True, kw_only=True):
    """A command was not carried out, or nobody knows (`effect` is `not_applied` or `unknown`)."""

    id: str
    message: str
    retryable: bool
    effect: str


class Ticked(Event, frozen=True, kw_only=True):
    """Time passed, and this was seen in it."""

    tick: Tick


class Approved(Event, frozen=True, kw_only=True):
    """A person approved this release; also ends a wait for a person when the judge is undecided."""

    by: str
    digest: str
    reason: str = ""


class AbortRequested(Event, frozen=True, kw_only=True):
    """A person wants the candidate taken back."""

    by: str
    reason: str


class Resumed(Event, frozen=True, kw_only=True):
    """A host goes on with a rollout that an earlier one left; what was outstanding is carried out again."""

    by: str


class Ended(Event, frozen=True, kw_only=True):
    """How a rollout ended: written once, so that later versions of the rules cannot tell another story."""

    outcome: Outcome
    reason: str


AnyEvent = Begun | CommandSucceeded | CommandFailed | Ticked | Approved | AbortRequested | Resumed | Ended
