"""Why a job failed: the first real error of what it printed, the likely cause, what to do, and how to prevent it.

What is known of tools is data: a catalogue of entries, each with a pattern for one line of output. Of all lines that an
entry knows, the one whose entry tells most counts (the least `rank`), and of those the first: what comes later usually
follows from it. What the tool itself says of its failure in a report goes before what it printed.

This module knows no tool by name, reads no file and runs no pattern of a stranger: those of a project's `[[diagnoses]]`
are matched elsewhere, under a time limit (`openbell.adapters.expressions`), and come in as facts.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Literal

import msgspec

from openbell.core.project import Frozen, KnownFailure, Stage
from openbell.core.report import Outcome, Reports

LINE_LENGTH_MAX = 1000
"""So much of a line is looked at; nobody reads an error that is longer."""

FOLLOWING_MAX = 12
"""So many lines after an error are looked through for its deeper cause; tools wrap and indent what they say."""

HINT_RANK = 3
"""Entries of this rank are hints, and count when nothing else is there."""

_OURS = re.compile(r"/\S*?/openbell-job-[^/\s]+/tree/")
_FOREIGN = re.compile(r"^(?:/|<|\[|node:|\.venv/|.*(?:site-packages|node_modules)/)")
_FRAME = re.compile(r"^[\s│|╷╵]+|\s*[│|]\s*$")

Situation = Literal["", "timeout", "flaky", "one-leg", "tests", "findings", "coverage", "output"]


class Entry(Frozen, frozen=True, kw_only=True):
    """One thing that the catalogue knows.

    `match` finds a line of output; its groups `message` and `place` (or `file`, `line`, `column`) say what and where.
    `near` completes it from another line within `span` lines `before` or `after` it, or on either side (`around`), and
    not beyond a line that `until` matches; with `required` the entry is none without it. An entry that `refines` tells
    the deeper cause of an error that another one found, unless that is `final`. Without `match` an entry is for a
    situation, an exit code or a stage.
    """

    name: str
    cause: str
    fix: str
    prevention: str
    match: str = ""
    near: str = ""
    where: Literal["after", "before", "around"] = "after"
    span: int = 40
    until: str = ""
    required: bool = False
    rank: int = 2
    refines: bool = False
    final: bool = False
    situation: Situation = ""
    exit_codes: tuple[int, ...] = ()
    stages: tuple[Stage, ...] = ()


class Catalogue(Frozen, frozen=True, kw_only=True):
    """Entries, the more telling first where several fit."""

    diagnoses: tuple[Entry, ...]


class Past(msgspec.Struct, frozen=True):
    """What earlier runs say of a job that failed: in which it passed with the same fingerprint, or failed with it;
    since which run it has failed and in which it passed last, whatever its fingerprint; and what has changed since its
    last good result. Empty where there is none.
    """

    passed_same: str = ""
    failed_same: str = ""
    failing_since: str = ""
    passed_last: str = ""
    changed: str = ""


class Failure(msgspec.Struct, frozen=True):
    """A job that failed, with everything a diagnosis may look at.

    `legs` are the axes of its matrix, `passed_legs` those on which the same job passed, if that are all others.
    `known` is the first of the project's own `[[diagnoses]]` that fits, with the number of the line it matched.
    """

    stage: Stage
    outcome: Outcome
    reason: str
    exit_code: int | None = None
    lines: tuple[str, ...] = ()
    reports: Reports = Reports()
    legs: tuple[str, ...] = ()
    passed_legs: tuple[str, ...] = ()
    past: Past = Past()
    known: tuple[KnownFailure, int] | None = None


class FirstError(msgspec.Struct, frozen=True):
    """The first real error: what, where ("src/x.py:12"), and its line in the log, from 1; 0 when a report has it."""

    message: str
    place: str = ""
    line: int = 0


class Diagnosis(msgspec.Struct, frozen=True):
    """Why a job failed: the first real error, if there is one, what the catalogue says, and what is known besides."""

    kind: str
    cause: str
    fix: str
    prevention: str
    error: FirstError | None = None
    notes: tuple[str, ...] = ()


def diagnose(failure: Failure, catalogue: Sequence[Entry]) -> Diagnosis:
    """Say why a job failed, by the catalogue and what the project knows; always says something."""
    found = _first(failure.lines, catalogue)
    error = _more_telling(_reported(failure.reports), found)
    if failure.known is not None:
        known, line = failure.known
        error = error or FirstError(_clean(failure.lines[line - 1]), line=line)
        return Diagnosis("project", known.cause, known.fix, known.prevention, error, _notes(failure))
    entry = _explain(failure, catalogue, found, error)
    return Diagnosis(entry.name, entry.cause, entry.fix, entry.prevention, error, _notes(failure))


def _explain(
    failure: Failure, catalogue: Sequence[Entry], found: tuple[Entry, FirstError] | None, error: FirstError | None
) -> Entry:
    """Choose the entry that explains a failure: the deeper cause first, the situation, the error itself, the rest."""
    situations = _situations(failure, error)
    if found is not None and found[0].rank == 0:
        return found[0]
    if "timeout" in situations:
        return _of_situation(failure, catalogue, ("timeout",))
    text = _deeper_text(failure, found, error)
    deeper = next((entry for entry in catalogue if entry.refines and _compiled(entry.match).search(text)), None)
    if deeper is not None and not (found is not None and found[0].final):
        return deeper
    code = failure.exit_code
    if found is None or found[0].rank > 1:
        by_code = next((entry for entry in catalogue if not entry.match and code in entry.exit_codes), None)
        if by_code is not None:
            return by_code
    if "flaky" in situations or "one-leg" in situations:
        return _of_situation(failure, catalogue, situations)
    if found is not None:
        return found[0]
    return _of_situation(failure, catalogue, situations)


def _situations(failure: Failure, error: FirstError | None) -> tuple[Situation, ...]:
    """Name what is true of a failure besides its output, the most telling first."""
    reports = failure.reports
    true: dict[Situation, bool] = {
        "timeout": failure.outcome == "timeout",
        "flaky": bool(failure.past.passed_same),
        "one-leg": bool(failure.passed_legs) and failure.stage == "test",
        "tests": bool(reports.tests and reports.tests.failed),
        "findings": bool(reports.findings and reports.findings.total),
        "coverage": failure.reason.startswith("coverage "),
        "output": error is not None,
    }
    return tuple(name for name, holds in true.items() if holds)


def _of_situation(failure: Failure, catalogue: Sequence[Entry], situations: Iterable[Situation]) -> Entry:
    for situation in (*situations, ""):
        for entry in catalogue:
            fits = entry.situation == situation and not entry.match and not entry.exit_codes
            if fits and (not entry.stages or failure.stage in entry.stages):
                return entry
    return Entry(name="unknown", cause="nothing that is known fits", fix="read the log", prevention="")


def _reported(reports: Reports) -> FirstError | None:
    """Take the first failed test or finding of the reports."""
    if reports.tests and reports.tests.failures:
        test = reports.tests.failures[0]
        return FirstError(f"{test.name}   {test.message}".rstrip(), _relative(test.place))
    if reports.findings and reports.findings.first:
        finding = reports.findings.first[0]
        return FirstError(f"{finding.severity}: {finding.message} ({finding.rule})", _relative(finding.place))
    return None


def _more_telling(reported: FirstError | None, found: tuple[Entry, FirstError] | None) -> FirstError | None:
    """Prefer what a report says, unless it says no place and the output does: some reports only say "Failed"."""
    if reported is not None and (reported.place or found is None or not found[1].place or found[0].rank >= HINT_RANK):
        return reported
    return found and found[1]


def _first(lines: Sequence[str], catalogue: Sequence[Entry]) -> tuple[Entry, FirstError] | None:
    """Find the line that tells most: the first of the least rank."""
    best: tuple[int, int, Entry, FirstError] | None = None
    for entry in catalogue:
        if not entry.match:
            continue
        bound = len(lines) if best is None or entry.rank < best[0] else best[1] if entry.rank == best[0] else 0
        hit = _first_of(lines[:bound], lines, entry)
        if hit is not None:
            best = (entry.rank, hit.line - 1, entry, hit)
    return best and (best[2], best[3])


def _first_of(within: Sequence[str], lines: Sequence[str], entry: Entry) -> FirstError | None:
    """Find the first line that an entry knows, completed by what is near it."""
    pattern = _compiled(entry.match)
    for index, line in enumerate(within):
        match = pattern.search(line[:LINE_LENGTH_MAX])
        if match is None:
            continue
        groups = {name: text for name, text in match.groupdict().items() if text}
        near = _near(lines, index, entry) if entry.near else {}
        if entry.required and not near:
            continue
        message = groups.get("message", line)
        if near.get("message"):
            message = f"{message}: {near['message']}"
        return FirstError(_clean(message), _relative(_place({**near, **groups})), index + 1)
    return None


def _near(lines: Sequence[str], index: int, entry: Entry) -> dict[str, str]:
    """Find what completes an error in the lines near it; a place in somebody else's files is none that helps."""
    found = []
    for number in _indices(lines, index, entry):
        match = _compiled(entry.near).search(lines[number][:LINE_LENGTH_MAX])
        if match is not None:
            found.append({name: text for name, text in match.groupdict().items() if text})
    own = next((groups for groups in found if not _FOREIGN.match(_relative(_place(groups)))), None)
    return own or ({"message": found[0].get("message", "")} if found else {})


