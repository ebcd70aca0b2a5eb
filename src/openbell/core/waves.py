"""The waves machine: `decide(state, event) -> (state, commands)` brings one release to several targets, wave by wave.

The rules it keeps: no target of a wave begins before all of the earlier waves are through and the hold is over; no
target gets a release for which an approval is asked before it was given, once, in the first that has something to do;
after the first that is not through nothing begins any more, those under way end by their own verdict, and what was
changed is returned, last wave first. Every run ends: through everywhere, returned, or waiting for a named person.

What happens within a target is a rollout of its own (`openbell.core.rollout`), of which only the end is known here.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from openbell.core.commands import Command, Notify
from openbell.core.events import AbortRequested, Event, Outcome, Resumed

Goal = Literal["deploy", "return"]
Phase = Literal["forward", "holding", "stopping", "returning", "stuck", "ended"]
Arrival = Literal["promoted", "unchanged", "failed", "rolled-back", "refused"]
"""How bringing a release to a target ended.

`unchanged`: it was there already. `failed`: it is there, but a job that runs after it did not pass. `rolled-back` and
`refused` leave the target as it was.
"""
Return = Literal["returned", "kept", "blocked"]
"""How returning a target ended. `kept`: there is nothing to go back to, or it is somebody else's by now."""
Status = Literal["waiting", "under-way", "returning"] | Arrival | Return

CHANGED: tuple[Status, ...] = ("promoted", "failed")
THROUGH: tuple[Status, ...] = ("promoted", "unchanged")
RETURN_ATTEMPTS = 3
"""How often a target is returned before a person is asked."""
RETURN_DELAY_S = 5.0


# --- what happens, and what is to be done


class WavesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run was begun with. `goal` "return" brings each target back to `back_to`, last wave first."""

    id: str
    environment: str
    digest: str
    version: str
    waves: tuple[tuple[str, ...], ...]
    hold_s: float
    asks: bool = False
    approvers: tuple[str, ...] = ()
    goal: Goal = "deploy"
    back_to: dict[str, str] = {}

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets, those of the first wave first."""
        return tuple(target for wave in self.waves for target in wave)


class WavesBegun(Event, frozen=True, kw_only=True):
    """A run was begun by a person or a trigger."""

    plan: WavesPlan
    by: str


class TargetApproved(Event, frozen=True, kw_only=True):
    """The approval that a target's rollout asked for was given."""

    target: str


class TargetEnded(Event, frozen=True, kw_only=True):
    """How bringing the release to a target ended."""

    target: str
    outcome: Arrival
    reason: str = ""


class TargetReturned(Event, frozen=True, kw_only=True):
    """How returning a target to what it had before ended."""

    target: str
    outcome: Return
    reason: str = ""


class HoldOver(Event, frozen=True, kw_only=True):
    """Time has passed: a hold may be over."""


class Told(Event, frozen=True, kw_only=True):
    """People were told; `id` is the command's."""

    id: str


AnyWavesEvent = WavesBegun | TargetApproved | TargetEnded | TargetReturned | HoldOver | Told | AbortRequested | Resumed


class BeginTarget(Command, frozen=True, kw_only=True):
    """Bring the release to a target by a rollout of its own; `asks` when an approval is asked for there."""

    target: str
    asks: bool


class ReturnTarget(Command, frozen=True, kw_only=True):
    """Bring back what a target had before."""

    target: str


class AbortTarget(Command, frozen=True, kw_only=True):
    """Ask the rollout that is under way in a target to take its candidate back."""

    target: str
    by: str
    reason: str


AnyWavesCommand = BeginTarget | ReturnTarget | AbortTarget | Notify
WavesCommands = tuple[AnyWavesCommand, ...]


# --- where a run stands


