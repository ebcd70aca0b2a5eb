"""What the history of tests says, put together for people: the slowest tests, the flaky ones, those in quarantine."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Literal

import msgspec

from openbell.adapters.history import History
from openbell.core.history import FlakyTest, SlowTest, find_flaky
from openbell.core.suite import CaseOutcome, is_in_quarantine
from openbell.wiring.project import OpenProject


class HeldTest(msgspec.Struct, frozen=True):
    """A test in quarantine: who mends it, until when it may fail, and how it ended last, if it ever ran."""

    test: str
    owner: str
    until: date
    state: Literal["holds", "ended"]
    last: CaseOutcome | None


class TestsDocument(msgspec.Struct, frozen=True):
    """`openbell tests --json`; described in docs/schema/tests.json."""

    __test__ = False

    tests: int
    executions: int
    slow: tuple[SlowTest, ...] = ()
    flaky: tuple[FlakyTest, ...] = ()
    quarantine: tuple[HeldTest, ...] = ()


def overview(place: OpenProject, *, limit: int, now_s: Callable[[], float] = time.time) -> TestsDocument:
    """Put together what is known of a project's tests, at most `limit` of the slowest; raises `AdapterError`."""
    history = History(place.state.history)
    tests, executions = history.known()
    today = datetime.fromtimestamp(now_s(), UTC).date()
    last = history.last_outcomes([one.test for one in place.project.quarantine])
    held = tuple(
        HeldTest(one.test, one.owner, one.until, "holds" if today <= one.until else "ended", last.get(one.test))
        for one in place.project.quarantine
    )
    return TestsDocument(
        tests, executions, tuple(history.slowest(limit=limit)), find_flaky(history.observations()), held
    )


def is_held(found: TestsDocument, test: str) -> bool:
    """Whether a test is in a quarantine that holds."""
    return any(one.state == "holds" and is_in_quarantine(test, one.test) for one in found.quarantine)
