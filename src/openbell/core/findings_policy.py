"""What the policy of `[findings]` makes of the ledger: what is due when, what blocks a deployment, what fails a run.

The specification's severities: critical blocks deployments at once, high is to be fixed within 7 days, medium is a
backlog, low is information. A finding that is waived is none of that while the waiver counts.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from openbell.core.findings import DAY_S, Change, Entry
from openbell.core.project import FindingsPolicy
from openbell.core.sightings import SEVERITIES, Severity, order_of, rank
from openbell.core.waivers import Waiver, day_of, find_waiver

Standing = Literal["critical", "overdue", "due", "open", "waived", "fixed"]
"""How a finding stands today; the first two block deployments. "due" has a date that has not come."""

BLOCKING: tuple[Standing, ...] = ("critical", "overdue")


class Stood(msgspec.Struct, frozen=True):
    """A finding, how it stands, when it is due (Unix seconds), and the waiver that frees it."""

    entry: Entry
    standing: Standing
    due_at_s: float | None = None
    waiver: Waiver | None = None


def due_at_s(entry: Entry, policy: FindingsPolicy) -> float | None:
    """Say until when a finding must be fixed; None when nobody has to hurry."""
    days: dict[Severity, float | None] = {
        "critical": 0.0, "high": policy.high_due_days, "medium": policy.medium_due_days, "low": policy.low_due_days,
    }  # fmt: skip
    allowed = days.get(entry.seen.severity)
    return None if allowed is None else entry.counts_from_s + allowed * DAY_S


def stand(
    entries: Iterable[Entry], policy: FindingsPolicy, waivers: Sequence[Waiver], *, now_s: float
) -> tuple[Stood, ...]:
    """Say how each finding stands now, the worst first."""
    today = day_of(now_s)
    ordered = sorted(entries, key=lambda entry: (order_of(entry.seen), entry.id))
    return tuple(_stand(entry, policy, waivers, now_s, today) for entry in ordered)


def _stand(entry: Entry, policy: FindingsPolicy, waivers: Sequence[Waiver], now_s: float, today: dt.date) -> Stood:
    if not entry.is_open:
        return Stood(entry, "fixed")
    due = due_at_s(entry, policy)
    waiver = find_waiver(entry, waivers, today)
    if waiver:
        return Stood(entry, "waived", due, waiver)
    if entry.seen.severity == "critical":
        return Stood(entry, "critical", due)
    if due is None:
        return Stood(entry, "open")
    return Stood(entry, "overdue" if now_s > due else "due", due)


def blocking(stood: Iterable[Stood]) -> tuple[Stood, ...]:
    """Return the findings that keep releases from being deployed."""
    return tuple(one for one in stood if one.standing in BLOCKING)


def count(entries: Iterable[Entry]) -> dict[Severity, int]:
    """Count findings by severity, the worst first; without those that are zero."""
    severities = [entry.seen.severity for entry in entries]
    return {severity: severities.count(severity) for severity in SEVERITIES if severity in severities}


def added(changes: Iterable[Change], waivers: Sequence[Waiver], *, now_s: float) -> tuple[Entry, ...]:
    """Return the findings that a scan has brought in addition, and that nobody has waived."""
    today = day_of(now_s)
    brought = [change.entry for change in changes if change.kind in ("new", "reopened", "raised")]
    return tuple(entry for entry in brought if find_waiver(entry, waivers, today) is None)


def failing(brought: Iterable[Entry], policy: FindingsPolicy) -> tuple[Entry, ...]:
    """Return those of the findings that a change brings which keep it from being merged."""
    if policy.fail_new == "never":
        return ()
    return tuple(entry for entry in brought if rank(entry.seen.severity) <= rank(policy.fail_new))
