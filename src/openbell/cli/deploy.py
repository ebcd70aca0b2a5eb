"""`deploy`, `approve`, `abort`, `rollback`, `resume`, `watch`, `why`: releases into environments, and back."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from openbell.adapters.sqlite import SqliteJournal
from openbell.adapters.toml import ConfigurationError
from openbell.cli import waves as over_targets
from openbell.cli.interruption import run_interruptible
from openbell.cli.rollout_progress import RolloutProgress, clock, ending
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, USAGE, WAITS, complain, print_json, say
from openbell.core.events import AnyEvent, Begun, Plan
from openbell.core.narrative import describe, headline, tick_text
from openbell.core.places import environment_name, places_of
from openbell.core.rollout import decide
from openbell.core.rollout_state import Rollout
from openbell.hosts.local import load
from openbell.ports import AdapterError, Journal
from openbell.wiring import rollout_plans, rollouts, waves
from openbell.wiring.pipeline import RUNS_KEPT, Deployment, load_run
from openbell.wiring.project import OpenProject, open_project
from openbell.wiring.releases import ReleaseBuilt
from openbell.wiring.rollouts import AlreadyThereError, RefusedError, UnknownNameError

Json = Annotated[bool, Parameter(negative="")]
Policy = list[str] | None
WATCH_POLL_S = 0.3


def deploy(
    environment: str,
    release: str | None = None,
    /,
    *,
    by: str | None = None,
    wait: bool | None = None,
    policy: Policy = None,
    json: Json = False,
) -> int:
    """Bring a release into an environment by its strategy, judge it, and take it back when it misbehaves.

    An environment with targets gets it wave by wave; what fails in one is taken back from all.

    Exit code 0: promoted. 1: taken back. 3: waits for a person (openbell approve, then openbell resume).

    Parameters
    ----------
    environment
        Where to: a name of [environments] in openbell.toml, or ENVIRONMENT/TARGET for one target alone.
    release
        Which release: tag, version, commit or digest, a prefix will do; the newest one built by default.
    by
        Who deploys; git's identity by default.
    wait
        Wait for approvals; by default only on a terminal.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        built = await rollouts.find_release(journal, release)
        if waves.consists_of_targets(place, environment):
            patient = _is_patient(wait)
            return await over_targets.deploy(place, journal, environment, built, by=by, wait=patient, json=json)
        try:
            async with over_targets.apart(journal, environment), rollouts.alone(journal, environment):
                plan = await rollout_plans.make_plan(journal, place, environment, built)
                return await _begin(place, journal, plan, by=by, wait=wait, json=json)
        except AlreadyThereError as error:
            say(str(error))
            failed = await rollouts.check_what_serves(journal, place, environment)
            return complain("\n".join(failed), code=FAILED) if failed else DONE

    return _run(work, policy)


def rollback(
    environment: str,
    /,
    *,
    to: str | None = None,
    by: str | None = None,
    reason: str = "asked for",
    policy: Policy = None,
    json: Json = False,
) -> int:
    """Bring the previous release back; a rollout that is under way is aborted instead.

    Parameters
    ----------
    environment
        Where: a name of [environments] in openbell.toml, or ENVIRONMENT/TARGET for one target alone.
    to
        A release other than the previous one: tag, version, commit or digest.
    by
        Who asks; git's identity by default.
    reason
        Why, in a few words.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        if waves.consists_of_targets(place, environment):
            return await over_targets.rollback(place, journal, environment, to=to, by=by, reason=reason, json=json)
        running = [state for state in await rollouts.unfinished(journal, environment) if state.direction != "ended"]
        if running:
            return await _abort(place, journal, running[0].plan.id, by=by, reason=reason, json=json)
        async with over_targets.apart(journal, environment), rollouts.alone(journal, environment):
            plan = await rollout_plans.make_return_plan(journal, place, environment, to)
            return await _begin(place, journal, plan, by=by, wait=False, json=json)

    return _run(work, policy)


def approve(
    rollout: str,
    /,
    *,
    by: str | None = None,
    reason: str = "",
    resume: bool = False,
    policy: Policy = None,
    json: Json = False,
) -> int:
    """Approve exactly the release that a rollout brings; its author's approval does not count.

    Parameters
    ----------
    rollout
        The rollout's id, such as r-7.
    by
        Who approves; git's identity by default.
    reason
        Why, in a few words.
    resume
        Go on with the rollout here, if no other openbell drives it.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        who = rollouts.person(place.root, by)
        state = await rollouts.ask_approval(journal, rollout, who, reason)
        say(f"{state.plan.candidate.version} for {state.plan.environment} approved by {who}.")
        run = await waves.run_of(journal, state) if resume else None
        if run is not None:
            went_on = await over_targets.go_on(place, journal, run.plan.id, wait=False)
            return await over_targets.report(journal, went_on, json=json)
        if resume:
            return await _drive(place, journal, rollout, None, wait=False, json=json)
        say("If no openbell drives the rollout any more: openbell resume")
        if json:
            print_json(rollouts.document(state))
        return DONE

    return _run(work, policy)


