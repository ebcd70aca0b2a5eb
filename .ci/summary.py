"""Adds up JUnit files: one line per suite, the slowest tests, and the sum as the last line.

Usage: python .ci/summary.py FOLDER SUITE...  A suite without a file FOLDER/SUITE.xml did not end: that is a failure.
Exits with 1 if something failed or nothing ran. Standard library only.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple


class Suite(NamedTuple):
    """What one JUnit file says; `slowest` are (seconds, test)."""

    name: str
    passed: int
    failed: int
    skipped: int
    duration_s: float
    slowest: list[tuple[float, str]]

    @property
    def counts(self) -> str:
        """In the words of test runners: "3 passed, 0 failed, 1 skipped"."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read_suite(path: Path) -> Suite:
    """Read one file; the files are our own, written moments ago."""
    suites = list(ET.parse(path).getroot().iter("testsuite"))

    def total(key: str) -> int:
        return sum(int(suite.get(key, "0")) for suite in suites)

    failed, skipped = total("failures") + total("errors"), total("skipped")
    cases = [case for suite in suites for case in suite.iter("testcase")]
    slowest = sorted(((float(case.get("time", "0")), case_name(case)) for case in cases), reverse=True)[:5]
    duration_s = sum(float(suite.get("time", "0")) for suite in suites)
    return Suite(path.stem, max(total("tests") - failed - skipped, 0), failed, skipped, duration_s, slowest)


def case_name(case: ET.Element) -> str:
    """Name a test as its reader would look for it."""
    return f"{case.get('classname', '')}.{case.get('name', '')}"


def main() -> int:
    """Print the sum of the suites that the arguments name."""
    folder, *names = sys.argv[1:]
    paths = [Path(folder) / f"{name}.xml" for name in names]
    suites = [read_suite(path) for path in paths if path.exists()]
    lost = [path.stem for path in paths if not path.exists()]
    print("\n== slowest")
    for duration_s, name in sorted((each for suite in suites for each in suite.slowest), reverse=True)[:5]:
        print(f"  {duration_s:6.1f} s  {name}")
    print("\n== sum")
    for suite in suites:
        print(f"  {suite.name:<9} {suite.counts} in {suite.duration_s:.0f} s")
    for name in lost:
        print(f"  {name:<9} ended without a result")
    passed, failed = sum(suite.passed for suite in suites), sum(suite.failed for suite in suites)
    skipped = sum(suite.skipped for suite in suites)
    print(f"tests: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or lost or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
