"""Runs over the targets of an environment: planned, begun and gone on with; what the journal knows of them.

In each target a run is a rollout like any other, with a lease, a stream and a verdict of its own, whose plan names the
command of the run that it carries out. By that name it is found again after a crash, and never begun twice.
"""

import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Literal

import msgspec

from openbell.adapters.clock import SystemClock
from openbell.adapters.sqlite import process_owner
from openbell.core.events import AbortRequested, AnyEvent, Begun, Plan
from openbell.core.places import environment_name, is_target, place_name, places_of, waves_of
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Approve
from openbell.core.waves import (
    AbortTarget,
    Arrival,
    BeginTarget,
    Return,
    ReturnTarget,
    Waves,
    WavesBegun,
    WavesPlan,
    begin_id,
)
from openbell.hosts.local import Observer
from openbell.hosts.waves import Observer as WavesObserver
from openbell.hosts.waves import WavesHost, load_waves
from openbell.ports import AdapterError, Journal, requests_of
from openbell.wiring import rollouts
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import ReleaseBuilt
from openbell.wiring.rollout_plans import (
    Part,
    approvers,
    make_plan,
    make_return_plan,
    require_free,
    require_no_blocking_findings,
    require_passed,
    serving,
)
from openbell.wiring.rollouts import AlreadyThereError, JournalNotifier, RefusedError, RolloutDocument, UnknownNameError
from openbell.wiring.site import Progress, opened_site, silent

IDS = "waves-ids"
TargetObserver = Callable[[str], Observer]
"""Makes the observer of a target's rollout, by the target's name."""
MakePlan = Callable[[], Coroutine[None, None, Plan]]


class WavesDocument(msgspec.Struct, frozen=True):
    """`openbell deploy --json` of an environment with targets; described in docs/schema/waves.json.

    `targets` are the rollouts of the run in the order in which they were begun; a target that was returned has two.
    """

    id: str
    environment: str
    outcome: Literal["promoted", "rolled-back", "waiting", "running"]
    reason: str
    duration_s: float
    targets: tuple[RolloutDocument, ...]


def consists_of_targets(place: OpenProject, environment: str) -> bool:
    """Whether a name is that of an environment with targets."""
    known = place.project.environments.get(environment)
    return known is not None and bool(known.targets)


# --- what the journal knows


async def run_ids(journal: Journal) -> list[str]:
    """Ids of the runs, oldest first."""
    return [stream.removeprefix("waves/") for stream in await journal.streams("waves/")]


async def state_of_run(journal: Journal, run: str) -> Waves:
    """Fold a run from the journal. Raises `UnknownNameError` when there is no such run."""
    state, _ = await load_waves(journal, run)
    if state is None:
        known = ", ".join(await run_ids(journal)) or "none"
        raise UnknownNameError(f'there is no run "{run}" over targets; known: {known}')
    return state


async def unfinished_runs(journal: Journal, environment: str | None = None) -> list[Waves]:
    """Runs that have not ended, or still owe somebody a notice, oldest first."""
    states = [await state_of_run(journal, run) for run in await run_ids(journal)]
    mine = [state for state in states if environment in (None, state.plan.environment)]
    return [state for state in mine if state.phase != "ended" or state.outstanding]


async def require_no_run(journal: Journal, environment: str) -> None:
    """Refuse an environment with a run that has not ended."""
    for state in await unfinished_runs(journal, environment):
        if state.phase != "ended":
            run = state.plan.id
            raise RefusedError(
                f"{environment} has a run over its targets that has not ended: {run} ({state.plan.version}). "
                f"Go on with it: openbell resume. Take it back: openbell abort {run}"
            )


async def run_of(journal: Journal, rollout: Rollout) -> Waves | None:
    """Return the run that a rollout is part of, if it has not ended."""
    if not rollout.plan.part_of:
        return None
    state = await state_of_run(journal, rollout.plan.part_of.partition("/")[0])
    return None if state.phase == "ended" else state