def abort(
    rollout: str, /, *, by: str | None = None, reason: str = "asked for", policy: Policy = None, json: Json = False
) -> int:
    """Take a rollout's candidate back now; the exit code is 1, for it was taken back.

    Parameters
    ----------
    rollout
        The rollout's id, such as r-7, or w-2 for a run over all targets of an environment.
    by
        Who aborts; git's identity by default.
    reason
        Why, in a few words.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        if _is_run(rollout):
            return await over_targets.abort(place, journal, rollout, by=by, reason=reason, json=json)
        return await _abort(place, journal, rollout, by=by, reason=reason, json=json)

    return _run(work, policy)


def resume(*, environment: str | None = None, policy: Policy = None, json: Json = False) -> int:
    """Go on with the rollouts that an interrupted openbell left; the services kept running meanwhile.

    Parameters
    ----------
    environment
        Only this environment.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print a JSON list of the rollouts on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        runs = await waves.unfinished_runs(journal, environment and environment_name(environment))
        went_on = [await over_targets.go_on(place, journal, run.plan.id, wait=False) for run in runs]
        found = [await waves.document(journal, run) for run in went_on]
        # What is part of a run goes on with it, and with nothing else.
        left = [state for state in await _left(place, journal, environment) if not await waves.run_of(journal, state)]
        if not left and not runs:
            say("Nothing was left unfinished.")
        ends = [await _finish(place, journal, state.plan.id, None, wait=False) for state in left]
        if json:
            print_json([*found, *(rollouts.document(end) for end in ends)])
        codes = [*map(over_targets.exit_code, found), *map(_exit_code, ends)]
        return max(codes, default=DONE)

    return _run(work, policy)


def watch(rollout: str | None = None, /, *, policy: Policy = None, json: Json = False) -> int:
    """Follow a rollout that another openbell drives, until it ends or waits for a person.

    Parameters
    ----------
    rollout
        The rollout's id, or that of a run over targets; the newest rollout by default.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output, at the end.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        del place
        if rollout is not None and _is_run(rollout):
            return await over_targets.watch(journal, rollout, json=json)
        chosen = await _chosen(journal, rollout)
        return await _report(journal, await _follow(journal, chosen), json=json)

    return _run(work, policy)


def why(rollout: str | None = None, job: str | None = None, /, *, policy: Policy = None, json: Json = False) -> int:
    """Explain a rollout, a run or a job: each decision, with the evidence that it stood on.

    Parameters
    ----------
    rollout
        The rollout's id, or that of a run over targets; the newest rollout by default. Or a run's name: then what
        failed in it is explained ("last" is the newest run).
    job
        A job of that run.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output: the rollout and its events, the run, or the job.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        run = load_run(place, rollout) if rollout is not None else None
        if run is not None:
            from openbell.cli.why_run import why_run

            return why_run(place, run, job, json=json)
        if job is not None:
            known = f"Runs are kept until {RUNS_KEPT} are newer; these are: openbell runs"
            return complain(f'there is no run "{rollout}" in {place.state.root}. {known}')
        if rollout is not None and _is_run(rollout):
            return await over_targets.why(journal, rollout, json=json)
        chosen = await _chosen(journal, rollout)
        state, events = await load(journal, chosen)
        if json:
            print_json({"rollout": rollouts.document(state) if state else None, "events": events})
            return DONE
        for line in explain(events):
            say(line, stream=sys.stdout)
        return DONE

    return _run(work, policy)


