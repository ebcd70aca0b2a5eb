"""The rollout machine: `decide(state, event) -> (state, commands)` runs any list of steps, forward or back.

The rules it keeps: the candidate gets no more than its step allows, and no step starts before its gates passed; once a
rollback is decided the next routing command takes the candidate to 0 and nothing raises it again; every rollout ends
promoted, rolled back, or waiting for a named person who has been told.

It knows no clock, platform or network: time, results, samples and approvals arrive as events, and what is to be done to
the world leaves as commands. `state.outstanding` is what a host carries out again after a crash.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from openbell.core import approval
from openbell.core.analysis.limits import SideHealth, Tick, extend_baseline, judge_triggers, judge_watch
from openbell.core.commands import AnyCommand, Notify, SetRoute
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
from openbell.core.rollout_commands import applied, command_for
from openbell.core.rollout_state import Commands, Rollout
from openbell.core.strategy import AnyStep, Approve, Handover, Hold, Migrate, Place, Retire, Route, Watch

FORWARD_ATTEMPTS = 3
"""How often a retryable command is tried at least on the way forward before the release is taken back."""
BACK_ATTEMPTS = 8
"""How often a command is tried on the way back before a person is asked."""
NOTIFY_ATTEMPTS = 4


def decide(state: Rollout | None, event: AnyEvent) -> tuple[Rollout, Commands]:
    """Say what follows from an event: the next state, and the commands that a host must carry out, in this order.

    Events that no longer matter (a late result, an approval that does not count) leave the state as it is.
    """
    if isinstance(event, Begun):
        return _begin(event) if state is None else (state, ())
    if state is None:
        raise ValueError(f"a rollout begins with Begun, not with {type(event).__name__}")
    if state.direction == "ended":
        return _REACTIONS_WHEN_ENDED.get(type(event), _ignore)(state, event)
    return _REACTIONS[type(event)](state, event)


def fold(events: list[AnyEvent]) -> Rollout:
    """Rebuild a rollout from its journal; the commands that a host still owes are in `outstanding`."""
    state: Rollout | None = None
    for event in events:
        state, _ = decide(state, event)
    if state is None:
        raise ValueError("a rollout without events")
    return state


def approval_refusal(state: Rollout, *, by: str, digest: str) -> str | None:
    """Say why an approval would not count now; None when it would."""
    if not (isinstance(state.step, Approve) or (state.waiting_for and isinstance(state.step, (Hold, Watch)))):
        return "the rollout does not wait for an approval"
    return approval.refusal(
        by=by,
        digest=digest,
        wanted_digest=state.plan.candidate.digest,
        author=state.plan.author,
        approvers=state.plan.approvers,
        given=state.approvals if isinstance(state.step, Approve) else (),
    )


# --- reactions to events -------------------------------------------------------------------------------------------


def _ignore(state: Rollout, event: AnyEvent) -> tuple[Rollout, Commands]:
    del event
    return state, ()


def _begin(event: Begun) -> tuple[Rollout, Commands]:
    plan = event.plan
    state = Rollout(
        plan=plan,
        started_at_s=event.at_s,
        steps=plan.steps,
        step_started_at_s=event.at_s,
        stable_replicas=plan.stable.replicas if plan.stable else 0,
    )
    return _enter(state, event.at_s)


def _on_succeeded(state: Rollout, event: CommandSucceeded) -> tuple[Rollout, Commands]:
    command = _outstanding(state, event.id)
    if command is None:
        return state, ()
    state = applied(_without(state, event.id), command, event)
    if isinstance(command, Notify):
        return state, ()
    if state.entered and command.id == _step_id(state):
        return _advance(state, event.at_s)
    return _enter_when_free(state, event.at_s)


def _on_failed(state: Rollout, event: CommandFailed) -> tuple[Rollout, Commands]:
    command = _outstanding(state, event.id)
    if command is None:
        return state, ()
    state = _without(state, event.id)
    if isinstance(command, Notify):
        return _notify_again(state, command)
    if not (state.entered and command.id == _step_id(state)):
        return _enter_when_free(state, event.at_s)
    if state.direction == "forward":
        if event.retryable and _may_try_again(state, event.at_s):
            # Traffic waits until the candidate is seen to serve again, as long as it may take to get healthy.
            return _enter_when_free(replace(state, attempt=state.attempt + 1, entered=False), event.at_s)
        return _go_back(state, event.at_s, event.message)
    if state.attempt + 1 < BACK_ATTEMPTS:
        return _enter(replace(state, attempt=state.attempt + 1), event.at_s)
    return _wait_for_person(replace(state, entered=False), f"the way back is blocked: {event.message}")


def _may_try_again(state: Rollout, at_s: float) -> bool:
    """Whether a step forward may be tried once more: a few times, and a route as long as a side may take to be healthy.

    A router that cannot be told anything goes on with what it was told last, so nothing is lost by waiting for it.
    """
    patient = isinstance(state.step, Route) and at_s - state.step_started_at_s < state.plan.healthy_timeout_s
    return patient or state.attempt + 1 < FORWARD_ATTEMPTS


def _on_ticked(state: Rollout, event: Ticked) -> tuple[Rollout, Commands]:
    tick = event.tick
    state = _seen(state, tick)
    if tick.drift and _is_ours_to_keep(state):
        return _on_drift(state, event)
    if state.direction == "back":
        return state, ()
    if isinstance(state.step, Approve) and _is_too_late(state, event.at_s):
        return _give_approval_up(state, event.at_s)
    if state.verdict.kind == "fail":
        return _go_back(state, event.at_s, state.verdict.reason)
    if not state.entered:
        return _enter_late(state, event.at_s)
    if isinstance(state.step, Watch):
        return _watch(state, tick, state.step)
    if isinstance(state.step, Hold):
        return _hold(_held(state, tick), event.at_s, state.step.duration_s)
    return state, ()


def _is_ours_to_keep(state: Rollout) -> bool:
    """Whether the routing must be as our last command wrote it; on the way back only if that raises nothing."""
    route = state.route
    if route is None or any(isinstance(command, SetRoute) for command in state.outstanding):
        return False
    return state.direction == "forward" or not route.weights[state.plan.candidate.slot]


def _on_drift(state: Rollout, event: Ticked) -> tuple[Rollout, Commands]:
    """Answer somebody else's change of the routing, and tell people who it was."""
    drift, environment = event.tick.drift, state.plan.environment
    if state.direction == "forward" and state.plan.on_drift == "rollback":
        return _go_back(state, event.at_s, f"somebody else has changed the routing: {drift}")
    if state.route is None:
        return state, ()
    again = replace(state.route, id=f"{state.plan.id}/drift-{state.drifts}/0", delay_s=0.0)
    state = replace(state, drifts=state.drifts + 1, outstanding=(*state.outstanding, again))
    subject = f"the routing of {environment} was changed by somebody else, and is taken over again"
    state, told = _tell(state, "drift", subject, drift, urgent=True)
    return state, (again, *told)


