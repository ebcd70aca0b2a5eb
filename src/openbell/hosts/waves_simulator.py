"""The simulator of waves: the waves core in virtual time over many targets, with seeded faults and its invariants.

One seed decides everything: how the targets are grouped, what becomes of the release in each, people, faults, crashes.
A target is no more than the release in it and the rollouts that were begun there, each once for the command that it
carries out; what happens within a rollout is the business of `openbell.hosts.simulator`. Faults strike for a while,
then the world heals, whoever is waited for resumes, and the run must come to an end. A driver may crash at any event:
what it drove stands still until another one folds the journal and goes on.

To reproduce a failure: `python -m openbell.hosts.waves_simulator SEED`.
"""

import heapq
import random
import sys

import msgspec

from openbell.core.commands import Notify
from openbell.core.events import AbortRequested, Resumed
from openbell.core.waves import (
    AbortTarget,
    AnyWavesCommand,
    AnyWavesEvent,
    Arrival,
    BeginTarget,
    HoldOver,
    Return,
    ReturnTarget,
    TargetApproved,
    TargetEnded,
    TargetReturned,
    Told,
    Waves,
    WavesBegun,
    WavesPlan,
    begin_id,
    decide,
)

TARGETS = 10
WAVES = 5
HEALED_AT_S = 20_000.0
GIVE_UP_AT_S = 60_000.0
OLD, NEW, OTHERS = "v1", "v2", "v9"
_EVENT: msgspec.json.Decoder[AnyWavesEvent] = msgspec.json.Decoder(AnyWavesEvent)


class WavesInvariantViolated(Exception):  # noqa: N818 - the word of the design
    """An invariant of the waves does not hold; the message names it, and the seed that shows it."""


class WavesScenario(msgspec.Struct, frozen=True):
    """What a seed decides: the swarm options of one simulated run."""

    seed: int
    waves: tuple[tuple[str, ...], ...]
    hold_s: float
    arrivals: dict[str, Arrival]
    blocked: tuple[str, ...]
    """Targets that cannot be returned until the world heals."""
    first: tuple[str, ...]
    """Targets that have no release before."""
    meddled: tuple[str, ...]
    """Targets to which somebody else brings a release of theirs as soon as ours is in."""
    asks: bool
    abort_at_s: float | None
    crash_pct: int


def scenario_of(seed: int, *, targets: int = TARGETS, waves: int = WAVES) -> WavesScenario:
    """Draw a scenario from a seed."""
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose, no secret
    names = [f"t{number}" for number in range(targets)]
    cuts = sorted(rng.sample(range(1, targets), waves - 1))
    groups = tuple(tuple(names[a:b]) for a, b in zip([0, *cuts], [*cuts, targets], strict=True))
    bad_pct = rng.choice((0, 0, 3, 10, 30))
    kinds: tuple[Arrival, ...] = ("rolled-back", "rolled-back", "refused", "failed")
    arrivals: dict[str, Arrival] = {}
    for name in names:
        good: Arrival = "unchanged" if rng.random() < 0.05 else "promoted"
        arrivals[name] = rng.choice(kinds) if rng.random() * 100 < bad_pct else good

    def some(pct: int) -> tuple[str, ...]:
        return tuple(name for name in names if rng.random() * 100 < pct)

    return WavesScenario(
        seed=seed,
        waves=groups,
        hold_s=rng.choice((0.0, 60.0, 600.0)),
        arrivals=arrivals,
        blocked=some(rng.choice((0, 0, 20))),
        first=some(rng.choice((0, 0, 10))),
        meddled=some(rng.choice((0, 0, 5))),
        asks=rng.random() < 0.5,
        abort_at_s=rng.uniform(0, 6000) if rng.random() < 0.15 else None,
        crash_pct=rng.choice((0, 2, 10, 30)),
    )


class Rollout(msgspec.Struct):
    """A rollout of a target, as far as anybody outside of it can see: begun once, ended once."""

    target: str
    ended: bool = False
    passed_approval: bool = False
    aborted: bool = False
    outcome: Arrival | Return = "promoted"


