"""What `status` says of the rollouts of an environment, as the journal has them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.adapters.sqlite import SqliteJournal
from openbell.core.commands import Notify
from openbell.core.events import Begun, Plan, Side
from openbell.core.rollout import fold
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import AnyStep, Approve, Place
from openbell.hosts.local import stream_of
from openbell.ports import AdapterError
from openbell.wiring.environment_status import describe_rollout, last_rollouts
from openbell.wiring.state import StateFolder

APPROVAL: tuple[AnyStep, ...] = (Approve(required=1),)
OWED = Notify(id="told/0", subject="taken back", text="", urgent=True)


def begun(number: int, environment: str, steps: tuple[AnyStep, ...] = APPROVAL) -> Begun:
    candidate = Side("green", "sha256:new", f"v{number}", 2)
    plan = Plan(
        id=f"r-{number}", environment=environment, strategy="blue-green", candidate=candidate,
        stable=Side("blue", "sha256:old", "v0", 2), steps=steps, author="ada", approvers=("grace",),
    )  # fmt: skip
    return Begun(at_s=1000.0, plan=plan, by="ada")


def rollout(**changes: Any) -> Rollout:
    return msgspec.structs.replace(fold([begun(7, "production")]), **changes)


async def test_the_newest_rollout_of_each_environment_is_found(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert await last_rollouts(state, ["production"]) == {}
    assert not state.journal.exists()
    async with SqliteJournal(state.journal) as journal:
        for number, environment in ((1, "production"), (2, "staging"), (3, "production")):
            event = begun(number, environment)
            await journal.append(stream_of(event.plan.id), "Begun", msgspec.json.encode(event), at_s=event.at_s)
    found = await last_rollouts(state, ["production", "staging", "other"])
    assert {name: one.id for name, one in found.items()} == {"production": "r-3", "staging": "r-2"}


async def test_a_journal_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.journal.write_bytes(b"no database at all" * 400)
    with pytest.raises(AdapterError, match="is damaged"):
        await last_rollouts(state, ["production"])


def test_what_waits_says_for_whom_and_how_it_goes_on() -> None:
    found = describe_rollout(rollout(), (), now_s=1192.0)
    assert (found.outcome, found.age_s, found.next) == ("waiting", 192.0, "openbell approve r-7")
    assert found.waits_for is not None
    assert "grace" in found.waits_for
    assert found.step == "step 1 of 1: wait for 1 approval"


def test_what_goes_on_says_its_step() -> None:
    state = fold([begun(7, "production", (Place(side="candidate", replicas=2), *APPROVAL))])
    found = describe_rollout(state, (), now_s=1000.0)
    assert (found.outcome, found.next) == ("running", "openbell watch r-7")
    assert found.step == "step 1 of 2: place 2 of v7 on green"


@pytest.mark.parametrize(
    ("changes", "failed", "expected"),
    [
        ({"outcome": "promoted"}, (), ("promoted", None)),
        ({"outcome": "promoted"}, ("load: slow",), ("promoted", "openbell why r-7")),
        ({"outcome": "rolled-back", "reason": "it errs"}, (), ("rolled-back", "openbell why r-7")),
        ({"outcome": "rolled-back", "outstanding": (OWED,)}, (), ("rolled-back", "openbell resume")),
    ],
)
def test_what_has_ended_counts_from_its_end(changes: dict[str, Any], failed: tuple[str, ...], expected: Any) -> None:
    ended: dict[str, Any] = {"direction": "ended", "waiting_for": None, "outstanding": (), "ended_at_s": 1100.0}
    found = describe_rollout(rollout(**{**ended, **changes}), failed, now_s=1101.0)
    assert (found.outcome, found.next) == expected
    assert (found.age_s, found.step, found.waits_for, found.failed_checks) == (1.0, "", None, failed)


def test_a_way_back_that_is_blocked_is_gone_on_with() -> None:
    blocked = rollout(
        direction="back", steps=(Place(side="stable", replicas=2),), waiting_for="the way back is blocked"
    )
    assert describe_rollout(blocked, (), now_s=1000.0).next == "openbell resume"