def _on_approved(state: Rollout, event: Approved) -> tuple[Rollout, Commands]:
    if approval_refusal(state, by=event.by, digest=event.digest) is not None:
        return state, ()
    step = state.step
    if isinstance(step, Approve):
        if _is_too_late(state, event.at_s):
            return _give_approval_up(state, event.at_s)
        state = replace(state, approvals=(*state.approvals, event.by))
        if len(state.approvals) < step.required:
            return state, ()
    return _advance(replace(state, waiting_for=None), event.at_s)


def _is_too_late(state: Rollout, at_s: float) -> bool:
    """Whether an approval would come after the time that the plan gives it."""
    return at_s - state.step_started_at_s >= state.plan.approval_timeout_s


def _give_approval_up(state: Rollout, at_s: float) -> tuple[Rollout, Commands]:
    return _go_back(state, at_s, f"nobody approved within {state.plan.approval_timeout_s:g} s")


def _on_abort(state: Rollout, event: AbortRequested) -> tuple[Rollout, Commands]:
    if state.direction != "forward":
        return state, ()
    return _go_back(state, event.at_s, f"aborted by {event.by}: {event.reason}")


def _on_resumed(state: Rollout, event: Resumed) -> tuple[Rollout, Commands]:
    state = replace(state, streaks={}, window=())
    if isinstance(state.step, (Hold, Watch)):
        # Whoever resumes wants the judge to look on: it gets as much time again before it asks, however long the pause.
        state = replace(state, waiting_for=None, step_started_at_s=event.at_s)
    elif state.waiting_for and not state.entered:
        state = replace(state, waiting_for=None, attempt=0, step_started_at_s=event.at_s)
        state, _ = _enter_when_free(state, event.at_s)
    return state, tuple(replace(command, delay_s=0.0) for command in state.outstanding)


