"""A run over targets in words."""

from openbell.core.events import AbortRequested, Resumed
from openbell.core.waves import (
    AnyWavesEvent,
    HoldOver,
    TargetApproved,
    TargetEnded,
    TargetReturned,
    Told,
    Waves,
    WavesBegun,
    WavesPlan,
    decide,
)
from openbell.core.waves_narrative import describe_run, order_text, run_text

PLAN = WavesPlan(
    id="w-1",
    environment="production",
    digest="sha256:new",
    version="v2",
    waves=(("eu",), ("us", "asia")),
    hold_s=600.0,
    asks=True,
    approvers=("grace",),
)
BEGUN = WavesBegun(at_s=0.0, plan=PLAN, by="ada")
APPROVED = TargetApproved(at_s=5.0, target="eu")
THROUGH = TargetEnded(at_s=10.0, target="eu", outcome="promoted", reason="all steps passed")
FAILED = TargetEnded(at_s=620.0, target="us", outcome="rolled-back", reason="errors\nand their log")


def told(*events: AnyWavesEvent) -> tuple[Waves, list[str]]:
    state: Waves | None = None
    lines: list[str] = []
    for event in events:
        before = state
        state, _ = decide(before, event)
        lines += describe_run(before, event, state)
    assert state is not None
    return state, lines


def test_a_run_that_fails_is_told() -> None:
    state, lines = told(
        BEGUN,
        APPROVED,
        THROUGH,
        HoldOver(at_s=610.0),
        FAILED,
        TargetEnded(at_s=630.0, target="asia", outcome="unchanged", reason="v2 runs there already"),
        Told(at_s=631.0, id="w-1/notify/back"),
        Resumed(at_s=632.0, by="host"),
        TargetReturned(at_s=640.0, target="eu", outcome="returned", reason="all steps passed"),
    )
    assert lines == [
        "production: v2 in 2 waves (eu, then us and asia), begun by ada",
        "eu: begins, and asks for the approval of all",
        "eu: approved, for all targets",
        "eu: through: all steps passed",
        "wave 1 of 2 is through; hold for 10:00, then us, asia",
        "us: begins",
        "asia: begins",
        "us: taken back: errors",
        "told: v2 is taken back from production",
        "asia: nothing to do: v2 runs there already",
        "eu: goes back to what it had before",
        "resumed by host",
        "eu: has what it had before",
        "told: v2 was taken back in production",
        "w-1 taken back in 10:40",
    ]
    assert run_text(state) == "w-1 v2  was taken back: us: errors"


def test_where_a_run_stands_is_said_in_a_line() -> None:
    stands = [run_text(told(*events)[0]) for events in ((BEGUN,), (BEGUN, THROUGH))]
    assert stands == [
        "w-1 v2  wave 1 of 2: eu under-way, us waiting, asia waiting",
        "w-1 v2  holds before wave 2 of 2: eu promoted, us waiting, asia waiting",
    ]
    stopping = run_text(told(BEGUN, THROUGH, HoldOver(at_s=610.0), FAILED)[0])
    assert stopping == "w-1 v2  begins nothing more: eu promoted, us rolled-back, asia under-way"


def test_what_cannot_be_returned_is_told_with_who_is_waited_for() -> None:
    abort = AbortRequested(at_s=20.0, by="grace", reason="drill")
    blocked = [TargetReturned(at_s=30.0, target="eu", outcome="blocked", reason="no way")] * 3
    state, lines = told(BEGUN, THROUGH, abort, *blocked)
    assert "abort asked for by grace: drill" in lines
    assert lines[-1] == "waits for grace: eu could not be returned: no way"
    assert run_text(state).startswith("w-1 v2  waits for grace: eu could not be returned: no way: eu blocked")


def test_a_way_back_is_told_from_the_last_wave_to_the_first() -> None:
    assert order_text(PLAN) == "eu, then us and asia"
    plan = WavesPlan(
        id="w-2", environment="production", digest="", version="v1", waves=PLAN.waves, hold_s=0.0, goal="return"
    )
    assert order_text(plan) == "us and asia, then eu"
