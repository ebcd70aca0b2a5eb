"""The schedule of a run: `decide(state, event) -> (state, commands)`.

The rule it keeps: a job starts once per attempt, only after everything it needs has succeeded, never after the run was
cancelled; and every run ends. Among those that may start, the one with the longest path to the end of the run comes
first, and none overtakes it; together they weigh no more than may run at once, unless one runs alone.

Time is not known here: the host says that a time limit has passed. What a job may do in each phase is the table
`TRANSITIONS`; anything that is not in it (the late end of an attempt that was given up, say) is not an error but has no
effect.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from openbell.core.pipeline import JobNode

Phase = Literal[
    "waiting", "running", "stopping-timeout", "stopping-cancel",
    "success", "failure", "timeout", "not-checked", "cached", "blocked", "cancelled",
]  # fmt: skip
Signal = Literal["start", "hit", "block", "cancel", "succeed", "fail", "not-check", "limit", "retry"]
RunOutcome = Literal["success", "failure", "cancelled"]

TRANSITIONS: dict[tuple[Phase, Signal], Phase] = {
    ("waiting", "start"): "running",
    ("waiting", "hit"): "cached",
    ("waiting", "block"): "blocked",
    ("waiting", "cancel"): "cancelled",
    ("running", "succeed"): "success",
    ("running", "fail"): "failure",
    ("running", "not-check"): "not-checked",
    ("running", "retry"): "waiting",
    ("running", "limit"): "stopping-timeout",
    ("running", "cancel"): "stopping-cancel",
    ("stopping-timeout", "succeed"): "timeout",
    ("stopping-timeout", "fail"): "timeout",
    ("stopping-timeout", "not-check"): "timeout",
    ("stopping-timeout", "retry"): "waiting",
    ("stopping-timeout", "cancel"): "stopping-cancel",
    ("stopping-cancel", "succeed"): "cancelled",
    ("stopping-cancel", "fail"): "cancelled",
    ("stopping-cancel", "not-check"): "cancelled",
}

ACTIVE: frozenset[Phase] = frozenset({"running", "stopping-timeout", "stopping-cancel"})
GOOD: frozenset[Phase] = frozenset({"success", "cached", "not-checked"})
"""What lets a dependent start. A job that could not check is shown and recorded, but does not hold the commit up."""
BROKEN: frozenset[Phase] = frozenset({"failure", "timeout"})


class JobState(msgspec.Struct, frozen=True):
    """Where one job is; `attempt` counts from 1 once it has started."""

    phase: Phase = "waiting"
    attempt: int = 0


class State(msgspec.Struct, frozen=True):
    """A run: its graph, how many jobs may run at once, where each job is, and whether it was cancelled or has ended.

    `path_s` is how long each job and what depends on it are expected to take, one after the other.
    """

    graph: tuple[JobNode, ...]
    parallel: int
    jobs: dict[str, JobState]
    path_s: dict[str, float] = {}
    begun: bool = False
    cancelled: bool = False
    outcome: RunOutcome | None = None


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The run begins; `hits` are jobs whose result is known from their fingerprint."""

    hits: tuple[str, ...] = ()


class JobEnded(msgspec.Struct, frozen=True, tag=True):
    """An attempt at a job has ended, and nothing of it runs any more."""

    id: str
    attempt: int
    result: Literal["succeed", "fail", "not-check"]


class LimitPassed(msgspec.Struct, frozen=True, tag=True):
    """An attempt has run for as long as it may."""

    id: str
    attempt: int


class CancelRequested(msgspec.Struct, frozen=True, tag=True):
    """Someone wants the run to stop."""


Event = Begin | JobEnded | LimitPassed | CancelRequested


class StartJob(msgspec.Struct, frozen=True, tag=True):
    """Run this attempt of the job; say `LimitPassed` after `timeout_s` seconds."""

    id: str
    attempt: int
    timeout_s: float


class StopJob(msgspec.Struct, frozen=True, tag=True):
    """End the attempt, with all that it started."""

    id: str
    attempt: int


class EndRun(msgspec.Struct, frozen=True, tag=True):
    """Every job has ended; this is the outcome."""

    outcome: RunOutcome


Command = StartJob | StopJob | EndRun


def plan_run(graph: tuple[JobNode, ...], parallel: int, *, path_s: Mapping[str, float] | None = None) -> State:
    """Return the state of a run before its first event; without paths jobs start in the order of the graph."""
    return State(graph, max(1, parallel), {node.id: JobState() for node in graph}, dict(path_s or {}))


