"""The specification's severities: what blocks, what is due when, and what fails a change."""

import datetime as dt

import pytest

from openbell.core.findings import DAY_S, Change, ChangeKind, Entry, Moment
from openbell.core.findings_policy import added, blocking, count, due_at_s, failing, stand
from openbell.core.project import FailNew, FindingsPolicy
from openbell.core.sightings import Severity, Sighting
from openbell.core.waivers import Waiver

POLICY = FindingsPolicy()
BEGAN_S = 1_000_000.0


def entry(severity: Severity, *, rule: str = "R", fixed: bool = False) -> Entry:
    moment = Moment(0.0, "r", "c")
    seen = Sighting("t", rule, severity, "m", "a.py", 1)
    return Entry(f"{rule}{severity}", seen, ("j",), moment, moment, BEGAN_S, fixed=moment if fixed else None)


def waived(rule: str) -> Waiver:
    until = dt.datetime.fromtimestamp(BEGAN_S, tz=dt.UTC).date() + dt.timedelta(days=30)
    return Waiver(rule=rule, reason="r", author="a", until=until)


@pytest.mark.parametrize(
    ("severity", "after_days", "standing"),
    [
        ("critical", 0, "critical"),
        ("high", 0, "due"),
        ("high", 7, "due"),
        ("high", 7.001, "overdue"),
        ("medium", 300, "open"),
        ("low", 300, "open"),
        ("note", 300, "open"),
    ],
)
def test_the_defaults_are_the_specifications(severity: Severity, after_days: float, standing: str) -> None:
    (stood,) = stand([entry(severity)], POLICY, (), now_s=BEGAN_S + after_days * DAY_S)
    assert stood.standing == standing
    assert bool(blocking([stood])) is (standing in ("critical", "overdue"))


def test_days_may_be_set_for_the_others_too() -> None:
    policy = FindingsPolicy(high_due_days=1, medium_due_days=2, low_due_days=3)
    wanted = {"critical": 0, "high": 1, "medium": 2, "low": 3}
    for severity in ("critical", "high", "medium", "low"):
        assert due_at_s(entry(severity), policy) == BEGAN_S + wanted[severity] * DAY_S
    assert due_at_s(entry("note"), policy) is None


def test_what_is_waived_or_fixed_blocks_nothing_until_the_waiver_ends() -> None:
    entries = [entry("critical", rule="A"), entry("high", rule="B", fixed=True)]
    stood = stand(entries, POLICY, [waived("A")], now_s=BEGAN_S + 9 * DAY_S)
    assert [one.standing for one in stood] == ["waived", "fixed"]
    assert not blocking(stood)
    later = stand(entries, POLICY, [waived("A")], now_s=BEGAN_S + 31 * DAY_S)
    assert [one.standing for one in blocking(later)] == ["critical"]


@pytest.mark.parametrize(
    ("fail_new", "severities"),
    [("critical", ["critical"]), ("high", ["critical", "high"]), ("low", ["critical", "high", "low"]), ("never", [])],
)
def test_what_a_change_brings_fails_it_when_it_is_severe_enough(fail_new: FailNew, severities: list[str]) -> None:
    brought = [entry(severity) for severity in ("critical", "high", "low", "note")]
    found = failing(brought, FindingsPolicy(fail_new=fail_new))
    assert [one.seen.severity for one in found] == severities


def test_what_is_new_came_back_or_got_worse_is_added_and_what_is_waived_is_not() -> None:
    kinds: tuple[ChangeKind, ...] = ("new", "reopened", "raised", "lowered", "fixed")
    changes = [Change(kind, entry("high", rule=kind)) for kind in kinds]
    assert [one.seen.rule for one in added(changes, (), now_s=BEGAN_S)] == ["new", "reopened", "raised"]
    assert [one.seen.rule for one in added(changes, [waived("re*")], now_s=BEGAN_S)] == ["new", "raised"]


def test_counts_are_by_severity_the_worst_first() -> None:
    assert count([entry("low"), entry("high"), entry("low")]) == {"high": 1, "low": 2}
