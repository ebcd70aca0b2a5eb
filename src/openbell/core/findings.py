"""The ledger of findings: what is open, since when, what was fixed, what came back. Pure: scan in, ledger out.

The rules it keeps:

- One finding is one entry, however often it is reported, by however many jobs, and wherever its line has moved to.
- A tool that did not look fixes nothing. A finding is fixed only when every job that reported it has looked at its file
  again, to the end, and did not report it; or when its file is gone.
- An entry keeps its id for ever. An id follows from tool, rule, path and text, so a ledger that begins anew gives the
  same finding the same id.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import msgspec

from openbell.core.sightings import Look, Sighting, digest, order_of, place_of, rank

ChangeKind = Literal["new", "reopened", "fixed", "raised", "lowered"]
ID_LENGTH = 12
DAY_S = 86_400.0


class Moment(msgspec.Struct, frozen=True):
    """When and where something was seen: Unix seconds, the run, its commit."""

    at_s: float
    run: str
    commit: str


class Entry(msgspec.Struct, frozen=True):
    """One finding. `seen` is how it was reported last, `jobs` are those that report it now; none when it is fixed.

    `counts_from_s` is when its time began to run: when it was first seen, came back, or was found to be more severe.
    """

    id: str
    seen: Sighting
    jobs: tuple[str, ...]
    first: Moment
    last: Moment
    counts_from_s: float
    fixed: Moment | None = None
    reopened: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it was there when it was last looked for."""
        return self.fixed is None


class JobScan(msgspec.Struct, frozen=True):
    """What one job of a run said: its sightings, the tools that have looked, and the files that it was given."""

    job: str
    sightings: tuple[Sighting, ...]
    looks: tuple[Look, ...] = ()
    files: Collection[str] = ()

    def has_looked_at(self, seen: Sighting, tree: Collection[str]) -> bool:
        """Whether the job's tool would have reported a finding again, if it were still there."""
        for look in self.looks:
            if look.tool == seen.tool and look.whole:
                gone = not seen.path or seen.path not in tree
                return gone or (seen.path in self.files and (look.files is None or seen.path in look.files))
        return False


class Scan(msgspec.Struct, frozen=True):
    """What the jobs of one run said about one tree. `tree` are its files, `jobs_known` all jobs of the project."""

    moment: Moment
    tree: Collection[str]
    jobs: tuple[JobScan, ...]
    jobs_known: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """What a scan changed about a finding, and the entry as it is now."""

    kind: ChangeKind
    entry: Entry


def record(entries: Mapping[str, Entry], scan: Scan) -> tuple[dict[str, Entry], tuple[Change, ...]]:
    """Take a scan into the ledger: the entries by id, old and new, and what changed, the worst first.

    Recording the same scan twice changes nothing the second time but `last`. Neither the order of sightings nor that of
    jobs matters.
    """
    reported = _merge(scan.jobs)
    matched, unknown = _match(entries, list(reported), scan.tree)
    found = dict(entries)
    changes: list[Change] = []
    for id_, entry in entries.items():
        sighting = matched.get(id_)
        jobs = _reporting(entry, scan, reported[sighting] if sighting else ())
        if sighting:
            found[id_], change = _seen_again(entry, sighting, jobs, scan.moment)
        elif entry.is_open and jobs is not None:
            found[id_], change = _not_seen(entry, jobs, scan.moment)
        else:
            continue
        changes += [Change(change, found[id_])] if change else []
    numbers: dict[tuple[str, ...], int] = {}
    for sighting in sorted(unknown, key=_by_line):
        id_ = _new_id(sighting, found, numbers)
        found[id_] = Entry(id_, sighting, reported[sighting], scan.moment, scan.moment, scan.moment.at_s)
        changes.append(Change("new", found[id_]))
    return found, tuple(sorted(changes, key=lambda change: order_of(change.entry.seen)))


def _merge(jobs: Sequence[JobScan]) -> dict[Sighting, tuple[str, ...]]:
    """Return each result once, as it is called worst, with the names of the jobs that report it."""
    worst: dict[tuple[object, ...], Sighting] = {}
    names: dict[tuple[object, ...], dict[str, bool]] = {}
    for job in jobs:
        for one in job.sightings:
            place = place_of(one)
            names.setdefault(place, {})[job.job] = True
            worst[place] = min(worst.get(place, one), one, key=lambda each: rank(each.severity))
    ordered = sorted(worst.values(), key=order_of)
    return {one: tuple(sorted(names[place_of(one)])) for one in ordered}


