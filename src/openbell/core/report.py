"""What a job's reports say, whatever tool wrote them, and the rule that turns an exit code and reports into an outcome.

The formats (SARIF, JUnit, Cobertura, k6) are read by adapters; this module knows only what they have in common. A
declared report that is missing or empty is a failure: no data is never a pass.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import msgspec

from openbell.core.project import Job
from openbell.core.sightings import Look, Severity, Sighting

Outcome = Literal["success", "failure", "skipped", "cached", "timeout", "not-checked"]

SHOWN_MAX = 20
"""So many findings or failed tests are kept in a summary; the report file has them all."""


TEXT_LENGTH_MAX = 300
"""So much of a text is kept: a report may have megabytes of it on one line."""


class Finding(msgspec.Struct, frozen=True):
    """One result of a scanner; `place` is "src/x.py:12" or empty."""

    rule: str
    severity: Severity
    message: str
    place: str = ""


class Findings(msgspec.Struct, frozen=True):
    """How many results a scanner had, by severity, and the first of them, the worst first.

    `sightings` are the results as the ledger takes them, `looks` the tools that have looked.
    """

    counts: dict[Severity, int]
    first: tuple[Finding, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    looks: tuple[Look, ...] = ()

    @property
    def total(self) -> int:
        """All results of every severity."""
        return sum(self.counts.values())


class FailedTest(msgspec.Struct, frozen=True):
    """One failed test: its name, what was expected, where."""

    name: str
    message: str
    place: str = ""


class Suite(msgspec.Struct, frozen=True):
    """What a test report says."""

    total: int
    failed: int
    skipped: int
    duration_s: float
    failures: tuple[FailedTest, ...] = ()


class Coverage(msgspec.Struct, frozen=True):
    """What share of the lines (and branches, when measured) ran."""

    lines_pct: float
    branches_pct: float | None = None


class Threshold(msgspec.Struct, frozen=True):
    """One bound of a load test, and whether it was kept."""

    metric: str
    bound: str
    kept: bool


class Load(msgspec.Struct, frozen=True):
    """What a load test measured; a figure is absent when it was not measured."""

    thresholds: tuple[Threshold, ...]
    requests: int | None = None
    error_pct: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Reports(msgspec.Struct, frozen=True):
    """Everything a job's reports said; `unreadable` names those that are missing or broken, with the reason."""

    findings: Findings | None = None
    tests: Suite | None = None
    coverage: Coverage | None = None
    load: Load | None = None
    unreadable: tuple[str, ...] = ()


Part = TypeVar("Part", Finding, Sighting, FailedTest, Threshold)


def rewrite_texts(reports: Reports, rewrite: Callable[[str], str]) -> Reports:
    """Return reports with their free texts rewritten, as to hide secrets; numbers and verdicts stay what they are.

    Texts are shortened here and not by those who read them: half a secret at the end of a text could not be found.
    """
    found, tests, load = reports.findings, reports.tests, reports.load
    replace = msgspec.structs.replace

    def text_of(text: str) -> str:
        return rewrite(text)[:TEXT_LENGTH_MAX]

    def texts_of(parts: Sequence[Part], *fields: str) -> tuple[Part, ...]:
        return tuple(replace(part, **{field: text_of(getattr(part, field)) for field in fields}) for part in parts)

    return replace(
        reports,
        findings=found
        and replace(
            found,
            first=texts_of(found.first, "rule", "message", "place"),
            sightings=texts_of(found.sightings, "tool", "rule", "message", "path"),
            looks=tuple(replace(look, tool=text_of(look.tool)) for look in found.looks),
        ),
        tests=tests and replace(tests, failures=texts_of(tests.failures, "name", "message", "place")),
        load=load and replace(load, thresholds=texts_of(load.thresholds, "metric", "bound")),
        unreadable=tuple(text_of(text) for text in reports.unreadable),
    )


class Judgement(msgspec.Struct, frozen=True):
    """The outcome of a job that ended, and why in one line."""

    outcome: Outcome
    reason: str


def judge(job: Job, exit_code: int, reports: Reports, last_line: str) -> Judgement:
    """Judge a job that ended by itself. A negative exit code is the number of the signal that ended it."""
    if exit_code in job.not_checked_exit_codes:
        return Judgement("not-checked", last_line or f"exit code {exit_code}")
    complaint = next(iter(_complaints(job, reports)), "")
    if exit_code in job.findings_exit_codes and not complaint:
        # Whether what was found fails the run is decided over the ledger, where it is known what is new.
        if reports.findings and reports.findings.total:
            return Judgement("success", words(reports))
        return Judgement("failure", f"exit code {exit_code} says that something was found, and its report has nothing")
    if exit_code != 0:
        if (reports.tests and reports.tests.failed) or reports.load or (reports.findings and reports.findings.total):
            return Judgement(
                "failure", complaint or _words_of_findings(reports.findings) or _words_of_exit(exit_code, last_line)
            )
        return Judgement("failure", _words_of_exit(exit_code, last_line))
    return Judgement("failure", complaint) if complaint else Judgement("success", words(reports))


def _complaints(job: Job, reports: Reports) -> Sequence[str]:
    found = []
    if reports.tests and reports.tests.failed:
        found.append(f"{reports.tests.failed} of {_count(reports.tests.total, 'test')}")
    if reports.load:
        broken = [
            f"{threshold.metric} {threshold.bound}" for threshold in reports.load.thresholds if not threshold.kept
        ]
        if broken:
            found.append(f"thresholds crossed: {', '.join(broken)}")
        if not reports.load.thresholds:
            found.append("the load test has no thresholds")
        if reports.load.requests == 0:
            found.append("the load test made no request")
    found += reports.unreadable
    if reports.tests and reports.tests.total == 0:
        found.append("no test ran")
    if job.coverage_min_pct is not None and reports.coverage and reports.coverage.lines_pct < job.coverage_min_pct:
        found.append(f"coverage {reports.coverage.lines_pct:.1f} % of lines is below {job.coverage_min_pct:g} %")
    return found


def words(reports: Reports) -> str:
    """Say in a few words what the reports of a good job said: "902 tests, coverage 84.2 %"."""
    parts = []
    if reports.tests:
        skipped = f" ({reports.tests.skipped} skipped)" if reports.tests.skipped else ""
        parts.append(_count(reports.tests.total, "test") + skipped)
    if reports.coverage:
        parts.append(f"coverage {reports.coverage.lines_pct:.1f} %")
    if reports.findings and reports.findings.total:
        parts.append(_words_of_findings(reports.findings))
    if reports.load and reports.load.p95_ms is not None:
        parts.append(f"p95 {reports.load.p95_ms:.0f} ms")
    return ", ".join(parts)


def _words_of_findings(findings: Findings | None) -> str:
    if findings is None:
        return ""
    severities = ", ".join(f"{count} {severity}" for severity, count in findings.counts.items() if count)
    return f"{_count(findings.total, 'finding')} ({severities})" if severities else ""


def _words_of_exit(exit_code: int, last_line: str) -> str:
    how = f"ended by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return f"{how}: {last_line}" if last_line else how


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
