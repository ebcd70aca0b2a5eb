"""Rollouts of one project: begin, go on, approve, abort, bring back; what the journal knows of them.

The journal is the only truth: which side is stable in an environment follows from its last rollout that ended.
"""

import asyncio
import contextlib
import getpass
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec

from openbell.adapters import git
from openbell.adapters.clock import SystemClock
from openbell.adapters.sqlite import process_owner
from openbell.core.events import AbortRequested, Approved, Begun, Plan, Side
from openbell.core.project import Environment, Project
from openbell.core.rollout import approval_refusal
from openbell.core.rollout_state import Rollout, stable_after
from openbell.core.strategy import AnyStep, Retire, compile_return, compile_steps
from openbell.hosts.local import (
    LEASE_TTL_S,
    LocalHost,
    Observer,
    World,
    decode,
    lease_of,
    load,
    request,
    stream_of,
    take_lease,
)
from openbell.ports import AdapterError, Journal
from openbell.wiring.deployment_jobs import run_check, smoke_job, smoke_runner
from openbell.wiring.environment import Environment as LocalEnvironment
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import KIND_BUILT, STREAM, ReleaseBuilt

NOTICES = "notices"
CHECKS = "checks"
IDS = "rollout-ids"


class RefusedError(Exception):
    """What was asked for cannot be done now; the message says why and what to do instead."""


class UnknownNameError(RefusedError):
    """What was asked for names something that is not there."""


class AlreadyThereError(RefusedError):
    """What was asked for is so already."""


class Notice(msgspec.Struct, frozen=True):
    """What people were told, as the journal keeps it."""

    subject: str
    text: str
    urgent: bool
    key: str


class Check(msgspec.Struct, frozen=True):
    """What a job said of a release in an environment: load tests gate production."""

    digest: str
    environment: str
    job: str
    passed: bool
    reason: str


class RolloutDocument(msgspec.Struct, frozen=True):
    """`openbell deploy --json`, and one element of a report's `rollouts`; described in docs/schema/rollout.json."""

    id: str
    environment: str
    strategy: str
    release: str
    version: str
    outcome: Literal["promoted", "rolled-back", "waiting", "running"]
    reason: str
    duration_s: float
    switch_ms: float | None
    detected_s: float | None
    requests: int
    errors: int
    failed_checks: tuple[str, ...] = ()


class JournalNotifier:
    """Tells people by way of the journal's stream of notices, which screens and later channels read."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def notify(self, subject: str, text: str, *, urgent: bool, key: str) -> None:
        """Record what people must know; the same key may be recorded twice after a crash."""
        notice = Notice(subject, text, urgent, key)
        await self._journal.append(
            NOTICES, "urgent" if urgent else "notice", msgspec.json.encode(notice), at_s=time.time()
        )


def document(state: Rollout, failed_checks: tuple[str, ...] = ()) -> RolloutDocument:
    """Write down where a rollout stands; `failed_checks` are the jobs after it that did not pass, with reasons."""
    outcome = state.outcome or ("waiting" if state.waiting_for else "running")
    ended_at_s = state.ended_at_s or time.time()
    return RolloutDocument(
        id=state.plan.id,
        environment=state.plan.environment,
        strategy=state.plan.strategy,
        release=state.plan.candidate.digest,
        version=state.plan.candidate.version,
        outcome=outcome,
        reason=state.waiting_for or state.reason,
        duration_s=round(ended_at_s - state.started_at_s, 3),
        switch_ms=state.switch_ms,
        detected_s=None if state.detected_s is None else round(state.detected_s, 3),
        requests=state.candidate_requests,
        errors=state.candidate_errors,
        failed_checks=failed_checks,
    )


def person(root: Path, named: str | None) -> str:
    """Say who acts: the name given, else git's identity, else the user of the machine."""
    return named or git.identity(root) or getpass.getuser()


class _Place(msgspec.Struct, frozen=True):
    environment: str


class _Where(msgspec.Struct, frozen=True):
    """As little of `Begun` as says whose rollout it is: one that cannot be read must not stop other environments."""

    plan: _Place


_WHERE = msgspec.json.Decoder(_Where)
_BEGUN = msgspec.json.Decoder(Begun)


async def rollout_ids(journal: Journal, environment: str | None = None) -> list[str]:
    """Ids of the rollouts, oldest first; of one environment, if it is named."""
    found = []
    for stream in await journal.streams("rollout/"):
        begun = await journal.read(stream, limit=1) if environment is not None else []
        if all(decode(record, _WHERE).plan.environment == environment for record in begun):
            found.append(stream.removeprefix("rollout/"))
    return found


