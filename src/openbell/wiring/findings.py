"""What a run's scanners said, beside the ledger: taken into it, or compared with it; and what keeps a deployment back.

Each branch that is built has a ledger. A run of exactly such a branch is taken into it; a pull request, another branch,
a tag and a changed tree are compared with one, and change nothing. Imports little: every run passes through here.
"""

import time
from collections.abc import Mapping, Sequence

import msgspec

from openbell.adapters import git
from openbell.adapters.ledger import LastLook, Ledger
from openbell.core.findings import Change, Entry, JobScan, Moment, Scan, record
from openbell.core.findings_documents import RunFindings, day, describe, document
from openbell.core.findings_policy import Stood, added, blocking, count, failing, stand
from openbell.core.matrix import legs
from openbell.core.pattern import match_branch
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.sightings import Look
from openbell.core.trigger import effective_kind
from openbell.ports import AdapterError, Notifier
from openbell.wiring.pipeline import PreparedRun
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import ReleaseBuilt
from openbell.wiring.waivers import Waivers

LOOKED = ("success", "cached")
"""How a job must have ended for its silence to mean something: one that failed may have died on the way."""


class Assessment(msgspec.Struct, frozen=True):
    """What became of a run's findings: the document of it, and the branch whose people must be told, if any."""

    document: RunFindings
    scan: Scan
    tell_about: str = ""


def assess(prepared: PreparedRun, results: Sequence[JobResult]) -> Assessment:
    """Take a run's findings into the ledger of its branch, or compare them with one; may be repeated.

    Raises `AdapterError` when the ledger cannot be read or written, `ConfigurationError` for wrong waivers.
    """
    place, ledger = prepared.place, Ledger(prepared.place.state.findings)
    waivers = Waivers(place.root).all
    scan = _scan(prepared, results, at_s=time.time())
    own = _own_branch(prepared)
    older = own is not None and _is_overtaken(prepared, ledger, own)
    known = ledger.branches()
    branch = own or _branch_to_compare(prepared, known)
    recorded = own is not None and not older
    if recorded:
        lasts = _last_looks(results, scan)
        entries, changes = ledger.record(branch, scan, lasts, must_tell=_must_tell)
    else:
        entries, changes = record(ledger.entries(branch), scan)
    brought = added(changes, waivers, now_s=scan.moment.at_s)
    judged = not recorded and not older and _is_change(prepared)
    stood = {one.entry.id: one for one in stand(entries.values(), place.project.findings, waivers, now_s=time.time())}
    said = RunFindings(
        branch=branch,
        recorded=recorded,
        compared=branch in known,
        added=tuple(document(stood[entry.id]) for entry in brought),
        fixed=sum(change.kind == "fixed" for change in changes),
        open=count(entry for entry in entries.values() if entry.is_open),
        failing=tuple(entry.id for entry in failing(brought, place.project.findings)) if judged else (),
        note=f"{branch} has been scanned at a later commit, so its ledger stays as it is." if older else "",
    )
    return Assessment(said, scan, branch if recorded and ledger.untold(branch) else "")


async def tell_by_journal(place: OpenProject, branch: str) -> None:
    """Tell people by way of the journal; imported where there is something to tell."""
    from openbell.adapters.sqlite import SqliteJournal
    from openbell.wiring.rollouts import JournalNotifier

    async with SqliteJournal(place.state.journal) as journal:
        await tell(place, branch, JournalNotifier(journal))


async def tell(place: OpenProject, branch: str, notifier: Notifier) -> None:
    """Tell people at once of critical findings of a branch, and of those that are due; then they are told."""
    ledger = Ledger(place.state.findings)
    untold = ledger.untold(branch)
    waivers = Waivers(place.root).all
    for one in stand(untold, place.project.findings, waivers, now_s=time.time()):
        if one.standing in ("waived", "fixed"):
            continue
        seen = one.entry.seen
        urgent = seen.severity == "critical"
        what = f"{seen.severity} finding in {branch}: {seen.rule} {seen.place}".rstrip()
        subject = f"{what}: deployments are blocked" if urgent else what
        key = f"finding/{branch}/{one.entry.id}/{one.entry.counts_from_s:.0f}"
        await notifier.notify(subject, _notice(one), urgent=urgent, key=key)
    ledger.tell(branch, [entry.id for entry in untold])


