"""Tests as a suite: what counts, what is excused, and until when."""

from datetime import date

import pytest

from openbell.core.project import Job, Quarantine
from openbell.core.report import Reports, judge, words
from openbell.core.suite import Case, is_in_quarantine, summarise

CASES = (
    Case("t::a", "passed", 1.0),
    Case("t::b[1]", "failed", 0.5, "m", "t.py:3"),
    Case("t::b[2]", "failed"),
    Case("t::c", "flaky"),
    Case("t::d", "skipped"),
)
HELD = Quarantine(test="t::b", owner="Ada", until=date(2027, 1, 31))
JOB = Job(stage="test", run="x")


def test_a_suite_is_counted() -> None:
    suite = summarise(CASES)
    assert (suite.total, suite.failed, suite.skipped, suite.flaky, suite.duration_s) == (5, 2, 1, 1, 1.5)
    assert suite.reran == ("t::c",)
    assert suite.failures[0].place == "t.py:3"


@pytest.mark.parametrize(("today", "failed"), [(date(2027, 1, 31), 0), (date(2027, 2, 1), 2), (date(2026, 1, 1), 0)])
def test_a_quarantine_holds_until_its_day_has_passed(today: date, failed: int) -> None:
    suite = summarise(CASES, quarantine=(HELD,), today=today)
    assert (suite.failed, suite.quarantined) == (failed, 2 - failed)
    assert len(suite.excused) == 2 - failed
    outcome = judge(JOB, 1, Reports(tests=suite), "1 failed").outcome
    assert outcome == ("failure" if failed else "success")


def test_only_the_exit_code_of_failed_tests_is_excused() -> None:
    reports = Reports(tests=summarise(CASES, quarantine=(HELD,), today=date(2027, 1, 1)))
    assert judge(JOB, 2, reports, "boom").outcome == "failure", "pytest itself broke"
    assert (
        judge(JOB, 1, Reports(tests=summarise(CASES[:1], quarantine=(HELD,), today=date(2027, 1, 1))), "x").outcome
        == "failure"
    )
    assert words(reports) == "5 tests (1 skipped, 1 flaky, 2 failed in quarantine)"


def test_one_that_is_not_held_fails_the_job() -> None:
    suite = summarise((*CASES, Case("t::e", "failed", 0, "new")), quarantine=(HELD,), today=date(2027, 1, 1))
    assert judge(JOB, 1, Reports(tests=suite), "x").reason == "1 of 6 tests"
    assert [failure.name for failure in suite.failures] == ["t::e"]


@pytest.mark.parametrize(
    ("name", "test", "meant"),
    [("a", "a", True), ("a[1]", "a", True), ("a[1]", "a[1]", True), ("a[1]", "a[2]", False), ("ab", "a", False),
     ("a", "a[1]", False)],
)  # fmt: skip
def test_what_a_quarantine_means(name: str, test: str, *, meant: bool) -> None:
    assert is_in_quarantine(name, test) is meant
