"""The simulator: the rollout core in virtual time, with seeded faults, and the invariants checked after every event.

One seed decides everything: strategy, quality of the candidate, traffic, people, faults. Faults strike for a while (the
safety phase), then the world heals and the rollout must come to an end (liveness). A driver may crash at any event: its
state is thrown away and folded from the journal again, which must give the same state. Modelled on TigerBeetle's VOPR;
it knows no adapter. To reproduce a failure: `python -m openbell.hosts.simulator SEED`.
"""

import heapq
import random
import sys
from typing import Literal

import msgspec

from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample, ServiceHealth, SideHealth, Tick
from openbell.core.commands import AnyCommand, Drain, Notify, PlaceSide, RetireSide, SetRoute
from openbell.core.events import (
    AbortRequested,
    AnyEvent,
    Approved,
    Begun,
    CommandFailed,
    CommandSucceeded,
    Ended,
    Plan,
    Resumed,
    Side,
    Ticked,
)
from openbell.core.project import (
    Approval,
    Environment,
    OnDrift,
    RollbackTriggers,
    RolloutPolicy,
    StrategyName,
    WatchLimits,
)
from openbell.core.rollout import decide
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Approve, Retire, Route, compile_steps

Quality = Literal["good", "errors", "slow", "crashing", "never-healthy", "silent"]
_EVENT: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
HEALED_AT_S = 1500.0
GIVE_UP_AT_S = 6000.0


class InvariantViolated(Exception):  # noqa: N818 - the word of the design
    """An invariant of the design does not hold; the message names it, and the seed that shows it."""


class Scenario(msgspec.Struct, frozen=True):
    """What a seed decides: the swarm options of one simulated rollout."""

    seed: int
    strategy: StrategyName
    replicas: int
    stable: bool
    quality: Quality
    requests_per_s: float
    approvals: int
    refused_approvals: int
    approver_answers: bool
    abort_at_s: float | None
    abort_while_routing: bool
    drift_pct: int
    """How often, per tick, somebody else changes the weights."""
    on_drift: OnDrift
    fail_pct: int
    crash_pct: int
    stable_dies_at_s: float | None


def scenario_of(seed: int) -> Scenario:
    """Draw a scenario from a seed."""
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose, no secret
    faulty = rng.random() < 0.7
    return Scenario(
        seed=seed,
        strategy=rng.choice(("rolling", "blue-green", "canary")),
        replicas=rng.randint(1, 4),
        stable=rng.random() < 0.9,
        quality=rng.choice(("good", "good", "good", "errors", "slow", "crashing", "never-healthy", "silent")),
        requests_per_s=rng.choice((0.0, 1.0, 20.0, 500.0)),
        approvals=rng.choice((0, 1, 2)),
        refused_approvals=rng.randint(0, 3),
        approver_answers=rng.random() < 0.9,
        abort_at_s=rng.uniform(0, 900) if rng.random() < 0.15 else None,
        abort_while_routing=rng.random() < 0.1,
        drift_pct=rng.choice((0, 0, 0, 5)),
        on_drift=rng.choice(("take-over", "rollback")),
        fail_pct=rng.choice((0, 5, 20, 50)) if faulty else 0,
        crash_pct=rng.choice((0, 2, 10, 30)) if faulty else 0,
        stable_dies_at_s=rng.uniform(0, 600) if rng.random() < 0.1 else None,
    )


class Slot(msgspec.Struct):
    """One slot of the simulated environment."""

    replicas: int = 0
    healthy: bool = True
    restarts: int = 0


