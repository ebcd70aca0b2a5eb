"""The waves machine: each row of its table, and what holds whatever happens in whatever order."""

from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.commands import Notify
from openbell.core.events import AbortRequested, Resumed
from openbell.core.waves import (
    RETURN_ATTEMPTS,
    TRANSITIONS,
    AbortTarget,
    AnyWavesCommand,
    AnyWavesEvent,
    Arrival,
    BeginTarget,
    HoldOver,
    Phase,
    Return,
    ReturnTarget,
    TargetApproved,
    TargetEnded,
    TargetReturned,
    Told,
    Waves,
    WavesBegun,
    WavesPlan,
    decide,
    fold,
)

WAVES = (("eu",), ("us", "asia"), ("home",))


def plan(**changes: object) -> WavesPlan:
    made = WavesPlan(id="w-1", environment="production", digest="sha256:new", version="v2", waves=WAVES, hold_s=600.0)
    return msgspec.structs.replace(made, **changes)


def begun(**changes: object) -> WavesBegun:
    return WavesBegun(at_s=0.0, plan=plan(**changes), by="ada")


def ended(target: str, outcome: Arrival = "promoted", at_s: float = 10.0) -> TargetEnded:
    return TargetEnded(at_s=at_s, target=target, outcome=outcome, reason=f"{outcome} it is")


def returned(target: str, outcome: Return = "returned") -> TargetReturned:
    return TargetReturned(at_s=20.0, target=target, outcome=outcome, reason=f"{outcome} it is")


ABORT = AbortRequested(at_s=15.0, by="grace", reason="drill")
HELD = HoldOver(at_s=10_000.0)
RESUMED = Resumed(at_s=30.0, by="host")


def after(*events: AnyWavesEvent, **changes: object) -> tuple[Waves, list[str]]:
    """Fold events; returns the state, and what the last event has set in motion."""
    state, commands = decide(None, begun(**changes))
    for event in events:
        state, commands = decide(state, event)
    return state, [words(command) for command in commands]


def words(command: AnyWavesCommand) -> str:
    match command:
        case BeginTarget(target=target, asks=asks):
            return f"begin {target}{' and ask' if asks else ''}"
        case ReturnTarget(target=target):
            return f"return {target}"
        case AbortTarget(target=target):
            return f"abort {target}"
        case Notify(subject=subject):
            return subject


FIRST = (ended("eu"),)
SECOND = (*FIRST, HELD)
THIRD = (*SECOND, ended("us"), ended("asia"), HELD)
BACK = "v2 is taken back from production"


@pytest.mark.parametrize(
    ("events", "phase", "commands"),
    [
        ((), "forward", ["begin eu"]),
        (FIRST, "holding", []),
        ((*FIRST, HoldOver(at_s=609.9)), "holding", []),
        ((*FIRST, HoldOver(at_s=610.0)), "forward", ["begin us", "begin asia"]),
        ((*SECOND, ended("us")), "forward", []),
        ((*SECOND, ended("us"), ended("asia")), "holding", []),
        ((*THIRD, ended("home")), "ended", ["v2 is in production"]),
        ((ended("eu", "unchanged"),), "forward", ["begin us", "begin asia"]),
        ((ended("eu", "rolled-back"),), "ended", [BACK, "v2 was taken back in production"]),
        ((ended("eu", "refused"),), "ended", [BACK, "v2 was taken back in production"]),
        ((ended("eu", "failed"),), "returning", [BACK, "return eu"]),
        ((*SECOND, ended("us", "rolled-back")), "stopping", [BACK]),
        ((*SECOND, ended("us", "rolled-back"), ended("asia")), "returning", ["return asia"]),
        ((*SECOND, ended("us", "rolled-back"), ended("asia"), returned("asia")), "returning", ["return eu"]),
        ((*SECOND, ended("us", "rolled-back"), ended("asia", "refused")), "returning", ["return eu"]),
        ((*FIRST, ABORT), "returning", [BACK, "return eu"]),
        ((*SECOND, ABORT), "stopping", ["abort us", "abort asia", BACK]),
        ((*SECOND, ended("us", "refused"), ABORT), "stopping", ["abort asia"]),
        ((*SECOND, ABORT, ABORT), "stopping", []),
        ((ended("eu", "failed"), returned("eu", "kept")), "ended", ["v2 was taken back in production"]),
        ((ended("eu", "failed"), returned("eu", "blocked")), "returning", ["return eu"]),
    ],
)
def test_each_turn_of_a_run(events: tuple[AnyWavesEvent, ...], phase: Phase, commands: list[str]) -> None:
    state, found = after(*events)
    assert (state.phase, found) == (phase, commands)


