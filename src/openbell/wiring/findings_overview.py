"""What is known of a branch's findings today: how each stands, which jobs have looked, which waivers do not count."""

import time
from collections.abc import Mapping

import msgspec

from openbell.adapters import git
from openbell.adapters.ledger import Event, LastLook, Ledger
from openbell.core.findings_documents import FindingDocument, document
from openbell.core.findings_policy import Stood, blocking, stand
from openbell.core.waivers import day_of, lapses
from openbell.wiring.findings import main_branch
from openbell.wiring.project import OpenProject
from openbell.wiring.waivers import Waivers


class Lapse(msgspec.Struct, frozen=True):
    """A waiver that does not count or is for nothing: where it is written, and why."""

    place: str
    problem: str


class FindingsDocument(msgspec.Struct, frozen=True):
    """`openbell findings --json`; described in docs/schema/findings.json.

    `blocking` are the ids of those that keep releases from being deployed, `jobs` how the last look of each job ended.
    `history` is there when one finding is shown.
    """

    branch: str
    findings: tuple[FindingDocument, ...]
    blocking: tuple[str, ...]
    jobs: tuple[LastLook, ...]
    lapsed_waivers: tuple[Lapse, ...] = ()
    history: tuple[Event, ...] = ()


class Overview(msgspec.Struct, frozen=True):
    """A branch's ledger as it stands: every finding, what blocks, the jobs' last looks, and the lapsed waivers."""

    branch: str
    stood: tuple[Stood, ...]
    jobs: tuple[LastLook, ...]
    lapsed: tuple[Lapse, ...]

    @property
    def blocking(self) -> tuple[Stood, ...]:
        """The findings that keep releases from being deployed."""
        return blocking(self.stood)

    def narrow(self, stood: tuple[Stood, ...], history: tuple[Event, ...] = ()) -> FindingsDocument:
        """Write down some of the findings, beside what holds for all."""
        blocked = tuple(one.entry.id for one in self.blocking)
        return FindingsDocument(
            self.branch, tuple(document(one) for one in stood), blocked, self.jobs, self.lapsed, history
        )


def look_at(place: OpenProject, branch: str | None) -> Overview | None:
    """Look at a branch's ledger: the one named, else that of the branch checked out, else the main one's.

    None when nothing has been scanned there yet. Raises `AdapterError` and `ConfigurationError`.
    """
    ledger, waivers = Ledger(place.state.findings), Waivers(place.root)
    known = ledger.branches()
    chosen = branch or _branch_here(place, known)
    if chosen not in known:
        return None
    now_s = time.time()
    entries = ledger.entries(chosen)
    stood = stand(entries.values(), place.project.findings, waivers.all, now_s=now_s)
    found = lapses(waivers.all, entries.values(), day_of(now_s))
    lapsed = tuple(Lapse(waivers.place_of(index), problem) for index, _, problem in found)
    return Overview(chosen, stood, ledger.jobs(chosen), lapsed)


def history_of(place: OpenProject, branch: str, id_: str) -> tuple[Event, ...]:
    """Return what happened to a finding of a branch, the oldest first."""
    return Ledger(place.state.findings).history(branch, id_)


def find(overview: Overview, wanted: str) -> tuple[Stood, ...]:
    """Find findings by the beginning of their id, at least four characters of it."""
    return tuple(one for one in overview.stood if len(wanted) >= 4 and one.entry.id.startswith(wanted))


def _branch_here(place: OpenProject, known: tuple[str, ...]) -> str:
    here = git.current_branch(place.root)
    return here if here in known else main_branch(place, known)


def select(
    stood: tuple[Stood, ...], *, severities: tuple[str, ...], tools: tuple[str, ...], states: tuple[str, ...]
) -> tuple[Stood, ...]:
    """Keep the findings of these severities, tools and standings; without standings, all but the fixed ones."""
    wanted: Mapping[str, bool] = dict.fromkeys(states, True)
    return tuple(
        one
        for one in stood
        if (not severities or one.entry.seen.severity in severities)
        and (not tools or one.entry.seen.tool in tools)
        and (one.standing in wanted or "all" in wanted or (not wanted and one.standing != "fixed"))
    )
