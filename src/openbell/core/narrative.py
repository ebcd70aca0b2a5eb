"""A rollout in words: what each event changed, one short sentence per fact. Screens, plain output and `why` use it.

It only reads states; it decides nothing. Times are left to whoever prints them.
"""

from openbell.core import approval, wording
from openbell.core.analysis.limits import Tick
from openbell.core.commands import Notify, SetRoute
from openbell.core.events import (
    AbortRequested,
    AnyEvent,
    Approved,
    Begun,
    CommandFailed,
    CommandSucceeded,
    Ended,
    Resumed,
    Ticked,
)
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import (
    AnyStep,
    Approve,
    Handover,
    Hold,
    Migrate,
    Place,
    Retire,
    Route,
    Smoke,
    Watch,
)

headline, duration, milliseconds = wording.headline, wording.duration, wording.milliseconds


def describe(before: Rollout | None, event: AnyEvent, after: Rollout) -> list[str]:
    """Say what an event changed; empty when nothing that a person needs to know."""
    lines = _event(before, event, after)
    if before is not None and before.direction == "forward" and after.direction == "back":
        lines.append(f"rollback decided: {headline(after.reason)}")
    known = {command.id for command in before.outstanding} if before else set()
    for command in after.outstanding:
        if isinstance(command, Notify) and command.id not in known and command.id.endswith("/0"):
            lines.append(f"told: {command.subject}")
    moved = before is None or (before.direction, before.position) != (after.direction, after.position)
    if moved and after.step is not None:
        count = f"step {after.position + 1} of {len(after.steps)}"
        lines.append(f"{count}{' back' if after.direction == 'back' else ''}: {step_text(after, after.step)}")
    if after.waiting_for and (before is None or before.waiting_for != after.waiting_for):
        lines.append(f"waits for {headline(after.waiting_for)}")
    if after.direction == "ended" and (before is None or before.direction != "ended"):
        what = "promoted" if after.outcome == "promoted" else "taken back"
        lines.append(f"{after.plan.candidate.version} {what} in {duration(elapsed_s(after))}")
    return lines


def step_text(state: Rollout, step: AnyStep) -> str:
    """Say what a step does, with the numbers that matter."""
    candidate = state.plan.candidate
    sides = state.side_of
    match step:
        case Migrate(phase=phase):
            return f"migrate the database ({phase})"
        case Place(side=side, replicas=replicas):
            return f"place {replicas} of {sides[side].version} on {sides[side].slot}"
        case Smoke(job=job):
            return f"{job} against {candidate.slot}"
        case Approve(required=required):
            return f"wait for {required} approval{'s' if required > 1 else ''}"
        case Route(weight_pct=weight_pct):
            return f"{weight_pct} % of the traffic to {candidate.version} on {candidate.slot}"
        case Hold(duration_s=duration_s):
            return f"hold at {state.weight_pct} % for {duration(duration_s)} and judge"
        case Handover(source=source, keep=keep):
            other = "candidate" if source == "stable" else "stable"
            left = f", keep {keep}" if keep else ""
            return f"hand over from {sides[source].slot} to {sides[other].slot}{left}"
        case Watch(duration_s=duration_s):
            return f"watch for {duration(duration_s)}"
        case Retire(side=side, replicas=replicas):
            return f"scale {sides[side].slot} to {replicas}" if replicas else f"clear {sides[side].slot}"


def tick_text(state: Rollout, tick: Tick) -> str:
    """Say what both sides did in a tick, with the verdict that followed."""
    parts = [f"{state.plan.candidate.slot} {_share(tick.candidate.errors, tick.candidate.requests)}"]
    if state.plan.stable is not None:
        parts.append(f"{state.plan.stable.slot} {_share(tick.stable.errors, tick.stable.requests)}")
    return f"{', '.join(parts)}; {state.verdict.kind}: {state.verdict.reason}"


def elapsed_s(state: Rollout) -> float:
    """Seconds from the begin to the end of a rollout, or to its last step while it runs."""
    return (state.ended_at_s or state.step_started_at_s) - state.started_at_s


def _share(errors: int, requests: int) -> str:
    if not requests:
        return "no requests"
    return f"{errors:,} of {requests:,} requests failed ({100 * errors / requests:.3g} %)"


def _event(before: Rollout | None, event: AnyEvent, after: Rollout) -> list[str]:
    match event:
        case Begun(plan=plan, by=by):
            old = plan.stable.version if plan.stable else "nothing"
            return [f"{plan.environment} {old} -> {plan.candidate.version}, {plan.strategy}, begun by {by}"]
        case CommandSucceeded():
            return _succeeded(before, event)
        case CommandFailed(message=message, retryable=retryable):
            known = before is not None and any(c.id == event.id for c in before.outstanding)
            return [f"failed: {message}{' (may be tried again)' if retryable else ''}"] if known else []
        case Approved(by=by, reason=reason):
            return [_approval(before, after, event) + (f": {reason}" if reason else "")] if by else []
        case AbortRequested(by=by, reason=reason):
            return [f"abort asked for by {by}: {reason}"]
        case Resumed(by=by):
            return [f"resumed by {by}"]
        case Ended(outcome=outcome):
            return [] if before is None or before.outcome == outcome else [f"the journal says: {outcome}"]
        case Ticked(tick=tick):
            broken = any(m.streak or m.verdict == "fail" for m in after.verdict.measures)
            judged = after.routed and before is not None and before.direction == "forward"
            drifted = before is not None and after.drifts > before.drifts
            told = [f"somebody else has changed the routing: {tick.drift}"] if drifted else []
            return [*told, *([tick_text(after, tick)] if broken and judged else [])]


def _succeeded(before: Rollout | None, event: CommandSucceeded) -> list[str]:
    command = next((c for c in before.outstanding if c.id == event.id), None) if before else None
    if isinstance(command, SetRoute):
        took = f", switch took {milliseconds(event.switch_ms)}" if event.switch_ms is not None else ""
        weights = " / ".join(f"{slot} {weight} %" for slot, weight in sorted(command.weights.items()))
        return [f"traffic is {weights}{took}"]
    return [event.detail] if event.detail and command is not None else []


def _approval(before: Rollout | None, after: Rollout, event: Approved) -> str:
    if before is None:
        return f"approval by {event.by} came too early"
    if before.approvals != after.approvals or before.position != after.position:
        return f"approved by {event.by}"
    why = approval.refusal(
        by=event.by,
        digest=event.digest,
        wanted_digest=before.plan.candidate.digest,
        author=before.plan.author,
        approvers=before.plan.approvers,
        given=before.approvals,
    )
    return f"approval by {event.by} does not count: {why or 'the rollout did not wait for one'}"