async def begun_of(journal: Journal, rollout_id: str) -> Begun:
    """Return the event that began a rollout. Raises `RefusedError` when there is no such rollout."""
    records = await journal.read(stream_of(rollout_id), limit=1)
    if not records:
        raise await _unknown_rollout(journal, rollout_id)
    return decode(records[0], _BEGUN)


async def state_of(journal: Journal, rollout_id: str) -> Rollout:
    """Fold a rollout from the journal. Raises `RefusedError` when there is no such rollout."""
    state, _ = await load(journal, rollout_id)
    if state is None:
        raise await _unknown_rollout(journal, rollout_id)
    return state


async def _unknown_rollout(journal: Journal, rollout_id: str) -> UnknownNameError:
    known = ", ".join(await rollout_ids(journal)) or "none"
    return UnknownNameError(f'there is no rollout "{rollout_id}"; known: {known}')


async def latest(journal: Journal, environment: str) -> Rollout | None:
    """Return the newest rollout of an environment."""
    ids = await rollout_ids(journal, environment)
    return await state_of(journal, ids[-1]) if ids else None


async def unfinished(journal: Journal, environment: str | None = None) -> list[Rollout]:
    """Rollouts that have not ended, or still owe somebody a notice, oldest first."""
    states = [await state_of(journal, rollout_id) for rollout_id in await rollout_ids(journal, environment)]
    return [state for state in states if state.direction != "ended" or state.outstanding]


async def find_release(journal: Journal, wanted: str | None) -> ReleaseBuilt:
    """Find a release by tag, version, commit or digest (a prefix will do); without a name, the newest one built."""
    built = [
        msgspec.json.decode(record.payload, type=ReleaseBuilt)
        for record in await journal.read(STREAM)
        if record.kind == KIND_BUILT
    ]
    if not built:
        raise RefusedError("no release was built yet; build one with: openbell run --trigger push --ref BRANCH")
    if wanted is None:
        return built[-1]
    for one in reversed(built):
        if wanted in (one.version, one.tag, one.ref):
            return one
    plain = wanted.removeprefix("sha256:")
    matches = {
        one.digest: one
        for one in built
        if len(plain) >= 4 and (one.commit.startswith(plain) or one.digest.removeprefix("sha256:").startswith(plain))
    }
    if len(matches) == 1:
        return next(iter(matches.values()))
    names = ", ".join(dict.fromkeys(one.version for one in reversed(built)))
    problem = "no release is called" if not matches else f"{len(matches)} releases match"
    raise UnknownNameError(f'{problem} "{wanted}"; known: {names}')


@contextlib.asynccontextmanager
async def alone(journal: Journal, environment: str) -> AsyncIterator[None]:
    """Keep everybody else from beginning a rollout in an environment, from planning it until it is driven.

    What serves there must not change between the look at it and the first step. Raises `AdapterError` (operation
    "lease") when another process drives the environment.
    """
    owner = process_owner()

    async def keep() -> None:
        while True:
            await asyncio.sleep(LEASE_TTL_S / 4)
            await take_lease(journal, environment, owner, now_s=time.time())

    await take_lease(journal, environment, owner, now_s=time.time())
    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await journal.release(lease_of(environment), owner)


async def _serving(journal: Journal, place: OpenProject, name: str) -> Side | None:
    """Say what serves in an environment, by the journal and by what is really placed there.

    Raises `RefusedError` when something is placed that the journal does not know: it may be what customers use.
    """
    before = await latest(journal, name)
    stable = stable_after(before) if before else None
    placed = LocalEnvironment(place.project, name, place.state).placements()
    if stable is not None and stable.slot in placed and placed[stable.slot].digest == stable.digest:
        return msgspec.structs.replace(stable, replicas=place.project.environments[name].replicas)
    if placed:
        what = ", ".join(f"{one.version} on {slot}" for slot, one in sorted(placed.items()))
        raise RefusedError(
            f"{name} holds {what}, and the journal does not say so: it was lost or is another's. "
            f"Restore {place.state.journal}, or stop what runs and begin anew: openbell down {name} --purge"
        )
    return None


async def make_plan(journal: Journal, place: OpenProject, name: str, built: ReleaseBuilt) -> Plan:
    """Plan a rollout of a release into an environment, from what serves there now."""
    environment = _environment(place.project, name)
    await _require_free(journal, name)
    await _require_passed(journal, place, name, built)
    stable = await _serving(journal, place, name)
    if stable is not None and stable.digest == built.digest:
        raise AlreadyThereError(f"{name} runs {built.version} already")
    slot = "green" if stable is not None and stable.slot == "blue" else "blue"
    candidate = Side(slot, built.digest, built.version, environment.replicas)
    release = place.project.release
    steps = compile_steps(
        environment,
        smoke=smoke_job(place.project, environment),
        expand=release.expand is not None,
        contract=release.contract is not None,
        stable_replicas=stable.replicas if stable else None,
    )
    strategy = environment.strategy
    return await _plan(
        journal, place, name, candidate=candidate, stable=stable, steps=steps, strategy=strategy, author=built.author
    )