def _notice(one: Stood) -> str:
    due = f" To be fixed by {day(one.due_at_s)}." if one.due_at_s and one.standing == "due" else ""
    return f"{one.entry.seen.message}{due} See: openbell findings show {one.entry.id}"


def _must_tell(change: Change) -> bool:
    return change.kind in ("new", "reopened", "raised") and change.entry.seen.severity in ("critical", "high")


# --- which branch


def is_ledgered(place: OpenProject, branch: str) -> bool:
    """Whether a branch has a ledger of its own: those that are built have."""
    return any(match_branch(branch, pattern) for pattern in place.project.branches.build)


def _own_branch(prepared: PreparedRun) -> str | None:
    """Name the branch that a run is exactly about; None for changes to one, tags, and trees with changes."""
    trigger = prepared.plan.trigger
    exact = trigger.ref_kind == "branch" and trigger.kind != "pull-request" and not prepared.snapshot.dirty
    return trigger.ref if exact and is_ledgered(prepared.place, trigger.ref) else None


def _is_overtaken(prepared: PreparedRun, ledger: Ledger, branch: str) -> bool:
    """Whether the branch has been scanned at a later commit: old news must not open things again."""
    newest = max(ledger.jobs(branch), key=lambda last: last.at_s, default=None)
    commit = prepared.snapshot.commit.id
    if newest is None or newest.commit == commit:
        return False
    return git.is_ancestor(prepared.place.root, commit, newest.commit)


def _branch_to_compare(prepared: PreparedRun, known: Sequence[str]) -> str:
    """Choose the ledger that a change is compared with: that of its target, else of its branch, else the main one."""
    trigger = prepared.plan.trigger
    wanted = [trigger.target, trigger.ref if trigger.kind != "pull-request" else None]
    for name in wanted:
        if name is not None and name in known:
            return name
    return main_branch(prepared.place, known)


def main_branch(place: OpenProject, known: Sequence[str]) -> str:
    """Name the first of the branches that are built which has been scanned; the first that is named if none has."""
    patterns = place.project.branches.build
    scanned = [name for pattern in patterns for name in known if match_branch(name, pattern)]
    named = [pattern for pattern in patterns if not frozenset(pattern) & frozenset("*?[")]
    return next(iter((*scanned, *named)), "main")


def _is_change(prepared: PreparedRun) -> bool:
    """Whether a run is about something that is to be merged, or may be: it answers for what it brings."""
    return effective_kind(prepared.plan.trigger) in ("pull-request", "push")


# --- what the jobs said


def _scan(prepared: PreparedRun, results: Sequence[JobResult], *, at_s: float) -> Scan:
    moment = Moment(at_s, prepared.workplace.run, prepared.snapshot.commit.id)
    by_id = {result.id: result for result in results}
    by_job: dict[str, list[JobNode]] = {}
    for node in prepared.graph:
        if node.job.reports.sarif:
            by_job.setdefault(node.name, []).append(node)
    jobs = tuple(_job_scan(prepared, name, nodes, by_id) for name, nodes in by_job.items())
    return Scan(moment, prepared.snapshot.files, jobs, tuple(prepared.place.project.jobs))


def _job_scan(prepared: PreparedRun, name: str, nodes: Sequence[JobNode], results: Mapping[str, JobResult]) -> JobScan:
    """Put the legs of a job together; what one of them did not look at, the job has not looked at."""
    ended = [results[node.id] for node in nodes if node.id in results]
    found = [result.reports.findings for result in ended if result.reports.findings]
    sightings = tuple(one for findings in found for one in findings.sightings)
    every_leg = len(found) == len(legs(nodes[0].job)) and all(result.outcome in LOOKED for result in ended)
    looks: dict[str, Look] = {}
    for look in (one for findings in found for one in findings.looks):
        before = looks.get(look.tool, look)
        named = None if before.files is None or look.files is None else (*before.files, *look.files)
        looks[look.tool] = Look(look.tool, before.whole and look.whole, named)
    files = dict.fromkeys(file for node in nodes for file in prepared.inputs[node.id].files)
    return JobScan(name, sightings, tuple(looks.values()) if every_leg else (), files)


