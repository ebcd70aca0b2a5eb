"""The local host: asyncio drives one rollout from the journal, on this machine.

The order it keeps: an event is committed to the journal first, then `decide` is asked, then the commands are carried
out. After a crash the events are folded again and what was outstanding is carried out once more, with the same keys.
Commands to one system run one after the other, in the order they were decided; the router is a system of its own, so
that traffic is taken away while a placement still runs.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from openbell.core.analysis.limits import Sample, SideHealth, Tick
from openbell.core.commands import (
    AnyCommand,
    Drain,
    Notify,
    PlaceSide,
    RetireSide,
    RunMigration,
    RunSmoke,
    SetRoute,
)
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
    Ticked,
)
from openbell.core.rollout import decide, fold
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Approve
from openbell.ports import (
    AdapterError,
    Clock,
    Journal,
    MetricSource,
    Notifier,
    Platform,
    ReleaseRef,
    Router,
    decode,
    encode,
    requests_of,
)

LEASE_TTL_S = 10.0
REQUEST_POLL_S = 0.2
WAITING_TICK_S = 10.0

Lane = Literal["router", "platform", "notifier"]
SmokeRunner = Callable[[str, str], Awaitable[str]]
"""Runs a smoke job against a slot: returns what it checked, raises `AdapterError` when it failed."""
Observer = Callable[[Rollout | None, AnyEvent, Rollout], None]

_EVENTS: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
REQUESTS: msgspec.json.Decoder[Approved | AbortRequested] = msgspec.json.Decoder(Approved | AbortRequested)
"""Reads what people have asked for."""


class World(msgspec.Struct, frozen=True):
    """The adapters that a rollout's commands are carried out with."""

    platform: Platform
    router: Router
    metrics: MetricSource
    notifier: Notifier
    smoke: SmokeRunner
    clock: Clock


def stream_of(rollout_id: str) -> str:
    """The journal's stream of a rollout."""
    return f"rollout/{rollout_id}"


def lease_of(environment: str) -> str:
    """The lease that the one driver of an environment holds."""
    return f"environment/{environment}"


async def take_lease(journal: Journal, environment: str, owner: str, *, now_s: float) -> None:
    """Take or renew an environment's lease; raises `AdapterError` (operation "lease") when somebody else holds it."""
    holder = await journal.acquire(lease_of(environment), owner, ttl_s=LEASE_TTL_S, now_s=now_s)
    if holder is not None:
        message = f"{environment} is driven by {holder}; watch it (openbell watch), or wait until it has ended"
        raise AdapterError("journal", "lease", message, effect="not_applied")


async def load(journal: Journal, rollout_id: str) -> tuple[Rollout | None, list[AnyEvent]]:
    """Read a rollout's events and fold them. Raises `AdapterError` naming the event that cannot be read."""
    events = [decode(record, _EVENTS) for record in await journal.read(stream_of(rollout_id))]
    return (fold(events) if events else None), events


async def request(journal: Journal, rollout_id: str, event: Approved | AbortRequested) -> None:
    """Leave an approval or an abort for whoever drives the rollout, now or later."""
    await journal.append(requests_of(rollout_id), type(event).__name__, msgspec.json.encode(event), at_s=event.at_s)