def _indices(lines: Sequence[str], index: int, entry: Entry) -> Iterator[int]:
    ways: dict[str, tuple[int, ...]] = {"after": (1,), "before": (-1,), "around": (1, -1)}
    for step in ways[entry.where]:
        for distance in range(1, entry.span + 1):
            number = index + step * distance
            if not 0 <= number < len(lines):
                break
            yield number
            if entry.until and _compiled(entry.until).search(lines[number][:LINE_LENGTH_MAX]):
                break


def _deeper_text(failure: Failure, found: tuple[Entry, FirstError] | None, error: FirstError | None) -> str:
    """Put an error and what follows it on one line, for tools wrap their sentences."""
    start = found[1].line - 1 if found else 0
    following = failure.lines[start : start + FOLLOWING_MAX] if found else failure.lines[-FOLLOWING_MAX:]
    texts = [error.message if error else "", *(_FRAME.sub("", line[:LINE_LENGTH_MAX]) for line in following)]
    return " ".join(texts)


def _notes(failure: Failure) -> tuple[str, ...]:
    notes = []
    if failure.passed_legs:
        notes.append(f"Only on {', '.join(failure.legs)}; {', '.join(failure.passed_legs)} passed.")
    past = failure.past
    if past.passed_same:
        notes.append(f"It passed in run {past.passed_same} with exactly the same inputs.")
    elif past.failed_same:
        notes.append(f"It failed in run {past.failed_same} too, with exactly the same inputs.")
    elif past.failing_since:
        notes.append(f"It fails since run {past.failing_since}.")
    if past.passed_last and past.changed and not past.passed_same:
        notes.append(f"It passed in run {past.passed_last}; since then: {past.changed}.")
    return tuple(notes)


def _place(groups: dict[str, str]) -> str:
    if "file" not in groups:
        return groups.get("place", "")
    return ":".join(groups[name] for name in ("file", "line", "column") if name in groups)


def _relative(place: str) -> str:
    """Name a place from the project's root, wherever the job's copy of the tree was."""
    return _OURS.sub("", place).removeprefix("./")


def _clean(text: str) -> str:
    """Leave out where the job's copy of the tree was, and the frames that tools draw."""
    return _OURS.sub("", _FRAME.sub("", text)).strip()[:LINE_LENGTH_MAX]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