def explain(events: list[AnyEvent]) -> list[str]:
    """Tell a rollout from its events: what happened when, and what the judge had seen at each decision."""
    told: list[str] = []
    state: Rollout | None = None
    for event in events:
        before = state
        state, _ = decide(before, event)
        lines = describe(before, event, state)
        changed = before is not None and (before.direction, before.position) != (state.direction, state.position)
        judged = state.routed and state.window and before is not None and before.routed
        if changed and judged and not any("requests" in line for line in lines):
            told.append(f"{clock(event.at_s)}  evidence: {tick_text(state, state.window[-1])}")
        told += [f"{clock(event.at_s)}  {line}" for line in lines]
    if state is None:
        return told
    plan = state.plan
    ended = {"promoted": "was promoted in", "rolled-back": "was taken back from"}
    verb = ended[state.outcome] if state.outcome else "is on its way into"
    because = f" because {headline(state.reason)}" if state.reason and state.outcome == "rolled-back" else ""
    return [f"{plan.candidate.version} {verb} {plan.environment}{because}.", "", *told]


# --- what the commands share


def _run(work: Callable[[OpenProject, Journal], Coroutine[Any, Any, int]], policy: Policy) -> int:
    """Open project and journal, do the work, and turn every refusal into a message and an exit code."""

    async def opened() -> int:
        place = open_project(Path.cwd(), tuple(policy or ()))
        place.state.make()
        async with SqliteJournal(place.state.journal) as journal:
            return await work(place, journal)

    try:
        return run_interruptible(opened())
    except ConfigurationError as error:
        return complain(str(error), code=USAGE)
    except AlreadyThereError as error:
        return complain(str(error), code=DONE)
    except UnknownNameError as error:
        return complain(str(error), code=USAGE)
    except RefusedError as error:
        return complain(str(error), code=FAILED)
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    except KeyboardInterrupt:
        say("Interrupted. What was begun is in the journal: openbell resume goes on with it.")
        return INTERRUPTED


async def _begin(
    place: OpenProject, journal: Journal, plan: Plan, *, by: str | None, wait: bool | None, json: bool
) -> int:
    begun = Begun(at_s=time.time(), plan=plan, by=rollouts.person(place.root, by))
    return await _drive(place, journal, plan.id, begun, wait=_is_patient(wait), json=json)


def _is_patient(wait: bool | None) -> bool:
    return sys.stdin.isatty() if wait is None else wait


def _is_run(name: str) -> bool:
    """Whether an id is that of a run over targets."""
    return name.startswith("w-")


async def _left(place: OpenProject, journal: Journal, environment: str | None) -> list[Rollout]:
    """Rollouts that have not ended: all, or those of an environment and its targets."""
    if environment is None or environment not in place.project.environments:
        return await rollouts.unfinished(journal, environment)
    names = places_of(place.project, environment)
    return [state for name in names for state in await rollouts.unfinished(journal, name)]


async def _drive(
    place: OpenProject, journal: Journal, rollout: str, begun: Begun | None, *, wait: bool, json: bool
) -> int:
    state = await _finish(place, journal, rollout, begun, wait=wait)
    if state.outcome is not None:
        await _tell(place, state)
    return await _report(journal, state, json=json)


async def _tell(place: OpenProject, state: Rollout) -> None:
    """Tell OpenTelemetry of a rollout that has ended, if somebody is to be told."""
    from openbell.wiring.trace import endpoint_of

    if endpoint_of(place.project):
        from openbell.wiring.telemetry import tell_of_rollout

        problem = await asyncio.to_thread(tell_of_rollout, place, rollouts.document(state), state.started_at_s)
        if problem:
            say(f"  {problem}")