def test_no_event_is_without_a_row_where_it_matters() -> None:
    phases, events = get_args(Phase), [kind for kind in get_args(AnyWavesEvent) if kind is not WavesBegun]
    silent = {(phase, event.__name__) for phase in phases for event in events if (phase, event) not in TRANSITIONS}
    assert len(TRANSITIONS) + len(silent) == len(phases) * len(events)
    assert {name for _, name in silent} == {
        "TargetApproved", "TargetEnded", "TargetReturned", "HoldOver", "AbortRequested",
    }  # fmt: skip
    assert {phase for phase, name in silent if name == "AbortRequested"} == {"returning", "stuck", "ended"}


def test_one_target_asks_and_the_rest_of_its_wave_waits_for_the_answer() -> None:
    waves = (("us", "asia"), ("eu",))
    assert after(asks=True, waves=waves)[1] == ["begin us and ask"]
    approved = TargetApproved(at_s=5.0, target="us")
    assert after(approved, asks=True, waves=waves)[1] == ["begin asia"]
    assert after(ended("us"), asks=True, waves=waves)[1] == ["begin asia"]
    assert after(ended("us", "unchanged"), asks=True, waves=waves)[1] == ["begin asia and ask"]
    later = (ended("us", "unchanged"), ended("asia", "unchanged"))
    assert after(*later, asks=True, waves=waves)[1] == ["begin eu and ask"]


def test_the_reason_names_the_target_that_failed_and_what_is_left() -> None:
    state, _ = after(*SECOND, ended("us", "rolled-back"), ended("asia"), returned("asia", "kept"), returned("eu"))
    assert state.outcome == "rolled-back"
    assert state.reason == "us: rolled-back it is; asia is left as it is: kept it is"


def test_it_was_there_already() -> None:
    state, _ = after(*(ended(target, "unchanged") for target in plan().targets))
    assert (state.outcome, state.reason) == ("promoted", "it was in all targets already")


def test_what_cannot_be_returned_is_tried_again_and_then_a_person_is_asked() -> None:
    blocked = [returned("eu", "blocked")] * RETURN_ATTEMPTS
    state, commands = after(ended("eu", "failed"), *blocked, approvers=("grace",))
    assert (state.phase, state.waiting_for) == ("stuck", "grace: eu could not be returned: blocked it is")
    assert commands == ["eu of production could not be returned, grace is waited for"]
    state, resumed = decide(state, RESUMED)
    assert (state.phase, state.waiting_for) == ("returning", None)
    assert "return eu" in [words(command) for command in resumed]
    ids = [command.id for command in resumed if isinstance(command, ReturnTarget)]
    assert ids == [f"w-1/return/eu/{RETURN_ATTEMPTS}"]


def test_a_way_back_that_is_asked_for_goes_from_the_last_wave_to_the_first() -> None:
    assert after(goal="return")[1] == ["return home"]
    assert after(returned("home"), goal="return")[1] == ["return us", "return asia"]
    all_back = [returned(target) for target in ("home", "us", "asia", "eu")]
    assert after(*all_back, goal="return")[0].outcome == "promoted"
    kept = [*all_back[:-1], returned("eu", "kept")]
    state, commands = after(*kept, goal="return")
    assert (state.outcome, state.reason) == ("rolled-back", "eu is left as it is: kept it is")
    assert commands == ["not all of production is back"]


def test_what_is_outstanding_is_carried_out_again_after_a_crash() -> None:
    state, _ = after(*SECOND, ABORT)
    _, commands = decide(state, RESUMED)
    assert [words(command) for command in commands] == ["begin us", "begin asia", "abort us", "abort asia", BACK]


