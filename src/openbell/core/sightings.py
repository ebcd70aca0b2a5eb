"""What a scanner said in one run: results that can be recognised again later, and how far it has looked.

A result is known by its tool, its rule, its path and a key. The key is the tool's own fingerprint where it gives one,
else the text of the line it points at, so it survives lines that move; the context (the text around it) tells equal
lines of one file from each other. This module knows no file and no format.

Source: SARIF 2.1.0, sections 3.27.16 and 3.27.17 (fingerprints), appendix B (their use by a system that tracks results)
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

Severity = Literal["critical", "high", "medium", "low", "note"]

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "note")
"""The worst first."""

SIGHTINGS_MAX = 5_000
"""So many results of one job are recognised again, the worst first. A job with more has not looked at everything."""

LOOKED_MAX = 20_000
"""So many files a tool may name as looked at; whoever names more is taken to have looked at none for certain."""


class Sighting(msgspec.Struct, frozen=True):
    """One result of a scanner in one run; `line` counts from 1. Without a place, path is empty and line is None."""

    tool: str
    rule: str
    severity: Severity
    message: str
    path: str = ""
    line: int | None = None
    column: int | None = None
    key: str = ""
    context: str = ""

    @property
    def place(self) -> str:
        """Where it is, as people say it: "src/x.py:12"."""
        return f"{self.path}:{self.line}" if self.path and self.line else self.path


class Look(msgspec.Struct, frozen=True):
    """That a tool has looked. `files` are those it names as looked at; None means all that its job was given.

    `whole` is false when the tool says itself that it did not get through, or when more was found than is kept.
    """

    tool: str
    whole: bool = True
    files: tuple[str, ...] | None = None


def rank(severity: Severity) -> int:
    """Return 0 for the worst severity, 4 for the least."""
    return SEVERITIES.index(severity)


def digest(*parts: str, length: int = 16) -> str:
    """Hash texts so that no two lists of them meet by being joined; `length` characters of hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:length]


def key_of_fingerprints(fingerprints: Mapping[str, str]) -> str:
    """Turn a tool's own fingerprints into a key; empty when there are none."""
    parts = [text for name in sorted(fingerprints) for text in (name, fingerprints[name])]
    return "own:" + digest(*parts) if parts else ""


def key_of_text(text: str) -> str:
    """Turn the text that a result points at into a key; how it is indented does not matter."""
    return "text:" + digest(_plain(text))


def context_of(lines: Sequence[str], number: int) -> str:
    """Hash what is around a line (counted from 1): the nearest line with text before it, and the one after it."""
    before = next((line for line in reversed(lines[: number - 1]) if line.strip()), "")
    after = next((line for line in lines[number:] if line.strip()), "")
    return digest(_plain(before), _plain(after))


def keep_worst(sightings: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Return sightings without repetitions, the worst first, then by place; the same whatever their order was."""
    by_place = {place_of(one): one for one in sorted(sightings, key=order_of, reverse=True)}
    return tuple(sorted(by_place.values(), key=order_of))


def order_of(one: Sighting) -> tuple[object, ...]:
    """Return what sightings are sorted by: the worst first, then by place, then by everything else."""
    place = (one.path, one.line or 0, one.column or 0)
    return (rank(one.severity), *place, one.tool, one.rule, one.key, one.context, one.message)


def place_of(one: Sighting) -> tuple[object, ...]:
    """Return what two reports of one result have in common, whoever made them and however severe they call it."""
    return (one.tool, one.rule, one.path, one.line, one.column, one.key, one.context, one.message)


def _plain(text: str) -> str:
    return " ".join(text.split())