Key = Callable[[Sighting], tuple[object, ...]]

_IN_PLACE: tuple[Key, ...] = (
    lambda one: (one.tool, one.rule, one.path, one.key, one.context),
    lambda one: (one.tool, one.rule, one.path, one.key),
)
"""How a result is recognised: with what is around it first, so that of equal lines the right one is taken."""

_MOVED: tuple[Key, ...] = (
    lambda one: (one.tool, one.rule, one.key, one.context),
    lambda one: (one.tool, one.rule, one.key),
)
"""How a result is recognised when its file is gone: the file may have another name now."""


def _match(
    entries: Mapping[str, Entry], sightings: list[Sighting], tree: Collection[str]
) -> tuple[dict[str, Sighting], list[Sighting]]:
    """Pair entries with sightings; returns the sighting by the entry's id, and the sightings that nothing knows."""
    matched: dict[str, Sighting] = {}
    open_ones = [entry for entry in entries.values() if entry.is_open]
    fixed_ones = [entry for entry in entries.values() if not entry.is_open]
    gone = [entry for entry in open_ones if entry.seen.path and entry.seen.path not in tree]
    for candidates, keys in ((open_ones, _IN_PLACE), (gone, _MOVED), (fixed_ones, _IN_PLACE)):
        for key in keys:
            left = [entry for entry in candidates if entry.id not in matched]
            pairs = _pair(left, sightings, key)
            matched |= pairs
            taken = dict.fromkeys(pairs.values())
            sightings = [one for one in sightings if one not in taken]
    return matched, sightings


def _pair(entries: Sequence[Entry], sightings: Sequence[Sighting], key: Key) -> dict[str, Sighting]:
    """Pair those with the same key in the order of their lines; what was seen last comes before what was not."""
    waiting: dict[tuple[object, ...], list[Sighting]] = {}
    for one in sorted(sightings, key=_by_line, reverse=True):
        waiting.setdefault(key(one), []).append(one)
    pairs = {}
    for entry in sorted(entries, key=lambda each: (-each.last.at_s, *_by_line(each.seen), each.id)):
        same = waiting.get(key(entry.seen))
        if same:
            pairs[entry.id] = same.pop()
    return pairs


def _by_line(one: Sighting) -> tuple[object, ...]:
    return (one.path, one.line or 0, one.column or 0, one.message)


def _reporting(entry: Entry, scan: Scan, reporting: tuple[str, ...]) -> tuple[str, ...] | None:
    """Name the jobs that report a finding after a scan; None when no job has looked for it.

    A job that is gone from the project reports nothing any more, once another one has looked with the same tool.
    """
    looked = {job.job: True for job in scan.jobs if job.has_looked_at(entry.seen, scan.tree)}
    if not looked and not reporting:
        return None
    still = [job for job in entry.jobs if job not in looked and job in scan.jobs_known]
    return tuple(sorted({*still, *reporting}))


def _seen_again(
    entry: Entry, sighting: Sighting, jobs: tuple[str, ...] | None, moment: Moment
) -> tuple[Entry, ChangeKind | None]:
    before, now = rank(entry.seen.severity), rank(sighting.severity)
    change: ChangeKind | None = "raised" if now < before else "lowered" if now > before else None
    change = change if entry.is_open else "reopened"
    restarts = change in ("raised", "reopened")
    seen = msgspec.structs.replace(
        entry, seen=sighting, jobs=jobs or (), last=moment, fixed=None,
        reopened=entry.reopened + (not entry.is_open), counts_from_s=moment.at_s if restarts else entry.counts_from_s,
    )  # fmt: skip
    return seen, change


def _not_seen(entry: Entry, jobs: tuple[str, ...], moment: Moment) -> tuple[Entry, ChangeKind | None]:
    if jobs:
        return msgspec.structs.replace(entry, jobs=jobs), None
    return msgspec.structs.replace(entry, jobs=(), fixed=moment), "fixed"


def _new_id(sighting: Sighting, taken: Mapping[str, object], numbers: dict[tuple[str, ...], int]) -> str:
    """Name a finding by what it is; equal lines of one file are counted, in `numbers`."""
    what = (sighting.tool, sighting.rule, sighting.path, sighting.key)
    while True:
        numbers[what] = numbers.get(what, 0) + 1
        named = digest(*what, str(numbers[what]), length=ID_LENGTH)
        if named not in taken:
            return named
