"""Waivers: findings that somebody has decided to live with, for a reason, under a name, until a day.

They are written in `findings.toml` beside `openbell.toml`, where they are reviewed like code. This module knows what a
waiver covers and whether it still counts; it knows neither the file nor its lines.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from openbell.core.findings import Entry
from openbell.core.project import Frozen, Problem

WAIVED_DAYS_MAX = 366
"""A waiver that ends later than this counts only when its end has come nearer: for ever is no decision."""

_ID = re.compile(r"[0-9a-f]{12}")

Lapse = Literal["ended", "too-long", "for-nothing"]


class Waiver(Frozen, frozen=True, kw_only=True):
    """`[[waivers]]`: a finding by its id, or all of a rule, in the files that `path` matches; all that is given counts.

    `until` is the last day on which it counts, in UTC. `rule` and `path` are shell-style patterns.
    """

    finding: str = ""
    tool: str = ""
    rule: str = ""
    path: str = ""
    reason: str
    author: str
    until: dt.date

    @property
    def what(self) -> str:
        """What it is for, as people say it: "B608 in src/**", or the id of a finding."""
        where = f" in {self.path}" if self.path else ""
        return self.finding or f"{self.tool + ' ' if self.tool else ''}{self.rule}{where}"

    def covers(self, entry: Entry) -> bool:
        """Whether a finding is meant, be the waiver in force or not."""
        seen = entry.seen
        pairs = ((self.tool, seen.tool), (self.rule, seen.rule), (self.path, seen.path))
        if self.finding and self.finding != entry.id:
            return False
        return all(fnmatchcase(value, pattern) for pattern, value in pairs if pattern)

    def is_in_force(self, today: dt.date) -> bool:
        """Whether it counts on a day."""
        return today <= self.until <= today + dt.timedelta(days=WAIVED_DAYS_MAX)


class WaiverFile(Frozen, frozen=True, kw_only=True):
    """The whole of `findings.toml`."""

    waivers: tuple[Waiver, ...] = ()


def day_of(at_s: float) -> dt.date:
    """Return the day of a time in UTC."""
    return dt.datetime.fromtimestamp(at_s, tz=dt.UTC).date()


def find_waiver(entry: Entry, waivers: Sequence[Waiver], today: dt.date) -> Waiver | None:
    """Find the waiver that frees a finding on a day: of several, the one that lasts longest."""
    fitting = [one for one in waivers if one.is_in_force(today) and one.covers(entry)]
    return max(fitting, key=lambda one: one.until, default=None)


def lapses(waivers: Sequence[Waiver], entries: Iterable[Entry], today: dt.date) -> tuple[tuple[int, Lapse, str], ...]:
    """Say which waivers do not count or are for nothing: their place in the file, why, and the sentence for people."""
    there = [entry for entry in entries if entry.is_open]
    found: list[tuple[int, Lapse, str]] = []
    for index, one in enumerate(waivers):
        if today > one.until:
            found.append((index, "ended", f"the waiver of {one.what} ended on {one.until} and counts no more."))
        elif not one.is_in_force(today):
            message = f"the waiver of {one.what} lasts until {one.until}; it counts for {WAIVED_DAYS_MAX} days at most."
            found.append((index, "too-long", message))
        elif not any(one.covers(entry) for entry in there):
            found.append((index, "for-nothing", f"the waiver of {one.what} is for nothing that is open. Remove it."))
    return tuple(found)


def check_waivers(file: WaiverFile) -> Iterator[Problem]:
    """Return every waiver that says too little, with the remedy."""
    for index, one in enumerate(file.waivers):
        at = ("waivers", str(index))
        if not one.finding and not one.rule:
            yield Problem(at, 'a waiver names what it is for: finding = "ID", or rule = "RULE" and path = "FILES".')
        if one.finding and not _ID.fullmatch(one.finding):
            message = f'finding = "{one.finding[:60]}": an id has 12 of 0-9 and a-f. See: openbell findings list'
            yield Problem((*at, "finding"), message)
        for key in ("reason", "author"):
            if not getattr(one, key).strip():
                yield Problem((*at, key), f"{key} is empty: somebody who reads it later needs to know.")
