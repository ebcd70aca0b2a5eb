"""Where a rollout stands: the state of the machine in `openbell.core.rollout`, rebuilt by folding its events.

Only data and what follows from it at sight; every change is made by `decide`.
"""

from typing import Literal

import msgspec

from openbell.core.analysis.limits import UNDECIDED, Baseline, SideHealth, Tick, Verdict
from openbell.core.commands import AnyCommand, SetRoute
from openbell.core.events import Outcome, Plan, Side
from openbell.core.strategy import AnyStep

Direction = Literal["forward", "back", "ended"]
Commands = tuple[AnyCommand, ...]


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands; rebuilt at any time by folding its events through `decide`."""

    plan: Plan
    started_at_s: float
    direction: Direction = "forward"
    steps: tuple[AnyStep, ...] = ()
    position: int = 0
    entered: bool = False
    attempt: int = 0
    step_started_at_s: float = 0.0
    outstanding: Commands = ()
    weight_pct: int = 0
    route: SetRoute | None = None
    drifts: int = 0
    routed: bool = False
    stable_replicas: int = 0
    candidate_replicas: int = 0
    held_s: float = 0.0
    window: tuple[Tick, ...] = ()
    watched: tuple[Tick, ...] = ()
    streaks: dict[str, int] = {}
    baseline: Baseline = Baseline()
    verdict: Verdict = UNDECIDED
    watch_verdict: Verdict = UNDECIDED
    counted_from: SideHealth | None = None
    told: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    waiting_for: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    decided_back_at_s: float | None = None
    switched_at_s: float | None = None
    switch_ms: float | None = None
    first_answer_at_s: float | None = None
    candidate_requests: int = 0
    candidate_errors: int = 0
    ended_at_s: float | None = None
    recorded: bool = False
    """Whether the journal has the end as an event of its own."""

    @property
    def step(self) -> AnyStep | None:
        """The step that the rollout is in; None when it has ended."""
        return self.steps[self.position] if self.direction != "ended" else None

    @property
    def side_of(self) -> dict[str, Side]:
        """The sides by name; a first rollout has no stable side."""
        sides = {"candidate": self.plan.candidate}
        return sides if self.plan.stable is None else {**sides, "stable": self.plan.stable}

    @property
    def detected_s(self) -> float | None:
        """Seconds from the first request that the candidate answered until the router had taken it to 0."""
        first, decided, switched = self.first_answer_at_s, self.decided_back_at_s, self.switched_at_s
        if first is None or decided is None or switched is None or switched < decided:
            return None
        return switched - first


def stable_after(state: Rollout) -> Side | None:
    """Say which side serves once the rollout has ended; while it runs, the side that is stable."""
    return state.plan.candidate if state.outcome == "promoted" else state.plan.stable