class LocalHost:
    """Drives one rollout at a time. `drive` returns when it has ended or, on request, when it waits for a person."""

    def __init__(self, journal: Journal, world: World, *, owner: str, observer: Observer | None = None) -> None:
        self._journal = journal
        self._world = world
        self._owner = owner
        self._observer = observer
        self._state: Rollout | None = None
        self._sequence = 0
        self._requests_seen = 0
        self._queue: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self._lanes: dict[Lane, asyncio.Queue[AnyCommand]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._tick_handled = asyncio.Event()

    async def drive(self, rollout_id: str, begun: Begun | None, *, stop_when_waiting: bool = False) -> Rollout:
        """Begin a rollout (`begun`) or go on with one that is in the journal; one driver at a time per environment.

        Raises `AdapterError` when another process drives the environment, when the journal cannot be written, or when
        the lease was lost; the rollout can then be resumed.
        """
        left, _ = await load(self._journal, rollout_id)
        plan = begun.plan if begun else left.plan if left else None
        if plan is None:
            raise AdapterError("journal", "read", f"there is no rollout {rollout_id}", effect="not_applied")
        await self._take_lease(plan.environment)
        try:
            # Read again: until the lease was ours, another openbell may have driven it on.
            self._state, events = await load(self._journal, rollout_id)
            self._sequence = len(events)
            self._requests_seen = sum(isinstance(event, (Approved, AbortRequested)) for event in events)
            if begun is not None and events:
                message = f"{rollout_id} was begun before; resume it, or begin another"
                raise AdapterError("journal", "begin", message, effect="not_applied")
            await self._begin_to_observe(plan)
            self._start(plan.environment, rollout_id)
            now_s = self._world.clock.now_s()
            if begun is None:
                await self._take_requests_over(rollout_id)
            await self._handle(begun or Resumed(at_s=now_s, by=self._owner), rollout_id)
            return await self._loop(rollout_id, stop_when_waiting=stop_when_waiting)
        finally:
            await self._stop()
            with contextlib.suppress(AdapterError):
                await self._journal.release(lease_of(plan.environment), self._owner)

    async def _loop(self, rollout_id: str, *, stop_when_waiting: bool) -> Rollout:
        while True:
            state = self._state
            if state is not None:
                busy = bool(state.outstanding) or not self._queue.empty()
                if state.direction == "ended" and not state.recorded and state.outcome:
                    end = Ended(at_s=self._world.clock.now_s(), outcome=state.outcome, reason=state.reason)
                    await self._handle(end, rollout_id)
                    continue
                if state.direction == "ended" and not busy:
                    return state
                if stop_when_waiting and state.waiting_for and not busy:
                    return state
            await self._handle(await self._next_event(), rollout_id)

    async def _next_event(self) -> AnyEvent:
        """Wait for the next event; a task that died (lease lost, journal full) ends the drive."""
        getter = asyncio.ensure_future(self._queue.get())
        try:
            done, _ = await asyncio.wait([getter, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getter.done():
                getter.cancel()
        for task in done:
            if task is not getter:
                task.result()
        return await getter

    async def _begin_to_observe(self, plan: Plan) -> None:
        """Take the first samples now, so that the first tick has what happened since, and no more."""
        for side in filter(None, (plan.candidate, plan.stable)):
            with contextlib.suppress(AdapterError):
                await self._world.metrics.sample(side.slot)

    async def _take_requests_over(self, rollout_id: str) -> None:
        """Decide on what people asked for meanwhile, before anything that was outstanding is carried out again.

        The commands that follow are outstanding then, and are issued with the rest when the rollout is resumed.
        """
        await self._read_requests(rollout_id)
        while not self._queue.empty():
            await self._handle(self._queue.get_nowait(), rollout_id, issue=False)

    async def _handle(self, event: AnyEvent, rollout_id: str, *, issue: bool = True) -> None:
        event, payload = encode(event, _EVENTS)
        self._sequence = await self._journal.append(
            stream_of(rollout_id), type(event).__name__, payload, at_s=event.at_s, expect=self._sequence + 1
        )
        before = self._state
        self._state, commands = decide(before, event)
        if self._observer:
            self._observer(before, event, self._state)
        for command in commands if issue else ():
            self._lanes[_lane(command)].put_nowait(command)
        if isinstance(event, Ticked):
            self._tick_handled.set()

    def _start(self, environment: str, rollout_id: str) -> None:
        self._lanes = {"router": asyncio.Queue(), "platform": asyncio.Queue(), "notifier": asyncio.Queue()}
        jobs = [self._work(lane) for lane in self._lanes.values()]
        jobs += [self._keep_lease(environment), self._tick(), self._listen(rollout_id)]
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _take_lease(self, environment: str) -> None:
        await take_lease(self._journal, environment, self._owner, now_s=self._world.clock.now_s())

    async def _keep_lease(self, environment: str) -> None:
        while True:
            await self._world.clock.sleep(LEASE_TTL_S / 4)
            await self._take_lease(environment)

    async def _listen(self, rollout_id: str) -> None:
        while True:
            await self._world.clock.sleep(REQUEST_POLL_S)
            await self._read_requests(rollout_id)

    async def _read_requests(self, rollout_id: str) -> None:
        for record in await self._journal.read(requests_of(rollout_id), after=self._requests_seen):
            self._requests_seen = record.sequence
            self._queue.put_nowait(decode(record, REQUESTS))

    async def _tick(self) -> None:
        """Sample both sides at the rollout's pace; while only a person is waited for, seldom."""
        clock = self._world.clock
        last_s = clock.now_s()
        while True:
            state = self._state
            if state is None or state.direction == "ended" or clock.now_s() - last_s < _pace_s(state):
                await clock.sleep(state.plan.tick_s if state else REQUEST_POLL_S)
                continue
            tick = await self._observe(state, clock.now_s() - last_s)
            last_s = tick.at_s
            # One tick at a time: a slow disk must not pile up ticks in front of results and aborts.
            self._tick_handled.clear()
            self._queue.put_nowait(Ticked(at_s=tick.at_s, tick=tick))
            await self._tick_handled.wait()

    async def _observe(self, state: Rollout, duration_s: float) -> Tick:
        async def look(slot: str) -> tuple[Sample, SideHealth]:
            try:
                sample = await self._world.metrics.sample(slot)
            except AdapterError as error:
                sample = Sample(observed=False, source=str(error))
            try:
                return sample, await self._world.platform.observe(slot)
            except AdapterError:
                return sample, SideHealth(observed=False)

        candidate, candidate_health = await look(state.plan.candidate.slot)
        stable, stable_health = Sample(observed=False), SideHealth(observed=False)
        if state.plan.stable is not None:
            stable, stable_health = await look(state.plan.stable.slot)
        drift = ""
        if state.route is not None:
            with contextlib.suppress(AdapterError):
                drift = await self._world.router.drift()
        return Tick(
            drift=drift,
            at_s=self._world.clock.now_s(),
            duration_s=duration_s,
            candidate=candidate,
            stable=stable,
            candidate_health=candidate_health,
            stable_health=stable_health,
        )

    async def _work(self, lane: asyncio.Queue[AnyCommand]) -> None:
        while True:
            command = await lane.get()
            if command.delay_s:
                await self._world.clock.sleep(command.delay_s)
            if self._state is None or command.id not in {one.id for one in self._state.outstanding}:
                continue  # Superseded meanwhile: traffic must not be raised after it was decided to take it away.
            self._queue.put_nowait(await self._carry_out(command))

    async def _carry_out(self, command: AnyCommand) -> CommandSucceeded | CommandFailed:
        try:
            detail, switch_ms, at_s = await carry_out(command, self._world)
        except AdapterError as error:
            at_s = self._world.clock.now_s()
            return CommandFailed(
                at_s=at_s, id=command.id, message=str(error), retryable=error.retryable, effect=error.effect
            )
        return CommandSucceeded(at_s=at_s, id=command.id, detail=detail, switch_ms=switch_ms)


async def carry_out(command: AnyCommand, world: World) -> tuple[str, float | None, float]:
    """Carry one command out; returns what happened in words, a route's switch time in ms, and when it took effect."""
    detail, switch_ms = "", None
    key = command.id
    match command:
        case PlaceSide():
            release = ReleaseRef(command.digest, command.version)
            await world.platform.place(command.slot, release, command.replicas, timeout_s=command.timeout_s, key=key)
        case RetireSide():
            await world.platform.retire(command.slot, command.replicas, key=key)
        case Drain():
            reports = await world.platform.drain(command.slot, command.to, command.keep, key=key)
            detail = ", ".join(f"{r.service}: {r.moved} moved, {r.remaining} left" for r in reports)
        case SetRoute():
            change = await world.router.route(command.weights, command.sessions, key=key)
            return "", change.switch_ms, change.at_s
        case RunSmoke():
            detail = await world.smoke(command.job, command.slot)
        case RunMigration():
            await world.platform.migrate(command.phase, command.digest, key=key)
        case Notify():
            await world.notifier.notify(command.subject, command.text, urgent=command.urgent, key=key)
    return detail, switch_ms, world.clock.now_s()


def _pace_s(state: Rollout) -> float:
    """Seconds between ticks, less what is lost to rounding when they are counted in steps of `tick_s`."""
    resting = isinstance(state.step, Approve) and not state.routed
    return WAITING_TICK_S if resting else 0.9 * state.plan.tick_s


def _lane(command: AnyCommand) -> Lane:
    if isinstance(command, SetRoute):
        return "router"
    return "notifier" if isinstance(command, Notify) else "platform"
