"""JUnit XML: how many tests ran, which failed, and where. Reads what pytest, gotestsum and Surefire write.

Surefire's `flakyFailure` and `rerunFailure` are not failures: the test passed in the end. Input is untrusted: entities
and its size are bounded.

Source: https://github.com/testmoapp/junitxml
"""

import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from openbell import report_file
from openbell.core.report import SHOWN_MAX, FailedTest, Suite
from openbell.ports import AdapterError

DURATION_S_MAX = 1e9
"""No test takes thirty years; sums of such times stay numbers that can be written down."""

_PLACE = re.compile(r"^(?P<file>[^\s:]+\.\w+):(?P<line>\d+):", re.MULTILINE)


def read(file: Path) -> Suite:
    """Read a JUnit file; raises `AdapterError` when it is missing, too large or no JUnit XML."""
    root = report_file.read_xml(file, "junit", kind="JUnit file")
    if root.tag not in ("testsuites", "testsuite"):
        raise AdapterError("junit", "read", f"{file.name} is no JUnit file: its root is <{root.tag}>")
    total = skipped = 0
    duration_s = 0.0
    failures = []
    for case in root.iter("testcase"):
        total += 1
        duration_s += _seconds(case.get("time"))
        skipped += case.find("skipped") is not None
        broken = [child for tag in ("failure", "error") for child in case.findall(tag)]
        if broken:
            failures.append(_failed(case, broken[0]))
    return Suite(total, len(failures), skipped, round(duration_s, 3), tuple(failures[:SHOWN_MAX]))


def _failed(case: Element, broken: Element) -> FailedTest:
    where = case.get("file") or case.get("classname") or ""
    name = f"{where}::{case.get('name', '')}" if where else case.get("name", "")
    text = broken.text or ""
    message = (broken.get("message") or text).strip().partition("\n")[0]
    places = list(_PLACE.finditer(text))
    place = f"{places[-1]['file']}:{places[-1]['line']}" if places else ""
    if not place and case.get("file") and case.get("line"):
        place = f"{case.get('file')}:{case.get('line')}"
    return FailedTest(name, message, place)


def _seconds(text: str | None) -> float:
    try:
        duration_s = float((text or "0").replace(",", ""))
    except ValueError:
        return 0.0
    return min(max(0.0, duration_s), DURATION_S_MAX) if math.isfinite(duration_s) else 0.0
