"""Plans of rollouts: what a release, or the way back to one, will do in an environment, from what serves there now.

A plan is fixed once it is begun. Whoever makes one keeps everybody else from beginning until it is driven (`alone`).
"""

import time

import msgspec

from openbell.core.events import Plan, Side
from openbell.core.places import environment_name, no_place, places, settings_of
from openbell.core.project import Environment, Project, Verification
from openbell.core.rollout_state import stable_after
from openbell.core.strategy import AnyStep, Retire, compile_return, compile_steps
from openbell.ports import Journal
from openbell.wiring import findings
from openbell.wiring.deployment_jobs import smoke_job
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import ReleaseBuilt
from openbell.wiring.rollouts import (
    AlreadyThereError,
    Check,
    RefusedError,
    UnknownNameError,
    begun_of,
    checks_of,
    find_release,
    latest,
    rollout_ids,
    state_of,
    unfinished,
)
from openbell.wiring.site import opened_site

IDS = "rollout-ids"


class Part(msgspec.Struct, frozen=True):
    """What makes a rollout one of several: the command that it carries out, and whether an approval is asked for here.

    What the whole environment requires was looked at when the whole was begun.
    """

    of: str
    asks: bool = False


async def serving(journal: Journal, place: OpenProject, name: str) -> Side | None:
    """Say what serves in an environment, by the journal and by what is really placed there.

    Raises `RefusedError` when something is placed that the journal does not know: it may be what customers use.
    """
    # A target may be the place that its environment was before it had any: then it goes on with what is there.
    before = await latest(journal, name) or await latest(journal, environment_name(name))
    stable = stable_after(before) if before else None
    async with opened_site(place.project, name, place.state) as site:
        placed = await site.holdings()
    if stable is not None and stable.slot in placed and placed[stable.slot].digest == stable.digest:
        return msgspec.structs.replace(stable, replicas=settings_of(place.project, name).replicas)
    if placed:
        what = ", ".join(f"{one.version} on {slot}" for slot, one in sorted(placed.items()))
        raise RefusedError(
            f"{name} holds {what}, and the journal does not say so: it was lost or is another's. "
            f"Restore {place.state.journal}, or stop what runs and begin anew: openbell down {name} --purge"
        )
    return None


async def make_plan(
    journal: Journal, place: OpenProject, name: str, built: ReleaseBuilt, *, part: Part | None = None
) -> Plan:
    """Plan a rollout of a release into an environment, from what serves there now; `part` when it is one of several."""
    environment = _environment(place.project, name)
    await require_free(journal, name)
    if environment.verify is not None:
        await require_verified(place, name, built, environment.verify)
    if part is None:
        require_no_blocking_findings(place, name, built)
        await require_passed(journal, place, name, built)
    elif not part.asks:
        environment = msgspec.structs.replace(environment, approval=None)
    stable = await serving(journal, place, name)
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
        journal, place, name, candidate=candidate, stable=stable, steps=steps, strategy=strategy, author=built.author,
        part=part,
    )  # fmt: skip


async def make_return_plan(
    journal: Journal, place: OpenProject, name: str, to: str | None, *, part: Part | None = None
) -> Plan:
    """Plan the way back of an environment to the release it had before, or to the one named."""
    environment = _environment(place.project, name)
    await require_free(journal, name)
    before = await latest(journal, name)
    stable = await serving(journal, place, name)
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
        journal, place, name, candidate=candidate, stable=stable, steps=steps, strategy="return", author="", part=part
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
    part: Part | None,
) -> Plan:
    environment = settings_of(place.project, name)
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
        approvers=approvers(place.project, environment),
        approval_timeout_s=environment.approval_timeout_s,
        healthy_timeout_s=environment.rollout.healthy_timeout_s,
        undecided_s=environment.rollout.undecided_s,
        tick_s=environment.rollout.tick_s,
        triggers=environment.rollback_on,
        watch_for=environment.watch_for,
        on_drift=environment.rollout.on_drift,
        part_of=part.of if part else "",
    )


