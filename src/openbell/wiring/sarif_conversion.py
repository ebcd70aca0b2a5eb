"""Reports of tools that speak no SARIF, as SARIF: what a job calls so that all findings go one way."""

from pathlib import Path
from typing import Literal

import msgspec

import openbell
from openbell.adapters import betterleaks, json_lines, pip_audit, sarif
from openbell.files import write_whole

Format = Literal["pip-audit", "betterleaks", "lines"]


class Converted(msgspec.Struct, frozen=True):
    """How many findings a report had, and why its tool has not looked at everything; empty when it has."""

    found: int
    incomplete: str


def convert(format_: Format, file: Path, output: Path, *, about: Path | None, tool: str) -> Converted:
    """Write a report as SARIF; raises `AdapterError` when it is missing, or no report of that format."""
    if format_ == "pip-audit":
        found, incomplete = pip_audit.read(file, about)
        tool = pip_audit.TOOL
    elif format_ == "betterleaks":
        found, incomplete = betterleaks.read(file, about)
        tool = betterleaks.TOOL
    else:
        found, incomplete = json_lines.read(file, tool)
    written = [sarif.Written(one.key, one) for one in found]
    content = sarif.write(written, openbell.__version__, tool=tool, whole=not incomplete)
    write_whole(output.absolute(), content, mode=0o644)
    return Converted(len(found), incomplete)
