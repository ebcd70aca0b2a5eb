"""`openbell findings`: what scanners found in a branch, what is due, and what somebody has decided to live with."""

import datetime as dt
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import openbell
from openbell.adapters import sarif as sarif_format
from openbell.adapters.ledger import LastLook
from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, complain, counted, print_json, say
from openbell.core.findings_documents import day, describe, document
from openbell.core.findings_policy import Standing, Stood
from openbell.core.sightings import Severity
from openbell.core.waivers import WAIVED_DAYS_MAX, Waiver, day_of
from openbell.files import write_whole
from openbell.ports import AdapterError
from openbell.wiring import findings_overview
from openbell.wiring.findings_overview import Overview
from openbell.wiring.pipeline import UsageError
from openbell.wiring.project import OpenProject, open_project
from openbell.wiring.waivers import FILE_NAME, Waivers

What = Literal["list", "show", "waive", "due"]
State = Literal[Standing, "all"]
DUE: tuple[State, ...] = ("critical", "overdue", "due")


def findings(
    what: What = "list",
    finding: str | None = None,
    /,
    *,
    branch: str | None = None,
    severity: list[Severity] | None = None,
    tool: list[str] | None = None,
    state: list[State] | None = None,
    reason: str | None = None,
    until: str | None = None,
    by: str | None = None,
    sarif: Path | None = None,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show what scanners found in a branch: what is open, since when, until when it must be fixed.

    `list` has everything that is not fixed, `due` what keeps releases back or has a date, `show` one finding and its
    history. `waive` writes into findings.toml that a finding is lived with until a day; commit it, so that it is
    reviewed. Exit code 1 of `list` and `due`: something keeps releases back, or nothing has been scanned.

    Parameters
    ----------
    what
        What to do.
    finding
        The finding's id for `show` and `waive`; the beginning of it will do.
    branch
        Whose findings; those of the branch that is checked out by default, if it is one that is built.
    severity
        Only findings of this severity; may be repeated.
    tool
        Only findings of this tool; may be repeated.
    state
        Only findings that stand so; may be repeated. All but the fixed ones by default.
    reason
        Why it is lived with.
    until
        The last day on which it is, such as 2027-01-31.
    by
        Who decides; git's identity by default.
    sarif
        A file that the findings are written to as SARIF, with those that are waived suppressed.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        overview = findings_overview.look_at(place, branch)
        if overview is None:
            message = f"nothing of {branch or 'this project'} has been scanned here yet. Begin with: openbell scan"
            return complain(message, code=FAILED)
        if what == "show":
            return _show(place, overview, _find(overview, finding), json=json)
        if what == "waive":
            return _waive(place, _find(overview, finding), reason=reason, until=until, by=by)
        states = tuple(state or (DUE if what == "due" else ()))
        shown = findings_overview.select(
            overview.stood, severities=tuple(severity or ()), tools=tuple(tool or ()), states=states
        )
        if sarif is not None:
            write_whole(sarif.absolute(), _as_sarif(shown), mode=0o644)
    except (ConfigurationError, UsageError) as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    return _print(overview, shown, json=json)


def _print(overview: Overview, shown: tuple[Stood, ...], *, json: bool) -> int:
    if json:
        print_json(overview.narrow(shown))
    else:
        for line in _list(overview, shown):
            say(line, stream=sys.stdout)
    for lapse in overview.lapsed:
        say(f"{lapse.place}: {lapse.problem}")
    return FAILED if overview.blocking else DONE


def _find(overview: Overview, wanted: str | None) -> Stood:
    """Find the finding that is meant; raises `UsageError` when there is none, or several."""
    if wanted is None:
        raise UsageError("which finding? Name its id. See: openbell findings list")
    found = findings_overview.find(overview, wanted)
    if len(found) == 1:
        return found[0]
    problem = f"there is no finding {wanted}" if not found else f"{len(found)} findings begin with {wanted}"
    raise UsageError(f"{problem} in {overview.branch}. See: openbell findings list --state all")


def _list(overview: Overview, shown: tuple[Stood, ...]) -> list[str]:
    lines = [f"{overview.branch}: {counted(len(shown), 'finding')}"]
    lines += [f"  {describe(document(one))}" for one in shown]
    lines += [f"  {_unchecked(last)}" for last in overview.jobs if last.looked_at_s != last.at_s]
    blocked = overview.blocking
    if blocked:
        verb = "keeps" if len(blocked) == 1 else "keep"
        lines.append(f"{counted(len(blocked), 'finding')} {verb} releases from being deployed. Fix what is wrong, or:")
        lines.append(f"  openbell findings waive {blocked[0].entry.id} --reason WHY --until DAY")
    return lines


def _unchecked(last: LastLook) -> str:
    when = f"last done {day(last.looked_at_s)}" if last.looked_at_s else "never done"
    verb = "not checked" if last.outcome == "not-checked" else "not passed"
    return f"{verb}: {last.job} in run {last.run} ({when})" + (f": {last.reason}" if last.reason else "")


def _show(place: OpenProject, overview: Overview, one: Stood, *, json: bool) -> int:
    history = findings_overview.history_of(place, overview.branch, one.entry.id)
    if json:
        print_json(overview.narrow((one,), history))
        return DONE
    entry, seen = one.entry, one.entry.seen
    lines = [describe(document(one)), f"  reported by {seen.tool} in {', '.join(entry.jobs) or 'no job any more'}"]
    lines += [f"  due {day(one.due_at_s)}"] if one.due_at_s is not None and one.standing not in ("fixed", "due") else []
    lines += [f"  {day(e.at_s)}  {e.kind:<9} {e.severity:<9} run {e.run}, commit {e.commit[:7]}" for e in history]
    lines.append(f"  {day(entry.last.at_s)}  seen last          run {entry.last.run}, commit {entry.last.commit[:7]}")
    for line in lines:
        say(line, stream=sys.stdout)
    return DONE


def _waive(place: OpenProject, one: Stood, *, reason: str | None, until: str | None, by: str | None) -> int:
    entry = one.entry
    if one.standing == "fixed":
        return complain(f"{entry.id} is fixed; there is nothing to live with.", code=DONE)
    if one.waiver is not None:
        message = (
            f"{entry.id} is waived until {one.waiver.until} by {one.waiver.author}. To change that, edit {FILE_NAME}."
        )
        return complain(message, code=DONE)
    if not (reason or "").strip():
        raise UsageError("why? Say it with --reason, for whoever reviews it.")
    last = _day(until, day_of(time.time()))
    from openbell.wiring.rollouts import person

    seen = entry.seen
    author = person(place.root, by)
    waiver = Waiver(finding=entry.id, reason=reason or "", author=author, until=last)
    Waivers(place.root).add(waiver, f"{seen.severity} {seen.rule} {seen.place} {seen.message}")
    Waivers(place.root)
    say(f"{FILE_NAME}: {entry.id} is lived with until {last}. Commit it, so that it is reviewed.", stream=sys.stdout)
    return DONE


def _day(until: str | None, today: dt.date) -> dt.date:
    """Read the last day of a waiver; raises `UsageError` when it is none, has been, or is too far away."""
    latest = today + dt.timedelta(days=WAIVED_DAYS_MAX)
    try:
        last = dt.date.fromisoformat(until or "")
    except ValueError:
        example = today + dt.timedelta(days=30)
        raise UsageError(f'until = "{until or ""}": name the last day with --until, such as {example}.') from None
    if not today <= last <= latest:
        raise UsageError(f"until = {last}: must be {today} to {latest}. For ever is no decision.")
    return last


def _as_sarif(shown: tuple[Stood, ...]) -> bytes:
    """Write findings as SARIF: new where only the last scan knows them, absent where they are fixed."""
    written = []
    for one in shown:
        entry, waiver = one.entry, one.waiver
        is_new = entry.first == entry.last and entry.reopened == 0
        baseline = "absent" if not entry.is_open else "new" if is_new else "unchanged"
        justification = f"until {waiver.until}: {waiver.reason} ({waiver.author})" if waiver else ""
        properties = {"standing": one.standing, "firstSeen": day(entry.first.at_s), "due": day(one.due_at_s)}
        written.append(sarif_format.Written(entry.id, entry.seen, baseline, justification, properties))
    return sarif_format.write(written, openbell.__version__)
