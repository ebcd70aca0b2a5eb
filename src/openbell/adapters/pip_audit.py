"""pip-audit's JSON: vulnerable dependencies as sightings, and how many could not be looked up.

pip-audit speaks no SARIF, and ends with 0 when it could look up nothing. It knows no severities; an advisory counts as
high. A finding is known by package and advisory: it stays the same when the package is upgraded and still vulnerable.

Source: https://github.com/pypa/pip-audit (--format json)
"""

import re
from pathlib import Path

import msgspec

from openbell import report_file
from openbell.core.sightings import Sighting

TOOL = "pip-audit"


class _Vulnerability(msgspec.Struct):
    id: str
    fix_versions: list[str] = []
    aliases: list[str] = []


class _Dependency(msgspec.Struct):
    name: str
    version: str = ""
    vulns: list[_Vulnerability] = []
    skip_reason: str | None = None


class _Audit(msgspec.Struct):
    dependencies: list[_Dependency]


def read(file: Path, about: Path | None) -> tuple[tuple[Sighting, ...], str]:
    """Read a report about the requirements file `about`; says also what was not looked up, if anything.

    Raises `AdapterError` when the report is missing, or no report of pip-audit.
    """
    audit = report_file.read_json(file, TOOL, _Audit, kind="JSON report of pip-audit")
    lines = report_file.read_bytes(about, TOOL).decode(errors="replace").split("\n") if about else []
    found = [
        Sighting(
            TOOL, one.id, "high", f"{each.name} {each.version}: {one.id}, {_remedy(one)}",
            about.as_posix() if about else "", _line_of(each.name, lines), key=f"{_plain(each.name)}:{one.id}",
        )
        for each in audit.dependencies
        for one in each.vulns
    ]  # fmt: skip
    skipped, total = sum(each.skip_reason is not None for each in audit.dependencies), len(audit.dependencies)
    if skipped or not total:
        return tuple(found), f"advisory database unreachable for {skipped} of {total} dependencies"
    return tuple(found), ""


def _remedy(one: _Vulnerability) -> str:
    fixed = f"fixed in {', '.join(one.fix_versions)}" if one.fix_versions else "fixed in no version yet"
    return f"{fixed} ({', '.join(one.aliases)})" if one.aliases else fixed


def _line_of(name: str, lines: list[str]) -> int | None:
    for number, line in enumerate(lines, start=1):
        named = re.match(r"[A-Za-z0-9._-]+", line)
        if named and _plain(named[0]) == _plain(name):
            return number
    return None


def _plain(name: str) -> str:
    """Write a package's name as all spellings of it are (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
