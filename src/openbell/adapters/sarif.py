"""SARIF 2.1.0: what scanners and linters found, with severities as GitHub reads them; read and written.

A rule tagged `security` with a `security-severity` is critical from 9.0, high from 7.0, medium from 4.0, else low.
Other results go by their level. Results that are suppressed, or say that something is as it should be, do not count.
Input is untrusted: its size is bounded, unknown parts are ignored, and of the files that it names only those inside the
tree are read.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/
"""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from openbell import report_file
from openbell.core.report import SHOWN_MAX, Finding, Findings
from openbell.core.sightings import (
    LOOKED_MAX,
    SEVERITIES,
    SIGHTINGS_MAX,
    Look,
    Severity,
    Sighting,
    context_of,
    keep_worst,
    key_of_fingerprints,
    key_of_text,
)
from openbell.ports import AdapterError

SOURCES_BYTES_MAX = 100_000_000
"""So much of the tree is read at most to recognise the findings of one file again."""

BASES_MAX = 4
_LEVELS: dict[str, Severity] = {"error": "high", "warning": "medium", "note": "low", "none": "note"}
_NO_RESULTS = ("pass", "notApplicable")
_SCORES: dict[Severity, str] = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}


class _Message(msgspec.Struct):
    text: str = ""


class _Artifact(msgspec.Struct, rename="camel"):
    uri: str = ""
    uri_base_id: str = ""
    index: int = -1


class _Region(msgspec.Struct, rename="camel"):
    start_line: int | None = None
    start_column: int | None = None
    snippet: _Message = msgspec.field(default_factory=_Message)


class _Physical(msgspec.Struct, rename="camel"):
    artifact_location: _Artifact = msgspec.field(default_factory=_Artifact)
    region: _Region = msgspec.field(default_factory=_Region)


class _Location(msgspec.Struct, rename="camel"):
    physical_location: _Physical = msgspec.field(default_factory=_Physical)


class _Configuration(msgspec.Struct):
    level: str = ""


class _Rule(msgspec.Struct, rename="camel"):
    id: str = ""
    default_configuration: _Configuration = msgspec.field(default_factory=_Configuration)
    properties: dict[str, Any] = {}


class _Component(msgspec.Struct):
    name: str = ""
    rules: list[_Rule] = []


class _Tool(msgspec.Struct):
    driver: _Component = msgspec.field(default_factory=_Component)
    extensions: list[_Component] = []


class _Index(msgspec.Struct):
    index: int = -1


class _RuleReference(msgspec.Struct, rename="camel"):
    id: str = ""
    index: int = -1
    tool_component: _Index = msgspec.field(default_factory=_Index)


class _Suppression(msgspec.Struct):
    status: str = "accepted"


class _Result(msgspec.Struct, rename="camel"):
    message: _Message = msgspec.field(default_factory=_Message)
    rule_id: str = ""
    rule_index: int | None = None
    rule: _RuleReference = msgspec.field(default_factory=_RuleReference)
    level: str | None = None
    kind: str = "fail"
    locations: list[_Location] = []
    suppressions: list[_Suppression] | None = None
    fingerprints: dict[str, Any] = {}
    partial_fingerprints: dict[str, Any] = {}


class _AnalysedFile(msgspec.Struct):
    location: _Artifact = msgspec.field(default_factory=_Artifact)
    roles: list[str] = []


class _Invocation(msgspec.Struct, rename="camel"):
    execution_successful: bool = True


class _Run(msgspec.Struct, rename="camel"):
    tool: _Tool = msgspec.field(default_factory=_Tool)
    results: list[_Result] | None = None
    artifacts: list[_AnalysedFile] = []
    invocations: list[_Invocation] = []
    original_uri_base_ids: dict[str, _Artifact] = {}


class _Sarif(msgspec.Struct):
    runs: list[_Run]


def read(file: Path, *, root: Path | None = None, severity: Severity | None = None) -> Findings:
    """Read a SARIF file about the tree `root`; `severity` is that of results for which it has none.

    Raises `AdapterError` when it is missing, too large or no SARIF.
    """
    document = report_file.read_json(file, "sarif", _Sarif, kind="SARIF file")
    sources = _Sources(root, file.parent)
    found: list[tuple[Sighting, _Result]] = []
    for run in document.runs:
        found += [(_sighting(run, result, sources, severity), result) for result in _counting(run)]
    counts = {severity: sum(one.severity == severity for one, _ in found) for severity in SEVERITIES}
    found.sort(key=lambda pair: SEVERITIES.index(pair[0].severity))
    first = tuple(Finding(one.rule, one.severity, one.message, one.place) for one, _ in found[:SHOWN_MAX])
    kept = keep_worst(_recognisable(one, result, sources) for one, result in found[:SIGHTINGS_MAX])
    looks = _looks(document.runs, sources, whole=len(found) <= SIGHTINGS_MAX)
    return Findings(counts, first, kept, looks)