class WavesSimulation:
    """One run in a simulated world; `run` returns its end or raises `WavesInvariantViolated`."""

    def __init__(self, scenario: WavesScenario) -> None:
        self.scenario = scenario
        self.rng = random.Random(scenario.seed * 7919 + 1)  # noqa: S311
        self.now_s = 0.0
        self.releases = {
            name: NEW if arrival == "unchanged" else "" if name in scenario.first else OLD
            for name, arrival in scenario.arrivals.items()
        }
        self.before = dict(self.releases)
        self.rollouts: dict[str, Rollout] = {}
        self.journal: list[bytes] = []
        self.state: Waves | None = None
        self.heap: list[tuple[float, int, AnyWavesEvent | AnyWavesCommand | str]] = []
        self.counter = 0
        self.given = not scenario.asks
        self.through_at_s: dict[str, float] = {}
        self.failed = False
        self.told: list[str] = []

    def run(self) -> Waves:
        """Drive the run to its end."""
        scenario = self.scenario
        plan = WavesPlan(
            id="w-1", environment="simulated", digest="sha256:new", version=NEW, waves=scenario.waves,
            hold_s=scenario.hold_s, asks=scenario.asks, approvers=("grace",),
        )  # fmt: skip
        if scenario.abort_at_s is not None:
            self._push(scenario.abort_at_s, AbortRequested(at_s=0.0, by="grace", reason="drill"))
        for _ in range(5):
            self._push(self.rng.uniform(0, 6000), HoldOver(at_s=0.0))  # Too early, too late, or for nothing.
        self._handle(WavesBegun(at_s=0.0, plan=plan, by="simulator"))
        while self.heap and self.now_s < GIVE_UP_AT_S:
            self.now_s, _, item = heapq.heappop(self.heap)
            state = self._current()
            if state.phase == "ended" and not state.outstanding:
                break
            if isinstance(item, str):
                self._advance(item)
            elif isinstance(item, (BeginTarget, ReturnTarget, AbortTarget, Notify)):
                self._execute(item)
            else:
                self._handle(msgspec.structs.replace(item, at_s=self.now_s))
            if self._current().phase == "stuck":
                # Whoever was told comes back when the world has healed.
                self.now_s = max(self.now_s, HEALED_AT_S)
                self._handle(Resumed(at_s=self.now_s, by="grace"))
        return self._check_end()

    # --- the driver

    def _current(self) -> Waves:
        if self.state is None:
            raise WavesInvariantViolated(f"seed {self.scenario.seed}: no run")
        return self.state

    def _handle(self, event: AnyWavesEvent) -> None:
        self.journal.append(msgspec.json.encode(event))
        bad = isinstance(event, TargetEnded) and event.outcome not in ("promoted", "unchanged")
        self.failed = self.failed or bad or isinstance(event, AbortRequested)
        self.state, commands = decide(self.state, event)
        begins = any(isinstance(command, BeginTarget) for command in commands) and not isinstance(event, Resumed)
        self._require(not (begins and self.failed), "3: a target begins after another one has failed")
        if self.now_s < HEALED_AT_S and self.rng.random() * 100 < self.scenario.crash_pct:
            commands = self._crash()
        for command in commands:
            self._push(self.now_s + command.delay_s + self.rng.uniform(0.0, 2.0), command)
        due_at_s = self._current().due_at_s
        if due_at_s is not None:
            self._push(max(due_at_s, self.now_s), HoldOver(at_s=0.0))

    def _crash(self) -> tuple[AnyWavesCommand, ...]:
        """Lose the driver and all that it drove; another folds the journal and takes over."""
        kept = [entry for entry in self.heap if isinstance(entry[2], (AbortRequested, HoldOver))]
        self.heap = kept
        heapq.heapify(self.heap)
        folded: Waves | None = None
        for raw in self.journal:
            folded, _ = decide(folded, _EVENT.decode(raw))
        self._require(folded == self.state, "replay: folding the journal gives another state")
        event = Resumed(at_s=self.now_s, by="simulator")
        self.journal.append(msgspec.json.encode(event))
        self.state, commands = decide(self.state, event)
        return commands

    # --- the world

    def _execute(self, command: AnyWavesCommand) -> None:
        if isinstance(command, Notify):
            self.told.append(command.subject)
            self._handle(Told(at_s=self.now_s, id=command.id))
        elif isinstance(command, AbortTarget):
            rollout = self.rollouts.get(begin_id("w-1", command.target))
            if rollout is not None:
                rollout.aborted = True
            elif command in self._current().outstanding:
                self._push(self.now_s + 0.2, command)  # There is none yet.
        else:
            if command.id not in self.rollouts:
                self._check_begin(command)
                self.rollouts[command.id] = Rollout(command.target)
            self._push(self.now_s + self.rng.uniform(1.0, 900.0), command.id)

    def _advance(self, key: str) -> None:
        """Let a rollout go on: through its approval first, if it asks for one, then to its end."""
        rollout = self.rollouts[key]
        if rollout.ended:
            self._report(key, rollout)
        elif key.startswith("w-1/return/"):
            rollout.outcome = self._return(rollout.target)
            self._finish(key, rollout)
        elif not self.given and self.scenario.arrivals[rollout.target] == "promoted" and not rollout.aborted:
            self.given = rollout.passed_approval = True
            self._push(self.now_s + self.rng.uniform(1.0, 900.0), key)
            self._handle(TargetApproved(at_s=self.now_s, target=rollout.target))
        else:
            arrival = self.scenario.arrivals[rollout.target]
            rollout.outcome = "rolled-back" if rollout.aborted and arrival != "unchanged" else arrival
            if rollout.outcome in ("promoted", "failed"):
                self.releases[rollout.target] = NEW
            if rollout.outcome in ("promoted", "unchanged"):
                self.through_at_s[rollout.target] = self.now_s
            self._finish(key, rollout)

    def _finish(self, key: str, rollout: Rollout) -> None:
        rollout.ended = True
        if self.now_s < HEALED_AT_S and self.rng.random() * 100 < self.scenario.crash_pct:
            for command in self._crash():  # It has ended, and the run does not know.
                self._push(self.now_s + self.rng.uniform(0.0, 2.0), command)
            if self._current().due_at_s is not None:
                self._push(self._current().due_at_s or 0.0, HoldOver(at_s=0.0))
            return
        self._report(key, rollout)
        if rollout.target in self.scenario.meddled and self.releases[rollout.target] == NEW:
            self.releases[rollout.target] = OTHERS

    def _report(self, key: str, rollout: Rollout) -> None:
        target, outcome = rollout.target, rollout.outcome
        if key.startswith("w-1/return/"):
            self._handle(TargetReturned(at_s=self.now_s, target=target, outcome=outcome, reason="so"))  # type: ignore[arg-type]
        else:
            self._handle(TargetEnded(at_s=self.now_s, target=target, outcome=outcome, reason="so"))  # type: ignore[arg-type]

    def _return(self, target: str) -> Return:
        if target in self.scenario.blocked and self.now_s < HEALED_AT_S:
            return "blocked"
        if self.releases[target] == OTHERS or not self.before[target]:
            return "kept"
        self.releases[target] = self.before[target]
        return "returned"

    def _push(self, at_s: float, item: AnyWavesEvent | AnyWavesCommand | str) -> None:
        self.counter += 1
        heapq.heappush(self.heap, (at_s, self.counter, item))

    # --- the invariants

    def _require(self, holds: bool, invariant: str) -> None:
        if not holds:
            seed = self.scenario.seed
            message = f"seed {seed} at {self.now_s:.1f} s: {invariant}\n  {self.scenario}"
            raise WavesInvariantViolated(f"{message}\n  Again: python -m openbell.hosts.waves_simulator {seed}")

    def _check_begin(self, command: BeginTarget | ReturnTarget) -> None:
        """What must be so at the moment at which something begins in a target."""
        waves = self.scenario.waves
        number = next(n for n, wave in enumerate(waves) if command.target in wave)
        others = [rollout.target for rollout in self.rollouts.values() if not rollout.ended]
        self._require(all(target in waves[number] for target in others), "1: two waves are under way at once")
        if isinstance(command, ReturnTarget):
            later = [target for wave in waves[number + 1 :] for target in wave]
            mine = [target for target in later if self.releases[target] == NEW and self.before[target] not in ("", NEW)]
            mine = [target for target in mine if target not in self.scenario.blocked]
            self._require(not mine, "5: a wave is returned before a later one")
            return
        for wave in waves[:number]:
            through = [self.through_at_s[target] for target in wave if target in self.through_at_s]
            self._require(len(through) == len(wave), "2: a target begins before an earlier wave is through")
        changed = [t for t in (waves[number - 1] if number else ()) if self.scenario.arrivals[t] == "promoted"]
        if changed:
            over_at_s = max(self.through_at_s[target] for target in changed) + self.scenario.hold_s
            self._require(self.now_s >= over_at_s, "2: a target begins before the hold is over")
        self._require(command.asks or self.given, "4: a target begins without an approval")
        self._require(not (command.asks and others), "4: a target begins beside one that asks for an approval")

    def _check_end(self) -> Waves:
        state, scenario = self._current(), self.scenario
        self._require(state.phase == "ended", f"6: the run does not end, it is {state.phase}")
        self._require(bool(self.told), "6: nobody was told")
        self._require(all(rollout.ended for rollout in self.rollouts.values()), "6: a rollout is still under way")
        for target, release in self.releases.items():
            if state.outcome == "promoted":
                self._require(release in (NEW, OTHERS), f"7: {target} has {release} after a promotion")
            elif release != OTHERS and self.before[target]:
                self._require(release == self.before[target], f"7: {target} has {release} after a failure")
        bad = any(arrival not in ("promoted", "unchanged") for arrival in scenario.arrivals.values())
        if scenario.abort_at_s is None:
            self._require((state.outcome == "promoted") != bad, "7: the run's end is not what its targets say")
        return state


def simulate_waves(seed: int) -> Waves:
    """Run the scenario of a seed; raises `WavesInvariantViolated` with the command that shows it again."""
    return WavesSimulation(scenario_of(seed)).run()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        first, _, last = argument.partition(":")
        ends: dict[str, int] = {}
        for number in range(int(first), int(last or int(first) + 1)):
            end = simulate_waves(number)
            ends[str(end.outcome)] = ends.get(str(end.outcome), 0) + 1
        print(ends)  # noqa: T201 - a command of its own