async def _finish(place: OpenProject, journal: Journal, rollout: str, begun: Begun | None, *, wait: bool) -> Rollout:
    """Drive a rollout with its progress on standard error, and say how it ended."""
    with RolloutProgress() as shown:
        state = await rollouts.drive(journal, place, rollout, begun, observer=shown.observe, stop_when_waiting=not wait)
    for line in ending(state):
        say(line)
    for failed in await rollouts.failed_checks(journal, state):
        say(f"  {failed}; {state.plan.candidate.version} may not go further")
    return state


async def deploy_from_run(place: OpenProject, environment: str, built: ReleaseBuilt) -> Deployment:
    """Deploy what a run has built; an environment that runs it already is left alone."""
    async with SqliteJournal(place.state.journal) as journal:
        try:
            if waves.consists_of_targets(place, environment):
                return await over_targets.deploy_from_run(place, journal, environment, built)
            async with rollouts.alone(journal, environment):
                plan = await rollout_plans.make_plan(journal, place, environment, built)
                begun = Begun(at_s=time.time(), plan=plan, by=rollouts.person(place.root, None))
                state = await _finish(place, journal, plan.id, begun, wait=sys.stdin.isatty())
        except AlreadyThereError as error:
            failed: tuple[str, ...] = ()
            for name in places_of(place.project, environment):
                failed += await rollouts.check_what_serves(journal, place, name)
            reason = "; ".join((str(error), *failed))
            return Deployment(environment, "failed" if failed else "promoted", reason)
        except RefusedError as error:
            return Deployment(environment, "failed", str(error))
        found = rollouts.document(state, await rollouts.failed_checks(journal, state))
    if found.failed_checks:
        return Deployment(environment, "failed", "; ".join(found.failed_checks), found.id)
    if found.outcome == "running":
        return Deployment(environment, "failed", "interrupted; go on with: openbell resume", found.id)
    return Deployment(environment, found.outcome, found.reason, found.id)


async def _abort(place: OpenProject, journal: Journal, rollout: str, *, by: str | None, reason: str, json: bool) -> int:
    """Ask for an abort, and carry it out here unless another openbell drives the rollout."""
    state = await rollouts.ask_abort(journal, rollout, rollouts.person(place.root, by), reason)
    run = await waves.run_of(journal, state)
    try:
        if run is not None:
            # What one target is aborted for, all of its run are taken back for.
            went_on = await over_targets.go_on(place, journal, run.plan.id, wait=False)
            return await over_targets.report(journal, went_on, json=json)
        return await _drive(place, journal, rollout, None, wait=False, json=json)
    except AdapterError as error:
        if error.operation != "lease":
            raise
    return await _report(journal, await _follow(journal, rollout, through_waits=True), json=json)


async def _follow(journal: Journal, rollout: str, *, through_waits: bool = False) -> Rollout:
    """Show a rollout from its journal until it ends, or waits for a person."""
    state: Rollout | None = None
    seen = 0
    with RolloutProgress() as shown:
        while state is None or not _is_settled(state, through_waits=through_waits):
            _, events = await load(journal, rollout)
            for event in events[seen:]:
                before = state
                state, _ = decide(before, event)
                shown.observe(before, event, state)
            seen = len(events)
            await asyncio.sleep(WATCH_POLL_S)
    for line in ending(state):
        say(line)
    return state


def _is_settled(state: Rollout, *, through_waits: bool) -> bool:
    """Whether nothing more happens by itself; an abort goes on from a wait for an approval."""
    waits = bool(state.waiting_for) and not state.outstanding
    return state.direction == "ended" or (waits and not (through_waits and state.direction == "forward"))


async def _chosen(journal: Journal, rollout: str | None) -> str:
    if rollout is not None:
        await rollouts.begun_of(journal, rollout)
        return rollout
    ids = await rollouts.rollout_ids(journal)
    if not ids:
        raise RefusedError("there is no rollout yet; begin one with: openbell deploy ENVIRONMENT")
    return ids[-1]


async def _report(journal: Journal, state: Rollout, *, json: bool) -> int:
    failed = await rollouts.failed_checks(journal, state)
    if json:
        print_json(rollouts.document(state, failed))
    return FAILED if failed else _exit_code(state)


def _exit_code(state: Rollout) -> int:
    if state.outcome is None:
        return WAITS if state.waiting_for else FAILED
    return DONE if state.outcome == "promoted" else FAILED