def _counting(run: _Run) -> list[_Result]:
    """Results that say something is wrong; a suppression counts only when nobody has doubts about it."""
    return [
        result
        for result in run.results or []
        if result.kind not in _NO_RESULTS
        and not (result.suppressions and all(one.status == "accepted" for one in result.suppressions))
    ]


def _sighting(run: _Run, result: _Result, sources: "_Sources", severity: Severity | None) -> Sighting:
    rule = _rule(run, result)
    physical = result.locations[0].physical_location if result.locations else _Physical()
    path = sources.path_of(run, physical.artifact_location)
    line, column = physical.region.start_line, physical.region.start_column
    name = result.rule_id or result.rule.id or rule.id
    tool = run.tool.driver.name
    how_severe = _severity(result, rule, severity)
    return Sighting(tool, name, how_severe, _first_line(result.message.text), path, line, column)


def _recognisable(one: Sighting, result: _Result, sources: "_Sources") -> Sighting:
    """Add what a result is recognised by in a later run."""
    own = result.fingerprints or result.partial_fingerprints
    key = key_of_fingerprints({name: value for name, value in own.items() if isinstance(value, str) and value})
    lines = sources.lines_of(one.path)
    line = one.line or 0
    context = context_of(lines, line) if 1 <= line <= len(lines) else ""
    if not key:
        snippet = result.locations[0].physical_location.region.snippet.text if result.locations else ""
        text = lines[line - 1] if context else ""
        # A result without a place in a file that is there is known by what it says.
        key = key_of_text(text if text.strip() else snippet.strip() or result.message.text)
    return msgspec.structs.replace(one, key=key, context=context)


def _rule(run: _Run, result: _Result) -> _Rule:
    """Find the rule of a result: CodeQL and others keep theirs in extensions of the driver."""
    extension = result.rule.tool_component.index
    in_extension = 0 <= extension < len(run.tool.extensions)
    rules = run.tool.extensions[extension].rules if in_extension else run.tool.driver.rules
    index = result.rule.index if result.rule_index is None else result.rule_index
    if 0 <= index < len(rules):
        return rules[index]
    named = result.rule_id or result.rule.id
    return next((rule for rule in rules if rule.id == named), _Rule())


def _severity(result: _Result, rule: _Rule, otherwise: Severity | None) -> Severity:
    tags = rule.properties.get("tags")
    score = rule.properties.get("security-severity")
    if score is not None and (not isinstance(tags, list) or "security" in tags):
        try:
            value = float(score)
        except (TypeError, ValueError, OverflowError):
            value = -1.0
        if value >= 0:
            return "critical" if value >= 9 else "high" if value >= 7 else "medium" if value >= 4 else "low"
    level = result.level or rule.default_configuration.level
    if not level and otherwise:
        return otherwise
    return _LEVELS.get(level or "warning", "medium")


def _looks(runs: Sequence[_Run], sources: "_Sources", *, whole: bool) -> tuple[Look, ...]:
    """Say which tools have looked, whether to the end, and at which files, where they name them."""
    found: dict[str, Look] = {}
    for run in runs:
        ended = whole and all(invocation.execution_successful for invocation in run.invocations)
        targets = [one.location for one in run.artifacts if "analysisTarget" in one.roles]
        named = tuple(sources.path_of(run, target) for target in targets[:LOOKED_MAX])
        look = Look(run.tool.driver.name, ended and len(targets) <= LOOKED_MAX, named or None)
        found[look.tool] = _both(found[look.tool], look) if look.tool in found else look
    return tuple(found.values())


def _both(one: Look, other: Look) -> Look:
    named = None if one.files is None or other.files is None else tuple(dict.fromkeys((*one.files, *other.files)))
    return Look(one.tool, one.whole and other.whole, named)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