class Waves(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands; rebuilt at any time by folding its events through `decide`."""

    plan: WavesPlan
    started_at_s: float
    phase: Phase = "forward"
    wave: int = 0
    status: dict[str, Status] = {}
    reasons: dict[str, str] = {}
    attempts: dict[str, int] = {}
    approved: bool = False
    promoted_at_s: float | None = None
    """When the last target of the wave was promoted; None while none of it was."""
    outstanding: WavesCommands = ()
    told: tuple[str, ...] = ()
    waiting_for: str | None = None
    outcome: Outcome | None = None
    reason: str = ""
    ended_at_s: float | None = None

    @property
    def due_at_s(self) -> float | None:
        """When a hold is over; None while there is none."""
        return None if self.phase != "holding" else (self.promoted_at_s or 0.0) + self.plan.hold_s

    def with_status(self, *status: Status) -> tuple[str, ...]:
        """Name the targets that stand so, those of the first wave first."""
        return tuple(target for target in self.plan.targets if self.status[target] in status)


def decide(state: Waves | None, event: AnyWavesEvent) -> tuple[Waves, WavesCommands]:
    """Say what follows from an event: the next state, and the commands that a host must carry out.

    What the table has no reaction for (a late result, an abort of what has ended) leaves the state as it is.
    """
    if isinstance(event, WavesBegun):
        return _begin(event) if state is None else (state, ())
    if state is None:
        raise ValueError(f"a run of waves begins with WavesBegun, not with {type(event).__name__}")
    reaction = TRANSITIONS.get((state.phase, type(event)))
    return reaction(state, event) if reaction else (state, ())


def fold(events: list[AnyWavesEvent]) -> Waves:
    """Rebuild a run from its journal; the commands that a host still owes are in `outstanding`."""
    state: Waves | None = None
    for event in events:
        state, _ = decide(state, event)
    if state is None:
        raise ValueError("a run of waves without events")
    return state


# --- reactions


def _begin(event: WavesBegun) -> tuple[Waves, WavesCommands]:
    plan = event.plan
    first: Status = "waiting" if plan.goal == "deploy" else "promoted"
    status = dict.fromkeys(plan.targets, first)
    state = Waves(plan=plan, started_at_s=event.at_s, status=status, approved=not plan.asks)
    if plan.goal == "return":
        return _return_more(replace(state, phase="returning"), event.at_s)
    return _begin_more(state, event.at_s)


def _on_approved(state: Waves, event: TargetApproved) -> tuple[Waves, WavesCommands]:
    if state.status[event.target] != "under-way":
        return state, ()
    return _begin_more(replace(state, approved=True), event.at_s)


def _on_ended(state: Waves, event: TargetEnded) -> tuple[Waves, WavesCommands]:
    if state.status[event.target] != "under-way":
        return state, ()
    state = _settled(state, event.target, event.outcome, event.reason)
    if event.outcome == "promoted":
        # Whoever is through has passed its approval; the journal may have lost the word of it with an earlier host.
        state = replace(state, approved=True, promoted_at_s=event.at_s)
    if state.phase == "forward" and event.outcome in THROUGH:
        return _begin_more(state, event.at_s)
    return _stop(state, event.at_s, f"{event.target}: {event.reason}")


def _on_hold_over(state: Waves, event: HoldOver) -> tuple[Waves, WavesCommands]:
    if state.due_at_s is None or event.at_s < state.due_at_s:
        return state, ()
    state = replace(state, phase="forward", wave=state.wave + 1, promoted_at_s=None)
    return _begin_more(state, event.at_s)


def _on_abort(state: Waves, event: AbortRequested) -> tuple[Waves, WavesCommands]:
    asked = {command.target for command in state.outstanding if isinstance(command, AbortTarget)}
    aborts = tuple(
        AbortTarget(id=f"{state.plan.id}/abort/{target}", target=target, by=event.by, reason=event.reason)
        for target in state.with_status("under-way")
        if target not in asked
    )
    state = replace(state, outstanding=(*state.outstanding, *aborts))
    state, commands = _stop(state, event.at_s, f"aborted by {event.by}: {event.reason}")
    return state, (*aborts, *commands)


def _on_returned(state: Waves, event: TargetReturned) -> tuple[Waves, WavesCommands]:
    if state.status[event.target] != "returning":
        return state, ()
    state = _settled(state, event.target, event.outcome, event.reason)
    attempt = state.attempts.get(event.target, 0) + 1
    if event.outcome == "blocked":
        state = replace(state, attempts={**state.attempts, event.target: attempt})
        if attempt % RETURN_ATTEMPTS:
            return _return(state, (event.target,), RETURN_DELAY_S)
    return _return_more(state, event.at_s)


def _on_told(state: Waves, event: Told) -> tuple[Waves, WavesCommands]:
    return replace(state, outstanding=tuple(c for c in state.outstanding if c.id != event.id)), ()


def _on_resumed(state: Waves, event: Resumed) -> tuple[Waves, WavesCommands]:
    del event
    return state, tuple(replace(command, delay_s=0.0) for command in state.outstanding)


def _on_resumed_when_stuck(state: Waves, event: Resumed) -> tuple[Waves, WavesCommands]:
    """Whoever resumes has looked at what blocked the way back: it is tried again."""
    owed = tuple(replace(command, delay_s=0.0) for command in state.outstanding)
    status: dict[str, Status] = {**state.status, **dict.fromkeys(state.with_status("blocked"), CHANGED[0])}
    state, commands = _return_more(replace(state, phase="returning", status=status, waiting_for=None), event.at_s)
    return state, (*owed, *commands)


Reaction = Callable[[Waves, Any], tuple[Waves, WavesCommands]]
TRANSITIONS: dict[tuple[Phase, type], Reaction] = {
    ("forward", TargetApproved): _on_approved,
    ("forward", TargetEnded): _on_ended,
    ("forward", AbortRequested): _on_abort,
    ("forward", Told): _on_told,
    ("forward", Resumed): _on_resumed,
    ("holding", HoldOver): _on_hold_over,
    ("holding", AbortRequested): _on_abort,
    ("holding", Told): _on_told,
    ("holding", Resumed): _on_resumed,
    ("stopping", TargetEnded): _on_ended,
    ("stopping", AbortRequested): _on_abort,
    ("stopping", Told): _on_told,
    ("stopping", Resumed): _on_resumed,
    ("returning", TargetReturned): _on_returned,
    ("returning", Told): _on_told,
    ("returning", Resumed): _on_resumed,
    ("stuck", Told): _on_told,
    ("stuck", Resumed): _on_resumed_when_stuck,
    ("ended", Told): _on_told,
    ("ended", Resumed): _on_resumed,
}
"""What each event does in each phase; whatever is not here does nothing."""


# --- forward


def _begin_more(state: Waves, at_s: float) -> tuple[Waves, WavesCommands]:
    """Begin what may begin of this wave; go on to the next one when it is through."""
    plan = state.plan
    waiting = [target for target in plan.waves[state.wave] if state.status[target] == "waiting"]
    under_way = state.with_status("under-way")
    if not waiting and not under_way:
        return _wave_through(state, at_s)
    if not state.approved:
        # One target asks, and until it has the answer it is alone: the others would go without one.
        waiting = [] if under_way else waiting[:1]
    commands = tuple(
        BeginTarget(id=begin_id(plan.id, target), target=target, asks=not state.approved) for target in waiting
    )
    status: dict[str, Status] = {**state.status, **dict.fromkeys(waiting, "under-way")}
    return replace(state, status=status, outstanding=(*state.outstanding, *commands)), commands


def _wave_through(state: Waves, at_s: float) -> tuple[Waves, WavesCommands]:
    if state.wave + 1 == len(state.plan.waves):
        new = "all steps passed in all targets" if state.with_status("promoted") else "it was in all targets already"
        return _end(state, at_s, "promoted", new)
    if state.promoted_at_s is not None:
        return replace(state, phase="holding"), ()
    # Nothing has changed in this wave, so there is nothing to hold for.
    return _begin_more(replace(state, wave=state.wave + 1), at_s)


# --- back


def _stop(state: Waves, at_s: float, reason: str) -> tuple[Waves, WavesCommands]:
    """Begin nothing any more; return what was changed once nothing is under way."""
    commands: WavesCommands = ()
    if state.phase != "stopping":
        subject = f"{state.plan.version} is taken back from {state.plan.environment}"
        state, commands = _tell(replace(state, phase="stopping", reason=reason), "back", subject, reason, urgent=True)
    if state.with_status("under-way"):
        return state, commands
    state, more = _return_more(replace(state, phase="returning"), at_s)
    return state, (*commands, *more)


def _return_more(state: Waves, at_s: float) -> tuple[Waves, WavesCommands]:
    """Return the last wave in which something was changed; end when there is none."""
    if state.with_status("returning"):
        return state, ()
    for wave in reversed(state.plan.waves):
        changed = tuple(target for target in wave if state.status[target] in CHANGED)
        if changed:
            return _return(state, changed, 0.0)
    blocked = state.with_status("blocked")
    if blocked:
        return _wait_for_person(state, blocked)
    kept = [f"{target} is left as it is: {state.reasons[target]}" for target in state.with_status("kept")]
    if state.plan.goal == "deploy":
        return _end(state, at_s, "rolled-back", "; ".join((state.reason, *kept)))
    return _end(state, at_s, "rolled-back" if kept else "promoted", "; ".join(kept) or "all targets are back")


def _return(state: Waves, targets: tuple[str, ...], delay_s: float) -> tuple[Waves, WavesCommands]:
    commands = tuple(
        ReturnTarget(
            id=f"{state.plan.id}/return/{target}/{state.attempts.get(target, 0)}", target=target, delay_s=delay_s
        )
        for target in targets
    )
    status: dict[str, Status] = {**state.status, **dict.fromkeys(targets, "returning")}
    return replace(state, status=status, outstanding=(*state.outstanding, *commands)), commands


def _wait_for_person(state: Waves, blocked: tuple[str, ...]) -> tuple[Waves, WavesCommands]:
    who = ", ".join(state.plan.approvers) or "the on-call engineer"
    why = "; ".join(f"{target} could not be returned: {state.reasons[target]}" for target in blocked)
    state = replace(state, phase="stuck", waiting_for=f"{who}: {why}")
    subject = f"{', '.join(blocked)} of {state.plan.environment} could not be returned, {who} is waited for"
    return _tell(state, f"stuck {sum(state.attempts.values())}", subject, why, urgent=True)


def _end(state: Waves, at_s: float, outcome: Outcome, reason: str) -> tuple[Waves, WavesCommands]:
    plan = state.plan
    state = replace(state, phase="ended", outcome=outcome, reason=reason, ended_at_s=at_s)
    if plan.goal == "return":
        what = f"{plan.environment} is back" if outcome == "promoted" else f"not all of {plan.environment} is back"
    else:
        what = f"{plan.version} {'is' if outcome == 'promoted' else 'was taken back'} in {plan.environment}"
    return _tell(state, "ended", what, reason, urgent=False)


def _tell(state: Waves, topic: str, subject: str, text: str, *, urgent: bool) -> tuple[Waves, WavesCommands]:
    if topic in state.told:
        return state, ()
    key = f"{state.plan.id}/notify/{topic.replace(' ', '-')}"
    notice = Notify(id=key, subject=subject, text=text, urgent=urgent)
    return replace(state, told=(*state.told, topic), outstanding=(*state.outstanding, notice)), (notice,)


def begin_id(run: str, target: str) -> str:
    """Name the command that brings the release to a target in a run; its rollout carries this name."""
    return f"{run}/begin/{target}"


def _settled(state: Waves, target: str, status: Status, reason: str) -> Waves:
    """Note how a target stands now; what was outstanding for it is done."""
    return replace(
        state,
        status={**state.status, target: status},
        reasons={**state.reasons, target: reason},
        outstanding=tuple(c for c in state.outstanding if isinstance(c, Notify) or c.target != target),
    )
