"""What the reports of a job say, read by the reader of each format, masked, and seen in the light of what is known.

What is known besides: tests in quarantine, and the lines that the commit changed. Free texts of reports are masked
before anything is kept of them.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from openbell.adapters.history import History
from openbell.core.coverage import LineCoverage, count_changed, sum_up
from openbell.core.history import Execution
from openbell.core.masking import Masker
from openbell.core.pipeline import JobNode
from openbell.core.project import Job, Quarantine
from openbell.core.report import Coverage, Reports, rewrite_texts
from openbell.core.suite import Case, is_in_quarantine, summarise
from openbell.ports import AdapterError
from openbell.wiring.changes import ChangeFinder, Changes, main_branches
from openbell.wiring.project import OpenProject
from openbell.wiring.surroundings import Workplace

NO_CHANGES = "the changed lines are not known: the clone lacks the commit before"


class WhatReportsSaid(msgspec.Struct, frozen=True):
    """The reports of one job in short, and each of its tests."""

    reports: Reports
    cases: tuple[Case, ...] = ()


class ReportReader:
    """Reads the reports of jobs; `changes` is asked when a job measured coverage, `now_s` for the day that it is."""

    def __init__(
        self,
        quarantine: Sequence[Quarantine] = (),
        *,
        changes: Callable[[], Changes | None] = lambda: None,
        now_s: Callable[[], float] = time.time,
        history: History | None = None,
        branches: Sequence[str] = (),
        ref: str = "",
        commit: str = "",
    ) -> None:
        self.quarantine = tuple(quarantine)
        self.changes = changes
        self.now_s = now_s
        self.history = history
        self.branches = tuple(branches)
        self.ref = ref
        self.commit = commit

    @classmethod
    def of_run(cls, place: OpenProject, finder: ChangeFinder) -> "ReportReader":
        """Make the reader of a run; what is remembered of a working tree with changes belongs to no branch."""
        return cls(
            place.project.quarantine,
            changes=finder.find,
            history=History(place.state.history),
            branches=main_branches(place.project),
            ref="" if finder.seen.dirty else finder.ref,
            commit=finder.seen.commit.id,
        )

    def read(
        self,
        node: JobNode,
        out: Path,
        masker: Masker,
        *,
        tree: Path,
        files: Sequence[str] = (),
        fingerprint: str = "",
    ) -> WhatReportsSaid:
        """Read the reports that a job declares; what is missing or broken is named in `unreadable`.

        `tree` is the copy of the tree that the job saw, `files` are its paths: names in reports are matched with them.
        """
        found = _read_all(node.job, out, tree)
        unreadable = [f"report {error.message}" for error in found.values() if isinstance(error, AdapterError)]
        values = {field: value for field, value in found.items() if not isinstance(value, AdapterError)}
        notes: list[str] = []

        def masked(text: str) -> str:
            return masker.show(masker.mask(text))

        cases: tuple[Case, ...] = ()
        if "tests" in values:
            cases = tuple(_masked(case, masked) for case in values["tests"])
            values["tests"] = summarise(cases, quarantine=self.quarantine, today=self._today())
            notes += self._words_of_quarantine(cases)
        if "coverage" in values:
            values["coverage"], more = self._coverage(node, values["coverage"], files, fingerprint)
            unreadable += more
        reports = Reports(**values, unreadable=tuple(unreadable), notes=tuple(notes))
        return WhatReportsSaid(rewrite_texts(reports, masked), cases)

    def remember(self, node: JobNode, said: WhatReportsSaid, workplace: Workplace, *, fingerprint: str) -> Reports:
        """Keep what a job that came to its end reported, beside its log and in the history; return it.

        A history that cannot be written fails no job: the reports get a note that says so.
        """
        reports = said.reports
        if self.history is not None and (reports.tests is not None or reports.coverage is not None):
            execution = Execution(
                job=node.id, name=node.name, fingerprint=fingerprint, run=workplace.run, at_s=self.now_s(),
                ref=self.ref, commit=self.commit, lines_pct=reports.coverage.lines_pct if reports.coverage else None,
            )  # fmt: skip
            try:
                self.history.record(execution, said.cases)
            except AdapterError as error:
                note = f"the history of tests was not written: {error.message}"
                reports = msgspec.structs.replace(reports, notes=(*reports.notes, note))
        if reports != Reports():
            write_down(node, reports, workplace)
        return reports

    def _coverage(
        self, node: JobNode, measured: LineCoverage, files: Sequence[str], fingerprint: str
    ) -> tuple[Coverage, list[str]]:
        coverage = sum_up(measured)
        if self.history is not None:
            before_pct = _try(partial(self.history.last_coverage, node.id, self.branches, but=fingerprint))
            if isinstance(before_pct, float):
                coverage = msgspec.structs.replace(coverage, before_pct=before_pct)
        changes = self.changes()
        if changes is None:
            # A bound that cannot be judged is no bound that was kept.
            return coverage, [NO_CHANGES] if node.job.coverage_changed_min_pct is not None else []
        changed = count_changed(measured, changes.lines, files, since=changes.since)
        return msgspec.structs.replace(coverage, changed=changed), []

    def _today(self) -> date:
        return datetime.fromtimestamp(self.now_s(), UTC).date()

    def _words_of_quarantine(self, cases: Sequence[Case]) -> list[str]:
        """Say whose quarantine has ended of tests that failed."""
        failed = [case.name for case in cases if case.outcome == "failed"]
        return [
            f"the quarantine of {one.test} ended on {one.until} ({one.owner})"
            for one in self.quarantine
            if one.until < self._today() and any(is_in_quarantine(name, one.test) for name in failed)
        ]


def write_down(node: JobNode, reports: Reports, workplace: Workplace) -> None:
    """Keep what a job reported beside its log, for `openbell report`."""
    folder = workplace.folder / "reports"
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / f"{node.slug}.json").write_bytes(msgspec.json.encode(reports))


def _read_all(job: Job, out: Path, tree: Path) -> dict[str, Any]:
    """Read each declared report by the reader of its format: what it says, or why it cannot be read, by field."""
    # Readers of XML and of tables cost something to import, and most jobs declare none.
    from openbell.adapters import cobertura, cyclonedx_report, go_test, junit, k6, pytest_benchmark, sarif

    declared = job.reports
    readers: tuple[tuple[str, str | None, Callable[[Path], object]], ...] = (
        ("findings", declared.sarif, partial(sarif.read, root=tree, severity=job.findings_severity)),
        ("tests", declared.junit, junit.read),
        ("tests", declared.gotest, go_test.read_events),
        ("coverage", declared.cobertura, cobertura.read),
        ("coverage", declared.gocover, go_test.read_profile),
        ("benchmarks", declared.pytest_benchmark, pytest_benchmark.read),
        ("benchmarks", declared.gobench, go_test.read_benchmarks),
        ("components", declared.cyclonedx, cyclonedx_report.read),
        ("load", declared.k6, k6.read),
    )
    return {field: _try(partial(read, out / name)) for field, name, read in readers if name is not None}


def _try(read: Callable[[], object]) -> object:
    try:
        return read()
    except AdapterError as error:
        return error


def _masked(case: Case, masked: Callable[[str], str]) -> Case:
    return msgspec.structs.replace(
        case, name=masked(case.name), message=masked(case.message), place=masked(case.place), file=masked(case.file)
    )
