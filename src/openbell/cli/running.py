"""What `openbell run` does once its arguments are known: show, execute, release, deploy, write down.

Knows no parser, and imports little before it must: a run in which everything is known takes a fraction of a second.
"""

import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from openbell.adapters.toml import ConfigurationError
from openbell.cli import progress
from openbell.cli.finding_lines import finding_lines
from openbell.cli.refusals import REFUSALS, refuse
from openbell.cli.slowness import slow_lines
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, WAITS, is_lively, print_json, say
from openbell.core.diagnosis import Diagnosis
from openbell.core.pipeline import JobResult
from openbell.core.schedule import RunOutcome
from openbell.ports import AdapterError
from openbell.wiring import concurrency, pipeline, releases, run_record
from openbell.wiring.journalling import keep_for_reports
from openbell.wiring.pipeline import Deploy, Deployment, PreparedRun, RunDocument, RunRequest
from openbell.wiring.project import OpenProject, open_project

if TYPE_CHECKING:
    from openbell.wiring.findings import Assessment
    from openbell.wiring.telemetry import RunTelemetry

T = TypeVar("T")

NOT_ASKED = "--no-deploy was given"
EXIT_CODES = {"success": DONE, "failure": FAILED, "cancelled": INTERRUPTED, "waiting": WAITS}


def run_pipeline(
    request: RunRequest, policies: tuple[str, ...] = (), *, deploy: bool = True, json: bool = False
) -> int:
    """Carry a request out in the project of the current folder, and return the exit code."""

    def prepare() -> tuple[PreparedRun, str]:
        prepared = pipeline.prepare(open_project(Path.cwd(), policies), request)
        return prepared, "" if deploy else NOT_ASKED

    return _run(prepare, json=json)


def run_on(run: str | None, *, again: bool, parallel: int = 0, deploy: bool = True, json: bool = False) -> int:
    """Go on with a run (the newest without a name), or do it `again`; returns the exit code."""

    def prepare() -> tuple[PreparedRun, str]:
        from openbell.wiring import resumption

        place = open_project(Path.cwd())
        record = resumption.find(place, run)
        prepared = (resumption.repeat if again else resumption.resume)(place, record, parallel=parallel)
        say(resumption.introduction(prepared))
        held = "" if deploy and record.began.deploys else NOT_ASKED
        return prepared, held or resumption.why_not_to_deploy(prepared)

    return _run(prepare, json=json)


def _run(prepare: Callable[[], tuple[PreparedRun, str]], *, json: bool) -> int:
    """Prepare a run, with the reason why it is not to deploy if there is one, and carry it out."""
    try:
        prepared, held = prepare()
        found = _carry_out(prepared, held, quiet=json)
    except REFUSALS as error:
        return refuse(error)
    if json:
        print_json(found)
    return EXIT_CODES[found.outcome]


def _carry_out(prepared: PreparedRun, held: str, *, quiet: bool) -> RunDocument:
    """Show and execute a run, build its release, deploy it, and keep the document."""
    telemetry = _telemetry(prepared)
    try:
        group = concurrency.group_of(prepared)
        recorder = run_record.Recorder(prepared, deploys=held != NOT_ASKED, group=group)
        outcome, results = run_jobs(prepared, quiet=quiet, recorder=recorder)
        if prepared.request.leave is not None:
            from openbell.wiring.shared_run import leave

            leave(prepared, results)
        found, version = _finish(prepared, outcome, results, held)
        recorder.close(found)
    except BaseException:
        if not (prepared.workplace.folder / "logs").exists():
            shutil.rmtree(prepared.workplace.folder, ignore_errors=True)
        raise
    for line in _failure_lines(prepared, results, found):
        say(line)
    for line in finding_lines(found.findings, blocks_merge=prepared.plan.blocks_merge) if found.findings else ():
        say(line)
    for line in (*progress.closing(found, version), *slow_lines(prepared.place.project.targets, found)):
        say(line)
    kept = "" if prepared.request.leave is not None else keep_for_reports(prepared.place.state, found)
    for problem in filter(None, (kept, telemetry.end(found) if telemetry else "")):
        say(f"  {problem}")
    return found


