"""What a person is told at the end of a run over targets, and its exit code."""

from openbell.cli.waves import ending, exit_code
from openbell.core.waves import TargetEnded, Waves, WavesBegun, WavesPlan, decide
from openbell.wiring.rollouts import RolloutDocument
from openbell.wiring.waves import WavesDocument

PLAN = WavesPlan(id="w-1", environment="production", digest="sha256:new", version="v2", waves=(("eu",),), hold_s=0.0)
WAITING = RolloutDocument(
    id="r-1",
    environment="production/eu",
    strategy="rolling",
    release="sha256:new",
    version="v2",
    outcome="waiting",
    reason="an approval from grace",
    duration_s=1.0,
    switch_ms=None,
    detected_s=None,
    requests=0,
    errors=0,
)


def run(ended: str | None) -> tuple[WavesDocument, Waves]:
    state, _ = decide(None, WavesBegun(at_s=0.0, plan=PLAN, by="ada"))
    if ended == "promoted":
        state, _ = decide(state, TargetEnded(at_s=1.0, target="eu", outcome="promoted", reason="all steps passed"))
    elif ended == "rolled-back":
        state, _ = decide(state, TargetEnded(at_s=1.0, target="eu", outcome="rolled-back", reason="errors\nlog"))
    outcome = state.outcome or "waiting"
    return WavesDocument("w-1", "production", outcome, state.reason, 1.0, () if ended else (WAITING,)), state


def test_a_run_that_is_through() -> None:
    found, state = run("promoted")
    assert ending(found, state) == ["✓ v2 is in production, in 1 target."]
    assert exit_code(found) == 0


def test_a_run_that_was_taken_back() -> None:
    found, state = run("rolled-back")
    assert ending(found, state) == [
        "✗ v2 was taken back from production.",
        "  Because: eu: errors (openbell why w-1).",
    ]
    assert exit_code(found) == 1


def test_a_run_that_waits() -> None:
    found, state = run(None)
    assert ending(found, state) == [
        "v2 waits in production/eu for an approval from grace.",
        "  Approve: openbell approve r-1     Take back: openbell abort w-1     Go on: openbell resume",
    ]
    assert exit_code(found) == 3
