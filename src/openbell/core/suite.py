"""Tests one by one, as a report names them, and what they come to as a suite.

A test that was run again and passed in the end is flaky: it does not fail the job, and it is told. A test in quarantine
may fail until its date; then it counts again.
"""

from collections.abc import Sequence
from datetime import date
from typing import Literal

import msgspec

from openbell.core.project import Quarantine
from openbell.core.report import SHOWN_MAX, FailedTest, Suite

CaseOutcome = Literal["passed", "failed", "skipped", "flaky"]


class Case(msgspec.Struct, frozen=True):
    """One test of a report: how it ended, and, if it failed, with which words and where.

    `file` is the file or package that it belongs to, if the report says so.
    """

    name: str
    outcome: CaseOutcome = "passed"
    duration_s: float = 0.0
    message: str = ""
    place: str = ""
    file: str = ""


def summarise(cases: Sequence[Case], *, quarantine: Sequence[Quarantine] = (), today: date = date.max) -> Suite:
    """Count tests by outcome and keep the first failures; those in quarantine on that day are kept apart."""
    held = {one.test: one for one in quarantine if today <= one.until}
    failed = [case for case in cases if case.outcome == "failed"]
    counted = [case for case in failed if not _is_held(case.name, held)]
    excused = [case for case in failed if _is_held(case.name, held)]
    flaky = [case.name for case in cases if case.outcome == "flaky"]
    return Suite(
        len(cases),
        len(counted),
        sum(case.outcome == "skipped" for case in cases),
        round(sum(case.duration_s for case in cases), 3),
        _shown(counted),
        quarantined=len(excused),
        excused=_shown(excused),
        flaky=len(flaky),
        reran=tuple(flaky[:SHOWN_MAX]),
    )


def is_in_quarantine(name: str, test: str) -> bool:
    """Whether a test is meant by a quarantine's `test`: by its name, or by that without its parameters in brackets."""
    return name == test or (name.endswith("]") and name.partition("[")[0] == test)


def _is_held(name: str, held: dict[str, Quarantine]) -> bool:
    return name in held or (name.endswith("]") and name.partition("[")[0] in held)


def _shown(cases: Sequence[Case]) -> tuple[FailedTest, ...]:
    return tuple(FailedTest(case.name, case.message, case.place) for case in cases[:SHOWN_MAX])
