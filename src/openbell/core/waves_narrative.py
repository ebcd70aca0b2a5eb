"""A run over targets in words: what each event changed, one short sentence per fact, as `openbell.core.narrative` does.

It only reads states; it decides nothing. Times are left to whoever prints them.
"""

from openbell.core.commands import Notify
from openbell.core.events import AbortRequested, Resumed
from openbell.core.narrative import duration, headline
from openbell.core.waves import (
    AnyWavesCommand,
    AnyWavesEvent,
    BeginTarget,
    ReturnTarget,
    TargetApproved,
    TargetEnded,
    TargetReturned,
    Waves,
    WavesBegun,
    WavesPlan,
)

_ENDS = {
    "promoted": "through",
    "unchanged": "nothing to do",
    "failed": "not through",
    "rolled-back": "taken back",
    "refused": "not begun",
    "returned": "has what it had before",
    "kept": "is left as it is",
    "blocked": "could not be returned",
}


def describe_run(before: Waves | None, event: AnyWavesEvent, after: Waves) -> list[str]:
    """Say what an event changed; empty when nothing that a person needs to know."""
    lines = _event(event)
    known = {command.id for command in before.outstanding} if before else frozenset()
    lines += [line for command in after.outstanding if command.id not in known for line in _command(command)]
    if after.phase == "holding" and before is not None and before.phase != "holding":
        through, following = f"wave {after.wave + 1} of {len(after.plan.waves)}", after.plan.waves[after.wave + 1]
        lines.append(f"{through} is through; hold for {duration(after.plan.hold_s)}, then {', '.join(following)}")
    if after.phase == "stuck" and after.waiting_for:
        lines.append(f"waits for {headline(after.waiting_for)}")
    if after.ended_at_s is not None and (before is None or before.ended_at_s is None):
        what = {"promoted": "done", "rolled-back": "taken back"}[after.outcome or "promoted"]
        lines.append(f"{after.plan.id} {what} in {duration(after.ended_at_s - after.started_at_s)}")
    return lines


def order_text(plan: WavesPlan) -> str:
    """Write down the waves of a run: `eu, then us and asia`."""
    waves = reversed(plan.waves) if plan.goal == "return" else plan.waves
    return ", then ".join(" and ".join(wave) for wave in waves)


def run_text(state: Waves) -> str:
    """Say in a line where a run stands."""
    plan = state.plan
    if state.outcome is not None:
        what = "is through" if state.outcome == "promoted" else "was taken back"
        return f"{plan.id} {plan.version}  {what}: {headline(state.reason)}"
    where = {
        "forward": f"wave {state.wave + 1} of {len(plan.waves)}",
        "holding": f"holds before wave {state.wave + 2} of {len(plan.waves)}",
        "stopping": "begins nothing more",
        "returning": "brings back what was before",
        "stuck": f"waits for {headline(state.waiting_for or '')}",
        "ended": "has ended",
    }[state.phase]
    stands = ", ".join(f"{target} {state.status[target]}" for target in plan.targets)
    return f"{plan.id} {plan.version}  {where}: {stands}"


def _event(event: AnyWavesEvent) -> list[str]:
    match event:
        case WavesBegun(plan=plan, by=by):
            what = plan.version if plan.goal == "deploy" else "the way back"
            waves = "1 wave" if len(plan.waves) == 1 else f"{len(plan.waves)} waves"
            return [f"{plan.environment}: {what} in {waves} ({order_text(plan)}), begun by {by}"]
        case TargetApproved(target=target):
            return [f"{target}: approved, for all targets"]
        case TargetEnded(target=target, outcome=outcome, reason=reason):
            return [f"{target}: {_ENDS[outcome]}: {headline(reason)}"]
        case TargetReturned(target=target, outcome=outcome, reason=reason):
            return [f"{target}: {_ENDS[outcome]}" + (f": {headline(reason)}" if outcome != "returned" else "")]
        case AbortRequested(by=by, reason=reason):
            return [f"abort asked for by {by}: {reason}"]
        case Resumed(by=by):
            return [f"resumed by {by}"]
        case _:
            return []


def _command(command: AnyWavesCommand) -> list[str]:
    match command:
        case Notify(subject=subject):
            return [f"told: {subject}"]
        case BeginTarget(target=target, asks=asks):
            return [f"{target}: begins" + (", and asks for the approval of all" if asks else "")]
        case ReturnTarget(target=target):
            return [f"{target}: goes back to what it had before"]
        case _:
            return []
