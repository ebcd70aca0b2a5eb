"""Cobertura XML: what share of lines and branches ran. Reads what coverage.py and gocover-cobertura write.

Input is untrusted: entities are off, external ones above all, and its size is bounded.

Source: https://github.com/cobertura/web/blob/master/htdocs/xml/coverage-04.dtd
"""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from openbell import report_file
from openbell.core.report import Coverage
from openbell.ports import AdapterError


def read(file: Path) -> Coverage:
    """Read a Cobertura file; raises `AdapterError` when it is missing, too large or has no rate of lines."""
    root = report_file.read_xml(file, "cobertura", kind="Cobertura file")
    lines = _rate(root, "line-rate", "lines-covered", "lines-valid")
    if root.tag != "coverage" or lines is None:
        raise AdapterError("cobertura", "read", f"{file.name} does not say which share of the lines was covered")
    has_branches = root.get("branches-valid", "0") != "0"
    branches = _rate(root, "branch-rate", "branches-covered", "branches-valid") if has_branches else None
    return Coverage(lines, branches)


def _rate(root: Element, rate: str, covered: str, valid: str) -> float | None:
    """Prefer the counts, which are exact, to the rate, which is rounded."""
    try:
        if root.get(covered) and float(root.get(valid, "0")) > 0:
            value = 100 * float(root.get(covered, "")) / float(root.get(valid, ""))
        else:
            value = 100 * float(root.get(rate, ""))
    except ValueError:
        return None
    return round(value, 2) if math.isfinite(value) and 0 <= value <= 100 else None