def approvers(project: Project, environment: Environment) -> tuple[str, ...]:
    """Name the people who may approve in an environment, those of teams one by one."""
    entries = environment.approval.by if environment.approval else ()
    return tuple(dict.fromkeys(one for entry in entries for one in project.teams.get(entry, (entry,))))


def _environment(project: Project, name: str) -> Environment:
    known = places(project)
    if name not in known:
        raise UnknownNameError(no_place(project, name))
    return known[name]


async def require_free(journal: Journal, name: str) -> None:
    """Refuse an environment with a rollout that has not ended."""
    names = dict.fromkeys((name, environment_name(name)))
    found = [state for each in names for state in await unfinished(journal, each) if state.direction != "ended"]
    if found:
        one = found[0]
        raise RefusedError(
            f"{one.plan.environment} has a rollout that has not ended: {one.plan.id} ({one.plan.candidate.version}). "
            f"Go on with it: openbell resume. Take it back: openbell abort {one.plan.id}"
        )


async def _require_promoted_before(journal: Journal, name: str, built: ReleaseBuilt) -> None:
    """Go back only to what has passed all gates here once: the way back has none."""
    names = dict.fromkeys((name, environment_name(name)))
    for rollout_id in [one for each in names for one in await rollout_ids(journal, each)]:
        same = (await begun_of(journal, rollout_id)).plan.candidate.digest == built.digest
        if same and (await state_of(journal, rollout_id)).outcome == "promoted":
            return
    raise RefusedError(
        f"{built.version} was never promoted in {name}, so there is no way back to it: "
        f"bring it in with: openbell deploy {name} {built.version}"
    )


def require_no_blocking_findings(place: OpenProject, name: str, built: ReleaseBuilt) -> None:
    """Refuse to deploy while a critical finding is open or another one is overdue; the way back is never refused."""
    if why := findings.refusal(place, name, built):
        raise RefusedError(why)


async def require_verified(place: OpenProject, name: str, built: ReleaseBuilt, policy: Verification) -> None:
    """Refuse a release that is not what the environment wants it to be: unchanged, signed, and of its source.

    The way back has no such gate: what it leads to has passed it, and a registry that is away must not keep it shut.
    """
    from openbell.wiring.authenticity import verify_release

    in_cluster = places(place.project)[name].cluster is not None
    found = await verify_release(place, built, policy, images=in_cluster)
    failed = [f"  {check.name}: {check.found}" for check in found.checks if not check.ok]
    if not found.ok:
        remedy = f"See all checks: openbell release verify {built.version} --environment {environment_name(name)}"
        raise RefusedError("\n".join([f"{built.version} is not verified, and {name} wants it to be:", *failed, remedy]))


async def require_passed(journal: Journal, place: OpenProject, name: str, built: ReleaseBuilt) -> None:
    """Refuse a release that has not passed the jobs which the environment requires of others, in all their targets."""
    environment = place.project.environments[environment_name(name)]
    said = await _newest_checks(journal, built.digest)
    for job in environment.requires_passed:
        where = [other for other, one in place.project.environments.items() if job in one.after]
        if job not in said:
            first = f"openbell deploy {where[0]} {built.version}" if where else f"name {job} in an environment's after"
            raise RefusedError(f"{name} requires {job} to have passed for {built.version}, and it has not run: {first}")
        if not said[job].passed:
            last = said[job]
            why = f"in {last.environment} it failed: {last.reason}"
            raise RefusedError(f"{name} requires {job} to have passed for {built.version}; {why}")


async def _newest_checks(journal: Journal, digest: str) -> dict[str, Check]:
    """The newest word of each job; where it ran in several targets of an environment, one that failed, if any did."""
    by_place: dict[tuple[str, str], Check] = {}
    said: dict[str, Check] = {}
    for check in await checks_of(journal, digest):
        by_place[(check.job, check.environment)] = said[check.job] = check
    for (job, place), check in by_place.items():
        if not check.passed and environment_name(place) == environment_name(said[job].environment):
            said[job] = check
    return said
