"""The diagnosis of a failure: outputs of real tools and their first real error, the deeper causes, the situations."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.diagnosis import LINE_LENGTH_MAX, Entry, Failure, FirstError, Past, diagnose
from openbell.core.masking import printable
from openbell.core.project import KnownFailure
from openbell.core.report import Coverage, FailedTest, Finding, Findings, Reports, Suite
from openbell.wiring.diagnosis import catalogue

OUTPUTS = Path(__file__).parents[1] / "fixtures" / "outputs"


class Case(NamedTuple):
    """What an output was printed by, how that ended, and what is found in it."""

    name: str
    exit_code: int
    kind: str
    line: int
    place: str
    begin: str


EXPECTED = [Case(*row) for row in json.loads((OUTPUTS / "expected.json").read_text())]


def read(name: str) -> tuple[str, ...]:
    return tuple(printable(line) for line in (OUTPUTS / f"{name}.txt").read_text().splitlines())


PRINTED = [line for case in EXPECTED for line in read(case.name)]


def failure(**given: object) -> Failure:
    return Failure(**{"stage": "test", "outcome": "failure", "reason": "exit code 1", "exit_code": 1, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("case", EXPECTED, ids=[case.name for case in EXPECTED])
def test_the_first_real_error_of_a_real_tool(case: Case) -> None:
    said = diagnose(failure(stage="build", exit_code=case.exit_code, lines=read(case.name)), catalogue())
    assert said.kind == case.kind
    assert (said.error.line, said.error.place) == (case.line, case.place) if said.error else case.line == 0
    assert (said.error.message if said.error else "").startswith(case.begin)
    assert said.cause
    assert said.fix
    assert said.prevention


def test_every_output_is_expected() -> None:
    assert sorted(case.name for case in EXPECTED) == sorted(path.stem for path in OUTPUTS.glob("*.txt"))


def test_each_entry_with_a_pattern_has_an_output() -> None:
    """What no real output shows may be wrong."""
    unseen = [e.name for e in catalogue() if e.match and not any(re.search(e.match, line) for line in PRINTED)]
    assert unseen == []


def test_noise_before_and_after_does_not_matter() -> None:
    noise = tuple(f"2026-01-05 10:00:{second:02} INFO order {second} accepted" for second in range(60))
    said = diagnose(failure(lines=(*noise, *read("go-test"), *noise)), catalogue())
    assert said.error == FirstError("TestBest: best = 3, want 2", "book_test.go:7", 61)


def test_what_tells_most_goes_before_what_comes_first() -> None:
    lines = ("error: something is odd", *read("go-build"))
    said = diagnose(failure(lines=lines), catalogue())
    assert said.error is not None
    assert said.error.place == "broken/broken.go:3:8"


def test_a_full_disk_is_the_cause_of_everything_else() -> None:
    said = diagnose(failure(lines=(*read("pytest"), "OSError: [Errno 28] No space left on device")), catalogue())
    assert said.kind == "disk-full"


def test_the_report_of_the_tests_goes_before_what_they_printed() -> None:
    tests = Suite(902, 1, 0, 3.0, (FailedTest("tests.test_book::test_kept", "3 != 2", "core/book.py:118"),))
    said = diagnose(failure(reports=Reports(tests=tests), lines=read("python-traceback")), catalogue())
    assert said.error == FirstError("tests.test_book::test_kept   3 != 2", "core/book.py:118")
    said = diagnose(failure(reports=Reports(tests=tests)), catalogue())
    assert said.kind == "tests"


def test_findings_and_coverage_explain_themselves() -> None:
    found = Findings({"high": 1}, (Finding("B602", "high", "shell=True", "src/a.py:3"),))
    said = diagnose(failure(stage="quality", reports=Reports(findings=found)), catalogue())
    assert (said.kind, said.error) == ("findings", FirstError("high: shell=True (B602)", "src/a.py:3"))
    reports = Reports(coverage=Coverage(60.0))
    said = diagnose(failure(reports=reports, reason="coverage 60.0 % of lines is below 70 %", exit_code=0), catalogue())
    assert said.kind == "coverage"


def test_one_leg_of_a_matrix_is_a_matter_of_the_version() -> None:
    said = diagnose(failure(lines=read("go-test"), legs=("1.24",), passed_legs=("1.23",)), catalogue())
    assert said.kind == "one-leg"
    assert said.error is not None
    assert said.notes == ("Only on 1.24; 1.23 passed.",)
    deeper = diagnose(failure(lines=read("dns"), legs=("1.24",), passed_legs=("1.23",)), catalogue())
    assert deeper.kind == "dns", "a network that failed once is no matter of the version"


def test_what_passed_with_the_same_inputs_is_flaky() -> None:
    past = Past(passed_same="4f2c", failed_same="aaaa")
    said = diagnose(failure(lines=read("pytest"), past=past), catalogue())
    assert said.kind == "flaky"
    assert said.notes == ("It passed in run 4f2c with exactly the same inputs.",)


def test_the_past_is_told() -> None:
    same = diagnose(failure(past=Past(failed_same="aaaa", failing_since="aaaa")), catalogue())
    assert same.notes == ("It failed in run aaaa too, with exactly the same inputs.",)
    since = diagnose(failure(past=Past(failing_since="bbbb")), catalogue())
    assert since.notes == ("It fails since run bbbb.",)
    changed = diagnose(failure(past=Past(passed_last="cccc", changed="a.txt changed")), catalogue())
    assert changed.notes == ("It passed in run cccc; since then: a.txt changed.",)


def test_a_time_limit_is_the_cause_whatever_was_printed() -> None:
    said = diagnose(failure(outcome="timeout", lines=read("dns")), catalogue())
    assert said.kind == "timeout"


@pytest.mark.parametrize(
    ("stage", "kind"), [("quality", "lint"), ("test", "test"), ("build", "build"), ("load", "unknown")]
)
def test_something_is_said_also_when_nothing_is_known(stage: str, kind: str) -> None:
    said = diagnose(failure(stage=stage, lines=("all is strange",)), catalogue())
    assert (said.kind, said.error) == (kind, None)


def test_what_the_project_knows_goes_first() -> None:
    known = KnownFailure(match="levels", cause="the feed is down", fix="call the exchange")
    said = diagnose(failure(lines=read("go-test"), known=(known, 6)), catalogue())
    assert (said.kind, said.cause, said.fix) == ("project", "the feed is down", "call the exchange")
    assert said.error is not None
    assert said.error.message.startswith("TestBest"), "the first real error stays what it is"
    alone = diagnose(failure(lines=("x", "  the feed is gone  "), known=(known, 2)), catalogue())
    assert alone.error == FirstError("the feed is gone", line=2)


def test_the_specification_is_in_the_catalogue() -> None:
    """Its troubleshooting part: lint, tests on one version, image build, helm, slow builds, flaky tests, time-outs."""
    told = {entry.name: f"{entry.cause} {entry.fix} {entry.prevention}" for entry in catalogue()}
    assert "golangci-lint run ./..." in told["lint-go"]
    assert "pre-commit" in told["lint-go"]
    assert "version" in told["one-leg"]
    assert "docker build -f Dockerfile ." in told["image-step"]
    assert "kubectl logs -n" in told["helm-upgrade"]
    assert "helm rollback" in told["helm-upgrade"]
    assert "isolation" in told["flaky"]
    assert "`retries`" in told["flaky"]
    assert "openbell timing" in told["timeout"]


def test_names_are_unique_and_texts_end_without_a_stop() -> None:
    entries = catalogue()
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        for text in (entry.cause, entry.fix, entry.prevention):
            assert not text.endswith(".") or text.endswith((" .", "./...")), entry.name


def hostile_lines() -> Iterator[str]:
    for part in (
        "a",
        "(",
        " ",
        "a:",
        "a.b.",
        "1:",
        "error: ",
        "/a",
        "at (",
        "E  ",
        "│ ",
        "x.go:1:1: ",
        "Error: ",
        "\\",
        "A1",
    ):
        yield (part * LINE_LENGTH_MAX)[:LINE_LENGTH_MAX]
        yield (part * LINE_LENGTH_MAX)[: LINE_LENGTH_MAX - 8] + "\x00.yaml!"


def test_no_pattern_is_slow_on_lines_made_to_be_so() -> None:
    """Bounded lines and patterns without nested repetition: 50 ms per line on a busy machine, mostly below 1."""
    for entry in catalogue():
        for pattern in filter(None, (entry.match, entry.near, entry.until)):
            for line in hostile_lines():
                began = time.perf_counter()
                re.search(pattern, line)
                took_s = time.perf_counter() - began
                assert took_s < 0.2, (entry.name, pattern, line[:10])


LINES = st.lists(st.text(max_size=80) | st.sampled_from(PRINTED), max_size=30)


@given(lines=LINES, stage=st.sampled_from(["quality", "test", "build"]), exit_code=st.integers(-64, 255))
def test_whatever_was_printed_something_true_is_said(lines: list[str], stage: str, exit_code: int) -> None:
    said = diagnose(failure(lines=tuple(lines), stage=stage, exit_code=exit_code), catalogue())
    assert said.cause
    if said.error is not None:
        assert 1 <= said.error.line <= len(lines)


def test_an_empty_catalogue_still_says_something() -> None:
    entry = Entry(name="x", cause="c", fix="f", prevention="p", match="^never$")
    assert diagnose(failure(), []).kind == "unknown"
    assert diagnose(failure(lines=("some",)), [entry]).kind == "unknown"
