"""`openbell run` and `openbell log`: run the pipeline of a commit, and look at what a job printed."""

import shutil
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli import progress
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, USAGE, WAITS, complain, is_lively, print_json, say
from openbell.core.pipeline import JobResult, slug
from openbell.core.project import TriggerKind
from openbell.core.schedule import RunOutcome
from openbell.ports import AdapterError
from openbell.wiring import pipeline, releases
from openbell.wiring.pipeline import Deploy, Deployment, PreparedRun, RunDocument, RunRequest, UsageError
from openbell.wiring.project import OpenProject, open_project

T = TypeVar("T")

EXIT_CODES = {"success": DONE, "failure": FAILED, "cancelled": INTERRUPTED, "waiting": WAITS}


def run(
    *,
    trigger: TriggerKind = "person",
    ref: str | None = None,
    target: str | None = None,
    stage: list[str] | None = None,
    job: list[str] | None = None,
    jobs: int = 0,
    cache: bool = True,
    deploy: bool = True,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run the pipeline of a commit: what its trigger sets in motion, or a part of it.

    Without --ref it is the tree that is checked out, changes included; a release is only built from a clean commit.

    Parameters
    ----------
    trigger
        What the run is for: push, pull-request, tag, schedule, or a person who wants what the ref would do.
    ref
        The branch, tag or commit to run; its commit as it is in the repository, not the working tree.
    target
        The branch that a pull request would be merged into.
    stage
        Run only these stages (repeat, or separate with commas).
    job
        Run only this job, without those it needs: a name, or one leg such as "test (python=3.12)".
    jobs
        How many jobs may run at once; as many as there are processors by default.
    cache
        Reuse results of jobs whose fingerprint is known.
    deploy
        Deploy to the environments that the trigger is for.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    request = RunRequest(
        kind=trigger, ref=ref, target=target, stages=_split(stage), jobs=tuple(job or ()), parallel=jobs,
        use_cache=cache,
    )  # fmt: skip
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        prepared = pipeline.prepare(place, request)
        found = _carry_out(prepared, _deploy_from_run if deploy else None, quiet=json)
    except (ConfigurationError, UsageError) as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=USAGE if error.system == "git" else FAILED)
    if json:
        print_json(found)
    return EXIT_CODES[found.outcome]


def _split(values: list[str] | None) -> tuple[str, ...]:
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())


def _carry_out(prepared: PreparedRun, deploy: Deploy | None, *, quiet: bool) -> RunDocument:
    """Show and execute a run, build its release, deploy it, and keep the document."""
    try:
        if prepared.is_known:
            shown = progress.PlainProgress(prepared)
            results: tuple[JobResult, ...] = tuple(prepared.hits[node.id] for node in prepared.graph)
            for result in results:
                shown.job_ended(result)
            outcome: RunOutcome = "success"
        else:
            import asyncio

            outcome, results = asyncio.run(_execute(prepared, lively=is_lively(sys.stderr) and not quiet))
        found, version = _finish(prepared, outcome, results, deploy)
    except BaseException:
        if not (prepared.workplace.folder / "logs").exists():
            shutil.rmtree(prepared.workplace.folder, ignore_errors=True)
        raise
    for line in progress.failure_block(prepared, results):
        say(line)
    for line in progress.closing(found, version):
        say(line)
    return found


async def _execute(prepared: PreparedRun, *, lively: bool) -> tuple[RunOutcome, tuple[JobResult, ...]]:
    """Execute with a Ctrl-C, or a SIGTERM, ending all jobs."""
    import asyncio
    import signal

    cancel = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel.set)
    shown: progress.Progress = progress.LiveProgress(prepared) if lively else progress.PlainProgress(prepared)
    try:
        end = await pipeline.execute(prepared, shown, cancel=cancel)
    finally:
        shown.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return end.outcome, end.results


