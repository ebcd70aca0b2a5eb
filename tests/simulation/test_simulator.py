"""Ten thousand simulated rollouts with faults hold the eight invariants; broken rules are found out."""

import msgspec
import pytest

from openbell.core import rollout
from openbell.core.analysis.limits import Verdict
from openbell.core.rollout_state import Commands, Rollout
from openbell.core.strategy import Route
from openbell.hosts.simulator import InvariantViolated, scenario_of, simulate

ROLLOUTS = 10_000
CHUNKS = 20


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_ten_thousand_rollouts(chunk: int) -> None:
    size = ROLLOUTS // CHUNKS
    ends = {simulate(seed).outcome for seed in range(chunk * size, (chunk + 1) * size)}
    assert ends == {"promoted", "rolled-back", None}


def test_one_seed_is_one_story() -> None:
    assert simulate(7) == simulate(7)
    assert scenario_of(7) == scenario_of(7)


def found_out(invariant: str) -> None:
    with pytest.raises(InvariantViolated, match=rf"(?s){invariant}.*python -m openbell.hosts.simulator \d+"):
        list(map(simulate, range(2000)))


def test_a_way_back_that_forgets_the_traffic_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rollout.way_back
    monkeypatch.setattr(rollout, "way_back", lambda s: tuple(x for x in real(s) if not isinstance(x, Route)))
    found_out("1: a side with weight was retired")


def test_a_way_back_that_forgets_the_sessions_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rollout.way_back
    monkeypatch.setattr(rollout, "way_back", lambda s: tuple(x for x in real(s) if type(x).__name__ != "Handover"))
    found_out("6: the leader is on the other side")


def test_approvals_that_are_not_checked_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "approval_refusal", lambda state, *, by, digest: None)
    found_out("8: an approval counted that must not")


def test_a_judge_that_passes_without_data_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "judge_triggers", lambda limits, window, streaks: (Verdict("pass"), streaks))
    found_out("evidence: ")


def test_a_superseded_route_that_is_issued_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rollout._go_back

    def keep_all(state: Rollout, at_s: float, reason: str) -> tuple[Rollout, Commands]:
        after, commands = real(state, at_s, reason)
        lost = tuple(c for c in state.outstanding if c not in after.outstanding)
        return msgspec.structs.replace(after, outstanding=(*after.outstanding, *lost)), commands

    monkeypatch.setattr(rollout, "_go_back", keep_all)
    found_out("[13]: ")