def _on_ended(state: Rollout, event: Ended) -> tuple[Rollout, Commands]:
    """Take the end from the journal: rules may have changed since, what happened has not."""
    ended_at_s = event.at_s if state.ended_at_s is None else state.ended_at_s
    recorded = replace(state, outcome=event.outcome, reason=event.reason, ended_at_s=ended_at_s, recorded=True)
    owed = tuple(command for command in state.outstanding if isinstance(command, Notify))
    return replace(recorded, direction="ended", waiting_for=None, outstanding=owed), ()


def _on_resumed_when_ended(state: Rollout, event: Resumed) -> tuple[Rollout, Commands]:
    del event
    return state, state.outstanding


_REACTIONS: dict[type, Callable[[Rollout, Any], tuple[Rollout, Commands]]] = {
    CommandSucceeded: _on_succeeded,
    CommandFailed: _on_failed,
    Ticked: _on_ticked,
    Approved: _on_approved,
    AbortRequested: _on_abort,
    Resumed: _on_resumed,
    Ended: _on_ended,
}
_REACTIONS_WHEN_ENDED: dict[type, Callable[[Rollout, Any], tuple[Rollout, Commands]]] = {
    CommandSucceeded: _on_succeeded,
    CommandFailed: _on_failed,
    Resumed: _on_resumed_when_ended,
    Ended: _on_ended,
}


# --- steps ---------------------------------------------------------------------------------------------------------


def _step_id(state: Rollout) -> str:
    return f"{state.plan.id}/{state.direction}-{state.position}/{state.attempt}"


def _delay_s(attempt: int) -> float:
    return min(0.2 * 2.0**attempt, 5.0) if attempt else 0.0


def _enter(state: Rollout, at_s: float) -> tuple[Rollout, Commands]:
    """Start the current step: issue its command, or begin to hold, watch or wait."""
    step = state.step
    if step is None:
        return state, ()
    started_at_s = state.step_started_at_s if state.attempt else at_s
    state = replace(state, entered=True, step_started_at_s=started_at_s, held_s=0.0)
    if isinstance(step, (Hold, Watch)):
        return state, ()
    if isinstance(step, Approve):
        return _ask_approval(state, step)
    command = command_for(state, step, _step_id(state), _delay_s(state.attempt))
    state = replace(state, outstanding=(*state.outstanding, command))
    if isinstance(step, Route):
        state = replace(state, routed=True)
    # Counted when issued, not when done: on the way back these replicas must not be relied on.
    if isinstance(step, Retire) and step.side == "stable":
        state = replace(state, stable_replicas=min(state.stable_replicas, step.replicas))
    if isinstance(step, Handover) and step.source == "stable" and step.keep:
        state = replace(state, stable_replicas=min(state.stable_replicas, step.keep))
    return state, (command,)


def _enter_when_free(state: Rollout, at_s: float) -> tuple[Rollout, Commands]:
    """Start the current step unless it has started, or what the way forward left in flight must end first."""
    if state.entered or state.waiting_for:
        return state, ()
    if not isinstance(state.step, Route) and any(not isinstance(c, Notify) for c in state.outstanding):
        return state, ()
    if not _may_route(state):
        return state, ()
    return _enter(state, at_s)


def _may_route(state: Rollout) -> bool:
    """Whether the step may start as far as health goes: traffic goes only to a side that was just seen to serve."""
    step = state.step
    if state.direction != "forward" or not isinstance(step, Route) or not step.weight_pct:
        return True
    return bool(state.window) and state.window[-1].candidate_health.can_serve


def _enter_late(state: Rollout, at_s: float) -> tuple[Rollout, Commands]:
    """Start a step that waited for a healthy candidate, or give the release up when it stays unhealthy."""
    limit_s = state.plan.healthy_timeout_s
    if not state.waiting_for and at_s - state.step_started_at_s >= limit_s and not _may_route(state):
        return _go_back(state, at_s, f"the candidate was not healthy for {limit_s:g} s, so it gets no traffic")
    return _enter_when_free(state, at_s)