def _finish(
    prepared: PreparedRun, outcome: RunOutcome, results: tuple[JobResult, ...], deploy: Deploy | None
) -> tuple[RunDocument, str]:
    """Build the release, record it, deploy it; then write everything down."""
    notes: list[str] = []
    deployments: list[Deployment] = []
    built: releases.ReleaseBuilt | None = None
    if outcome == "success":
        try:
            built, note = pipeline.build_release(prepared, results)
            notes += [note] if note else []
        except AdapterError as error:
            outcome, notes = "failure", [f"No release: {error.message}"]
        if built is not None and not releases.is_recorded(prepared.place.state, built):
            _run_until_done(releases.record(prepared.place.state, built))
        if built is not None and deploy is not None and prepared.plan.environments:
            deployments = _run_until_done(_deploy_all(prepared, built, deploy))
        elif prepared.plan.environments and not prepared.request.narrowed:
            notes.append(f"Not deployed to {', '.join(prepared.plan.environments)}: no release, or --no-deploy.")
    found = pipeline.document(
        prepared, outcome, results, release=built.digest if built else None, deployments=deployments, notes=notes
    )
    pipeline.save(prepared, found)
    return found, built.version if built else ""


def _run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; the event loop is imported only here, where something is left to do."""
    import asyncio

    return asyncio.run(work)


async def _deploy_all(prepared: PreparedRun, built: releases.ReleaseBuilt, deploy: Deploy) -> list[Deployment]:
    """Deploy to each environment in turn; one that did not end well keeps the next from starting."""
    deployments: list[Deployment] = []
    for name in prepared.plan.environments:
        stopped = [done.environment for done in deployments if done.outcome != "promoted"]
        if stopped:
            deployments.append(Deployment(name, "skipped", f"{stopped[0]} comes first"))
        else:
            try:
                deployments.append(await deploy(prepared.place, name, built))
            except AdapterError as error:
                deployments.append(Deployment(name, "failed", error.message))
    return deployments


async def _deploy_from_run(place: OpenProject, environment: str, built: releases.ReleaseBuilt) -> Deployment:
    """Deploy as `openbell deploy` does; imported only when there is something to deploy."""
    from openbell.cli.deploy import deploy_from_run

    return await deploy_from_run(place, environment, built)


def log(
    run: str = "last",
    job: str | None = None,
    /,
    *,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show what a job printed in a run; without a job, the jobs of the run.

    Parameters
    ----------
    run
        The run's name; "last" is the newest.
    job
        The job's name ("test (python=3.12)") or the name of its files ("test-3.12").
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output: the run's, or the job's with its log.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
    except ConfigurationError as error:
        return complain(str(error))
    found = pipeline.load_run(place, run)
    if found is None:
        return complain(
            f'there is no run "{run}" in {place.state.root}. Runs are kept until {pipeline.RUNS_KEPT} are newer.'
        )
    if job is None:
        return _show_run(found, json=json)
    wanted = [entry for entry in found.jobs if job in (entry.name, slug(entry.name))]
    if not wanted:
        return complain(f'run {found.run} has no job "{job}". It has: {", ".join(slug(e.name) for e in found.jobs)}.')
    text = pipeline.read_log(place, found, wanted[0])
    if text is None:
        return complain(f"{wanted[0].name} has no log: {wanted[0].outcome}, {wanted[0].reason}.", code=FAILED)
    if json:
        print_json({"run": found.run, "job": wanted[0], "log": text})
    else:
        sys.stdout.write(text)
    return DONE


def _show_run(found: RunDocument, *, json: bool) -> int:
    if json:
        print_json(found)
        return DONE
    say(f"run {found.run}  {found.ref}  {found.commit[:7]}  {found.outcome}", stream=sys.stdout)
    for entry in found.jobs:
        line = f"  {progress.GLYPHS[entry.outcome]} {slug(entry.name):<24} {entry.outcome:<12} {entry.reason}"
        say(line.rstrip(), stream=sys.stdout)
    return DONE