def _failure_lines(prepared: PreparedRun, results: tuple[JobResult, ...], found: RunDocument) -> list[str]:
    """Compose what a person needs after a failure; imported only after one."""
    if not any(result.outcome in ("failure", "timeout") for result in results):
        return []
    from openbell.cli.failures import failure_block

    return failure_block(prepared, results, found.jobs)


def _telemetry(prepared: PreparedRun) -> "RunTelemetry | None":
    """Begin to tell of a run, if somebody is to be told; what that takes is imported only then."""
    from openbell.wiring.trace import endpoint_of

    if not endpoint_of(prepared.place.project):
        return None
    from openbell.wiring.telemetry import RunTelemetry

    telemetry = RunTelemetry(prepared)
    if not prepared.is_known:
        telemetry.begin()
    return telemetry


def run_jobs(
    prepared: PreparedRun, *, quiet: bool, recorder: run_record.Recorder | None = None
) -> tuple[RunOutcome, tuple[JobResult, ...]]:
    """Run the jobs whose results are not known, and show all; without an event loop where everything is known.

    With a `recorder` they are written down as well, so that the run can be resumed.
    """
    older = concurrency.supersede_older(prepared) if recorder else ()
    if older:
        say(f"Of the same group: run {', '.join(older)}, which ends for this one.")
    if prepared.is_known:
        shown = progress.PlainProgress(prepared)
        results = tuple(prepared.hits[node.id] for node in prepared.graph)
        if recorder:
            recorder.all_known(results)
        for result in results:
            shown.job_ended(result)
        return "success", results
    import asyncio

    return asyncio.run(_execute(prepared, recorder, older, lively=is_lively(sys.stderr) and not quiet))


async def _execute(
    prepared: PreparedRun, recorder: run_record.Recorder | None, older: tuple[str, ...], *, lively: bool
) -> tuple[RunOutcome, tuple[JobResult, ...]]:
    """Execute with a Ctrl-C, a SIGTERM or a lost terminal ending all jobs."""
    import asyncio

    from openbell.cli.interruption import calling

    cancel = asyncio.Event()
    shown: progress.Progress = progress.LiveProgress(prepared) if lively else progress.PlainProgress(prepared)
    with calling(cancel.set):
        try:
            async with concurrency.looking_out(prepared, older, cancel):
                end = await pipeline.execute(prepared, recorder.telling(shown) if recorder else shown, cancel=cancel)
        finally:
            shown.close()
    return end.outcome, end.results


def _finish(
    prepared: PreparedRun, outcome: RunOutcome, results: tuple[JobResult, ...], held: str
) -> tuple[RunDocument, str]:
    """Build the release, record it, deploy it; then write everything down."""
    notes: list[str] = []
    deployments: list[Deployment] = []
    built: releases.ReleaseBuilt | None = None
    assessed: Assessment | None = None
    try:
        assessed = assess(prepared, results)
    except (AdapterError, ConfigurationError) as error:
        notes.append(f"What was found cannot be judged: {error.message if isinstance(error, AdapterError) else error}")
    # What cannot be compared is no pass either.
    if outcome == "success" and (notes or (assessed and assessed.document.failing)):
        outcome = "failure"
    if outcome == "success":
        try:
            built, note = pipeline.build_release(prepared, results)
            notes += [note] if note else []
            if built is not None and assessed is not None:
                _keep_evidence(prepared, assessed, built.digest)
        except AdapterError as error:
            outcome, notes = "failure", [f"No release: {error.message}"]
        if built is not None:
            notes += _record(prepared, built, results)
        if built is not None and not held and _environments(prepared):
            deployments = run_until_done(_deploy_all(prepared, built, _deploy_from_run))
        elif not held and prepared.request.environment not in (None, *prepared.plan.environments):
            notes.append(f"Not deployed: {prepared.plan.trigger.words} is not for {prepared.request.environment}.")
        elif prepared.plan.environments and not prepared.request.narrowed:
            why = "no release was built" if built is None else held
            notes.append(f"Not deployed to {', '.join(prepared.plan.environments)}: {why}.")
    found = pipeline.document(
        prepared, outcome, results, release=built.digest if built else None, deployments=deployments, notes=notes,
        findings=assessed.document if assessed else None,
        diagnoses=diagnose_failures(prepared, results),
    )  # fmt: skip
    pipeline.save(prepared, found)
    return found, built.version if built else ""


