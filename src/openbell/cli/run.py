"""`openbell run` and `openbell log`: run the pipeline of a commit, and look at what a job printed."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli import progress
from openbell.cli.refusals import refuse_run
from openbell.cli.running import run_on, run_pipeline
from openbell.cli.terminal import DONE, FAILED, complain, harmless, print_json, say
from openbell.core.pipeline import slug
from openbell.core.project import TriggerKind
from openbell.wiring import pipeline, run_history
from openbell.wiring.pipeline import RunDocument, RunRequest
from openbell.wiring.project import open_project


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
    environment: str | None = None,
    take: str | None = None,
    leave: str | None = None,
    gather: Annotated[bool, Parameter(negative="")] = False,
    policy: list[str] | None = None,
    resume: Annotated[list[str] | None, Parameter(consume_multiple=(0, 1))] = None,
    again: str | None = None,
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
    environment
        Deploy to this one of them only.
    take
        A folder with results that jobs of this run left on other machines.
    leave
        A folder to leave results in, for other machines.
    gather
        Run nothing: put the results that --take has together into one run, its release included.
    policy
        A file laid over openbell.toml; may be repeated.
    resume
        Go on with a run that failed or was interrupted, the newest if none is named: the same commit, request and
        configuration; what passed there is taken from there.
    again
        Do this run again: the same commit, request and configuration. Nothing is reused, and nothing is deployed.
    json
        Print one JSON document on standard output.
    """
    if resume is not None or again is not None:
        others = (trigger != "person", ref, target, stage, job, not cache, environment, take, leave, gather, policy)
        return _run_on(resume, again, alone=not any(others), jobs=jobs, deploy=deploy, json=json)
    request = RunRequest(
        kind=trigger, ref=ref, target=target, stages=_split(stage), jobs=tuple(job or ()), parallel=jobs,
        use_cache=cache, take=take, leave=leave, gather=gather, environment=environment,
    )  # fmt: skip
    return run_pipeline(request, tuple(policy or ()), deploy=deploy, json=json)


def _run_on(resume: list[str] | None, again: str | None, *, alone: bool, jobs: int, deploy: bool, json: bool) -> int:
    if not alone or (resume is not None and again is not None):
        return complain("--resume and --again take everything from the run that they name. Leave the rest out.")
    name = again if resume is None else next(iter(resume), None)
    return run_on(name, again=again is not None, parallel=jobs, deploy=deploy, json=json)


def runs(
    *, limit: int = 20, policy: list[str] | None = None, json: Annotated[bool, Parameter(negative="")] = False
) -> int:
    """List the runs of this project, the newest first: of what, how they ended, what failed.

    Parameters
    ----------
    limit
        How many at most.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    if limit < 1:
        return complain(f"--limit {limit}: must be 1 or more.")
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
    except ConfigurationError as error:
        return complain(str(error))

    found = run_history.list_runs(place, limit=limit)
    if json:
        print_json(found)
        return DONE
    for summary in found.runs:
        say(progress.summary_line(summary), stream=sys.stdout)
    if not found.runs:
        say(f"No run in {place.state.root} yet. Begin with: openbell run")
    return DONE


def _split(values: list[str] | None) -> tuple[str, ...]:
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())


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
        return refuse_run(place, run)
    if job is None:
        return _show_run(found, json=json)
    wanted = [entry for entry in found.jobs if job in (entry.name, slug(entry.name))]
    if not wanted:
        return complain(f'run {found.run} has no job "{job}". It has: {", ".join(slug(e.name) for e in found.jobs)}.')
    text = run_history.read_log(place, found, wanted[0])
    if text is None:
        return complain(f"{wanted[0].name} has no log: {wanted[0].outcome}, {wanted[0].reason}.", code=FAILED)
    if json:
        print_json({"run": found.run, "job": wanted[0], "log": text})
    else:
        # A file or a filter gets what the job printed, byte for byte; a terminal would obey it.
        sys.stdout.write(harmless(text, colours=True) if sys.stdout.isatty() else text)
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
