"""A rollout on the screen: it fits the terminal, and says a thing once."""

from typing import Any

import msgspec
import pytest

from openbell.cli.rollout_progress import ending, screen_lines
from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample, ServiceHealth, SideHealth, Tick
from openbell.core.events import Begun, Plan, Side
from openbell.core.rollout import fold
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Hold, Place

HEALTH = SideHealth(observed=True, services=(ServiceHealth("api", 2, 2),))
REASON = "blue-api-1 did not get ready within 30 s: GET /readyz answered 404\nits log ends (api.log)\nTraceback"


def sample(requests: int, errors: int) -> Sample:
    counts = tuple(requests if edge == 40 else 0 for edge in (*LATENCY_EDGES_MS, None))
    return Sample(observed=True, requests=requests, errors=errors, latency_counts=counts)


TICKS = [Tick(1000.0 + n, 1.0, sample(60, n % 3), sample(1140, n % 2), HEALTH, HEALTH) for n in range(12)]


def rollout(**changes: Any) -> Rollout:
    plan = Plan(
        id="r-12", environment="production", strategy="blue-green", author="ada", approvers=("grace",),
        candidate=Side("green", "sha256:new", "v1.12.0", 2), stable=Side("blue", "sha256:old", "v1.11.3", 2),
        steps=(Place(side="candidate", replicas=2), Hold(duration_s=300)),
    )  # fmt: skip
    state = fold([Begun(at_s=1000.0, plan=plan, by="ada")])
    return msgspec.structs.replace(state, position=1, held_s=108.0, weight_pct=5, outstanding=(), **changes)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_screen_fits_the_terminal(width: int) -> None:
    lines = screen_lines(rollout(waiting_for="a person: the judge is undecided"), TICKS, width=width)
    assert [line for line in lines if len(line) > width] == []
    text = "\n".join(lines)
    for fact in ("hold at 5 % for 5:00", "3:12 left", "limit", "5 %", "2000 ms", "openbell approve r-12 --by NAME"):
        assert fact in text


def test_a_narrow_screen_says_the_same_in_more_lines() -> None:
    assert screen_lines(rollout(), TICKS, width=60) == [
        "production  v1.11.3 -> v1.12.0  blue-green",
        "  step 2 of 2: hold at 5 % for 5:00 and judge, 3:12 left",
        "            blue v1.11.3 95 %   green v1.12.0 5 %   limit",
        "  requests  1,140/s             60/s",
        "  errors    0.04 %  ▁█▁█▁█▁█▁█  1.67 %  █▁▅█▁▅█▁▅█  5 %",
        "  p95       40 ms  ███████████  40 ms  ███████████  2000 ms",
        "  restarts  0                   0                   3",
        "  abort: openbell abort r-12   why: openbell why r-12",
    ]


def test_the_log_of_a_failure_is_not_told_again_at_the_end() -> None:
    taken_back = "\n".join(ending(rollout(direction="ended", outcome="rolled-back", reason=REASON)))
    assert "GET /readyz answered 404 (openbell why r-12)." in taken_back
    assert "Traceback" not in taken_back
    assert "Traceback" not in "\n".join(ending(rollout(waiting_for=f"the way back is blocked: {REASON}")))
