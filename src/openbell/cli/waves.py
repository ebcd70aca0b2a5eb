"""Runs over the targets of an environment: `deploy`, `rollback`, `abort`, `resume`, `watch` and `why` for them.

Several rollouts go on at the same time, so there is no live screen: each line names its target.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from openbell.cli.rollout_progress import clock
from openbell.cli.terminal import DONE, FAILED, WAITS, complain, counted, paint, print_json, say
from openbell.core.events import AnyEvent
from openbell.core.narrative import describe, headline
from openbell.core.places import places_of
from openbell.core.rollout import decide as decide_rollout
from openbell.core.rollout_state import Rollout
from openbell.core.waves import AnyWavesEvent, Waves, WavesBegun, WavesPlan, decide
from openbell.core.waves_narrative import describe_run, run_text
from openbell.hosts.local import Observer, load
from openbell.hosts.waves import load_waves
from openbell.ports import AdapterError, Journal
from openbell.wiring import rollouts, waves
from openbell.wiring.pipeline import Deployment
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import ReleaseBuilt
from openbell.wiring.rollouts import AlreadyThereError
from openbell.wiring.waves import WavesDocument

WATCH_POLL_S = 0.3


async def deploy(
    place: OpenProject,
    journal: Journal,
    environment: str,
    built: ReleaseBuilt,
    *,
    by: str | None,
    wait: bool,
    json: bool,
) -> int:
    """Bring a release to all targets of an environment, wave by wave; returns the exit code."""
    try:
        async with rollouts.alone(journal, environment):
            plan = await waves.make_waves_plan(journal, place, environment, built, say)
            state = await _begin(place, journal, plan, by=by, wait=wait)
    except AlreadyThereError as error:
        say(str(error))
        return await _check_all(place, journal, environment)
    return await report(journal, state, json=json)


async def _check_all(place: OpenProject, journal: Journal, environment: str) -> int:
    """Run what the release that is in all targets has not passed there yet."""
    failed: list[str] = []
    for one in places_of(place.project, environment):
        failed += [f"{one}: {why}" for why in await rollouts.check_what_serves(journal, place, one)]
    return complain("\n".join(failed), code=FAILED) if failed else DONE


async def deploy_from_run(place: OpenProject, journal: Journal, environment: str, built: ReleaseBuilt) -> Deployment:
    """Deploy what a run of the pipeline has built; raises `RefusedError` when it cannot begin."""
    async with rollouts.alone(journal, environment):
        plan = await waves.make_waves_plan(journal, place, environment, built, say)
        state = await _begin(place, journal, plan, by=None, wait=sys.stdin.isatty())
    found = await waves.document(journal, state)
    if found.outcome == "running":
        return Deployment(environment, "failed", "interrupted; go on with: openbell resume", found.id)
    return Deployment(environment, found.outcome, found.reason, found.id)


async def rollback(
    place: OpenProject,
    journal: Journal,
    environment: str,
    *,
    to: str | None,
    by: str | None,
    reason: str,
    json: bool,
) -> int:
    """Bring back what all targets had before; a run that is under way is aborted instead."""
    running = [state for state in await waves.unfinished_runs(journal, environment) if state.phase != "ended"]
    if running:
        return await abort(place, journal, running[0].plan.id, by=by, reason=reason, json=json)
    async with rollouts.alone(journal, environment):
        plan = await waves.make_waves_return_plan(journal, place, environment, to)
        state = await _begin(place, journal, plan, by=by, wait=False)
    return await report(journal, state, json=json)


async def abort(place: OpenProject, journal: Journal, run: str, *, by: str | None, reason: str, json: bool) -> int:
    """Ask for an abort, and carry it out here unless another openbell drives the run."""
    await waves.ask_abort_of_run(journal, run, rollouts.person(place.root, by), reason)
    try:
        state = await go_on(place, journal, run, wait=False)
    except AdapterError as error:
        if error.operation != "lease":
            raise
        return await watch(journal, run, json=json)
    return await report(journal, state, json=json)


async def go_on(place: OpenProject, journal: Journal, run: str, *, wait: bool) -> Waves:
    """Go on with a run that another openbell left, with its progress on standard error."""
    return await _drive(place, journal, run, None, wait=wait)


async def _begin(place: OpenProject, journal: Journal, plan: WavesPlan, *, by: str | None, wait: bool) -> Waves:
    begun = WavesBegun(at_s=time.time(), plan=plan, by=rollouts.person(place.root, by))
    return await _drive(place, journal, plan.id, begun, wait=wait)


async def _drive(place: OpenProject, journal: Journal, run: str, begun: WavesBegun | None, *, wait: bool) -> Waves:
    state = await waves.drive(
        journal, place, run, begun, observer=observe_run, target_observer=observe_target, stop_when_waiting=not wait
    )
    for line in ending(await waves.document(journal, state), state):
        say(line)
    return state


def observe_run(before: Waves | None, event: AnyWavesEvent, after: Waves) -> None:
    """Say what an event changed in a run."""
    for line in describe_run(before, event, after):
        say(f"{clock(event.at_s)}  {line}")


def observe_target(target: str) -> Observer:
    """Say what events change in a target's rollout, in lines that begin with its name."""

    def observe(before: Rollout | None, event: AnyEvent, after: Rollout) -> None:
        for line in describe(before, event, after):
            say(f"{clock(event.at_s)}  {target}: {line}")

    return observe


