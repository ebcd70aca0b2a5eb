"""JUnit XML: which tests ran, which failed, and where. Reads what pytest, gotestsum, nextest and Surefire write.

Tests that are run again are told in two ways. Surefire and nextest write `flakyFailure` or `flakyError` into a test
that passed in the end, and `rerunFailure` into one that did not. gotestsum and pytest-rerunfailures write one entry per
try: the last one counts. In pytest's suites an earlier entry looks as if it had passed, for only the last is complete;
elsewhere two entries of one name that both passed are two tests. Input is untrusted: entities and its size are bounded.

Source: https://github.com/testmoapp/junitxml, https://maven.apache.org/surefire/maven-surefire-plugin
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from openbell import report_file
from openbell.core.suite import Case
from openbell.ports import AdapterError

DURATION_S_MAX = 1e9
"""No test takes thirty years; sums of such times stay numbers that can be written down."""

PYTEST_SUITE = "pytest"

_PLACE = re.compile(r"^(?P<file>[^\s:]+\.\w+):(?P<line>\d+):", re.MULTILINE)
_FLAKY = ("flakyFailure", "flakyError")


def read(file: Path) -> tuple[Case, ...]:
    """Read the tests of a JUnit file; raises `AdapterError` when it is missing, too large or no JUnit XML."""
    root = report_file.read_xml(file, "junit", kind="JUnit file")
    if root.tag not in ("testsuites", "testsuite"):
        raise AdapterError("junit", "read", f"{file.name} is no JUnit file: its root is <{root.tag}>")
    return tuple(case for suite in root.iter("testsuite") for case in _cases(suite))


def _cases(suite: Element) -> Iterator[Case]:
    """Read the tests of one suite, without those of suites in it; several entries of one test become one."""
    tries: dict[str, list[Case]] = {}
    for entry in suite.findall("testcase"):
        case = _case(entry)
        tries.setdefault(case.name, []).append(case)
    is_pytest = suite.get("name") == PYTEST_SUITE
    for entries in tries.values():
        again = is_pytest or any(entry.outcome == "failed" for entry in entries)
        yield from [_last(entries)] if len(entries) > 1 and again else entries


def _last(tries: list[Case]) -> Case:
    """Put the tries of one test together: the last one counts."""
    last = tries[-1]
    return Case(
        last.name,
        "flaky" if last.outcome == "passed" else last.outcome,
        sum(each.duration_s for each in tries),
        last.message,
        last.place,
        last.file,
    )


def _case(entry: Element) -> Case:
    where = entry.get("file") or entry.get("classname") or ""
    name = f"{where}::{entry.get('name', '')}" if where else entry.get("name", "")
    duration_s = _seconds(entry.get("time"))
    broken = next((child for tag in ("failure", "error") for child in entry.findall(tag)), None)
    if broken is not None:
        message, place = _complaint(entry, broken)
        return Case(name, "failed", duration_s, message, place, where)
    if entry.find("skipped") is not None:
        return Case(name, "skipped", duration_s, file=where)
    flaky = next((child for tag in _FLAKY for child in entry.findall(tag)), None)
    if flaky is not None:
        message, place = _complaint(entry, flaky)
        return Case(name, "flaky", duration_s, message, place, where)
    return Case(name, "passed", duration_s, file=where)


def _complaint(entry: Element, broken: Element) -> tuple[str, str]:
    """Take what a failed test said first, and where; Surefire keeps the text of a try in a child."""
    text = (broken.text or "").strip() or broken.findtext("stackTrace") or ""
    message = (broken.get("message") or text).strip().partition("\n")[0]
    places = list(_PLACE.finditer(text))
    place = f"{places[-1]['file']}:{places[-1]['line']}" if places else ""
    if not place and entry.get("file") and entry.get("line"):
        place = f"{entry.get('file')}:{entry.get('line')}"
    return message, place


def _seconds(text: str | None) -> float:
    try:
        duration_s = float((text or "0").replace(",", ""))
    except ValueError:
        return 0.0
    return min(max(0.0, duration_s), DURATION_S_MAX) if math.isfinite(duration_s) else 0.0
