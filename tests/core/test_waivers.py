"""Waivers: what they cover, until when they count, and which are for nothing."""

import datetime as dt
from typing import Any

import pytest

from openbell.core.findings import Entry, Moment
from openbell.core.sightings import Sighting
from openbell.core.waivers import Waiver, WaiverFile, check_waivers, day_of, find_waiver, lapses

TODAY = dt.date(2026, 11, 25)
SEEN = Sighting("bandit", "B608", "high", "SQL", "src/book.py", 3)
MOMENT = Moment(0.0, "r", "c")
ENTRY = Entry("0123456789ab", SEEN, ("sast",), MOMENT, MOMENT, 0.0)


def waiver(**given: Any) -> Waiver:
    return Waiver(**{"reason": "test data", "author": "ada@example.org", "until": TODAY, **given})


@pytest.mark.parametrize(
    ("given", "covers"),
    [
        ({"finding": "0123456789ab"}, True),
        ({"finding": "0123456789ac"}, False),
        ({"rule": "B608"}, True),
        ({"rule": "B60?", "path": "src/**"}, True),
        ({"rule": "B608", "path": "tests/*"}, False),
        ({"rule": "B608", "tool": "ruff"}, False),
        ({"finding": "0123456789ab", "rule": "B1*"}, False),
    ],
)
def test_all_that_is_given_must_fit(given: dict[str, str], covers: bool) -> None:
    assert waiver(**given).covers(ENTRY) is covers


@pytest.mark.parametrize(
    ("until", "counts", "lapse"),
    [
        (TODAY - dt.timedelta(days=1), False, "ended"),
        (TODAY, True, None),
        (TODAY + dt.timedelta(days=366), True, None),
        (TODAY + dt.timedelta(days=367), False, "too-long"),
    ],
)
def test_it_counts_until_its_last_day_and_not_for_ever(until: dt.date, counts: bool, lapse: str | None) -> None:
    one = waiver(rule="B608", until=until)
    assert (find_waiver(ENTRY, [one], TODAY) is not None) is counts
    assert [found[1] for found in lapses([one], [ENTRY], TODAY)] == ([lapse] if lapse else [])


def test_the_longest_of_several_counts() -> None:
    longer = waiver(rule="B608", until=TODAY + dt.timedelta(days=9))
    assert find_waiver(ENTRY, [waiver(rule="*"), longer, waiver(rule="B608")], TODAY) == longer


def test_what_is_for_nothing_is_told() -> None:
    fixed = Entry("f" * 12, SEEN, (), MOMENT, MOMENT, 0.0, fixed=MOMENT)
    told = lapses(
        [waiver(rule="B608", path="src/*"), waiver(rule="S1"), waiver(finding="f" * 12)], [ENTRY, fixed], TODAY
    )
    assert [(index, why) for index, why, _ in told] == [(1, "for-nothing"), (2, "for-nothing")]
    assert told[0][2] == "the waiver of S1 is for nothing that is open. Remove it."


def test_a_waiver_says_what_for_why_and_who() -> None:
    wrong = WaiverFile(
        waivers=(waiver(tool="bandit"), waiver(finding="B608"), waiver(rule="B608", reason=" ", author="")),
    )
    assert [problem.path[1:] for problem in check_waivers(wrong)] == [
        ("0",), ("1", "finding"), ("2", "reason"), ("2", "author"),
    ]  # fmt: skip
    assert not list(check_waivers(WaiverFile(waivers=(waiver(rule="B608"), waiver(finding="0123456789ab")))))


def test_days_are_those_of_utc() -> None:
    assert day_of(86_399.0) == dt.date(1970, 1, 1)
    assert day_of(86_400.0) == dt.date(1970, 1, 2)