async def rollouts_of(journal: Journal, state: Waves) -> list[Rollout]:
    """The rollouts of a run, in the order in which they were begun."""
    found: list[Rollout] = []
    for target in state.plan.targets:
        for rollout in await rollouts.rollout_ids(journal, place_name(state.plan.environment, target)):
            one = await rollouts.state_of(journal, rollout)
            if one.plan.part_of.startswith(f"{state.plan.id}/"):
                found.append(one)
    return sorted(found, key=lambda one: one.started_at_s)


async def document(journal: Journal, state: Waves) -> WavesDocument:
    """Write down where a run stands, with the rollouts of its targets."""
    parts = await rollouts_of(journal, state)
    waiting = [f"{part.plan.environment}: {part.waiting_for}" for part in parts if part.waiting_for]
    waiting += [state.waiting_for] if state.waiting_for else []
    return WavesDocument(
        id=state.plan.id,
        environment=state.plan.environment,
        outcome=state.outcome or ("waiting" if waiting else "running"),
        reason=state.reason if state.outcome else "; ".join(waiting) or state.reason,
        duration_s=round((state.ended_at_s or time.time()) - state.started_at_s, 3),
        targets=tuple([rollouts.document(part, await rollouts.failed_checks(journal, part)) for part in parts]),
    )


async def ask_abort_of_run(journal: Journal, run: str, by: str, reason: str) -> Waves:
    """Ask whoever drives a run to take everything back. Raises `RefusedError` when it has ended."""
    state = await state_of_run(journal, run)
    if state.phase == "ended":
        remedy = f"openbell rollback {state.plan.environment}"
        raise RefusedError(f"{run} has ended ({state.outcome}); to bring the earlier releases back: {remedy}")
    event = AbortRequested(at_s=time.time(), by=by, reason=reason)
    await journal.append(requests_of(run), "AbortRequested", msgspec.json.encode(event), at_s=event.at_s)
    return state


# --- plans


async def make_waves_plan(
    journal: Journal, place: OpenProject, name: str, built: ReleaseBuilt, progress: Progress = silent
) -> WavesPlan:
    """Plan a run that brings a release to all targets; each is looked at before the first is touched."""
    await require_no_run(journal, name)
    require_no_blocking_findings(place, name, built)
    await require_passed(journal, place, name, built)
    there = await _served(journal, place, name)
    if all(digest == built.digest for digest in there.values()):
        raise AlreadyThereError(f"{name} runs {built.version} already, in all its targets")
    for one in places_of(place.project, name):
        async with opened_site(place.project, one, place.state) as site:
            problems = await site.up(progress, releases=[built.digest])
        if problems:
            raise AdapterError(one, "up", "; ".join(problems), effect="not_applied")
    return await _plan(journal, place, name, digest=built.digest, version=built.version)


async def make_waves_return_plan(journal: Journal, place: OpenProject, name: str, to: str | None) -> WavesPlan:
    """Plan the way back of all targets, each to the release that it had before, or all to the one named."""
    await require_no_run(journal, name)
    there = await _served(journal, place, name)
    built = None if to is None else await rollouts.find_release(journal, to)
    back_to: dict[str, str] = {}
    for one, target in zip(there, place.project.environments[name].targets, strict=True):
        before = await rollouts.latest(journal, one)
        known = before is not None and before.outcome == "promoted" and before.plan.strategy != "return"
        if built is not None:
            back_to[target] = built.digest
        elif before is not None and known and before.plan.stable is not None:
            back_to[target] = before.plan.stable.digest
    if not back_to:
        raise RefusedError(f"no target of {name} has a release before that is known; name one with --to RELEASE")
    if all(there[place_name(name, target)] == digest for target, digest in back_to.items()):
        raise AlreadyThereError(f"{name} runs that already, in all its targets")
    version = built.version if built else "what was before"
    return await _plan(journal, place, name, digest="", version=version, back_to=back_to)


async def _served(journal: Journal, place: OpenProject, name: str) -> dict[str, str]:
    """The digest of what serves in each target, none where nothing does; refuses a target that is not free."""
    found = {}
    for one in places_of(place.project, name):
        await require_free(journal, one)
        stable = await serving(journal, place, one)
        found[one] = stable.digest if stable else ""
    return found


