"""The host of a run: asyncio around `core.schedule.decide`.

It starts and stops jobs as the core commands, tells it when they end and when their time is over, and reports each
outcome to an observer once. It decides nothing itself and knows neither shells nor caches.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec

from openbell.core import schedule
from openbell.core.attempts import words_of_limit
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.report import Outcome
from openbell.ports import AdapterError, JobRunner, RunObserver

_OUTCOMES: dict[schedule.Phase, Outcome] = {
    "success": "success",
    "failure": "failure",
    "timeout": "timeout",
    "not-checked": "not-checked",
    "cached": "cached",
    "blocked": "skipped",
    "cancelled": "skipped",
}


class RunEnd(msgspec.Struct, frozen=True):
    """How a run ended: its outcome and the result of every job, in the order of the graph."""

    outcome: schedule.RunOutcome
    results: tuple[JobResult, ...]


class _Drive:
    """One run under way."""

    def __init__(self, state: schedule.State, hits: Mapping[str, JobResult], runner: JobRunner, observer: RunObserver):
        self.state = state
        self.runner = runner
        self.observer = observer
        self.nodes = {node.id: node for node in state.graph}
        self.results: dict[str, JobResult] = dict(hits)
        self.events: asyncio.Queue[schedule.Event] = asyncio.Queue()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.stops: dict[str, asyncio.Event] = {}
        self.reported: set[str] = set()

    def apply(self, event: schedule.Event) -> None:
        """Let the core decide, and do what it commands."""
        self.state, commands = schedule.decide(self.state, event)
        for command in commands:
            match command:
                case schedule.StartJob(id_, attempt, timeout_s):
                    self.observer.job_started(self.nodes[id_], attempt)
                    self.stops[id_] = asyncio.Event()
                    self.tasks[id_] = asyncio.create_task(self._attempt(self.nodes[id_], attempt, timeout_s))
                case schedule.StopJob(id_):
                    self.stops[id_].set()
                case schedule.EndRun():
                    pass
        for node in self.state.graph:
            phase = self.state.jobs[node.id].phase
            if phase in _OUTCOMES and node.id not in self.reported:
                self.reported.add(node.id)
                self.results[node.id] = self._result(node, phase)
                self.observer.job_ended(self.results[node.id])

    async def _attempt(self, node: JobNode, attempt: int, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.call_later(timeout_s, self.events.put_nowait, schedule.LimitPassed(node.id, attempt))
        try:
            result = await self.runner.run(node, attempt, self.stops[node.id])
        except AdapterError as error:
            result = JobResult(node.id, node.name, node.stage, "failure", str(error), attempts=attempt)
        except (OSError, ValueError) as error:
            # What the machine or the input of one job does not allow fails this job, and leaves the others alone.
            reason = str(error) or type(error).__name__
            result = JobResult(node.id, node.name, node.stage, "failure", reason, attempts=attempt)
        finally:
            limit.cancel()
        self.results[node.id] = result
        self.events.put_nowait(_ended(node.id, attempt, result.outcome))

    def _result(self, node: JobNode, phase: schedule.Phase) -> JobResult:
        outcome = _OUTCOMES[phase]
        known = self.results.get(node.id) or JobResult(node.id, node.name, node.stage, outcome)
        if phase == "blocked":
            return msgspec.structs.replace(known, reason=self._words_of_blocking(node))
        if phase == "cancelled":
            return msgspec.structs.replace(known, outcome=outcome, reason="cancelled")
        if phase == "timeout":
            tries = node.job.retries + 1
            reason = words_of_limit(node.job) + (f" (attempt {tries} of {tries})" if tries > 1 else "")
            known = msgspec.structs.replace(known, outcome=outcome, reason=reason)
        if node.job.allow_failure and phase in schedule.BROKEN:
            known = msgspec.structs.replace(known, reason=f"allowed to fail: {known.reason}")
        return known

    def _words_of_blocking(self, node: JobNode) -> str:
        because = schedule.blockers(self.state, node.id)
        names = ", ".join(self.nodes[id_].short for id_ in because)
        return f"waits for {names}, which did not pass" if names else "waits for a job that did not run"

    async def close(self) -> None:
        """End what still runs, whatever went wrong."""
        for stop in self.stops.values():
            stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def _ended(id_: str, attempt: int, outcome: Outcome) -> schedule.JobEnded:
    if outcome == "success":
        return schedule.JobEnded(id_, attempt, "succeed")
    return schedule.JobEnded(id_, attempt, "not-check" if outcome == "not-checked" else "fail")


async def drive(
    state: schedule.State,
    hits: Mapping[str, JobResult],
    runner: JobRunner,
    observer: RunObserver,
    *,
    cancel: asyncio.Event,
) -> RunEnd:
    """Run a graph to its end; `hits` are results that are known already. When `cancel` is set, all jobs are ended.

    A job whose runner raises `AdapterError`, `OSError` or `ValueError` is a failure with that message. Raises what it
    raises besides, after everything that was started has ended.
    """
    run = _Drive(state, hits, runner, observer)
    watching = asyncio.create_task(_watch(cancel, run.events))
    try:
        run.apply(schedule.Begin(tuple(hits)))
        while run.state.outcome is None:
            waiting = asyncio.create_task(run.events.get())
            crashed = await _next(waiting, run.tasks)
            if crashed:
                waiting.cancel()
                crashed.result()
            run.apply(await waiting)
    finally:
        watching.cancel()
        await run.close()
    return RunEnd(run.state.outcome, tuple(run.results[node.id] for node in state.graph))


async def _next(
    waiting: asyncio.Task[schedule.Event], tasks: Mapping[str, asyncio.Task[None]]
) -> asyncio.Task[None] | None:
    """Wait for the next event; return a job's task instead when it died of a defect."""
    while not waiting.done():
        running = [task for task in tasks.values() if not task.done()]
        await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks.values():
            if task.done() and not task.cancelled() and task.exception():
                return task
    return None


async def _watch(cancel: asyncio.Event, events: asyncio.Queue[schedule.Event]) -> None:
    await cancel.wait()
    events.put_nowait(schedule.CancelRequested())