async def make_return_plan(journal: Journal, place: OpenProject, name: str, to: str | None) -> Plan:
    """Plan the way back of an environment to the release it had before, or to the one named."""
    environment = _environment(place.project, name)
    await _require_free(journal, name)
    before = await latest(journal, name)
    stable = await _serving(journal, place, name)
    if before is None or stable is None:
        raise RefusedError(f"nothing was deployed to {name} yet, so there is nothing to go back from")
    old = before.plan.stable if before.outcome == "promoted" and before.plan.strategy != "return" else None
    slot = "green" if stable.slot == "blue" else "blue"
    if to is not None:
        built = await find_release(journal, to)
        await _require_promoted_before(journal, name, built)
        old = Side(slot, built.digest, built.version, environment.replicas)
    if old is None:
        raise RefusedError(f"the release before {stable.version} in {name} is not known; name one with --to RELEASE")
    if old.digest == stable.digest:
        raise AlreadyThereError(f"{name} runs {old.version} already")
    steps = compile_return(environment)
    placed = before.plan.stable.digest if before.outcome == "promoted" and before.plan.stable else None
    if placed != old.digest:
        steps = (Retire(side="candidate", replicas=0), *steps)
    candidate = Side(slot, old.digest, old.version, environment.replicas)
    return await _plan(
        journal, place, name, candidate=candidate, stable=stable, steps=steps, strategy="return", author=""
    )


async def _plan(
    journal: Journal,
    place: OpenProject,
    name: str,
    *,
    candidate: Side,
    stable: Side | None,
    steps: tuple[AnyStep, ...],
    strategy: str,
    author: str,
) -> Plan:
    environment = place.project.environments[name]
    approvers = environment.approval.by if environment.approval else ()
    teams = place.project.teams
    named = [one for entry in approvers for one in teams.get(entry, (entry,))]
    taken = await journal.append(IDS, "taken", b"{}", at_s=time.time())
    # Journals from before there was a stream of ids count their rollouts.
    number = max(taken, len(await journal.streams("rollout/")) + 1)
    return Plan(
        id=f"r-{number}",
        environment=name,
        strategy=strategy,
        candidate=candidate,
        stable=stable,
        steps=steps,
        author=author,
        approvers=tuple(dict.fromkeys(named)),
        approval_timeout_s=environment.approval_timeout_s,
        healthy_timeout_s=environment.rollout.healthy_timeout_s,
        undecided_s=environment.rollout.undecided_s,
        tick_s=environment.rollout.tick_s,
        triggers=environment.rollback_on,
        watch_for=environment.watch_for,
    )


def _environment(project: Project, name: str) -> Environment:
    if name not in project.environments:
        known = ", ".join(project.environments) or "none; add [environments.staging] to openbell.toml"
        raise UnknownNameError(f'there is no environment "{name}"; there are: {known}')
    return project.environments[name]


async def _require_free(journal: Journal, name: str) -> None:
    open_rollouts = [state for state in await unfinished(journal, name) if state.direction != "ended"]
    if open_rollouts:
        one = open_rollouts[0]
        raise RefusedError(
            f"{name} has a rollout that has not ended: {one.plan.id} ({one.plan.candidate.version}). "
            f"Go on with it: openbell resume. Take it back: openbell abort {one.plan.id}"
        )


async def _require_promoted_before(journal: Journal, name: str, built: ReleaseBuilt) -> None:
    """Go back only to what has passed all gates here once: the way back has none."""
    for rollout_id in await rollout_ids(journal, name):
        same = (await begun_of(journal, rollout_id)).plan.candidate.digest == built.digest
        if same and (await state_of(journal, rollout_id)).outcome == "promoted":
            return
    raise RefusedError(
        f"{built.version} was never promoted in {name}, so there is no way back to it: "
        f"bring it in with: openbell deploy {name} {built.version}"
    )


async def _require_passed(journal: Journal, place: OpenProject, name: str, built: ReleaseBuilt) -> None:
    environment = place.project.environments[name]
    said = {check.job: check for check in await checks_of(journal, built.digest)}
    for job in environment.requires_passed:
        where = [other for other, one in place.project.environments.items() if job in one.after]
        if job not in said:
            first = f"openbell deploy {where[0]} {built.version}" if where else f"name {job} in an environment's after"
            raise RefusedError(f"{name} requires {job} to have passed for {built.version}, and it has not run: {first}")
        if not said[job].passed:
            last = said[job]
            why = f"in {last.environment} it failed: {last.reason}"
            raise RefusedError(f"{name} requires {job} to have passed for {built.version}; {why}")