def decide(state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """Decide what an event means for the run: the new state, and what to do."""
    if state.outcome is not None or state.begun == isinstance(event, Begin):
        return state, ()
    jobs = dict(state.jobs)
    commands: list[Command] = []
    cancelled = state.cancelled
    match event:
        case Begin(hits):
            for id_ in hits:
                _signal(jobs, id_, "hit")
        case CancelRequested():
            cancelled = True
            for node in state.graph:
                _cancel(jobs, node.id, commands)
        case LimitPassed(id_, attempt):
            if jobs[id_].attempt == attempt and _signal(jobs, id_, "limit"):
                commands.append(StopJob(id_, attempt))
        case JobEnded(id_, attempt, result):
            _end(state, jobs, commands, JobEnded(id_, attempt, result), cancelled=cancelled)
    state = msgspec.structs.replace(state, jobs=jobs, begun=True, cancelled=cancelled)
    return _advance(state, commands)


def _signal(jobs: dict[str, JobState], id_: str, signal: Signal) -> bool:
    """Move a job along the table; False when the table has no such move."""
    job = jobs[id_]
    phase = TRANSITIONS.get((job.phase, signal))
    if phase is None:
        return False
    jobs[id_] = JobState(phase, job.attempt + (signal == "start"))
    return True


def _cancel(jobs: dict[str, JobState], id_: str, commands: list[Command]) -> None:
    was_running = jobs[id_].phase == "running"
    if _signal(jobs, id_, "cancel") and was_running:
        commands.append(StopJob(id_, jobs[id_].attempt))


def _end(state: State, jobs: dict[str, JobState], commands: list[Command], event: JobEnded, *, cancelled: bool) -> None:
    node = next(node for node in state.graph if node.id == event.id)
    job = jobs[event.id]
    if job.attempt != event.attempt or job.phase not in ACTIVE:
        return
    broke = event.result == "fail" or job.phase == "stopping-timeout"
    if broke and not cancelled and job.attempt <= node.job.retries and _signal(jobs, event.id, "retry"):
        return
    _signal(jobs, event.id, event.result)
    if node.job.fail_fast and jobs[event.id].phase in BROKEN:
        for other in state.graph:
            if other.name == node.name and other.id != node.id:
                _cancel(jobs, other.id, commands)


def _advance(state: State, commands: list[Command]) -> tuple[State, tuple[Command, ...]]:
    """Block what can no longer start, start what can, and end the run when nothing is left."""
    jobs = dict(state.jobs)
    by_id = {node.id: node for node in state.graph}
    ready: list[JobNode] = []
    for node in state.graph:
        if jobs[node.id].phase != "waiting":
            continue
        if any(_is_bad(by_id[need], jobs[need]) for need in node.needs):
            _signal(jobs, node.id, "block")
        elif all(_is_good(by_id[need], jobs[need]) for need in node.needs):
            ready.append(node)
    running = sum(node.job.weight for node in state.graph if jobs[node.id].phase in ACTIVE)
    for node in sorted(ready, key=lambda node: -state.path_s.get(node.id, 0.0)):
        if running and running + node.job.weight > state.parallel:
            # What is lighter waits as well: it would only keep the longest path from going on.
            break
        _signal(jobs, node.id, "start")
        commands.append(StartJob(node.id, jobs[node.id].attempt, node.job.timeout_s))
        running += node.job.weight
    outcome: RunOutcome | None = None
    if not any(job.phase == "waiting" or job.phase in ACTIVE for job in jobs.values()):
        outcome = _outcome(state, jobs)
        commands.append(EndRun(outcome))
    return msgspec.structs.replace(state, jobs=jobs, outcome=outcome), tuple(commands)


def _is_good(node: JobNode, job: JobState) -> bool:
    return job.phase in GOOD or (node.job.allow_failure and job.phase in BROKEN)


def _is_bad(node: JobNode, job: JobState) -> bool:
    return job.phase in ("blocked", "cancelled") or (job.phase in BROKEN and not node.job.allow_failure)


def _outcome(state: State, jobs: dict[str, JobState]) -> RunOutcome:
    if state.cancelled:
        return "cancelled"
    return "success" if all(_is_good(node, jobs[node.id]) for node in state.graph) else "failure"


def blockers(state: State, id_: str) -> tuple[str, ...]:
    """Name what keeps a blocked job from running: those of its needs, near or far, that broke or were cancelled."""
    by_id = {node.id: node for node in state.graph}
    found: dict[str, bool] = {}
    pending = list(by_id[id_].needs)
    while pending:
        need = pending.pop(0)
        phase = state.jobs[need].phase
        if phase == "blocked":
            pending += by_id[need].needs
        elif _is_bad(by_id[need], state.jobs[need]):
            found[need] = True
    return tuple(found)
