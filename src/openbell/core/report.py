"""What a job's reports say, whatever tool wrote them, and the rule that turns an exit code and reports into an outcome.

The formats (SARIF, JUnit, Cobertura, k6 ...) are read by adapters; this module knows only what they have in common. A
declared report that is missing or empty is a failure: no data is never a pass.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import msgspec

from openbell.core.project import Job
from openbell.core.regression import Comparison
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
    """What a test report says.

    `quarantined` failed and are excused for now: they are not among `failed`, and `excused` has the first of them.
    `flaky` failed and passed when they were run again; `reran` names the first.
    """

    total: int
    failed: int
    skipped: int
    duration_s: float
    failures: tuple[FailedTest, ...] = ()
    quarantined: int = 0
    excused: tuple[FailedTest, ...] = ()
    flaky: int = 0
    reran: tuple[str, ...] = ()


class Share(msgspec.Struct, frozen=True):
    """How many of so many lines (or statements) of something ran."""

    name: str
    covered: int
    valid: int

    @property
    def pct(self) -> float:
        """The share in percent; of nothing, all has run."""
        return 100.0 * self.covered / self.valid if self.valid else 100.0


class ChangedLines(msgspec.Struct, frozen=True):
    """How many of the lines that a change wrote ran: `since` is the commit it is counted from.

    `missed` has the first places that did not run, as "src/book.py:12-14".
    """

    covered: int
    valid: int
    since: str
    missed: tuple[str, ...] = ()

    @property
    def pct(self) -> float | None:
        """The share in percent; None when the change has no line that could run."""
        return 100.0 * self.covered / self.valid if self.valid else None


class Coverage(msgspec.Struct, frozen=True):
    """What share of the lines (and branches, when measured) ran: in all, per package, and of the changed lines.

    `before_pct` is the share in the last run of the main branch, if one is known.
    """

    lines_pct: float
    branches_pct: float | None = None
    packages: tuple[Share, ...] = ()
    changed: ChangedLines | None = None
    before_pct: float | None = None


class Benchmark(msgspec.Struct, frozen=True):
    """One benchmark: the time that one operation took, the median of what was measured."""

    name: str
    median_s: float


class Components(msgspec.Struct, frozen=True):
    """What a bill of materials lists, and how many vulnerabilities it says these have."""

    total: int
    vulnerabilities: int = 0


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
    """Everything a job's reports said; `unreadable` names those that are missing or broken, with the reason.

    `notes` are sentences for people that change no verdict.
    """

    findings: Findings | None = None
    tests: Suite | None = None
    coverage: Coverage | None = None
    load: Load | None = None
    unreadable: tuple[str, ...] = ()
    benchmarks: tuple[Benchmark, ...] | None = None
    components: Components | None = None
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def may_be_kept(self) -> bool:
        """Whether the verdict stays what it is: a success by the grace of a quarantine ends with it."""
        return not (self.tests and self.tests.quarantined)


Part = TypeVar("Part", Finding, Sighting, FailedTest, Threshold, Share, Benchmark, Comparison)


def rewrite_texts(reports: Reports, rewrite: Callable[[str], str]) -> Reports:
    """Return reports with their free texts rewritten, as to hide secrets; numbers and verdicts stay what they are.

    Texts are shortened here and not by those who read them: half a secret at the end of a text could not be found.
    """
    found, tests, load, coverage = reports.findings, reports.tests, reports.load, reports.coverage
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
        tests=tests
        and replace(
            tests,
            failures=texts_of(tests.failures, "name", "message", "place"),
            excused=texts_of(tests.excused, "name", "message", "place"),
            reran=tuple(text_of(name) for name in tests.reran),
        ),
        coverage=coverage
        and replace(
            coverage,
            packages=texts_of(coverage.packages, "name"),
            changed=coverage.changed
            and replace(coverage.changed, missed=tuple(text_of(place) for place in coverage.changed.missed)),
        ),
        load=load and replace(load, thresholds=texts_of(load.thresholds, "metric", "bound")),
        unreadable=tuple(text_of(text) for text in reports.unreadable),
        benchmarks=reports.benchmarks and texts_of(reports.benchmarks, "name"),
        comparisons=texts_of(reports.comparisons, "name"),
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
    # What tests exit with when one failed; if all that failed are excused, so is the exit code.
    excused = exit_code == 1 and reports.tests and reports.tests.quarantined and not reports.tests.failed
    if exit_code != 0 and not excused:
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
    if reports.coverage:
        found += _complaints_of_coverage(job, reports.coverage)
    if reports.benchmarks == ():
        found.append("no benchmark ran")
    if reports.components and reports.components.total == 0:
        found.append("the bill of materials is empty")
    return found


def _complaints_of_coverage(job: Job, coverage: Coverage) -> Sequence[str]:
    found = []
    if job.coverage_min_pct is not None and coverage.lines_pct < job.coverage_min_pct:
        found.append(f"coverage {coverage.lines_pct:.1f} % of lines is below {job.coverage_min_pct:g} %")
    changed, least_pct = coverage.changed, job.coverage_changed_min_pct
    if least_pct is not None and changed and changed.pct is not None and changed.pct < least_pct:
        missed = f", such as {changed.missed[0]}" if changed.missed else ""
        found.append(
            f"coverage of the changed lines {changed.pct:.1f} % ({changed.covered} of {changed.valid}) "
            f"is below {least_pct:g} %{missed}"
        )
    return found


def words(reports: Reports) -> str:
    """Say in a few words what the reports of a good job said: "902 tests, coverage 84.2 %"."""
    parts = []
    if reports.tests:
        parts.append(_words_of_tests(reports.tests))
    if reports.coverage:
        parts.append(_words_of_coverage(reports.coverage))
    if reports.findings and reports.findings.total:
        parts.append(_words_of_findings(reports.findings))
    if reports.load and reports.load.p95_ms is not None:
        parts.append(f"p95 {reports.load.p95_ms:.0f} ms")
    if reports.benchmarks:
        parts.append(_count(len(reports.benchmarks), "benchmark"))
    if reports.components:
        known = reports.components.vulnerabilities
        parts.append(
            _count(reports.components.total, "component") + (f" with {known} known vulnerabilities" if known else "")
        )
    parts += reports.notes
    return ", ".join(parts)


def _words_of_tests(tests: Suite) -> str:
    apart = [
        f"{number} {what}"
        for number, what in (
            (tests.skipped, "skipped"),
            (tests.flaky, "flaky"),
            (tests.quarantined, "failed in quarantine"),
        )
        if number
    ]
    return _count(tests.total, "test") + (f" ({', '.join(apart)})" if apart else "")


def _words_of_coverage(coverage: Coverage) -> str:
    text = f"coverage {coverage.lines_pct:.1f} %"
    if coverage.before_pct is not None and abs(coverage.lines_pct - coverage.before_pct) >= 0.05:
        text += f" ({coverage.lines_pct - coverage.before_pct:+.1f})"
    changed = coverage.changed
    if changed and changed.pct is not None:
        text += f", {changed.pct:.0f} % of {_count(changed.valid, 'changed line')}"
    return text


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