async def _plan(
    journal: Journal,
    place: OpenProject,
    name: str,
    *,
    digest: str,
    version: str,
    back_to: dict[str, str] | None = None,
) -> WavesPlan:
    environment = place.project.environments[name]
    number = await journal.append(IDS, "taken", b"{}", at_s=time.time())
    return WavesPlan(
        id=f"w-{number}",
        environment=name,
        digest=digest,
        version=version,
        waves=waves_of(environment),
        hold_s=environment.waves.hold_s,
        asks=environment.approval is not None and bool(environment.approval.required),
        approvers=approvers(place.project, environment),
        goal="deploy" if back_to is None else "return",
        back_to=back_to or {},
    )


# --- carrying out


async def drive(
    journal: Journal,
    place: OpenProject,
    run: str,
    begun: WavesBegun | None,
    *,
    observer: WavesObserver,
    target_observer: TargetObserver,
    stop_when_waiting: bool = False,
) -> Waves:
    """Drive a run on this machine, new or left by another openbell, with the rollouts of its targets.

    The lease of the whole environment is held meanwhile, and of each target while a rollout is under way in it.
    """
    plan = begun.plan if begun else (await state_of_run(journal, run)).plan
    _require_targets(place, plan)
    async with rollouts.alone(journal, plan.environment):
        by = begun.by if begun else await _begun_by(journal, run)
        targets = RolloutTargets(
            journal, place, plan, by=by, observer=target_observer, stop_when_waiting=stop_when_waiting
        )
        host = WavesHost(
            journal, targets, JournalNotifier(journal), SystemClock(), owner=process_owner(), observer=observer
        )
        return await host.drive(run, begun)


def _require_targets(place: OpenProject, plan: WavesPlan) -> None:
    """Refuse to go on with a run without the targets that it was begun with."""
    known = place.project.environments.get(plan.environment)
    lost = [target for target in plan.targets if known is None or target not in known.targets]
    if lost:
        where = f"[environments.{plan.environment}.targets.{lost[0]}]"
        raise RefusedError(f"{plan.id} was begun with {', '.join(lost)}, which openbell.toml lacks: put {where} back")


async def _begun_by(journal: Journal, run: str) -> str:
    _, events = await load_waves(journal, run)
    return next((event.by for event in events if isinstance(event, WavesBegun)), "")


