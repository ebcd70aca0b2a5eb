"""`openbell scan`: look for findings again, as each night, over the ledger of a branch."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openbell.cli import progress
from openbell.cli.failures import failure_block
from openbell.cli.finding_lines import finding_lines
from openbell.cli.refusals import REFUSALS, refuse
from openbell.cli.running import assess, diagnose_failures, run_jobs, run_until_done
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, counted, print_json, say
from openbell.core.findings_documents import describe
from openbell.core.pipeline import JobResult
from openbell.wiring import findings_overview, pipeline
from openbell.wiring import scan as scanning
from openbell.wiring.findings import LOOKED
from openbell.wiring.pipeline import PreparedRun, UsageError
from openbell.wiring.project import open_project
from openbell.wiring.scan import ScanDocument

SHOWN = 10
WORDS = {"clean": "nothing keeps releases back", "incomplete": "not everything was looked at"}


def scan(
    *,
    ref: str | None = None,
    jobs: int = 0,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Look for findings again, over the ledger of a branch: run it each night, as the specification does at 2 AM UTC.

    It runs the jobs of `[scan]`, else those of stage quality that report SARIF and those with `on = ["schedule"]`. A
    job whose result ages (`cache_s`) is run again whatever is known, because what it asks may have changed. Exit code
    1: something keeps releases from being deployed, or some job could not look; nothing counts as fixed by that one.

    Parameters
    ----------
    ref
        The branch to scan; the tree that is checked out by default.
    jobs
        How many jobs may run at once; as many as there are processors by default.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        prepared = pipeline.prepare(place, scanning.scan_request(place, ref=ref, parallel=jobs))
        outcome, results = run_jobs(prepared, quiet=json)
        found = _finish(prepared, results)
    except REFUSALS as error:
        return refuse(error)
    for line in _closing(prepared, results, found):
        say(line)
    if json:
        print_json(found)
    if outcome == "cancelled":
        return INTERRUPTED
    failing = found.findings.failing or found.outcome != "clean"
    return FAILED if failing else DONE


def _finish(prepared: PreparedRun, results: tuple[JobResult, ...]) -> ScanDocument:
    """Take what was found into the ledger, tell people, and keep the documents of the scan and of its run."""
    assessed = assess(prepared, results)
    if assessed is None:
        message = 'no job of the scan reports findings: give one reports = { sarif = "FILE" }.'
        raise UsageError(message)
    said = assessed.document
    place, run = prepared.place, prepared.workplace.run
    overview = findings_overview.look_at(place, said.branch)
    blocking = overview.narrow(overview.blocking).findings if overview else ()
    outcome = scanning.outcome_of(results, blocking)
    unchecked = tuple(result.id for result in results if result.outcome not in LOOKED)
    if said.recorded and unchecked:
        run_until_done(scanning.tell_incomplete(place, run, said.branch, unchecked))
    written = pipeline.document(
        prepared, "success" if outcome == "clean" else "failure", results, findings=said,
        diagnoses=diagnose_failures(prepared, results),
    )  # fmt: skip
    pipeline.save(prepared, written)
    return ScanDocument(
        run, said.branch, prepared.snapshot.commit.id, outcome, written.jobs, said, blocking, written.duration_s
    )


def _closing(prepared: PreparedRun, results: tuple[JobResult, ...], found: ScanDocument) -> list[str]:
    lines = [*failure_block(prepared, results, found.jobs), *finding_lines(found.findings)]
    lines += [
        f"{'Not checked by' if result.outcome == 'not-checked' else 'Not passed by'} {result.id}: "
        "nothing counts as fixed by it."
        for result in results
        if result.outcome not in LOOKED
    ]
    if found.blocking:
        lines.append(f"{counted(len(found.blocking), 'finding')} of {found.branch} keep releases from being deployed:")
        lines += [f"    {describe(one)}" for one in found.blocking[:SHOWN]]
        lines.append("  All of them: openbell findings due")
    if not found.findings.recorded:
        lines.append(f"Compared with {found.branch} only: its ledger takes runs of the branch itself, without changes.")
    glyph = progress.GLYPHS["success" if found.outcome == "clean" else "failure"]
    words = WORDS.get(found.outcome, "something keeps releases back")
    lines.append(f"{glyph} scan {found.run} of {found.branch}: {found.outcome}, {words}")
    return lines
