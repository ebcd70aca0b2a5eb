"""Findings as `--json` prints them and as the document of a run keeps them, and each of them in words."""

import datetime as dt

import msgspec

from openbell.core.findings_policy import Standing, Stood
from openbell.core.sightings import Severity


class WaiverDocument(msgspec.Struct, frozen=True):
    """Why a finding is waived, by whom, and the last day of it."""

    reason: str
    author: str
    until: str


class FindingDocument(msgspec.Struct, frozen=True):
    """One finding: what and where it is, how it stands, since when, until when, and what frees it. Times are Unix's."""

    id: str
    tool: str
    rule: str
    severity: Severity
    message: str
    path: str
    line: int | None
    standing: Standing
    jobs: tuple[str, ...]
    first_seen_at_s: float
    first_seen_in: str
    last_seen_at_s: float
    last_seen_in: str
    reopened: int
    due_at_s: float | None
    fixed_at_s: float | None
    waiver: WaiverDocument | None


class RunFindings(msgspec.Struct, frozen=True):
    """What a run found beside the ledger of a branch; `recorded` says that the run has been taken into it.

    `added` are the findings that the branch did not have, `failing` the ids of those that fail the run. `compared` is
    false when the branch has no ledger yet, so that everything counts as new.
    """

    branch: str
    recorded: bool
    compared: bool
    added: tuple[FindingDocument, ...]
    fixed: int
    open: dict[Severity, int]
    failing: tuple[str, ...] = ()
    note: str = ""


def document(stood: Stood) -> FindingDocument:
    """Write a finding down."""
    entry, seen, waiver = stood.entry, stood.entry.seen, stood.waiver
    return FindingDocument(
        entry.id, seen.tool, seen.rule, seen.severity, seen.message, seen.path, seen.line, stood.standing, entry.jobs,
        entry.first.at_s, entry.first.run, entry.last.at_s, entry.last.run, entry.reopened, stood.due_at_s,
        entry.fixed.at_s if entry.fixed else None,
        WaiverDocument(waiver.reason, waiver.author, waiver.until.isoformat()) if waiver else None,
    )  # fmt: skip


def describe(one: FindingDocument) -> str:
    """Say a finding in a line: its id, how severe it is, what and where it is, and how it stands."""
    where = f"{one.path}:{one.line}" if one.path and one.line else one.path
    parts = (one.id, one.severity, one.rule, where, one.message)
    return "  ".join((*(part for part in parts if part), f"({_standing(one)})"))


def _standing(one: FindingDocument) -> str:
    """Say since when, until when, or why not any more."""
    if one.standing == "fixed":
        return f"fixed {day(one.fixed_at_s)}"
    if one.waiver is not None:
        return f"waived until {one.waiver.until} by {one.waiver.author}: {one.waiver.reason}"
    if one.standing in ("overdue", "due"):
        return f"{'was due' if one.standing == 'overdue' else 'due'} {day(one.due_at_s)}"
    return f"first seen {day(one.first_seen_at_s)}"


def day(at_s: float | None) -> str:
    """Write the day of a time, in UTC."""
    return "" if at_s is None else dt.datetime.fromtimestamp(at_s, tz=dt.UTC).date().isoformat()
