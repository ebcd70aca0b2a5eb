"""Concurrency groups on this machine: a newer run of a group cancels the older ones that still run jobs.

The newer run leaves a note in the older one's folder; the older one looks for it while its jobs run, and only then: a
rollout that has begun is never cut off this way. Which run is newer is what their records say, so two that begin at
once agree about it.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from openbell.core.pattern import fill
from openbell.wiring import run_record
from openbell.wiring.pipeline import PreparedRun
from openbell.wiring.run_folder import supersede, superseded_by

if TYPE_CHECKING:
    import asyncio

LOOKED_EVERY_S = 0.2
WAITED_S = 30.0
"""So long a run waits for the one that it supersedes; then it goes on beside it."""


def group_of(prepared: PreparedRun) -> str:
    """Name the group of a run; empty when there is none, or only a part of the pipeline was asked for."""
    group = prepared.place.project.concurrency.group
    if group is None or prepared.request.narrowed:
        return ""
    trigger = prepared.plan.trigger
    return fill(group, {"ref": trigger.ref, "trigger": trigger.kind, "target": trigger.target or ""})


def supersede_older(prepared: PreparedRun) -> tuple[str, ...]:
    """Cancel the older runs of the same group, or this one when a newer one is there; returns those that run yet."""
    group, state, own = group_of(prepared), prepared.place.state, prepared.workplace.run
    if not group:
        return ()
    records = [record for run in run_record.newest_first(state) if (record := run_record.read(state, run))]
    mine = next((record.began.at_s for record in records if record.began.run == own), time.time())
    older = []
    for record in records:
        began = record.began
        if began.run == own or began.group != group or record.state != "running":
            continue
        if (began.at_s, began.run) < (mine, own):
            supersede(state.run(began.run), by=own)
            older.append(began.run)
        else:
            supersede(state.run(own), by=began.run)
    return tuple(older)


@contextlib.asynccontextmanager
async def looking_out(prepared: PreparedRun, older: tuple[str, ...], cancel: "asyncio.Event") -> AsyncIterator[None]:
    """Wait for older runs to end, then set `cancel` when a newer one wants this to."""
    if not group_of(prepared):
        yield
        return
    import asyncio

    looking = asyncio.create_task(_look_out(prepared, cancel))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAITED_S):
                while not cancel.is_set() and await asyncio.to_thread(_any_runs, prepared, older):  # noqa: ASYNC110
                    await asyncio.sleep(LOOKED_EVERY_S)
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _look_out(prepared: PreparedRun, cancel: "asyncio.Event") -> None:
    import asyncio

    while not superseded_by(prepared.workplace.folder):  # noqa: ASYNC110 - a file that another process writes
        await asyncio.sleep(LOOKED_EVERY_S)
    cancel.set()


def _any_runs(prepared: PreparedRun, runs: tuple[str, ...]) -> bool:
    records = [run_record.read(prepared.place.state, run) for run in runs]
    return any(record.state == "running" for record in records if record)
