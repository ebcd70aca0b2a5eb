"""The history of tests in its file: what is remembered, what is forgotten, and what a damaged file costs."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.adapters import history as module
from openbell.adapters.history import History
from openbell.core.history import Execution, find_flaky
from openbell.core.suite import Case, CaseOutcome
from openbell.ports import AdapterError

Record = Callable[..., None]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "state" / "history.sqlite")


def record(
    history: History,
    *cases: Case,
    run: str = "r",
    fingerprint: str = "f",
    job: str = "unit",
    ref: str = "main",
    lines_pct: float | None = None,
    at_s: float = 0.0,
) -> None:
    execution = Execution(
        job=job, name=job.partition(" (")[0], fingerprint=fingerprint, run=run, at_s=at_s, ref=ref, lines_pct=lines_pct
    )
    history.record(execution, cases)


def case(name: str, outcome: CaseOutcome = "passed", duration_s: float = 1.0, file: str = "t.py") -> Case:
    return Case(name, outcome, duration_s, file=file)


def test_nothing_is_made_to_look_at_nothing(history: History) -> None:
    assert history.known() == (0, 0)
    assert history.slowest(limit=3) == []
    assert history.observations() == []
    assert not history.path.parent.exists()


def test_flaky_tests_are_found_in_it(history: History) -> None:
    record(history, case("a"), case("b", "failed"), run="1")
    record(history, case("a"), case("b"), run="2")
    record(history, case("a", "failed"), case("b"), run="3", fingerprint="g")
    assert [flaky.test for flaky in find_flaky(history.observations())] == ["b"]
    assert history.known() == (2, 3)


def test_the_slowest_are_those_in_the_middle(history: History) -> None:
    for duration_s in (1.0, 9.0, 2.0):
        record(history, case("a", duration_s=duration_s), case("b", duration_s=1.5), case("c", "skipped", 99.0))
    slow = [(one.test, one.median_s, one.longest_s, one.seen) for one in history.slowest(limit=5)]
    assert slow == [
        ("a", 2.0, 9.0, 3),
        ("b", 1.5, 1.5, 3),
    ]


def test_the_oldest_are_forgotten(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXECUTIONS_KEPT", 3)
    record(history, case("gone"), job="unit")
    for number in range(3):
        record(history, case("a"), run=str(number))
    record(history, case("z"), job="other")
    assert history.known() == (2, 4)
    monkeypatch.setattr(module, "ROWS_MAX", 2)
    record(history, case("y"), job="third")
    assert history.known() == (2, 2)


def test_a_report_of_many_tests_is_bounded(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TESTS_KEPT", 10)
    record(history, *(case(str(number)) for number in range(50)))
    assert history.known() == (10, 1)


def test_files_take_what_their_tests_take(history: History) -> None:
    record(history, case("a", file="x.py"), case("b", file="x.py"), case("c", file="y.py"), job="unit (n=1)")
    record(history, case("a", file="x.py", duration_s=5.0), job="unit (n=1)")
    assert history.durations_of_files("unit") == {"x.py": 3.5, "y.py": 1.0}
    assert history.durations_of_files("other") == {}


def test_coverage_of_the_main_branch(history: History) -> None:
    record(history, lines_pct=70.0, fingerprint="1")
    record(history, lines_pct=72.0, fingerprint="2")
    record(history, lines_pct=10.0, ref="feature", fingerprint="3")
    record(history, lines_pct=50.0, ref="develop", fingerprint="4")
    assert history.last_coverage("unit", ["main", "develop"], but="9") == 72.0
    assert history.last_coverage("unit", ["main"], but="2") == 70.0
    assert history.last_coverage("unit", ["none", "develop"], but="") == 50.0
    assert history.last_coverage("unit", [], but="") is None


def test_the_last_outcome_of_tests_with_parameters(history: History) -> None:
    record(history, case("t[1]", "failed"), case("t[2]"), case("u"))
    record(history, case("u", "flaky"))
    assert history.last_outcomes(["t", "u", "v"]) == {"t": "failed", "u": "flaky"}


def test_names_that_are_no_text(history: History) -> None:
    record(history, case("a\udcff"), case("nul\x00"))
    assert history.known()[0] == 2


@pytest.mark.parametrize("content", [b"no database at all" * 500, b""])
def test_a_file_that_is_damaged(history: History, content: bytes) -> None:
    history.path.parent.mkdir()
    history.path.write_bytes(content)
    if content:
        with pytest.raises(AdapterError, match="Move it away to begin anew"):
            record(history, case("a"))
        with pytest.raises(AdapterError, match="only hints are lost"):
            history.known()
    else:
        record(history, case("a"))
        assert history.known() == (1, 1)


def test_a_newer_file_is_left_alone(history: History) -> None:
    record(history, case("a"))
    with sqlite3.connect(history.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(AdapterError, match="newer openbell"):
        record(history, case("b"))


def test_a_split_that_was_kept_stays(history: History) -> None:
    assert history.split("unit", "k") is None
    history.keep_split("unit", "k", "first")
    history.keep_split("unit", "k", "second")
    assert history.split("unit", "k") == "first"