async def failed_checks(journal: Journal, state: Rollout) -> tuple[str, ...]:
    """Name the jobs that failed after a rollout, with their reasons; the newest word of each job counts."""
    mine = [c for c in await checks_of(journal, state.plan.candidate.digest) if c.environment == state.plan.environment]
    newest = {check.job: check for check in mine}
    return tuple(f"{check.job}: {check.reason}" for check in newest.values() if not check.passed)


async def checks_of(journal: Journal, digest: str) -> list[Check]:
    """What jobs said of a release after its deployments, oldest first."""
    records = await journal.read(f"{CHECKS}/{digest}")
    return [msgspec.json.decode(record.payload, type=Check) for record in records]


def world_of(journal: Journal, place: OpenProject, environment: LocalEnvironment, plan: Plan) -> World:
    """Bring the adapters of an environment together for a rollout's host."""
    return World(
        platform=environment.platform,
        router=environment.router,
        metrics=environment.metrics,
        notifier=JournalNotifier(journal),
        smoke=smoke_runner(place, environment, plan.id, plan.candidate.digest),
        clock=SystemClock(),
    )


async def drive(
    journal: Journal,
    place: OpenProject,
    rollout_id: str,
    begun: Begun | None,
    *,
    observer: Observer | None = None,
    stop_when_waiting: bool = False,
) -> Rollout:
    """Drive a rollout on this machine, new or left by another openbell, then run what comes after it."""
    plan = (begun or await begun_of(journal, rollout_id)).plan
    environment = LocalEnvironment(place.project, plan.environment, place.state)
    async with alone(journal, plan.environment):
        try:
            problems = await environment.up()
        except AdapterError:
            # Traffic can be taken away from a candidate even where, say, PostgreSQL does not start any more.
            if begun is not None:
                raise
        else:
            if problems and begun is not None:
                raise AdapterError(plan.environment, "up", "; ".join(problems), effect="not_applied")
        world = world_of(journal, place, environment, plan)
        host = LocalHost(journal, world, owner=process_owner(), observer=observer)
        state = await host.drive(rollout_id, begun, stop_when_waiting=stop_when_waiting)
    if state.outcome == "promoted" and state.plan.strategy != "return":
        await _run_checks(journal, place, environment, state)
    return state


async def check_what_serves(journal: Journal, place: OpenProject, name: str) -> tuple[str, ...]:
    """Run the jobs that what serves in an environment has not passed yet; returns those that fail, with reasons.

    An earlier openbell may have been killed before they ran, or they failed and are asked for again.
    """
    state = await latest(journal, name)
    if state is None or state.outcome != "promoted":
        return ()
    environment = LocalEnvironment(place.project, name, place.state)
    await environment.up()
    await _run_checks(journal, place, environment, state)
    return await failed_checks(journal, state)


async def _run_checks(journal: Journal, place: OpenProject, environment: LocalEnvironment, state: Rollout) -> None:
    """Run the environment's jobs that come after a rollout, unless this release has passed them here already."""
    name, digest = state.plan.environment, state.plan.candidate.digest
    done = {check.job for check in await checks_of(journal, digest) if check.environment == name and check.passed}
    for job in place.project.environments[name].after:
        if job in done or place.project.jobs[job].stage == "smoke":
            continue
        result = await run_check(place, environment, job, rollout=state.plan.id, digest=digest)
        check = Check(digest, name, job, result.outcome == "success", result.reason)
        await journal.append(f"{CHECKS}/{digest}", "check", msgspec.json.encode(check), at_s=time.time())
        if not check.passed:
            subject = f"{job} failed for {state.plan.candidate.version} in {name}: it may not go further"
            await JournalNotifier(journal).notify(subject, check.reason, urgent=False, key=f"{state.plan.id}/{job}")


async def ask_approval(journal: Journal, rollout_id: str, by: str, reason: str) -> Rollout:
    """Approve a rollout's release. Raises `RefusedError` when the approval would not count."""
    state = await state_of(journal, rollout_id)
    digest = state.plan.candidate.digest
    why = approval_refusal(state, by=by, digest=digest)
    if why is not None:
        raise RefusedError(f"not approved: {why}")
    await request(journal, rollout_id, Approved(at_s=time.time(), by=by, digest=digest, reason=reason))
    return state


async def ask_abort(journal: Journal, rollout_id: str, by: str, reason: str) -> Rollout:
    """Ask whoever drives a rollout to take its candidate back. Raises `RefusedError` when it has ended."""
    state = await state_of(journal, rollout_id)
    if state.direction == "ended":
        remedy = f"openbell rollback {state.plan.environment}"
        raise RefusedError(f"{rollout_id} has ended ({state.outcome}); to bring an earlier release back: {remedy}")
    await request(journal, rollout_id, AbortRequested(at_s=time.time(), by=by, reason=reason))
    return state