def _advance(state: Rollout, at_s: float) -> tuple[Rollout, Commands]:
    if state.position + 1 < len(state.steps):
        after = replace(state, position=state.position + 1, entered=False, attempt=0, step_started_at_s=at_s)
        return _enter_when_free(after, at_s)
    promoted = state.direction == "forward"
    version = state.plan.candidate.version
    reason = state.reason or ("all steps passed" if promoted else "")
    state = replace(
        state,
        direction="ended",
        outcome="promoted" if promoted else "rolled-back",
        reason=reason,
        ended_at_s=at_s,
        waiting_for=None,
    )
    what = "is promoted" if promoted else "was taken back"
    return _tell(state, "ended", f"{version} {what} in {state.plan.environment}", reason, urgent=False)


# --- judging -------------------------------------------------------------------------------------------------------


def _seen(state: Rollout, tick: Tick) -> Rollout:
    """Add a tick to what the judge has seen, and judge."""
    plan, previous = state.plan, state.window[-1] if state.window else None
    if plan.strategy == "return" and tick.candidate_health.observed:
        # A replica that was kept has counted for days; only what happens from now on is this rollout's.
        state = replace(state, counted_from=state.counted_from or tick.candidate_health)
        tick = replace(tick, candidate_health=_since(state.counted_from, tick.candidate_health))
    first = state.first_answer_at_s if state.first_answer_at_s is not None else tick.candidate.first_at_s
    state = replace(
        state,
        first_answer_at_s=first if state.routed else None,
        candidate_requests=state.candidate_requests + (tick.candidate.requests if state.routed else 0),
        candidate_errors=state.candidate_errors + (tick.candidate.errors if state.routed else 0),
    )
    if state.direction != "forward":
        return state
    window = (*(old for old in state.window if old.at_s > tick.at_s - plan.triggers.window_s), tick)
    state = replace(state, window=window)
    if not state.routed:
        state = replace(state, baseline=extend_baseline(state.baseline, tick, previous))
    if state.candidate_replicas:
        verdict, streaks = judge_triggers(plan.triggers, window, state.streaks)
        state = replace(state, verdict=verdict, streaks=streaks)
    if state.weight_pct == 100:
        watched = (*state.watched, tick)
        state = replace(state, watched=watched)
        state = replace(state, watch_verdict=judge_watch(plan.watch_for, watched, state.baseline))
    return state


def _since(begin: SideHealth | None, now: SideHealth) -> SideHealth:
    if begin is None:
        return now
    return replace(
        now,
        restarts=max(0, now.restarts - begin.restarts),
        failed_health_checks=max(0, now.failed_health_checks - begin.failed_health_checks),
    )


def _held(state: Rollout, tick: Tick) -> Rollout:
    """Count a tick's time towards a hold: only what was observed, since the step began, without long gaps."""
    if not tick.candidate.observed:
        return state
    counted_s = min(tick.duration_s, tick.at_s - state.step_started_at_s, 2 * state.plan.tick_s)
    return replace(state, held_s=state.held_s + max(0.0, counted_s))


def _hold(state: Rollout, at_s: float, duration_s: float) -> tuple[Rollout, Commands]:
    if state.held_s >= duration_s and state.verdict.kind == "pass":
        return _advance(replace(state, waiting_for=None), at_s)
    if at_s - state.step_started_at_s < duration_s + state.plan.undecided_s or state.waiting_for:
        return state, ()
    return _wait_for_person(state, f"the judge is undecided: {state.verdict.reason}")


def _watch(state: Rollout, tick: Tick, step: Watch) -> tuple[Rollout, Commands]:
    """Hold at 100 percent; post-deployment limits are told, or take the release back, as the configuration says."""
    state = _held(state, tick)
    broken = state.watch_verdict if state.watch_verdict.kind == "fail" else None
    if broken and state.plan.watch_for.on_break == "rollback":
        return _go_back(state, tick.at_s, broken.reason)
    commands: Commands = ()
    for measure in broken.measures if broken else ():
        if measure.verdict == "fail" and f"watch {measure.name}" not in state.told:
            subject = f"{state.plan.candidate.version} in {state.plan.environment}: {measure.name} is outside its limit"
            state, told = _tell(state, f"watch {measure.name}", subject, measure.text, urgent=False)
            commands += told
    state, more = _hold(state, tick.at_s, step.duration_s)
    return state, commands + more


# --- the way back, and people --------------------------------------------------------------------------------------


