"""What a run that failed ends with: which job, its first real error, why, what to do, and how to run it alone."""

import sys
from collections.abc import Sequence

from openbell.cli.progress import GLYPHS
from openbell.cli.terminal import paint
from openbell.core.diagnosis import Diagnosis, FirstError
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.report import FailedTest, Finding
from openbell.core.wording import duration
from openbell.wiring.pipeline import JobDocument, PreparedRun

LINES_SHOWN = 12
FAILURES_SHOWN = 5


def failure_block(prepared: PreparedRun, results: Sequence[JobResult], jobs: Sequence[JobDocument]) -> list[str]:
    """Compose what a person needs after a failure: what failed and why, how to look closer, and what it blocks."""
    nodes = {node.id: node for node in prepared.graph}
    diagnoses = {job.name: job.diagnosis for job in jobs}
    lines: list[str] = []
    told: dict[tuple[str, str], str] = {}
    for result in results:
        if result.outcome in ("failure", "timeout") and not nodes[result.id].job.allow_failure:
            node, said = nodes[result.id], diagnoses[result.id]
            error = (said.error.message, said.error.place) if said is not None and said.error is not None else ("", "")
            lines += ["", *_one_failure(prepared, node, result, said, same_as=told.get(error, ""))]
            if error[0]:
                told.setdefault(error, node.short)
    blocked = list(dict.fromkeys(r.name for r in results if r.outcome == "skipped"))
    blocked += [f"deploy {name}" for name in prepared.plan.environments]
    if lines and not prepared.request.narrowed:
        lines.append(f"Blocked: {', '.join(blocked)}." if blocked else "Nothing else depends on it.")
        merge = prepared.plan.blocks_merge
        lines.append("The pull request is not to be merged." if merge else "The commit is not releasable.")
    elif lines and blocked:
        lines.append(f"Blocked: {', '.join(blocked)}.")
    return lines


def _one_failure(
    prepared: PreparedRun, node: JobNode, result: JobResult, said: Diagnosis | None, *, same_as: str
) -> list[str]:
    """Tell of one job; what stopped another one as well is explained only once."""
    head = f"{GLYPHS['failure']} {node.short} failed after {duration(result.duration_s)}: {result.reason}"
    lines = [paint(head, "red", sys.stderr)]
    tests = result.reports.tests
    if tests and tests.failures:
        if said is not None and said.error is not None and said.error.line:
            # The report names no place, the output does.
            lines.append(first_error(said.error))
        lines += [_failed_test(test) for test in tests.failures[:FAILURES_SHOWN]]
    elif result.reports.findings and result.reports.findings.first:
        lines += [_finding(finding) for finding in result.reports.findings.first[:FAILURES_SHOWN]]
    elif said is not None and said.error is not None:
        lines.append(first_error(said.error))
    else:
        lines += [f"    {line}" for line in result.last_lines[-LINES_SHOWN:]]
    if same_as:
        lines.append(f"  The same error as in {same_as}.")
    elif said is not None:
        lines += explanation(said)
    command = node.job.run.strip().splitlines()
    lines.append(f"  Command: {command[0] if command else ''}{' ...' if len(command) > 1 else ''}")
    policies = "".join(f"--policy {layer.name} " for layer in prepared.place.configuration.layers[1:])
    lines.append(f'  Alone:   openbell run {policies}--job "{node.id}"')
    at = f"   (line {said.error.line})" if said is not None and said.error is not None and said.error.line else ""
    lines.append(f"  Log:     openbell log {prepared.workplace.run} {node.slug}{at}")
    return lines


def first_error(error: FirstError) -> str:
    """Write the first real error of a job with its place, as reports write theirs."""
    return f"    {error.message}" + (f"   {error.place}" if error.place else "")


def explanation(said: Diagnosis) -> list[str]:
    """Write what is known of a failure besides its error: where else it is so, why, what to do, how to prevent it."""
    lines = [f"  {' '.join(said.notes)}"] if said.notes else []
    parts = (("Cause:", said.cause), ("Fix:", said.fix), ("Prevent:", said.prevention))
    return [*lines, *(f"  {name:<8} {text}" for name, text in parts if text)]


def _failed_test(test: FailedTest) -> str:
    return f"    {test.name}   {test.message}" + (f"   {test.place}" if test.place else "")


def _finding(finding: Finding) -> str:
    return f"    {finding.severity}: {finding.message} ({finding.rule})" + (
        f"   {finding.place}" if finding.place else ""
    )
