"""Five thousand simulated runs over ten targets in five waves hold the invariants; broken rules are found out."""

from collections.abc import Callable

import msgspec
import pytest

from openbell.core import waves
from openbell.core.waves import TRANSITIONS, HoldOver, TargetEnded, Waves, WavesBegun, WavesCommands
from openbell.hosts.waves_simulator import (
    TARGETS,
    WAVES,
    WavesInvariantViolated,
    scenario_of,
    simulate_waves,
)

RUNS = 5_000
CHUNKS = 5


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_thousands_of_runs(chunk: int) -> None:
    size = RUNS // CHUNKS
    ended = [simulate_waves(seed) for seed in range(chunk * size, (chunk + 1) * size)]
    assert {state.outcome for state in ended} == {"promoted", "rolled-back"}
    seen = {status for state in ended for status in state.status.values()}
    assert seen >= {"waiting", "promoted", "unchanged", "rolled-back", "refused", "returned", "kept"}
    assert any(any(state.attempts.values()) for state in ended), "nothing was ever blocked"


def test_one_seed_is_one_story() -> None:
    assert simulate_waves(7) == simulate_waves(7)
    drawn = scenario_of(7)
    assert drawn == scenario_of(7)
    assert (sum(map(len, drawn.waves)), len(drawn.waves)) == (TARGETS, WAVES)


def found_out(invariant: str) -> None:
    again = r"python -m openbell.hosts.waves_simulator \d+"
    with pytest.raises(WavesInvariantViolated, match=rf"(?s){invariant}.*{again}"):
        list(map(simulate_waves, range(500)))


Reaction = Callable[[Waves, TargetEnded], tuple[Waves, WavesCommands]]


def test_a_wave_that_does_not_wait_for_the_one_before_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = waves._begin

    def one_wave(event: WavesBegun) -> tuple[Waves, WavesCommands]:
        plan = msgspec.structs.replace(event.plan, waves=(event.plan.targets,))
        return real(msgspec.structs.replace(event, plan=plan))

    monkeypatch.setattr(waves, "_begin", one_wave)
    found_out("[12]: ")


def test_a_hold_that_is_cut_short_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(state: Waves, event: HoldOver) -> tuple[Waves, WavesCommands]:
        state = msgspec.structs.replace(state, phase="forward", wave=state.wave + 1, promoted_at_s=None)
        return waves._begin_more(state, event.at_s)

    monkeypatch.setitem(TRANSITIONS, ("holding", HoldOver), at_once)
    found_out("2: a target begins before the hold is over")


def test_a_failure_that_is_passed_over_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def go_on(state: Waves, event: TargetEnded) -> tuple[Waves, WavesCommands]:
        state = waves._settled(state, event.target, event.outcome, event.reason)
        return waves._begin_more(msgspec.structs.replace(state, approved=True), event.at_s)

    monkeypatch.setitem(TRANSITIONS, ("forward", TargetEnded), go_on)
    found_out("3: a target begins after another one has failed")


def test_an_approval_that_is_not_waited_for_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = waves._begin

    def approved(event: WavesBegun) -> tuple[Waves, WavesCommands]:
        return real(msgspec.structs.replace(event, plan=msgspec.structs.replace(event.plan, asks=False)))

    monkeypatch.setattr(waves, "_begin", approved)
    found_out("4: a target begins without an approval")


def test_a_way_back_in_the_wrong_order_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "reversed", lambda groups: groups, raising=False)
    found_out("5: a wave is returned before a later one")


def test_a_target_that_is_forgotten_on_the_way_back_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waves, "CHANGED", ("failed",))
    found_out("7: t[0-9] has v2 after a failure")


def test_a_run_that_gives_up_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TRANSITIONS, ("stopping", TargetEnded))
    found_out("6: the run does not end")