class RolloutTargets:
    """Targets whose commands are carried out as rollouts. Implements `openbell.hosts.waves.Targets`."""

    def __init__(
        self,
        journal: Journal,
        place: OpenProject,
        plan: WavesPlan,
        *,
        by: str,
        observer: TargetObserver,
        stop_when_waiting: bool,
    ) -> None:
        self._journal = journal
        self._place = place
        self._plan = plan
        self._by = by
        self._observer = observer
        self._stop_when_waiting = stop_when_waiting

    async def begin(self, command: BeginTarget, approved: Callable[[], None]) -> tuple[Arrival, str] | None:
        """Bring the release to a target by a rollout, or go on with the one that was begun for this command."""
        name = place_name(self._plan.environment, command.target)
        observer = _with_approval(self._observer(command.target), approved)

        async def plan() -> Plan:
            found = await rollouts.find_release(self._journal, self._plan.digest)
            built = msgspec.structs.replace(found, version=self._plan.version)
            part = Part(command.id, asks=command.asks)
            return await make_plan(self._journal, self._place, name, built, part=part)

        try:
            state = await self._carry_out(name, command.id, plan, observer)
        except AlreadyThereError as error:
            failed = await rollouts.check_what_serves(self._journal, self._place, name)
            return ("refused", "; ".join(failed)) if failed else ("unchanged", str(error))
        except RefusedError as error:
            return "refused", str(error)
        except AdapterError as error:
            await self._raise_if_begun(name, command.id, error)
            return "refused", error.message
        if state.outcome is None:
            return None
        failed = await rollouts.failed_checks(self._journal, state)
        if state.outcome == "promoted" and failed:
            return "failed", "; ".join(failed)
        return state.outcome, state.reason

    async def send_back(self, command: ReturnTarget) -> tuple[Return, str] | None:
        """Bring back what a target had before by a rollout, or go on with the one that was begun for this command."""
        name = place_name(self._plan.environment, command.target)
        to, why = await self._before(name, command.target)
        if to is None:
            return "kept", why

        async def plan() -> Plan:
            return await make_return_plan(self._journal, self._place, name, to, part=Part(command.id))

        try:
            state = await self._carry_out(name, command.id, plan, self._observer(command.target))
        except AlreadyThereError as error:
            return "returned", str(error)
        except RefusedError as error:
            return "blocked", str(error)
        except AdapterError as error:
            await self._raise_if_begun(name, command.id, error)
            return "blocked", error.message
        if state.outcome is None:
            return None
        return ("returned" if state.outcome == "promoted" else "blocked"), state.reason

    async def abort(self, command: AbortTarget) -> bool:
        """Ask a target's rollout to take its candidate back; False while there is none yet."""
        name = place_name(self._plan.environment, command.target)
        mine = await self._part(name, begin_id(self._plan.id, command.target))
        if mine is None:
            return False
        with contextlib.suppress(RefusedError):  # It has ended meanwhile.
            await rollouts.ask_abort(self._journal, mine.plan.id, command.by, command.reason)
        return True

    async def _carry_out(self, name: str, key: str, plan: MakePlan, observer: Observer) -> Rollout:
        mine = await self._part(name, key)
        if mine is None:
            async with rollouts.alone(self._journal, name):
                made = await plan()
                begun = Begun(at_s=time.time(), plan=made, by=self._by)
                return await self._drive(made.id, begun, observer)
        if mine.direction == "ended" and not mine.outstanding:
            if mine.outcome == "promoted" and mine.plan.strategy != "return":
                await rollouts.check_what_serves(self._journal, self._place, name)
            return mine
        return await self._drive(mine.plan.id, None, observer)

    async def _drive(self, rollout: str, begun: Begun | None, observer: Observer) -> Rollout:
        return await rollouts.drive(
            self._journal, self._place, rollout, begun, observer=observer, stop_when_waiting=self._stop_when_waiting
        )

    async def _part(self, name: str, key: str) -> Rollout | None:
        """Find the rollout that was begun for a command."""
        for rollout in await rollouts.rollout_ids(self._journal, name):
            if (await rollouts.begun_of(self._journal, rollout)).plan.part_of == key:
                return await rollouts.state_of(self._journal, rollout)
        return None

    async def _raise_if_begun(self, name: str, key: str, error: AdapterError) -> None:
        """A rollout that was begun has an end of its own, which is not known yet; so has a journal that is broken."""
        if (error.system == "journal" and error.operation != "lease") or await self._part(name, key) is not None:
            raise error

    async def _before(self, name: str, target: str) -> tuple[str | None, str]:
        """Say what a target had before the run, or why it is to be left as it is."""
        if self._plan.goal == "return":
            return self._plan.back_to.get(target), "the release before is not known; name one with --to RELEASE"
        newest = await rollouts.latest(self._journal, name)
        mine = await self._part(name, begin_id(self._plan.id, target))
        if newest is None or mine is None or not newest.plan.part_of.startswith(f"{self._plan.id}/"):
            since = f"{newest.plan.id} ({newest.plan.candidate.version}) was begun there since" if newest else ""
            return None, since
        if mine.plan.stable is None:
            return None, f"it had nothing before {mine.plan.candidate.version}"
        return mine.plan.stable.digest, ""


def _with_approval(observer: Observer, approved: Callable[[], None]) -> Observer:
    """Observe a rollout, and say once that what asks for approval in it is passed."""
    said = False

    def observe(before: Rollout | None, event: AnyEvent, after: Rollout) -> None:
        nonlocal said
        observer(before, event, after)
        if not said and _is_approved(after):
            said = True
            approved()

    return observe


def _is_approved(state: Rollout) -> bool:
    if state.outcome == "promoted":
        return any(isinstance(step, Approve) for step in state.plan.steps)
    passed = state.plan.steps[: state.position] if state.direction == "forward" else ()
    return any(isinstance(step, Approve) for step in passed)


def whole_of(name: str) -> str | None:
    """Name the environment that a target belongs to; None for what is no target."""
    return environment_name(name) if is_target(name) else None