def _last_looks(results: Sequence[JobResult], scan: Scan) -> tuple[LastLook, ...]:
    """Say for each job that reports findings how it ended, and whether it has looked."""
    found = []
    for job in scan.jobs:
        mine = [result for result in results if result.name == job.job]
        bad = next((result for result in mine if result.outcome not in LOOKED), None)
        shown = bad or next(iter(mine), None)
        if shown is None:
            continue
        looked_at_s = scan.moment.at_s if job.looks else None
        found.append(
            LastLook(
                job.job, scan.moment.at_s, scan.moment.run, scan.moment.commit, shown.outcome,
                shown.reason if bad else "", looked_at_s,
            )
        )  # fmt: skip
    return tuple(found)


# --- what keeps a deployment back


def branch_of(place: OpenProject, built: ReleaseBuilt, known: Sequence[str]) -> str:
    """Name the branch whose ledger speaks for a release: its own, else the first that has its commit, else the main."""
    if built.ref in known:
        return built.ref
    ordered = sorted(known, key=lambda name: (name != main_branch(place, known), name))
    for name in ordered:
        try:
            tip, _ = git.resolve(place.root, name)
        except AdapterError:
            continue
        if git.is_ancestor(place.root, built.commit, tip):
            return name
    return main_branch(place, known)


def refusal(place: OpenProject, environment: str, built: ReleaseBuilt) -> str | None:
    """Say why findings keep a release from being deployed, and what frees it; None when they do not."""
    ledger = Ledger(place.state.findings)
    known = ledger.branches()
    if not known:
        return None
    branch = branch_of(place, built, known)
    entries = _as_in_release(place, ledger.entries(branch), ledger.release(built.digest))
    found = blocking(stand(entries.values(), place.project.findings, Waivers(place.root).all, now_s=time.time()))
    if not found:
        return None
    head = f"{environment} is blocked by {_counted(found)} of {branch}:"
    lines = [f"  {describe(document(one))}" for one in found[:BLOCKING_SHOWN]]
    lines += [f"  ... and {len(found) - BLOCKING_SHOWN} more"] if len(found) > BLOCKING_SHOWN else []
    remedy = (
        f"Fix what is wrong, then scan {branch} again: openbell scan. Or live with it until a day: "
        f"openbell findings waive {found[0].entry.id} --reason WHY --until DAY. All of them: openbell findings due"
    )
    return "\n".join((head, *lines, remedy))


BLOCKING_SHOWN = 5


def keep_evidence(prepared: PreparedRun, scan: Scan, digest: str) -> None:
    """Keep what a run said with the release that it built, unless nothing was executed and it is known already."""
    ledger = Ledger(prepared.place.state.findings)
    if not (prepared.is_known and ledger.has_release(digest)):
        ledger.keep_release(digest, scan)


def _as_in_release(place: OpenProject, entries: Mapping[str, Entry], scan: Scan | None) -> Mapping[str, Entry]:
    """Say what of a branch's findings is in a release: not what its own run has looked for and not found, but what it
    has found although the branch is rid of it.

    What a database says may have come after the release: there the later word counts.
    """
    if scan is None:
        return entries
    found, changes = record(entries, scan)
    for change in changes:
        before = entries.get(change.entry.id)
        if change.kind == "fixed" and before is not None and before.last.at_s > scan.moment.at_s:
            jobs = [place.project.jobs[name] for name in before.jobs if name in place.project.jobs]
            if any(job.cache_s is not None for job in jobs):
                found[before.id] = before
    return found


def _counted(found: Sequence[Stood]) -> str:
    return "1 finding" if len(found) == 1 else f"{len(found)} findings"
