"""JUnit: what pytest, gotestsum and Surefire write, and what nobody should."""

import math
from pathlib import Path

import pytest

from openbell import report_file
from openbell.adapters import junit
from openbell.core.report import Suite
from openbell.core.suite import summarise
from openbell.ports import AdapterError


def write(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "junit.xml"
    file.write_text(content)
    return file


def read(tmp_path: Path, content: str) -> Suite:
    return summarise(junit.read(write(tmp_path, content)))


PYTEST = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.5">
<testcase classname="tests.test_book" name="test_ok" time="0.1"/>
<testcase classname="tests.test_book" name="test_priority_kept" time="0.2">
<failure message="AssertionError: assert 3 == 2&#10;more">def test_priority_kept():
&gt;       assert matching() == 2
E       AssertionError

tests/test_book.py:10:
_ _ _
src/core/book.py:118: AssertionError</failure></testcase>
<testcase classname="tests.test_db" name="test_setup" time="0.1"><error message="on setup">boom</error></testcase>
<testcase classname="tests.test_db" name="test_skipped" time="0"><skipped message="no database"/></testcase>
</testsuite></testsuites>"""


def test_pytest(tmp_path: Path) -> None:
    found = read(tmp_path, PYTEST)
    assert (found.total, found.failed, found.skipped, found.duration_s) == (4, 2, 1, 0.4)
    first, second = found.failures
    assert first.name == "tests.test_book::test_priority_kept"
    assert first.message == "AssertionError: assert 3 == 2"
    assert first.place == "src/core/book.py:118"
    assert (second.name, second.message, second.place) == ("tests.test_db::test_setup", "on setup", "")


def test_a_lone_suite_and_the_place_of_the_case(tmp_path: Path) -> None:
    text = '<testsuite><testcase name="T" file="a_test.go" line="3" time="1,000.5"><failure/></testcase></testsuite>'
    found = read(tmp_path, text)
    assert found.duration_s == 1000.5
    assert (found.failures[0].name, found.failures[0].place) == ("a_test.go::T", "a_test.go:3")


def test_a_flaky_test_that_passed_in_the_end_did_not_fail(tmp_path: Path) -> None:
    text = '<testsuite><testcase name="T" time="x"><flakyFailure message="once"/></testcase></testsuite>'
    found = read(tmp_path, text)
    assert (found.total, found.failed, found.flaky, found.reran, found.duration_s) == (1, 0, 1, ("T",), 0.0)


SUREFIRE = """<testsuite name="example.ExampleTests" tests="3" failures="1">
<testcase name="late" classname="E" time="0.1"><flakyError message="first">
<stackTrace>E.java:3: x</stackTrace><system-out>out</system-out></flakyError></testcase>
<testcase name="never" classname="E"><failure message="no">E.java:9: no</failure><rerunFailure message="again"/>
</testcase><testcase name="fine" classname="E"/></testsuite>"""


def test_surefire_tells_what_was_run_again(tmp_path: Path) -> None:
    late, never, fine = junit.read(write(tmp_path, SUREFIRE))
    assert (late.outcome, late.message, late.place) == ("flaky", "first", "E.java:3")
    assert (never.outcome, never.message, fine.outcome) == ("failed", "no", "passed")


RERUNFAILURES = """<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" tests="4">
<testcase classname="test_a" name="test_flaky" time="0.005" />
<testcase classname="test_a" name="test_flaky" time="0.001"/>
<testcase classname="test_a" name="test_ok" time="0.000" /><testcase classname="test_a" name="test_bad" time="0.0" />
<testcase classname="test_a" name="test_bad" time="0.000"><failure message="assert 0">test_a.py:6: AssertionError
</failure></testcase></testsuite></testsuites>"""


def test_pytest_rerunfailures_writes_an_entry_per_try(tmp_path: Path) -> None:
    found = {case.name: case for case in junit.read(write(tmp_path, RERUNFAILURES))}
    assert {name: case.outcome for name, case in found.items()} == {
        "test_a::test_flaky": "flaky",
        "test_a::test_ok": "passed",
        "test_a::test_bad": "failed",
    }
    assert found["test_a::test_flaky"].duration_s == pytest.approx(0.006)


@pytest.mark.parametrize(
    ("tries", "outcomes"),
    [
        (("f", "p"), ["flaky"]),
        (("f", "f"), ["failed"]),
        (("p", "f"), ["failed"]),
        (("p", "p"), ["passed", "passed"]),
        (("f", "f", "p"), ["flaky"]),
    ],
)
def test_several_entries_of_one_name(tmp_path: Path, tries: tuple[str, ...], outcomes: list[str]) -> None:
    inner = {"f": "<failure message='m'/>", "p": ""}
    entries = "".join(f'<testcase classname="p" name="T">{inner[one]}</testcase>' for one in tries)
    found = junit.read(write(tmp_path, f'<testsuites><testsuite name="p">{entries}</testsuite></testsuites>'))
    assert [case.outcome for case in found] == outcomes


def test_a_suite_in_a_suite_is_counted_once(tmp_path: Path) -> None:
    text = '<testsuite><testcase name="A"/><testsuite><testcase name="B"/></testsuite></testsuite>'
    assert [case.name for case in junit.read(write(tmp_path, text))] == ["A", "B"]


def test_the_deepest_file_is_read_or_refused(tmp_path: Path) -> None:
    """Nothing here may end the process: neither the parser's stack nor ours."""
    deep = "<testsuite>" * 200_000 + '<testcase name="T"/>' + "</testsuite>" * 200_000
    assert len(junit.read(write(tmp_path, deep))) == 1


def test_many_failures_are_counted_and_some_are_kept(tmp_path: Path) -> None:
    case = '<testcase name="T"><failure message="m"/></testcase>'
    numbered = "".join(case.replace('"T"', f'"T{number}"') for number in range(50))
    found = read(tmp_path, f"<testsuite>{numbered}</testsuite>")
    assert found.failed == 50
    assert len(found.failures) == 20


@pytest.mark.parametrize("time", ["1e400", "inf", "-inf", "nan", "-5"])
def test_a_time_that_is_none_is_not_counted(tmp_path: Path, time: str) -> None:
    text = f'<testsuite><testcase name="T" time="{time}"/><testcase name="U" time="0.5"/></testsuite>'
    assert read(tmp_path, text).duration_s == 0.5


def test_times_beyond_all_bounds_add_up_to_a_number(tmp_path: Path) -> None:
    case = '<testcase name="T" time="1e308"/>'
    assert math.isfinite(read(tmp_path, f"<testsuite>{case * 3}</testsuite>").duration_s)


ENTITIES = (
    '<!DOCTYPE t [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
)
EXTERNAL = (
    '<!DOCTYPE t [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase name="x">&a;</testcase></testsuite>'
)


UNKNOWN_ENCODING = '<?xml version="1.0" encoding="bogus"?><testsuite/>'


@pytest.mark.parametrize("text", ["", "<testsuite>", ENTITIES, EXTERNAL, "not xml", "\x00", UNKNOWN_ENCODING])
def test_what_is_no_junit_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(AdapterError, match="no JUnit file"):
        junit.read(write(tmp_path, text))


def test_another_root_a_missing_file_and_a_huge_one(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="its root is <html>"):
        junit.read(write(tmp_path, "<html/>"))
    with pytest.raises(AdapterError, match=r"gone\.xml was not written"):
        junit.read(tmp_path / "gone.xml")
    file = tmp_path / "huge.xml"
    with file.open("wb") as stream:
        stream.truncate(report_file.SIZE_BYTES_MAX + 1)
    with pytest.raises(AdapterError, match="larger than 50 MB"):
        junit.read(file)
