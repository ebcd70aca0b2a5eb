"""The daily scan: the jobs that look for findings, asked anew where a database may have changed, over the same ledger.

It runs on one branch, by default the one that is checked out. A job whose database cannot be reached has not checked:
that is no pass, and nothing counts as fixed by it.
"""

import time

import msgspec

from openbell.core.findings_documents import FindingDocument, RunFindings
from openbell.core.pipeline import JobResult
from openbell.core.project import COMMIT_STAGES, Project
from openbell.wiring.findings import LOOKED
from openbell.wiring.pipeline import JobDocument, RunRequest, UsageError
from openbell.wiring.project import OpenProject


class ScanDocument(msgspec.Struct, frozen=True):
    """`openbell scan --json`; described in docs/schema/scan.json.

    `clean`: everything was looked at, and nothing keeps releases back. `broken`: something does. `incomplete`: nothing
    does as far as is known, but some job failed or could not check.
    """

    run: str
    branch: str
    commit: str
    outcome: str
    jobs: tuple[JobDocument, ...]
    findings: RunFindings
    blocking: tuple[FindingDocument, ...]
    duration_s: float


def scan_jobs(project: Project) -> tuple[str, ...]:
    """Name the jobs of a scan: those of `[scan]`, else those of quality that report findings and those on schedules.

    What they need by name comes with them.
    """
    wanted = dict.fromkeys(project.scan.jobs or _usual_jobs(project))
    pending = list(wanted)
    while pending:
        needed = [need for need in project.jobs[pending.pop()].needs or () if need not in wanted]
        wanted |= dict.fromkeys(needed)
        pending += needed
    return tuple(name for name in project.jobs if name in wanted)


def _usual_jobs(project: Project) -> tuple[str, ...]:
    return tuple(
        name
        for name, job in project.jobs.items()
        if job.stage in COMMIT_STAGES
        and ("schedule" in job.on or (job.stage == "quality" and job.reports.sarif and not job.on))
    )


def scan_request(place: OpenProject, *, ref: str | None, parallel: int) -> RunRequest:
    """Ask for a scan of a branch. Raises `UsageError` when no job looks for findings."""
    names = scan_jobs(place.project)
    if not names:
        message = 'no job looks for findings: give one reports = { sarif = "FILE" }, or name jobs in [scan].'
        raise UsageError(message)
    return RunRequest(kind="schedule", ref=ref, jobs=names, parallel=parallel, fresh=True)


def outcome_of(results: tuple[JobResult, ...], blocking: tuple[FindingDocument, ...]) -> str:
    """Say how a scan ended: "broken", "incomplete" or "clean"."""
    if blocking:
        return "broken"
    return "clean" if all(result.outcome in LOOKED for result in results) else "incomplete"


async def tell_incomplete(place: OpenProject, run: str, branch: str, unchecked: tuple[str, ...]) -> None:
    """Tell people that a scan could not look at everything; once for each run."""
    from openbell.adapters.sqlite import SqliteJournal
    from openbell.wiring.rollouts import JournalNotifier

    async with SqliteJournal(place.state.journal) as journal:
        subject = f"scan of {branch} is incomplete: {', '.join(unchecked)}"
        text = f"What they would have found is not known, and nothing counts as fixed. See: openbell log {run}"
        await JournalNotifier(journal).notify(subject, text, urgent=False, key=f"scan/{run}")


def elapsed_s(began_s: float) -> float:
    """Return the seconds since a moment of the monotonic clock."""
    return round(time.monotonic() - began_s, 3)
