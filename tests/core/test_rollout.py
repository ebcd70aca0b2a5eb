"""The rollout machine, event by event; the invariants under faults are in tests/simulation."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample, ServiceHealth, SideHealth, Tick
from openbell.core.commands import AnyCommand, Drain, Notify, PlaceSide, RetireSide, RunSmoke, SetRoute
from openbell.core.events import (
    AbortRequested,
    AnyEvent,
    Approved,
    Begun,
    CommandFailed,
    CommandSucceeded,
    Plan,
    Resumed,
    Side,
    Ticked,
)
from openbell.core.narrative import describe
from openbell.core.project import Approval, Environment, RolloutPolicy
from openbell.core.rollout import approval_refusal, decide, fold, way_back
from openbell.core.rollout_state import Rollout, stable_after
from openbell.core.strategy import Approve, Handover, Hold, Migrate, Place, Retire, Route, Watch, compile_steps

BLUE = Side("blue", "sha256:old", "v1", 2)
GREEN = Side("green", "sha256:new", "v2", 2)


def plan(*, stable: Side | None = BLUE, approval: bool = False, strategy: str = "blue-green") -> Plan:
    policy = RolloutPolicy(hold_s=10, watch_s=10)
    environment = Environment(
        strategy=strategy,  # type: ignore[arg-type]
        replicas=2,
        approval=Approval() if approval else None,
        rollout=policy,
    )
    steps = compile_steps(
        environment, smoke="smoke", expand=False, contract=False, stable_replicas=2 if stable else None
    )
    return Plan(
        id="r-1",
        environment="production",
        strategy=strategy,
        candidate=GREEN,
        stable=stable,
        steps=steps,
        author="ada",
        approvers=("grace", "ada"),
        undecided_s=5.0,
        tick_s=1.0,
    )


def sample(requests: int = 50, errors: int = 0) -> Sample:
    counts = tuple(requests if edge == 5 else 0 for edge in range(len(LATENCY_EDGES_MS) + 1))
    return Sample(True, requests, errors, counts, 1.0, 2.0)


class Machine:
    """Drives `decide` by hand: answers commands, lets time pass, keeps the events."""

    def __init__(self, begun: Plan) -> None:
        self.now_s = 0.0
        self.events: list[AnyEvent] = []
        self.commands: list[AnyCommand] = []
        self.told: list[str] = []
        self.state = self.send(Begun(at_s=0.0, plan=begun, by="ada"))

    def send(self, event: AnyEvent) -> Rollout:
        before = getattr(self, "state", None)
        self.events.append(event)
        self.state, commands = decide(before, event)
        self.told += describe(before, event, self.state)
        self.commands += commands
        return self.state

    def succeed(self) -> Rollout:
        """Answer everything that is outstanding until the machine waits for time or people."""
        while self.state.outstanding:
            self.send(CommandSucceeded(at_s=self.now_s, id=self.state.outstanding[0].id, switch_ms=0.9))
        return self.state

    def fail(self, message: str = "broken", *, retryable: bool = False) -> Rollout:
        command = next(c for c in self.state.outstanding if not isinstance(c, Notify))
        return self.send(
            CommandFailed(at_s=self.now_s, id=command.id, message=message, retryable=retryable, effect="unknown")
        )

    def tick(
        self, seconds: float = 1.0, candidate: Sample | None = None, *, healthy: int = 2, drift: str = ""
    ) -> Rollout:
        self.now_s += seconds
        health = SideHealth(True, (ServiceHealth("api", 2, 2),))
        old = SideHealth(True, (ServiceHealth("api", 2, healthy),))
        tick = Tick(self.now_s, seconds, candidate or sample(), sample(), health, old, drift)
        return self.send(Ticked(at_s=self.now_s, tick=tick))

    def routes(self) -> list[dict[str, int]]:
        return [command.weights for command in self.commands if isinstance(command, SetRoute)]

    def until(self, kind: type, weight_pct: int | None = None) -> Rollout:
        """Go on, with good samples, until the step is of this kind."""
        for _ in range(100):
            step = self.state.step
            if (
                isinstance(step, kind)
                and self.state.entered
                and (weight_pct is None or self.state.weight_pct == weight_pct)
            ):
                return self.state
            if self.state.outstanding:
                self.send(CommandSucceeded(at_s=self.now_s, id=self.state.outstanding[0].id))
            else:
                self.tick()
        pytest.fail(f"no {kind.__name__}, but {self.state.step}")


def test_a_good_release_is_promoted() -> None:
    machine = Machine(plan())
    machine.until(Watch)
    while machine.state.direction != "ended":
        machine.succeed() if machine.state.outstanding else machine.tick()
    assert machine.state.outcome == "promoted"
    assert machine.routes() == [{"green": 5, "blue": 95}, {"green": 100, "blue": 0}]
    assert [type(c) for c in machine.commands if not isinstance(c, Notify)] == [
        RetireSide, PlaceSide, RunSmoke, SetRoute, SetRoute, Drain, RetireSide,
    ]  # fmt: skip
    assert stable_after(machine.state) == GREEN


def test_a_hold_lasts_as_long_as_it_says() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    for _ in range(9):
        assert isinstance(machine.tick().step, Hold)
    assert isinstance(machine.tick().step, Route)


def test_errors_take_the_release_back_and_say_why() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    for _ in range(3):
        machine.tick(candidate=sample(50, 20))
    assert machine.state.direction == "back"
    assert machine.routes()[-1] == {"green": 0, "blue": 100}
    assert "error rate" in machine.state.reason
    machine.succeed()
    assert machine.state.outcome == "rolled-back"
    assert stable_after(machine.state) == BLUE
    assert machine.state.detected_s is not None


def test_traffic_is_taken_away_while_a_placement_still_runs() -> None:
    machine = Machine(plan(strategy="rolling"))
    machine.until(Route)
    machine.until(Place)
    assert machine.state.weight_pct == 50
    state = machine.send(AbortRequested(at_s=1.0, by="grace", reason="drill"))
    assert machine.routes()[-1] == {"green": 0, "blue": 100}
    assert [type(c) for c in state.outstanding if not isinstance(c, Notify)] == [PlaceSide, SetRoute]
    route = state.outstanding[1]
    state = machine.send(CommandSucceeded(at_s=1.0, id=route.id))
    assert not state.entered, "the way back goes on only when the placement has ended"
    assert machine.succeed().outcome == "rolled-back"


def test_a_routing_command_in_flight_is_superseded() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    for _ in range(10):
        machine.tick()
    raising = next(c for c in machine.state.outstanding if isinstance(c, SetRoute))
    machine.send(AbortRequested(at_s=11.0, by="grace", reason="drill"))
    _, again = decide(machine.state, Resumed(at_s=12.0, by="x"))
    assert raising not in again
    assert [c.weights["green"] for c in again if isinstance(c, SetRoute)] == [0]


@pytest.mark.parametrize(
    ("prepare", "kinds"),
    [
        (lambda m: m.until(Place), [Retire]),
        (lambda m: m.until(Hold), [Route, Handover, Retire]),
        (lambda m: m.until(Watch), [Route, Handover, Retire]),
        (lambda m: (m.until(Hold), m.tick(healthy=0)), [Place, Route, Handover, Retire]),
    ],
)
def test_the_way_back_depends_on_how_far_it_went(prepare: Callable[[Machine], object], kinds: list[type]) -> None:
    machine = Machine(plan())
    prepare(machine)
    assert [type(step) for step in way_back(machine.state)] == kinds


def test_replicas_that_were_retired_come_back() -> None:
    machine = Machine(plan(strategy="rolling"))
    machine.until(Handover)
    assert machine.state.stable_replicas == 1, "what is drained is not relied on"
    machine.send(AbortRequested(at_s=1.0, by="grace", reason="drill"))
    assert machine.succeed().outcome == "rolled-back"
    placed = [c for c in machine.commands if isinstance(c, PlaceSide) and c.slot == "blue"]
    assert [c.replicas for c in placed] == [2]


def test_a_release_that_never_gets_healthy_is_taken_back_untouched() -> None:
    machine = Machine(plan())
    machine.until(Place)
    machine.fail("api-0 is not healthy after 30 s")
    machine.succeed()
    assert machine.state.outcome == "rolled-back"
    assert machine.routes() == []
    assert machine.state.reason == "api-0 is not healthy after 30 s"


def test_a_retryable_failure_is_tried_again_with_another_key() -> None:
    machine = Machine(plan())
    machine.until(Place)
    first = machine.state.outstanding[0].id
    again = machine.fail(retryable=True)
    assert again.direction == "forward"
    assert again.outstanding[0].id != first
    assert again.outstanding[0].delay_s > 0
    machine.fail(retryable=True)
    assert machine.fail(retryable=True).direction == "back"


def test_a_gateway_that_is_gone_is_waited_for_as_long_as_a_side_may_take_to_be_healthy() -> None:
    """A gateway that lost its API server serves what it was told last: nothing is lost by waiting for it."""
    machine = Machine(plan())
    machine.until(Place)
    machine.succeed()
    machine.tick()
    began_s = machine.now_s
    while machine.now_s - began_s < machine.state.plan.healthy_timeout_s - 5.0:
        machine.fail("the gateway has not accepted api", retryable=True)
        assert (machine.state.direction, machine.state.outstanding[0].delay_s <= 5.0) == ("forward", True)
        machine.tick(4.0)
    machine.tick(5.0)
    assert machine.fail("the gateway has not accepted api", retryable=True).direction == "back"
    assert machine.state.attempt == 0


def test_the_way_back_that_is_blocked_waits_for_a_person_who_is_told() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    machine.send(AbortRequested(at_s=1.0, by="grace", reason="drill"))
    for _ in range(8):
        machine.fail("the router is gone", retryable=True)
    assert "the router is gone" in (machine.state.waiting_for or "")
    assert any(isinstance(c, Notify) and c.urgent for c in machine.commands)
    machine.send(Resumed(at_s=9.0, by="grace"))
    assert machine.state.waiting_for is None
    assert machine.succeed().outcome == "rolled-back"


def test_no_data_never_promotes() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    for _ in range(60):
        machine.tick(candidate=Sample(observed=False))
    assert isinstance(machine.state.step, Hold)
    assert "undecided" in (machine.state.waiting_for or "")
    told = [c for c in machine.commands if isinstance(c, Notify) and "waits for" in c.subject]
    assert len(told) == 1
    assert approval_refusal(machine.state, by="ada", digest=GREEN.digest) is not None
    machine.send(Approved(at_s=70.0, by="grace", digest=GREEN.digest, reason="quiet market"))
    assert isinstance(machine.state.step, Route)


def test_approval_from_the_right_person_only() -> None:
    machine = Machine(plan(approval=True))
    machine.until(Approve)
    for by, digest in (("ada", GREEN.digest), ("mallory", GREEN.digest), ("grace", "sha256:other")):
        machine.send(Approved(at_s=1.0, by=by, digest=digest))
        assert isinstance(machine.state.step, Approve)
    machine.send(Approved(at_s=1.0, by="grace", digest=GREEN.digest))
    assert isinstance(machine.state.step, Route)


def test_an_approval_that_never_comes_ends_the_rollout() -> None:
    machine = Machine(msgspec.structs.replace(plan(approval=True), approval_timeout_s=30.0))
    machine.until(Approve)
    machine.tick(31.0)
    machine.succeed()
    assert machine.state.outcome == "rolled-back"
    assert "nobody approved" in machine.state.reason


def test_a_first_release_that_fails_leaves_nothing() -> None:
    machine = Machine(plan(stable=None))
    machine.until(Place)
    machine.fail()
    machine.succeed()
    assert machine.state.outcome == "rolled-back"
    assert stable_after(machine.state) is None


def test_post_deployment_limits_tell_once() -> None:
    machine = Machine(plan())
    machine.until(Watch)
    for _ in range(5):
        machine.tick(candidate=sample(100, 1))
    told = [c.subject for c in machine.commands if isinstance(c, Notify) and "error rate is outside" in c.subject]
    assert told == ["v2 in production: error rate is outside its limit"]
    assert machine.state.direction == "forward"


@given(st.data())
def test_any_events_in_any_order(data: st.DataObject) -> None:
    """Whatever arrives, also late, doubled or nonsense: no raise after the decision to go back, and replay agrees."""
    machine = Machine(plan(strategy=data.draw(st.sampled_from(["rolling", "blue-green", "canary"])), approval=True))
    for _ in range(data.draw(st.integers(1, 60))):
        kind = data.draw(
            st.sampled_from(["ok", "ok", "ok", "tick", "tick", "bad", "fail", "approve", "abort", "resume"])
        )
        ids = [c.id for c in machine.commands]
        late: bool = data.draw(st.booleans())
        pick = data.draw(st.sampled_from(ids)) if ids and late else None
        known = pick or (machine.state.outstanding[0].id if machine.state.outstanding else "nonsense")
        at_s = machine.now_s
        before = machine.state
        match kind:
            case "ok":
                machine.send(CommandSucceeded(at_s=at_s, id=known))
            case "fail":
                retryable = data.draw(st.booleans())
                machine.send(CommandFailed(at_s=at_s, id=known, message="x", retryable=retryable, effect="unknown"))
            case "tick":
                machine.tick(data.draw(st.sampled_from([1.0, 30.0])))
            case "bad":
                machine.tick(candidate=sample(50, 25))
            case "approve":
                by = data.draw(st.sampled_from(["ada", "grace", "mallory"]))
                machine.send(Approved(at_s=at_s, by=by, digest=GREEN.digest))
            case "abort":
                machine.send(AbortRequested(at_s=at_s, by="grace", reason="drill"))
            case "resume":
                machine.send(Resumed(at_s=at_s, by="x"))
        if before.direction == "back":
            assert machine.state.direction in ("back", "ended")
            assert machine.state.outcome != "promoted"
            assert not any(isinstance(c, SetRoute) and c.weights["green"] for c in machine.state.outstanding)
    assert fold(machine.events) == machine.state
    assert set(machine.state.approvals) <= {"grace"}


def test_a_first_release_that_serves_is_not_taken_away() -> None:
    """Nothing would serve at all: the rollout waits for a person, and goes on when resumed."""
    machine = Machine(plan(stable=None))
    machine.until(Route)
    machine.fail("the router is gone")
    assert "no earlier release to go back to" in (machine.state.waiting_for or "")
    assert machine.send(AbortRequested(at_s=1.0, by="grace", reason="drill")).direction == "forward"
    machine.send(Resumed(at_s=2.0, by="x"))
    waiting = [c for c in machine.state.outstanding if isinstance(c, SetRoute)]
    assert not waiting, "a new driver looks before it sends traffic"
    machine.tick()
    assert machine.succeed().outcome == "promoted"


def test_gaps_do_not_save_a_release_that_fails() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    machine.tick(candidate=Sample(observed=False))
    for _ in range(3):
        machine.tick(candidate=sample(50, 25))
    assert machine.state.direction == "back"


def test_resumed_the_judge_looks_on_before_it_asks_again() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    while not machine.state.waiting_for:
        machine.tick(candidate=Sample(observed=False))
    assert machine.send(Resumed(at_s=machine.now_s, by="x")).waiting_for is None
    while isinstance(machine.state.step, Hold):
        machine.tick()
    assert machine.state.weight_pct == 5


def test_a_hold_counts_only_what_was_observed() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    for _ in range(9):
        machine.tick(candidate=Sample(observed=False))
    machine.tick(600.0)
    assert isinstance(machine.state.step, Hold), "neither blind time nor a clock that jumped ends a hold"


def test_old_restarts_do_not_stop_the_way_back_to_a_release() -> None:
    machine = Machine(msgspec.structs.replace(plan(), strategy="return"))
    machine.until(Place)
    health = SideHealth(True, (ServiceHealth("api", 2, 2),), restarts=9, failed_health_checks=99)
    machine.succeed()
    for at_s in (1.0, 2.0):
        tick = Tick(at_s, 1.0, sample(), sample(), health, health)
        machine.send(Ticked(at_s=at_s, tick=tick))
    assert machine.state.direction == "forward"


def test_a_contracted_database_is_not_gone_back_from_by_a_machine() -> None:
    steps = (*plan().steps, Migrate(phase="contract"))
    machine = Machine(msgspec.structs.replace(plan(), steps=steps))
    machine.until(Migrate)
    machine.fail("the contraction failed")
    assert "the database was contracted" in (machine.state.waiting_for or "")
    assert machine.routes()[-1]["green"] == 100


def test_an_approval_that_comes_too_late_does_not_count() -> None:
    machine = Machine(msgspec.structs.replace(plan(approval=True), approval_timeout_s=30.0))
    machine.until(Approve)
    machine.send(Approved(at_s=machine.now_s + 31.0, by="grace", digest=GREEN.digest))
    assert machine.state.direction == "back"


def test_a_long_pause_is_no_reason_to_ask_a_person() -> None:
    machine = Machine(plan())
    machine.until(Hold)
    machine.now_s += 10_000.0
    machine.send(Resumed(at_s=machine.now_s, by="x"))
    machine.tick()
    assert machine.state.waiting_for is None


def test_what_somebody_else_changes_of_the_routing_is_taken_over_and_told() -> None:
    machine = Machine(plan())
    machine.until(Hold, 5)
    switched = (machine.state.switch_ms, machine.state.switched_at_s)
    state = machine.tick(drift="green 50, changed by kubectl-edit")
    again = [command for command in state.outstanding if isinstance(command, SetRoute)]
    assert [(command.weights, command.sessions) for command in again] == [({"green": 5, "blue": 95}, "blue")]
    told = [command for command in machine.commands if isinstance(command, Notify)][-1]
    assert (told.text, told.urgent) == ("green 50, changed by kubectl-edit", True)
    assert "somebody else has changed the routing: green 50, changed by kubectl-edit" in machine.told
    assert machine.tick(drift="green 50, changed by kubectl-edit").drifts == 1, "what is under way is awaited"
    state = machine.succeed()
    assert isinstance(state.step, Hold)
    assert (state.switch_ms, state.switched_at_s) == switched, "nothing was switched"
    assert machine.tick(drift="again").drifts == 2
    machine.succeed()
    machine.until(Watch, 100)
    assert fold(machine.events) == machine.state


def test_what_somebody_else_changes_takes_the_release_back_where_the_policy_says_so() -> None:
    machine = Machine(msgspec.structs.replace(plan(), on_drift="rollback"))
    machine.until(Hold, 5)
    state = machine.tick(drift="green 50, changed by kubectl-edit")
    assert state.direction == "back"
    assert state.reason == "somebody else has changed the routing: green 50, changed by kubectl-edit"
    machine.succeed()
    assert machine.routes()[-1] == {"green": 0, "blue": 100}


def test_on_the_way_back_only_a_routing_that_raises_nothing_is_written_again() -> None:
    machine = Machine(plan())
    machine.until(Hold, 5)
    machine.send(AbortRequested(at_s=machine.now_s, by="grace", reason="drill"))
    machine.tick(drift="green 50")
    assert machine.routes()[-1] == {"green": 0, "blue": 100}
    machine.send(
        CommandSucceeded(
            at_s=machine.now_s,
            id=next(command.id for command in machine.state.outstanding if isinstance(command, SetRoute)),
        )
    )
    before = len(machine.routes())
    machine.tick(drift="green 50")
    assert machine.routes()[before:] == [{"green": 0, "blue": 100}]


def test_nothing_was_routed_so_nothing_drifts() -> None:
    machine = Machine(plan(approval=True))
    machine.until(Approve)
    machine.tick(drift="green 50")
    assert machine.routes() == []


def test_a_route_that_failed_is_tried_again_once_the_candidate_is_seen_to_serve() -> None:
    """After an outage of whoever says what is healthy, all seem not to be for a while."""
    machine = Machine(plan())
    machine.until(Place)
    machine.succeed()
    machine.tick()
    assert machine.routes() == [{"green": 5, "blue": 95}]
    gone = SideHealth(True, (ServiceHealth("api", 2, 0),))
    whole = SideHealth(True, (ServiceHealth("api", 2, 2),))
    machine.now_s += 1.0
    machine.send(Ticked(at_s=machine.now_s, tick=Tick(machine.now_s, 1.0, sample(), sample(), gone, whole)))
    machine.fail("slot green has no instance that serves", retryable=True)
    assert (len(machine.routes()), machine.state.direction) == (1, "forward")
    machine.tick()
    assert machine.routes()[1:] == [{"green": 5, "blue": 95}]
    machine.succeed()
    assert isinstance(machine.state.step, Hold)
