"""`openbell why RUN [JOB]`: why a run went as it did, with the lines of the log that the explanation stands on."""

import sys

from openbell.cli.failures import explanation, first_error
from openbell.cli.progress import GLYPHS
from openbell.cli.terminal import DONE, complain, print_json, say
from openbell.core.masking import printable
from openbell.core.narrative import duration
from openbell.core.pipeline import slug
from openbell.wiring.pipeline import JobDocument, RunDocument
from openbell.wiring.project import OpenProject
from openbell.wiring.run_history import read_log

FAILED = ("failure", "timeout")
LINES_BEFORE, LINES_AFTER = 2, 6
LINE_LENGTH_SHOWN = 200


def why_run(place: OpenProject, found: RunDocument, job: str | None, *, json: bool) -> int:
    """Explain a run, or one of its jobs; returns the exit code."""
    if job is None:
        if json:
            print_json(found)
        else:
            _say(describe_run(place, found))
        return DONE
    wanted = [one for one in found.jobs if job in (one.name, slug(one.name), one.name.partition(" (")[0])]
    if not wanted:
        return complain(f'run {found.run} has no job "{job}". It has: {", ".join(one.name for one in found.jobs)}.')
    if json:
        print_json(wanted[0] if len(wanted) == 1 else wanted)
        return DONE
    _say([line for one in wanted for line in describe_job(place, found, one)])
    return DONE


def describe_run(place: OpenProject, found: RunDocument) -> list[str]:
    """Say how a run ended and what of it failed, was not checked, or was kept from running."""
    lines = [
        f"run {found.run} of {found.ref} {found.commit[:7]} ended in {found.outcome} ({duration(found.duration_s)})."
    ]
    for job in found.jobs:
        if job.outcome in FAILED:
            lines += ["", *describe_job(place, found, job)]
    others = [job for job in found.jobs if job.outcome in ("skipped", "not-checked")]
    lines += ["", *(f"{GLYPHS[job.outcome]} {job.name}: {job.reason}" for job in others)] if others else []
    for one in found.deployments:
        lines.append(f"{one.environment}: {one.outcome}" + (f" ({one.reason})" if one.reason else ""))
        lines += [f"  openbell why {one.rollout}"] if one.rollout else []
    return [*lines, *found.notes]


def describe_job(place: OpenProject, found: RunDocument, job: JobDocument) -> list[str]:
    """Say of a job what it did and why; of one that failed its first real error, what stands around it, what to do."""
    name = slug(job.name)
    if job.outcome not in FAILED:
        known = f" Its result is that of run {job.from_run}." if job.from_run else ""
        return [f"{GLYPHS[job.outcome]} {job.name}: {job.outcome}, {job.reason or 'nothing to say'}.{known}"]
    allowed = " It was allowed to." if job.allowed_to_fail else ""
    lines = [f"{GLYPHS['failure']} {job.name} failed after {duration(job.duration_s)}: {job.reason}.{allowed}"]
    said = job.diagnosis
    if said is not None:
        lines += [first_error(said.error)] if said.error is not None else []
        lines += explanation(said)
        if said.error is not None and said.error.line:
            lines += _evidence(place, found, job, said.error.line)
    lines.append(f'  Alone:   openbell run --job "{job.name}"')
    return [*lines, f"  Log:     openbell log {found.run} {name}"]


def _evidence(place: OpenProject, found: RunDocument, job: JobDocument, line: int) -> list[str]:
    """Show the lines of the log around the first real error, with their numbers."""
    text = read_log(place, found, job)
    if text is None:
        return []
    every = text.split("\n")
    first, last = max(1, line - LINES_BEFORE), min(len(every), line + LINES_AFTER)
    lines = ["  In its log:"]
    for number in range(first, last + 1):
        mark = ">" if number == line else " "
        lines.append(f"    {number:>5}{mark} {printable(every[number - 1])[:LINE_LENGTH_SHOWN]}".rstrip())
    return lines


def _say(lines: list[str]) -> None:
    for line in lines:
        say(line, stream=sys.stdout)
