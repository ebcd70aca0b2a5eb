"""Findings as lines of JSON: how a check of one's own says what it found without knowing SARIF.

Each line is an object with `rule` and `message`, and where it applies `severity` (high by default), `path`, `line`, and
`key`: what the finding is known by in later runs, if neither its line's text nor its message is. The last line may be
`{"incomplete": "why"}`: not everything could be looked at.
"""

from pathlib import Path

import msgspec

from openbell import report_file
from openbell.core.sightings import Severity, Sighting
from openbell.ports import AdapterError

SYSTEM = "findings"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    rule: str = ""
    message: str = ""
    severity: Severity = "high"
    path: str = ""
    line: int | None = None
    key: str = ""
    incomplete: str = ""


def read(file: Path, tool: str) -> tuple[tuple[Sighting, ...], str]:
    """Read the lines of a tool; says also why it has not looked at everything, if so.

    Raises `AdapterError` naming the line when the file is missing, or a line is none.
    """
    found: list[Sighting] = []
    incomplete = ""
    for number, text in enumerate(report_file.read_bytes(file, SYSTEM).split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            one = msgspec.json.decode(text, type=_Line)
        except (ValueError, RecursionError) as error:
            raise AdapterError(SYSTEM, "read", f"{file.name}:{number} is no finding: {error}") from None
        if not one.rule and not one.incomplete:
            raise AdapterError(SYSTEM, "read", f'{file.name}:{number} is no finding: it has no "rule"')
        incomplete = incomplete or one.incomplete
        if one.rule:
            found.append(Sighting(tool, one.rule, one.severity, one.message, one.path, one.line, key=one.key))
    return tuple(found), incomplete
