"""SARIF 2.1.0: what scanners and linters found, with severities as GitHub reads them.

A rule tagged `security` with a `security-severity` is critical from 9.0, high from 7.0, medium from 4.0, else low.
Other results go by their level. Suppressed results do not count. Input is untrusted: its size is bounded and unknown
parts are ignored.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/
"""

from pathlib import Path
from typing import Any

import msgspec

from openbell import report_file
from openbell.core.report import SHOWN_MAX, Finding, Findings, Severity

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "note")
_LEVELS: dict[str, Severity] = {"error": "high", "warning": "medium", "note": "low", "none": "note"}


class _Message(msgspec.Struct):
    text: str = ""


class _Artifact(msgspec.Struct):
    uri: str = ""


class _Region(msgspec.Struct, rename="camel"):
    start_line: int | None = None


class _Physical(msgspec.Struct, rename="camel"):
    artifact_location: _Artifact = msgspec.field(default_factory=_Artifact)
    region: _Region = msgspec.field(default_factory=_Region)


class _Location(msgspec.Struct, rename="camel"):
    physical_location: _Physical = msgspec.field(default_factory=_Physical)


class _Configuration(msgspec.Struct):
    level: str = "warning"


class _Rule(msgspec.Struct, rename="camel"):
    id: str = ""
    default_configuration: _Configuration = msgspec.field(default_factory=_Configuration)
    properties: dict[str, Any] = {}


class _Driver(msgspec.Struct):
    rules: list[_Rule] = []


class _Tool(msgspec.Struct):
    driver: _Driver = msgspec.field(default_factory=_Driver)


class _Result(msgspec.Struct, rename="camel"):
    message: _Message = msgspec.field(default_factory=_Message)
    rule_id: str = ""
    rule_index: int | None = None
    level: str | None = None
    locations: list[_Location] = []
    suppressions: list[Any] | None = None


class _Run(msgspec.Struct):
    tool: _Tool = msgspec.field(default_factory=_Tool)
    results: list[_Result] | None = None


class _Sarif(msgspec.Struct):
    runs: list[_Run]


def read(file: Path) -> Findings:
    """Read a SARIF file; raises `AdapterError` when it is missing, too large or no SARIF."""
    document = report_file.read_json(file, "sarif", _Sarif, kind="SARIF file")
    found = [finding for run in document.runs for finding in _findings(run)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    counts = {severity: sum(finding.severity == severity for finding in found) for severity in SEVERITIES}
    return Findings(counts, tuple(found[:SHOWN_MAX]))


def _findings(run: _Run) -> list[Finding]:
    rules = run.tool.driver.rules
    by_id = {rule.id: rule for rule in rules}
    findings = []
    for result in run.results or []:
        if result.suppressions:
            continue
        index = result.rule_index
        in_range = index is not None and 0 <= index < len(rules)
        rule = rules[index] if index is not None and in_range else by_id.get(result.rule_id, _Rule())
        findings.append(
            Finding(
                result.rule_id or rule.id, _severity(result, rule), _first_line(result.message.text), _place(result)
            )
        )
    return findings


def _severity(result: _Result, rule: _Rule) -> Severity:
    tags = rule.properties.get("tags")
    score = rule.properties.get("security-severity")
    if score is not None and (not isinstance(tags, list) or "security" in tags):
        try:
            value = float(score)
        except (TypeError, ValueError, OverflowError):
            value = -1.0
        if value >= 0:
            return "critical" if value >= 9 else "high" if value >= 7 else "medium" if value >= 4 else "low"
    return _LEVELS.get(result.level or rule.default_configuration.level, "medium")


def _place(result: _Result) -> str:
    if not result.locations:
        return ""
    location = result.locations[0].physical_location
    uri = location.artifact_location.uri.removeprefix("file://")
    return f"{uri}:{location.region.start_line}" if uri and location.region.start_line else uri


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