def test_a_run_begins_with_its_begin() -> None:
    with pytest.raises(ValueError, match="begins with WavesBegun"):
        decide(None, HELD)
    with pytest.raises(ValueError, match="without events"):
        fold([])
    state, _ = after()
    assert decide(state, begun()) == (state, ())


# --- whatever happens


def events() -> st.SearchStrategy[AnyWavesEvent]:
    target = st.sampled_from(plan().targets)
    return st.one_of(
        st.builds(ended, target, st.sampled_from(get_args(Arrival)), st.floats(0, 5000)),
        st.builds(returned, target, st.sampled_from(get_args(Return))),
        st.builds(TargetApproved, at_s=st.just(5.0), target=target),
        st.builds(HoldOver, at_s=st.floats(0, 5000)),
        st.builds(Told, at_s=st.just(5.0), id=st.sampled_from(("w-1/notify/back", "w-1/notify/ended"))),
        st.sampled_from((ABORT, RESUMED)),
    )


def story(drawn: list[AnyWavesEvent], *, asks: bool) -> Iterator[tuple[Waves, AnyWavesEvent, Waves, list[str]]]:
    state, _ = decide(None, begun(asks=asks))
    for event in drawn:
        before = state
        state, commands = decide(state, event)
        yield before, event, state, [words(command) for command in commands]


@given(st.lists(events(), max_size=40), st.booleans())
def test_whatever_happens_in_whatever_order(drawn: list[AnyWavesEvent], asks: bool) -> None:
    for before, event, state, commands in story(drawn, asks=asks):
        busy = state.with_status("under-way", "returning")
        assert len({number for number, wave in enumerate(WAVES) for target in wave if target in busy}) <= 1
        if before.phase not in ("forward", "holding") and not isinstance(event, Resumed):
            assert not any(word.startswith("begin") for word in commands)
        if before.phase in ("returning", "stuck"):
            assert state.phase in ("returning", "stuck", "ended")
        if before.phase == "ended":
            assert (state.phase, state.outcome, state.status) == ("ended", before.outcome, before.status)


@given(st.lists(events(), max_size=40), st.booleans())
def test_whatever_happens_the_end_is_one_of_three(drawn: list[AnyWavesEvent], asks: bool) -> None:
    for _, _, state, _ in story(drawn, asks=asks):
        for number, wave in enumerate(WAVES):
            if state.with_status("under-way") and state.with_status("under-way")[0] in wave:
                earlier = [target for old in WAVES[:number] for target in old]
                assert all(state.status[target] in ("promoted", "unchanged") for target in earlier)
        if state.outcome == "promoted":
            assert not state.with_status("waiting", "failed", "rolled-back", "refused")
        if state.outcome == "rolled-back":
            assert not state.with_status("promoted", "failed", "under-way", "returning", "blocked")
        if state.phase == "stuck":
            assert state.waiting_for
            assert state.with_status("blocked")
        if not state.approved:
            assert len(state.with_status("under-way")) <= 1


@given(st.lists(events(), max_size=40), st.booleans())
def test_a_journal_tells_the_same_story_again(drawn: list[AnyWavesEvent], asks: bool) -> None:
    written = [msgspec.json.encode(event) for event in (begun(asks=asks), *drawn)]
    read = [msgspec.json.decode(one, type=AnyWavesEvent) for one in written]
    told = list(story(drawn, asks=asks))
    assert fold(read) == (told[-1][2] if told else after(asks=asks)[0])


@given(st.lists(events(), max_size=40), st.booleans())
def test_something_is_always_under_way_until_the_end(drawn: list[AnyWavesEvent], asks: bool) -> None:
    for _, _, state, _ in story(drawn, asks=asks):
        owed = [c for c in state.outstanding if isinstance(c, (BeginTarget, ReturnTarget))]
        assert owed or state.phase in ("holding", "stuck", "ended")
        assert {c.target for c in owed} == set(state.with_status("under-way", "returning"))