def ending(found: WavesDocument, state: Waves) -> list[str]:
    """Write what a person needs when a run has ended or waits."""
    plan = state.plan
    if found.outcome == "promoted":
        what = f"{plan.version} is in {found.environment}" if plan.goal == "deploy" else f"{found.environment} is back"
        return [paint(f"✓ {what}, in {counted(len(plan.targets), 'target')}.", "green", sys.stderr)]
    if found.outcome == "rolled-back":
        what = f"{plan.version} was taken back from" if plan.goal == "deploy" else "Not all is back in"
        lines = [paint(f"✗ {what} {found.environment}.", "red", sys.stderr)]
        return [*lines, f"  Because: {headline(found.reason)} (openbell why {found.id})."]
    waiting = [one for one in found.targets if one.outcome == "waiting"]
    lines = [f"{one.version} waits in {one.environment} for {headline(one.reason)}." for one in waiting]
    if state.waiting_for:
        lines.append(f"{found.id} waits for {headline(state.waiting_for)}.")
    approve = [f"Approve: openbell approve {one.id}" for one in waiting]
    return [*lines, "  " + "     ".join([*approve, f"Take back: openbell abort {found.id}", "Go on: openbell resume"])]


async def watch(journal: Journal, run: str, *, json: bool) -> int:
    """Follow a run that another openbell drives, until it ends or waits for a person."""
    state: Waves | None = None
    seen, parts_seen = 0, dict[str, int]()
    while True:
        _, events = await load_waves(journal, run)
        for event in events[seen:]:
            before = state
            state, _ = decide(before, event)
            observe_run(before, event, state)
        seen = len(events)
        if state is None:
            state = await waves.state_of_run(journal, run)
        await _show_parts(journal, state, parts_seen)
        found = await waves.document(journal, state)
        if found.outcome != "running":
            break
        await asyncio.sleep(WATCH_POLL_S)
    for line in ending(found, state):
        say(line)
    return await report(journal, state, json=json)


async def _show_parts(journal: Journal, state: Waves, seen: dict[str, int]) -> None:
    """Show what is new in the rollouts of a run."""
    for part in await waves.rollouts_of(journal, state):
        rollout = part.plan.id
        _, events = await load(journal, rollout)
        shown = observe_target(part.plan.environment.partition("/")[2])
        folded: Rollout | None = None
        for number, event in enumerate(events):
            before = folded
            folded, _ = decide_rollout(before, event)
            if number >= seen.get(rollout, 0):
                shown(before, event, folded)
        seen[rollout] = len(events)


async def why(journal: Journal, run: str, *, json: bool) -> int:
    """Explain a run: what happened when, and which rollout says more."""
    state = await waves.state_of_run(journal, run)
    _, events = await load_waves(journal, run)
    found = await waves.document(journal, state)
    if json:
        print_json({"rollout": found, "events": events})
        return DONE
    say(run_text(state), stream=sys.stdout)
    folded: Waves | None = None
    for event in events:
        before = folded
        folded, _ = decide(before, event)
        for line in describe_run(before, event, folded):
            say(f"{clock(event.at_s)}  {line}", stream=sys.stdout)
    for one in found.targets:
        say(f"{one.environment}  {one.outcome}: {headline(one.reason)} (openbell why {one.id})", stream=sys.stdout)
    return DONE


async def report(journal: Journal, state: Waves, *, json: bool) -> int:
    """Print a run's document if it is asked for; returns the exit code."""
    found = await waves.document(journal, state)
    if json:
        print_json(found)
    return exit_code(found)


def exit_code(found: WavesDocument) -> int:
    """0 promoted, 1 taken back or interrupted, 3 waits for a person."""
    return {"promoted": DONE, "rolled-back": FAILED, "waiting": WAITS, "running": FAILED}[found.outcome]


@contextlib.asynccontextmanager
async def apart(journal: Journal, name: str) -> AsyncIterator[None]:
    """Keep runs over the whole environment away while one target of it is changed by hand, and say that it is one."""
    whole = waves.whole_of(name)
    if whole is None:
        yield
        return
    async with rollouts.alone(journal, whole):
        await waves.require_no_run(journal, whole)
        say(f"Only {name}: the other targets of {whole} stay as they are.")
        yield