def way_back(state: Rollout) -> tuple[AnyStep, ...]:
    """Compile the steps that take the candidate back from where the rollout stands."""
    stable = state.plan.stable
    if stable is None:
        return (Retire(side="candidate", replicas=0),)
    health = state.window[-1].stable_health if state.window else None
    serves = state.stable_replicas > 0 and (health is None or not health.observed or health.can_serve)
    steps: list[AnyStep] = []
    whole = Place(side="stable", replicas=stable.replicas)
    if not serves:
        steps.append(whole)
    if state.routed:
        steps.append(Route(weight_pct=0, sessions="stable"))
    if serves and state.stable_replicas < stable.replicas:
        steps.append(whole)
    if state.routed:
        steps.append(Handover(source="candidate", keep=0))
    return (*steps, Retire(side="candidate", replicas=0))


def _go_back(state: Rollout, at_s: float, reason: str) -> tuple[Rollout, Commands]:
    if state.plan.stable is None and state.routed:
        # A first release that serves has nothing to go back to: taking it away would leave nothing at all.
        return _wait_for_person(replace(state, entered=False), f"{reason} (no earlier release to go back to)")
    if any(isinstance(step, Migrate) and step.phase == "contract" for step in state.steps[: state.position + 1]):
        # The earlier release may not read what the contraction has left: going back is no machine's decision any more.
        return _wait_for_person(replace(state, entered=False), f"{reason} (the database was contracted)")
    steps = way_back(state)
    # A routing command still in flight is superseded: it must not be issued again after the one that takes weight away.
    outstanding = tuple(c for c in state.outstanding if not isinstance(c, SetRoute))
    state = replace(
        state,
        direction="back",
        steps=steps,
        position=0,
        entered=False,
        attempt=0,
        outstanding=outstanding,
        waiting_for=None,
        reason=reason,
        decided_back_at_s=at_s,
    )
    state, commands = _enter_when_free(state, at_s)
    subject = f"{state.plan.candidate.version} is taken back from {state.plan.environment}"
    state, told = _tell(state, "back", subject, reason, urgent=True)
    return state, commands + told


def _ask_approval(state: Rollout, step: Approve) -> tuple[Rollout, Commands]:
    who = ", ".join(state.plan.approvers) or "anyone but the author"
    approvals = "an approval" if step.required == 1 else f"{step.required} approvals"
    state = replace(state, waiting_for=f"{approvals} from {who}")
    version, environment = state.plan.candidate.version, state.plan.environment
    text = f"openbell approve {state.plan.id}   (needs {step.required} of: {who}; not the author {state.plan.author})"
    return _tell(state, "approve", f"{version} waits for approval in {environment}", text, urgent=False)


def _wait_for_person(state: Rollout, why: str) -> tuple[Rollout, Commands]:
    if state.waiting_for:
        return state, ()
    who = ", ".join(state.plan.approvers) or "the on-call engineer"
    state = replace(state, waiting_for=f"{who}: {why}")
    subject = f"{state.plan.candidate.version} in {state.plan.environment} waits for {who}"
    return _tell(state, f"wait {state.direction}-{state.position}", subject, why, urgent=True)


def _tell(state: Rollout, topic: str, subject: str, text: str, *, urgent: bool) -> tuple[Rollout, Commands]:
    number = sum(1 for earlier in state.told if earlier == topic)
    key = f"{state.plan.id}/notify/{topic.replace(' ', '-')}.{number}/0"
    notice = Notify(id=key, subject=subject, text=text, urgent=urgent)
    state = replace(state, told=(*state.told, topic), outstanding=(*state.outstanding, notice))
    return state, (notice,)


def _notify_again(state: Rollout, failed: Notify) -> tuple[Rollout, Commands]:
    stem, _, attempt = failed.id.rpartition("/")
    number = int(attempt) + 1
    if number >= NOTIFY_ATTEMPTS:
        return state, ()
    again = replace(failed, id=f"{stem}/{number}", delay_s=_delay_s(number))
    return replace(state, outstanding=(*state.outstanding, again)), (again,)


def _outstanding(state: Rollout, key: str) -> AnyCommand | None:
    return next((command for command in state.outstanding if command.id == key), None)


def _without(state: Rollout, key: str) -> Rollout:
    return replace(state, outstanding=tuple(command for command in state.outstanding if command.id != key))
