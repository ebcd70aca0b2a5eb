"""betterleaks' JSON: secrets as sightings. A secret is known by the hash that betterleaks makes of it, and its file.

betterleaks 2 speaks no SARIF. A secret that it is sure of is critical, for whoever has read it can use it; what may be
one is high, or medium when it is only likely by its name.

Source: https://github.com/betterleaks/betterleaks (report of schema version 1)
"""

from pathlib import Path

import msgspec

from openbell import report_file
from openbell.core.sightings import Severity, Sighting

TOOL = "betterleaks"
_SEVERITIES: dict[str, Severity] = {"high": "critical", "medium": "high", "low": "medium"}


class _Match(msgspec.Struct):
    fingerprint: str = ""


class _Location(msgspec.Struct):
    path: str = ""
    start_line: int | None = None
    start_column: int | None = None


class _Finding(msgspec.Struct):
    rule_id: str
    description: str = ""
    confidence: str = ""
    match: _Match = msgspec.field(default_factory=_Match)
    location: _Location = msgspec.field(default_factory=_Location)


class _Scan(msgspec.Struct):
    state: str


class _Report(msgspec.Struct):
    findings: list[_Finding]
    scan: _Scan


def read(file: Path, about: Path | None) -> tuple[tuple[Sighting, ...], str]:
    """Read a report; says also how the scan ended, if not at its end. `about` is the folder that was scanned.

    Raises `AdapterError` when the report is missing, or no report of betterleaks.
    """
    report = report_file.read_json(file, TOOL, _Report, kind="JSON report of betterleaks")
    found = [
        Sighting(
            TOOL, one.rule_id, _SEVERITIES.get(one.confidence, "high"), one.description or one.rule_id,
            _path(one.location.path, about), one.location.start_line, one.location.start_column,
            key=one.match.fingerprint,
        )
        for one in report.findings
    ]  # fmt: skip
    return tuple(found), "" if report.scan.state == "complete" else f"the scan ended in state {report.scan.state}"


def _path(path: str, about: Path | None) -> str:
    path = path.removeprefix("./")
    return path.removeprefix(f"{about.as_posix()}/") if about else path