class _Sources:
    """The tree that results are about: their paths in it, and the lines of its files.

    What a job has made beside its report is named from there: such a folder is another one in each run.
    """

    def __init__(self, root: Path | None, beside: Path) -> None:
        self._root = root.resolve() if root else None
        folders = dict.fromkeys((root, self._root, beside, beside.resolve()))
        self._prefixes = [f"{path.as_posix()}/" for path in folders if path and path.is_absolute()]
        self._lines: dict[str, list[str]] = {}
        self._left_bytes = SOURCES_BYTES_MAX

    def path_of(self, run: _Run, location: _Artifact) -> str:
        """Return the path of a location: relative to the tree where it is inside, else as it was written."""
        if not location.uri and 0 <= location.index < len(run.artifacts):
            location = run.artifacts[location.index].location
        uri, base = location.uri, location.uri_base_id
        for _ in range(BASES_MAX):
            if base not in run.original_uri_base_ids:
                break
            above = run.original_uri_base_ids[base]
            uri, base = f"{above.uri.rstrip('/')}/{uri}" if above.uri else uri, above.uri_base_id
        if "://" in uri and not uri.startswith("file://"):
            return uri
        path = unquote(uri.removeprefix("file://"))
        path = posixpath.normpath(path) if path else ""
        for prefix in self._prefixes:
            path = path.removeprefix(prefix)
        return path

    def lines_of(self, path: str) -> list[str]:
        """Return the lines of a file of the tree; none when it is not there, or leads out of it."""
        if path not in self._lines:
            self._lines[path] = self._read(path)
        return self._lines[path]

    def _read(self, path: str) -> list[str]:
        if self._root is None or not path or "\0" in path or self._left_bytes <= 0:
            return []
        try:
            file = (self._root / path).resolve()
            if not file.is_relative_to(self._root) or file.stat().st_size > self._left_bytes:
                return []
            content = report_file.read_bytes(file, "sarif")
        except (AdapterError, OSError, RuntimeError, ValueError):
            return []
        self._left_bytes -= len(content)
        # Not splitlines: scanners count lines by their newlines only.
        return content.decode(errors="replace").split("\n")


# ------------------------------------------------------------------------------------------------------------ writing


class Written(msgspec.Struct, frozen=True):
    """A finding as it is written: its id, how it was seen, whether it is older than this scan, and why it is waived."""

    id: str
    seen: Sighting
    baseline: str = ""
    justification: str = ""
    properties: Mapping[str, str] = {}


def write(findings: Iterable[Written], version: str, *, tool: str = "openbell", whole: bool = True) -> bytes:
    """Write findings as SARIF, one run per tool; those with a justification are suppressed in it.

    `tool` has a run also when it found nothing; it is said that it did not come to its end when not `whole`.
    """
    by_tool: dict[str, list[Written]] = {}
    for one in findings:
        by_tool.setdefault(one.seen.tool, []).append(one)
    runs = [_write_run(name, members, version, whole=whole) for name, members in (by_tool or {tool: []}).items()]
    document = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": runs}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _write_run(tool: str, findings: Sequence[Written], version: str, *, whole: bool) -> dict[str, Any]:
    rules: dict[tuple[str, Severity], int] = {}
    for one in findings:
        rules.setdefault((one.seen.rule, one.seen.severity), len(rules))
    return {
        "tool": {
            "driver": {
                "name": tool or "unknown",
                "rules": [_write_rule(rule, severity) for rule, severity in rules],
            }
        },
        "results": [_write_result(one, rules[one.seen.rule, one.seen.severity]) for one in findings],
        "invocations": [{"executionSuccessful": whole}],
        "columnKind": "unicodeCodePoints",
        "properties": {"writtenBy": f"openbell {version}"},
    }


def _write_rule(rule: str, severity: Severity) -> dict[str, Any]:
    level = next(level for level, other in _LEVELS.items() if other == ("high" if severity == "critical" else severity))
    written: dict[str, Any] = {"id": rule or "unknown", "defaultConfiguration": {"level": level}}
    if severity in _SCORES:
        written["properties"] = {"tags": ["security"], "security-severity": _SCORES[severity]}
    return written


def _write_result(one: Written, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": one.seen.rule or "unknown",
        "ruleIndex": index,
        "message": {"text": one.seen.message or one.seen.rule or "no message"},
        "suppressions": [],
        "properties": dict(one.properties),
    }
    if one.id:
        result["partialFingerprints"] = {"openbell/v1": one.id}
    if one.baseline:
        result["baselineState"] = one.baseline
    if one.justification:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": one.justification}]
    if one.seen.path:
        physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(one.seen.path)}}
        if one.seen.line and one.seen.line >= 1:
            column = one.seen.column if one.seen.column and one.seen.column >= 1 else None
            physical["region"] = {"startLine": one.seen.line, **({"startColumn": column} if column else {})}
        result["locations"] = [{"physicalLocation": physical}]
    return result


def _uri(path: str) -> str:
    return path if "://" in path else ("file://" if path.startswith("/") else "") + quote(path, errors="replace")
