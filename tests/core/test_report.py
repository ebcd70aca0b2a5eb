"""How a job that ended is judged, and in which words."""

import pytest

from openbell.core.project import Job
from openbell.core.project import Reports as Declared
from openbell.core.report import (
    Coverage,
    FailedTest,
    Finding,
    Findings,
    Load,
    Reports,
    Suite,
    Threshold,
    judge,
    rewrite_texts,
    words,
)
from openbell.core.sightings import Look, Sighting

JOB = Job(stage="test", run="x")
COVERED = Job(stage="test", run="x", coverage_min_pct=70, reports=Declared(cobertura="c.xml"))
SCANNER = Job(stage="quality", run="x", reports=Declared(sarif="s"), findings_exit_codes=(1,))
UNSURE = Job(stage="quality", run="x", not_checked_exit_codes=(75,))
FINDINGS = Findings({"high": 2, "low": 1, "critical": 0}, (Finding("E1", "high", "bad"),))
TESTS = Suite(902, 0, 3, 1.0)
BROKEN_TESTS = Suite(902, 1, 0, 1.0, (FailedTest("t", "m"),))
LOAD = Load((Threshold("http_req_duration", "p(95)<500", kept=True),), p95_ms=41.4)
CROSSED = Load((Threshold("http_req_duration", "p(95)<500", kept=False),))


@pytest.mark.parametrize(
    ("job", "exit_code", "reports", "outcome", "reason"),
    [
        (JOB, 0, Reports(), "success", ""),
        (JOB, 0, Reports(tests=TESTS), "success", "902 tests (3 skipped)"),
        (JOB, 0, Reports(findings=FINDINGS), "success", "3 findings (2 high, 1 low)"),
        (JOB, 0, Reports(load=LOAD), "success", "p95 41 ms"),
        (JOB, 2, Reports(), "failure", "exit code 2: boom"),
        (JOB, -9, Reports(), "failure", "ended by signal 9: boom"),
        (JOB, 1, Reports(tests=BROKEN_TESTS), "failure", "1 of 902 tests"),
        (JOB, 0, Reports(tests=BROKEN_TESTS), "failure", "1 of 902 tests"),
        (JOB, 1, Reports(findings=FINDINGS), "failure", "3 findings (2 high, 1 low)"),
        (JOB, 1, Reports(tests=TESTS), "failure", "exit code 1: boom"),
        (JOB, 99, Reports(load=CROSSED), "failure", "thresholds crossed: http_req_duration p(95)<500"),
        (JOB, 0, Reports(load=CROSSED), "failure", "thresholds crossed: http_req_duration p(95)<500"),
        (JOB, 0, Reports(load=Load(())), "failure", "the load test has no thresholds"),
        (JOB, 0, Reports(load=Load(LOAD.thresholds, requests=0)), "failure", "the load test made no request"),
        (JOB, 0, Reports(tests=Suite(0, 0, 0, 0)), "failure", "no test ran"),
        (JOB, 0, Reports(unreadable=("report x was not written",)), "failure", "report x was not written"),
        (JOB, 1, Reports(unreadable=("report x was not written",)), "failure", "exit code 1: boom"),
        (COVERED, 0, Reports(coverage=Coverage(70.0)), "success", "coverage 70.0 %"),
        (COVERED, 0, Reports(coverage=Coverage(69.96)), "failure", "coverage 70.0 % of lines is below 70 %"),
        (JOB, 0, Reports(coverage=Coverage(1.0)), "success", "coverage 1.0 %"),
        (SCANNER, 1, Reports(findings=FINDINGS), "success", "3 findings (2 high, 1 low)"),
        (SCANNER, 0, Reports(findings=FINDINGS), "success", "3 findings (2 high, 1 low)"),
        (SCANNER, 2, Reports(findings=FINDINGS), "failure", "3 findings (2 high, 1 low)"),
        (SCANNER, 1, Reports(findings=Findings({})), "failure", "exit code 1 says that something was found, and its"),
        (SCANNER, 1, Reports(unreadable=("report x was not written",)), "failure", "exit code 1: boom"),
        (SCANNER, 1, Reports(findings=FINDINGS, tests=BROKEN_TESTS), "failure", "1 of 902 tests"),
        (UNSURE, 75, Reports(), "not-checked", "boom"),
        (UNSURE, 75, Reports(unreadable=("report x was not written",)), "not-checked", "boom"),
        (UNSURE, 1, Reports(), "failure", "exit code 1: boom"),
        (UNSURE, 0, Reports(), "success", ""),
    ],
)
def test_judgement(job: Job, exit_code: int, reports: Reports, outcome: str, reason: str) -> None:
    found = judge(job, exit_code, reports, "boom")
    assert found.outcome == outcome
    assert found.reason == reason or (reason.endswith("its") and found.reason.startswith(reason))


def test_an_exit_without_words_is_a_reason_too() -> None:
    assert judge(JOB, 3, Reports(), "").reason == "exit code 3"
    assert judge(UNSURE, 75, Reports(), "").reason == "exit code 75"


def test_words_of_one() -> None:
    assert words(Reports(tests=Suite(1, 0, 0, 0))) == "1 test"


def test_texts_are_rewritten_and_nothing_else() -> None:
    reports = Reports(
        Findings(
            {"high": 1},
            (Finding("high", "high", "high", "high"),),
            (Sighting("1", "2", "high", "3", "4", 5, key="high", context="high"),),
            (Look("1"),),
        ),
        Suite(1, 1, 0, 1.0, (FailedTest("1", "1", "1"),)),
        Coverage(1.0),
        Load((Threshold("False", "False", kept=False),), requests=1),
        ("1",),
    )
    assert rewrite_texts(reports, lambda text: f"-{text}") == Reports(
        Findings(
            {"high": 1},
            (Finding("-high", "high", "-high", "-high"),),
            (Sighting("-1", "-2", "high", "-3", "-4", 5, key="high", context="high"),),
            (Look("-1"),),
        ),
        Suite(1, 1, 0, 1.0, (FailedTest("-1", "-1", "-1"),)),
        Coverage(1.0),
        Load((Threshold("-False", "-False", kept=False),), requests=1),
        ("-1",),
    )
    assert rewrite_texts(Reports(), str.upper) == Reports()


def test_texts_are_shortened_after_they_are_rewritten() -> None:
    reports = Reports(unreadable=("." * 299 + "secret",))
    assert rewrite_texts(reports, lambda text: text.replace("secret", "***")).unreadable == ("." * 299 + "*",)
