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
from openbell.core.events import AbortRequested, Approved, Begun, Plan
from openbell.core.places import settings_of
from openbell.core.rollout import approval_refusal, decide
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Hold, Watch
from openbell.hosts.local import (
    LEASE_TTL_S,
    REQUESTS,
    LocalHost,
    Observer,
    World,
    lease_of,
    load,
    request,
    stream_of,
    take_lease,
)
from openbell.ports import AdapterError, Journal, decode, requests_of
from openbell.wiring.deployment_jobs import run_check, smoke_runner
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import KIND_BUILT, STREAM, ReleaseBuilt
from openbell.wiring.site import Site, opened_site

NOTICES = "notices"
CHECKS = "checks"


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


async def failed_checks(journal: Journal, state: Rollout) -> tuple[str, ...]:
    """Name the jobs that failed after a rollout, with their reasons; the newest word of each job counts."""
    mine = [c for c in await checks_of(journal, state.plan.candidate.digest) if c.environment == state.plan.environment]
    newest = {check.job: check for check in mine}
    return tuple(f"{check.job}: {check.reason}" for check in newest.values() if not check.passed)


async def checks_of(journal: Journal, digest: str) -> list[Check]:
    """What jobs said of a release after its deployments, oldest first."""
    records = await journal.read(f"{CHECKS}/{digest}")
    return [msgspec.json.decode(record.payload, type=Check) for record in records]


def world_of(journal: Journal, place: OpenProject, environment: Site, plan: Plan) -> World:
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
    async with opened_site(place.project, plan.environment, place.state) as environment:
        state = await _drive(
            journal, place, environment, plan, begun, observer=observer, stop_when_waiting=stop_when_waiting
        )
        if state.outcome == "promoted" and state.plan.strategy != "return":
            await _run_checks(journal, place, environment, state)
    return state


async def _drive(
    journal: Journal,
    place: OpenProject,
    environment: Site,
    plan: Plan,
    begun: Begun | None,
    *,
    observer: Observer | None,
    stop_when_waiting: bool,
) -> Rollout:
    judged = any(isinstance(step, Hold | Watch) for step in plan.steps)
    async with alone(journal, plan.environment):
        try:
            problems = await environment.up(releases=[plan.candidate.digest], judged=judged)
        except AdapterError:
            # Traffic can be taken away from a candidate even where, say, PostgreSQL does not start any more.
            if begun is not None:
                raise
        else:
            if problems and begun is not None:
                raise AdapterError(plan.environment, "up", "; ".join(problems), effect="not_applied")
        world = world_of(journal, place, environment, plan)
        host = LocalHost(journal, world, owner=process_owner(), observer=observer)
        return await host.drive(plan.id, begun, stop_when_waiting=stop_when_waiting)


async def check_what_serves(journal: Journal, place: OpenProject, name: str) -> tuple[str, ...]:
    """Run the jobs that what serves in an environment has not passed yet; returns those that fail, with reasons.

    An earlier openbell may have been killed before they ran, or they failed and are asked for again.
    """
    state = await latest(journal, name)
    if state is None or state.outcome != "promoted":
        return ()
    async with opened_site(place.project, name, place.state) as environment:
        await environment.up()
        await _run_checks(journal, place, environment, state)
    return await failed_checks(journal, state)


async def _run_checks(journal: Journal, place: OpenProject, environment: Site, state: Rollout) -> None:
    """Run the environment's jobs that come after a rollout, unless this release has passed them here already."""
    name, digest = state.plan.environment, state.plan.candidate.digest
    done = {check.job for check in await checks_of(journal, digest) if check.environment == name and check.passed}
    for job in settings_of(place.project, name).after:
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
    if why := approval_refusal(await _after_requests(journal, state), by=by, digest=digest):
        message = f"no approval by {by} is needed: {why}, for what others have asked for is decided first"
        raise AlreadyThereError(f"{message}. Go on with: openbell resume")
    await request(journal, rollout_id, Approved(at_s=time.time(), by=by, digest=digest, reason=reason))
    return state


async def _after_requests(journal: Journal, state: Rollout) -> Rollout:
    """Fold what people have asked for and no driver has read yet into a rollout's state."""
    _, events = await load(journal, state.plan.id)
    read = sum(isinstance(event, (Approved, AbortRequested)) for event in events)
    for record in await journal.read(requests_of(state.plan.id), after=read):
        state, _ = decide(state, decode(record, REQUESTS))
    return state


async def ask_abort(journal: Journal, rollout_id: str, by: str, reason: str) -> Rollout:
    """Ask whoever drives a rollout to take its candidate back. Raises `RefusedError` when it has ended."""
    state = await state_of(journal, rollout_id)
    if state.direction == "ended":
        remedy = f"openbell rollback {state.plan.environment}"
        raise RefusedError(f"{rollout_id} has ended ({state.outcome}); to bring an earlier release back: {remedy}")
    await request(journal, rollout_id, AbortRequested(at_s=time.time(), by=by, reason=reason))
    return state
