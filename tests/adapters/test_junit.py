"""JUnit: what pytest, gotestsum and Surefire write, and what nobody should."""

import math
from pathlib import Path

import pytest

from openbell import report_file
from openbell.adapters import junit
from openbell.ports import AdapterError


def write(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "junit.xml"
    file.write_text(content)
    return file


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
    found = junit.read(write(tmp_path, PYTEST))
    assert (found.total, found.failed, found.skipped, found.duration_s) == (4, 2, 1, 0.4)
    first, second = found.failures
    assert first.name == "tests.test_book::test_priority_kept"
    assert first.message == "AssertionError: assert 3 == 2"
    assert first.place == "src/core/book.py:118"
    assert (second.name, second.message, second.place) == ("tests.test_db::test_setup", "on setup", "")


def test_a_lone_suite_and_the_place_of_the_case(tmp_path: Path) -> None:
    text = '<testsuite><testcase name="T" file="a_test.go" line="3" time="1,000.5"><failure/></testcase></testsuite>'
    found = junit.read(write(tmp_path, text))
    assert found.duration_s == 1000.5
    assert (found.failures[0].name, found.failures[0].place) == ("a_test.go::T", "a_test.go:3")


def test_a_flaky_test_that_passed_in_the_end_did_not_fail(tmp_path: Path) -> None:
    text = '<testsuite><testcase name="T" time="x"><flakyFailure message="once"/></testcase></testsuite>'
    found = junit.read(write(tmp_path, text))
    assert (found.total, found.failed, found.duration_s) == (1, 0, 0.0)


def test_many_failures_are_counted_and_some_are_kept(tmp_path: Path) -> None:
    case = '<testcase name="T"><failure message="m"/></testcase>'
    found = junit.read(write(tmp_path, f"<testsuite>{case * 50}</testsuite>"))
    assert found.failed == 50
    assert len(found.failures) == 20


@pytest.mark.parametrize("time", ["1e400", "inf", "-inf", "nan", "-5"])
def test_a_time_that_is_none_is_not_counted(tmp_path: Path, time: str) -> None:
    text = f'<testsuite><testcase name="T" time="{time}"/><testcase name="U" time="0.5"/></testsuite>'
    assert junit.read(write(tmp_path, text)).duration_s == 0.5


def test_times_beyond_all_bounds_add_up_to_a_number(tmp_path: Path) -> None:
    case = '<testcase name="T" time="1e308"/>'
    assert math.isfinite(junit.read(write(tmp_path, f"<testsuite>{case * 3}</testsuite>")).duration_s)


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