def _keep_evidence(prepared: PreparedRun, assessed: "Assessment", digest: str) -> None:
    from openbell.wiring import findings

    findings.keep_evidence(prepared, assessed.scan, digest)


def _record(prepared: PreparedRun, built: releases.ReleaseBuilt, results: tuple[JobResult, ...]) -> list[str]:
    """Record a release, say where it comes from, and name its images; what was done before is not done again."""
    state = prepared.place.state
    if not releases.is_recorded(state, built):
        run_until_done(releases.record(state, built))
    if releases.published_file(state, built).exists():
        return []
    from openbell.wiring import publication

    began_s = time.time() - (time.monotonic() - prepared.began_s)
    trigger = prepared.plan.trigger.kind
    try:
        return run_until_done(
            publication.publish(prepared.place, built, trigger=trigger, results=results, began_s=began_s)
        )
    except AdapterError as error:
        return [f"Where the release comes from is not written down: {error.message}"]


def assess(prepared: PreparedRun, results: tuple[JobResult, ...]) -> "Assessment | None":
    """Take what scanners found into the ledger, or compare it; tell people of what is severe.

    None without scanners, and for the part of a run that another machine gathers: it is judged there, as a whole.
    """
    if prepared.request.leave is not None or not any(node.job.reports.sarif for node in prepared.graph):
        return None
    from openbell.wiring import findings

    assessment = findings.assess(prepared, results)
    if assessment.tell_about:
        run_until_done(findings.tell_by_journal(prepared.place, assessment.tell_about))
    return assessment


def diagnose_failures(prepared: PreparedRun, results: tuple[JobResult, ...]) -> dict[str, Diagnosis]:
    """Say why jobs failed; what is known of that is read only when one has."""
    if not any(result.outcome in ("failure", "timeout") for result in results):
        return {}
    from openbell.wiring.diagnosis import diagnose_run

    return diagnose_run(prepared, results)


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; the event loop is imported only here, where something is left to do."""
    from openbell.cli.interruption import run_interruptible

    return run_interruptible(work)


def _environments(prepared: PreparedRun) -> tuple[str, ...]:
    """Name the environments to deploy to: those that the trigger is for, or the one of them that was asked for."""
    wanted = prepared.request.environment
    return tuple(name for name in prepared.plan.environments if wanted in (None, name))


async def _deploy_all(prepared: PreparedRun, built: releases.ReleaseBuilt, deploy: Deploy) -> list[Deployment]:
    """Deploy to each environment in turn; one that did not end well keeps the next from starting."""
    deployments: list[Deployment] = []
    for name in _environments(prepared):
        stopped = [done.environment for done in deployments if done.outcome != "promoted"]
        if stopped:
            deployments.append(Deployment(name, "skipped", f"{stopped[0]} comes first"))
        else:
            began_s = time.monotonic()
            try:
                done = await deploy(prepared.place, name, built)
                deployments.append(msgspec.structs.replace(done, duration_s=round(time.monotonic() - began_s, 3)))
            except AdapterError as error:
                deployments.append(Deployment(name, "failed", error.message))
    return deployments


async def _deploy_from_run(place: OpenProject, environment: str, built: releases.ReleaseBuilt) -> Deployment:
    """Deploy as `openbell deploy` does; imported only when there is something to deploy."""
    from openbell.cli.deploy import deploy_from_run

    return await deploy_from_run(place, environment, built)