class Simulation:
    """One rollout in a simulated world; `run` returns its end or raises `InvariantViolated`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rng = random.Random(scenario.seed * 7919 + 1)  # noqa: S311
        self.now_s = 0.0
        self.slots = {"blue": Slot(replicas=scenario.replicas if scenario.stable else 0), "green": Slot()}
        self.weights = {"blue": 100, "green": 0} if scenario.stable else {}
        self.written = dict(self.weights)
        self.sessions = self.leader = "blue" if scenario.stable else "green"
        self.epoch = 1
        self.journal: list[bytes] = []
        self.state: Rollout | None = None
        self.heap: list[tuple[float, int, AnyEvent | AnyCommand | str]] = []
        self.counter = 0
        self.lane_free_s = {"router": 0.0, "platform": 0.0, "notifier": 0.0}
        self.taken_back = False
        self.last_tick_s = 0.0
        self.notified = 0

    def run(self) -> Rollout:
        """Drive the rollout to its end."""
        self._handle(Begun(at_s=0.0, plan=plan_of(self.scenario), by="simulator"))
        self._schedule_people()
        self._push(self.now_s + 10.0, "tick")
        while self.heap and self.now_s < GIVE_UP_AT_S:
            self.now_s, _, item = heapq.heappop(self.heap)
            state = self._current()
            if state.direction == "ended" and state.outcome and not state.recorded:
                self._handle(Ended(at_s=self.now_s, outcome=state.outcome, reason=state.reason))
                state = self._current()
            if state.direction == "ended" and not state.outstanding:
                break
            if isinstance(item, str):
                self._tick()
            elif isinstance(item, (Approved, AbortRequested, CommandSucceeded, CommandFailed)):
                self._handle(msgspec.structs.replace(item, at_s=self.now_s))
            else:
                self._execute(item)  # type: ignore[arg-type]
        return self._check_end()

    # --- the driver

    def _current(self) -> Rollout:
        if self.state is None:
            raise InvariantViolated(f"seed {self.scenario.seed}: no rollout")
        return self.state

    def _handle(self, event: AnyEvent) -> None:
        self.journal.append(msgspec.json.encode(event))
        before, (self.state, commands) = self.state, decide(self.state, event)
        self.taken_back = self.taken_back or self.state.direction == "back"
        self._check_step(before, commands)
        if self._strikes(self.scenario.crash_pct):
            self._crash()
            return
        for command in commands:
            self._issue(command)

    def _crash(self) -> None:
        """Lose the driver: commands in flight may or may not take effect, results are lost, a new driver folds."""
        inflight = [entry for entry in self.heap if not isinstance(entry[2], (str, Approved, AbortRequested))]
        self.heap = [entry for entry in self.heap if isinstance(entry[2], (str, Approved, AbortRequested))]
        heapq.heapify(self.heap)
        for _, _, item in sorted(inflight, key=lambda entry: entry[:2]):
            # A command that is still queued dies with its driver; the one that was being carried out may have effect.
            if isinstance(item, (PlaceSide, RetireSide, Drain)) and self.rng.random() < 0.3:
                self._apply(item)
                break
        folded: Rollout | None = None
        for raw in self.journal:
            folded, _ = decide(folded, _EVENT.decode(raw))
        self._require(folded == self.state, "replay: folding the journal gives another state")
        self.lane_free_s = dict.fromkeys(self.lane_free_s, self.now_s)
        event = Resumed(at_s=self.now_s, by="simulator")
        self.journal.append(msgspec.json.encode(event))
        before, (self.state, commands) = self.state, decide(self.state, event)
        self._check_step(before, commands)
        for command in commands:
            self._issue(command)

    def _issue(self, command: AnyCommand) -> None:
        lane = "router" if isinstance(command, SetRoute) else "notifier" if isinstance(command, Notify) else "platform"
        start_s = max(self.now_s, self.lane_free_s[lane]) + command.delay_s
        slow_s = self.rng.uniform(0.1, 20.0)
        self.lane_free_s[lane] = start_s + (0.001 if lane == "router" and self.rng.random() < 0.7 else slow_s)
        self._push(self.lane_free_s[lane], command)
        if lane == "router" and self.scenario.abort_while_routing:
            self._push(
                (self.now_s + self.lane_free_s[lane]) / 2, AbortRequested(at_s=0.0, by="approver-0", reason="drill")
            )

    # --- the world

    def _execute(self, command: AnyCommand) -> None:
        """Carry a command out in the simulated world, or fail it in one of the three ways things fail."""
        if command.id not in {one.id for one in self._current().outstanding}:
            return  # Superseded, as the local host passes it over.
        if self._strikes(self.scenario.fail_pct):
            applied = self.rng.random() < 0.5
            if applied and not self._refuses(command):
                self._apply(command)
            effect = "unknown" if applied or self.rng.random() < 0.5 else "not_applied"
            retryable = self.rng.random() < 0.8
            self._handle(
                CommandFailed(at_s=self.now_s, id=command.id, message="fault", retryable=retryable, effect=effect)
            )
            return
        if self._refuses(command):
            message = "not healthy within 30 s"
            self._handle(
                CommandFailed(at_s=self.now_s, id=command.id, message=message, retryable=False, effect="unknown")
            )
            return
        self._apply(command)
        self._handle(CommandSucceeded(at_s=self.now_s, id=command.id, switch_ms=1.0))

    def _refuses(self, command: AnyCommand) -> bool:
        return isinstance(command, PlaceSide) and command.slot == "green" and self.scenario.quality == "never-healthy"

    def _apply(self, command: AnyCommand) -> None:
        if isinstance(command, PlaceSide):
            slot = self.slots[command.slot]
            slot.replicas, slot.healthy = max(slot.replicas, command.replicas), True
        elif isinstance(command, RetireSide):
            slot = self.slots[command.slot]
            gone = command.replicas == 0 and slot.replicas > 0 and self.scenario.stable
            self._require(not (gone and self.written.get(command.slot, 0)), "1: a side with weight was retired")
            slot.replicas = min(slot.replicas, command.replicas)
        elif isinstance(command, Drain):
            if command.keep == 0 and self.leader == command.slot:
                self.leader, self.epoch = command.to, self.epoch + 1
            if command.keep == 0:
                self._require(self.slots[command.to].replicas > 0, "4: leadership was handed to an empty side")
        elif isinstance(command, SetRoute):
            self._apply_route(command)

    def _apply_route(self, command: SetRoute) -> None:
        self._require(sum(command.weights.values()) == 100, "1: weights do not sum to 100")
        for slot, weight in command.weights.items():
            placed = self.slots[slot].replicas > 0
            self._require(placed or not weight, f"1: weight {weight} points at {slot}, which is not placed")
        if self.taken_back:
            self._require(command.weights["green"] == 0, "3: the candidate was raised after it was taken back")
        self.weights, self.sessions = dict(command.weights), command.sessions
        self.written = dict(command.weights)

    def _tick(self) -> None:
        scenario, state = self.scenario, self._current()
        self._push(self.now_s + state.plan.tick_s, "tick")
        blue, green = self.slots["blue"], self.slots["green"]
        if scenario.stable_dies_at_s is not None and self.now_s >= scenario.stable_dies_at_s and self._faults():
            blue.healthy = False
        elif not self._faults():
            blue.healthy = True
        if scenario.quality == "crashing" and green.replicas:
            green.restarts += 1
        if state.route is not None and self._strikes(scenario.drift_pct):
            share = self.rng.randrange(101)
            self.weights = {"green": share, "blue": 100 - share}
        duration_s, self.last_tick_s = self.now_s - self.last_tick_s, self.now_s
        tick = Tick(
            drift=f"somebody set {self.weights}" if self.weights != self.written else "",
            at_s=self.now_s,
            duration_s=duration_s,
            candidate=self._sample("green", duration_s, scenario.quality),
            stable=self._sample("blue", duration_s, "good"),
            candidate_health=self._health("green"),
            stable_health=self._health("blue"),
        )
        self._handle(Ticked(at_s=self.now_s, tick=tick))

    def _sample(self, slot: str, duration_s: float, quality: Quality) -> Sample:
        if quality == "silent":
            return Sample(observed=False)
        share = self.weights.get(slot, 0) / 100
        requests = int(self.scenario.requests_per_s * duration_s * share)
        errors = int(requests * 0.3) if quality == "errors" else requests // 2000
        bucket = LATENCY_EDGES_MS.index(5012 if quality == "slow" else 20)
        counts = (0,) * bucket + (requests,) + (0,) * (len(LATENCY_EDGES_MS) - bucket) if requests else ()
        first_at_s = self.now_s - duration_s if requests else None
        return Sample(True, requests, errors, counts, first_at_s, self.now_s if requests else None, "simulator")

    def _health(self, name: str) -> SideHealth:
        slot = self.slots[name]
        service = ServiceHealth("api", slot.replicas, slot.replicas if slot.healthy else 0)
        return SideHealth(observed=True, services=(service,), restarts=slot.restarts)

    def _schedule_people(self) -> None:
        scenario, digest = self.scenario, "sha256:candidate"
        rng = self.rng
        for _ in range(scenario.refused_approvals):
            by, what = rng.choice((("author", digest), ("stranger", digest), ("approver-0", "sha256:other")))
            self._push(rng.uniform(0, 900), Approved(at_s=0.0, by=by, digest=what))
        for number in range(scenario.approvals if scenario.approver_answers else 0):
            for at_s in (rng.uniform(30, 600), rng.uniform(600, 1200), HEALED_AT_S + 100):
                self._push(at_s, Approved(at_s=0.0, by=f"approver-{number}", digest=digest))
        if scenario.abort_at_s is not None:
            self._push(scenario.abort_at_s, AbortRequested(at_s=0.0, by="approver-0", reason="drill"))

    def _push(self, at_s: float, item: AnyEvent | AnyCommand | str) -> None:
        self.counter += 1
        heapq.heappush(self.heap, (at_s, self.counter, item))

    def _faults(self) -> bool:
        return self.now_s < HEALED_AT_S

    def _strikes(self, pct: int) -> bool:
        return self._faults() and self.rng.random() * 100 < pct

    # --- the invariants

    def _require(self, holds: bool, invariant: str) -> None:
        if not holds:
            seed = self.scenario.seed
            message = f"seed {seed} at {self.now_s:.1f} s: {invariant}\n  {self.scenario}"
            raise InvariantViolated(f"{message}\n  Again: python -m openbell.hosts.simulator {seed}")

    def _check_step(self, before: Rollout | None, commands: tuple[AnyCommand, ...]) -> None:
        state, green = self._current(), self.written.get("green", 0)
        plan = state.plan
        passed = plan.steps if state.outcome == "promoted" else plan.steps[: state.position + 1]
        if state.direction == "forward" or state.outcome == "promoted":
            allowed = max((step.weight_pct for step in passed if isinstance(step, Route)), default=0)
            self._require(green <= allowed, f"2: the candidate has {green} %, its steps allow {allowed} %")
            gates = [step for step in passed[:-1] if isinstance(step, Approve)]
            given = set(state.approvals)
            self._require(all(len(given) >= g.required for g in gates), "2: a step started before its approval")
        self._require(not {"author", "stranger"} & set(state.approvals), "8: an approval counted that must not")
        for command in commands:
            if isinstance(command, SetRoute) and state.direction == "back":
                self._require(
                    command.weights["green"] == 0, "3: a routing command of the way back raises the candidate"
                )
        kept = plan.strategy != "rolling" and plan.stable is not None
        retired = [n for n, s in enumerate(plan.steps) if isinstance(s, Retire) and s.side == "stable"]
        if kept and state.direction == "forward" and state.position < retired[0]:
            whole = self.slots["blue"].replicas == self.scenario.replicas
            self._require(whole, "5: the stable side is not whole before the watch has ended")
        if before is not None and before.direction == "back":
            self._require(state.direction != "forward", "3: a rollout turned forward again")

    def _check_end(self) -> Rollout:
        state, scenario = self._current(), self.scenario
        if state.direction != "ended":
            self._require(state.waiting_for is not None, "7: the rollout neither ended nor waits for a person")
            self._require(bool(state.told), "7: nobody was told")
            return state
        promoted = state.outcome == "promoted"
        self._require(promoted or self.slots["green"].replicas == 0, "6: a candidate taken back still runs")
        if promoted or scenario.stable:
            side = "green" if promoted else "blue"
            moved = state.routed
            self._require(self.written.get(side) == 100, f"6: {side} does not have all the traffic at the end")
            self._require(not moved or self.sessions == side, "6: sessions are on the other side")
            self._require(not moved or self.leader == side, "6: the leader is on the other side")
        if promoted and scenario.stable:
            overridden = scenario.approvals > 0 and scenario.approver_answers
            judged = any(step.__class__.__name__ in ("Hold", "Watch") for step in state.plan.steps)
            silent = scenario.quality == "silent" or not scenario.requests_per_s
            self._require(not (judged and silent and not overridden), "evidence: promoted without data")
            if scenario.requests_per_s >= 20 and judged:
                bad = scenario.quality in ("errors", "slow", "crashing")
                self._require(not bad, f"evidence: a release with {scenario.quality} was promoted")
        return state


def plan_of(scenario: Scenario) -> Plan:
    """Build the plan of a scenario's rollout, with holds of a minute or two."""
    approval = Approval(required=scenario.approvals) if scenario.approvals else None
    policy = RolloutPolicy(hold_s=60.0, watch_s=120.0)
    environment = Environment(strategy=scenario.strategy, replicas=scenario.replicas, approval=approval, rollout=policy)
    stable = Side("blue", "sha256:stable", "v1", scenario.replicas) if scenario.stable else None
    steps = compile_steps(
        environment, smoke="smoke", expand=True, contract=True, stable_replicas=stable.replicas if stable else None
    )
    return Plan(
        id=f"s-{scenario.seed}",
        environment="simulated",
        strategy=scenario.strategy,
        candidate=Side("green", "sha256:candidate", "v2", scenario.replicas),
        stable=stable,
        steps=steps,
        author="author",
        approvers=("approver-0", "approver-1"),
        approval_timeout_s=3000.0,
        undecided_s=120.0,
        tick_s=20.0,
        triggers=RollbackTriggers(),
        watch_for=WatchLimits(on_break="notify"),
        on_drift=scenario.on_drift,
    )


def simulate(seed: int) -> Rollout:
    """Run the rollout of a seed; raises `InvariantViolated` with the command that shows it again."""
    return Simulation(scenario_of(seed)).run()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        first, _, last = argument.partition(":")
        ends: dict[str, int] = {}
        for number in range(int(first), int(last or int(first) + 1)):
            end = simulate(number)
            name = end.outcome or "waits for a person"
            ends[name] = ends.get(name, 0) + 1
        print(ends)  # noqa: T201 - a command of its own
