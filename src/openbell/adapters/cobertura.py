"""Cobertura XML: which lines and branches ran. Reads what coverage.py and gocover-cobertura write.

Input is untrusted: entities are off, external ones above all, and its size is bounded.

Source: https://github.com/cobertura/web/blob/master/htdocs/xml/coverage-04.dtd
"""

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from openbell import report_file
from openbell.core.coverage import LineCoverage
from openbell.ports import AdapterError


def read(file: Path) -> LineCoverage:
    """Read a Cobertura file; raises `AdapterError` when it is missing, too large or has no rate of lines."""
    root = report_file.read_xml(file, "cobertura", kind="Cobertura file")
    lines_pct = _rate(root, "line-rate", "lines-covered", "lines-valid")
    if root.tag != "coverage" or lines_pct is None:
        raise AdapterError("cobertura", "read", f"{file.name} does not say which share of the lines was covered")
    has_branches = root.get("branches-valid", "0") != "0"
    branches_pct = _rate(root, "branch-rate", "branches-covered", "branches-valid") if has_branches else None
    hits: dict[str, dict[int, bool]] = {}
    for part in root.iter("class"):
        # Several classes may be in one file, and a line of it in several of them.
        lines = hits.setdefault(part.get("filename") or part.get("name") or "", {})
        for line in part.iterfind("lines/line"):
            number, count = _whole(line.get("number")), _whole(line.get("hits"))
            if number is not None and count is not None:
                lines[number] = lines.get(number, False) or count > 0
    counts = {name: (sum(lines.values()), len(lines)) for name, lines in hits.items()}
    roots = tuple(text for source in root.iterfind("sources/source") if (text := (source.text or "").strip()))
    return LineCoverage(hits, counts, roots, lines_pct, branches_pct)


def _whole(text: str | None) -> int | None:
    """Read a line's number or count; None for what nobody counted."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


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
