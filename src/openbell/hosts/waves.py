"""The host of waves: asyncio drives one run over several targets from the journal, with a rollout in each of them.

The order it keeps is that of every host: an event is committed to the journal first, then `decide` is asked, then the
commands are carried out. After a crash the events are folded again and what was outstanding is carried out once more,
under the same names; whoever carries out a target's command finds by its name the rollout that it has begun already.

It knows no rollout and no environment: what becomes of a target is told by `Targets`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

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
    decide,
    fold,
)
from openbell.ports import AdapterError, Clock, Journal, Notifier, decode, encode, requests_of

POLL_S = 0.2

_EVENTS: msgspec.json.Decoder[AnyWavesEvent] = msgspec.json.Decoder(AnyWavesEvent)
_REQUESTS = msgspec.json.Decoder(AbortRequested)

Observer = Callable[[Waves | None, AnyWavesEvent, Waves], None]


class Targets(Protocol):
    """What carries the commands of a run out. None instead of an end: a person is waited for, and not here."""

    async def begin(self, command: BeginTarget, approved: Callable[[], None]) -> tuple[Arrival, str] | None:
        """Bring the release to a target, or go on with it; calls `approved` once the approval asked for is given."""

    async def send_back(self, command: ReturnTarget) -> tuple[Return, str] | None:
        """Bring back what a target had before the run, or go on with it."""

    async def abort(self, command: AbortTarget) -> bool:
        """Ask a target's rollout to take its candidate back; False while there is none yet."""


def waves_stream(run: str) -> str:
    """The journal's stream of a run."""
    return f"waves/{run}"


async def load_waves(journal: Journal, run: str) -> tuple[Waves | None, list[AnyWavesEvent]]:
    """Read a run's events and fold them. Raises `AdapterError` naming the event that cannot be read."""
    events = [decode(record, _EVENTS) for record in await journal.read(waves_stream(run))]
    return (fold(events) if events else None), events


class WavesHost:
    """Drives one run. `drive` returns when it has ended, or when nothing goes on without a person."""

    def __init__(
        self,
        journal: Journal,
        targets: Targets,
        notifier: Notifier,
        clock: Clock,
        *,
        owner: str,
        observer: Observer | None = None,
    ) -> None:
        self._journal = journal
        self._targets = targets
        self._notifier = notifier
        self._clock = clock
        self._owner = owner
        self._observer = observer
        self._state: Waves | None = None
        self._sequence = 0
        self._requests_seen = 0
        self._queue: asyncio.Queue[AnyWavesEvent] = asyncio.Queue()
        self._work: dict[str, asyncio.Task[None]] = {}
        self._hold: asyncio.Task[None] | None = None

    async def drive(self, run: str, begun: WavesBegun | None) -> Waves:
        """Begin a run (`begun`) or go on with one that is in the journal; the caller holds the environment's lease.

        Raises `AdapterError` when the journal cannot be written, another process writes to the run, or a target can be
        neither brought to an end nor waited for; the run can then be resumed.
        """
        self._state, events = await load_waves(self._journal, run)
        self._sequence = len(events)
        self._requests_seen = sum(isinstance(event, AbortRequested) for event in events)
        if (begun is None) == (self._state is None):
            message = f"there is no run {run}" if begun is None else f"{run} was begun before; resume it"
            raise AdapterError("journal", "begin", message, effect="not_applied")
        listener = asyncio.create_task(self._listen(run))
        try:
            if begun is None:
                # What people asked for meanwhile is decided before anything that was outstanding is carried out again.
                await self._read_requests(run)
                while not self._queue.empty():
                    await self._handle(self._queue.get_nowait(), run, issue=False)
            state = await self._handle(begun or Resumed(at_s=self._clock.now_s(), by=self._owner), run)
            while self._is_busy(state):
                event = await self._next_event(listener)
                state = state if event is None else await self._handle(event, run)
            return state
        finally:
            tasks = [listener, *self._work.values(), *filter(None, [self._hold])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _is_busy(self, state: Waves) -> bool:
        """Whether something goes on by itself."""
        return bool(self._work) or not self._queue.empty() or state.phase == "holding"

    async def _next_event(self, listener: "asyncio.Task[None]") -> AnyWavesEvent | None:
        """Wait for the next event, or None when something ended without one; a task that died ends the drive."""
        getter = asyncio.ensure_future(self._queue.get())
        try:
            tasks = [listener, *self._work.values(), *filter(None, [self._hold])]
            done, _ = await asyncio.wait([getter, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getter.done():
                getter.cancel()
        self._work = {name: task for name, task in self._work.items() if task not in done}
        if self._hold in done:
            self._hold = None
        for task in done:
            if task is not getter:
                task.result()
        return await getter if getter in done else None

    async def _handle(self, event: AnyWavesEvent, run: str, *, issue: bool = True) -> Waves:
        event, payload = encode(event, _EVENTS)
        self._sequence = await self._journal.append(
            waves_stream(run), type(event).__name__, payload, at_s=event.at_s, expect=self._sequence + 1
        )
        before = self._state
        after, commands = decide(before, event)
        self._state = after
        if self._observer:
            self._observer(before, event, after)
        for command in commands if issue else ():
            self._issue(command)
        if after.due_at_s is not None and (self._hold is None or self._hold.done()):
            self._hold = asyncio.create_task(self._wait_hold(after.due_at_s))
        return after

    def _issue(self, command: AnyWavesCommand) -> None:
        self._work[command.id] = asyncio.create_task(self._carry_out(command))

    async def _carry_out(self, command: AnyWavesCommand) -> None:
        if command.delay_s:
            await self._clock.sleep(command.delay_s)
        match command:
            case BeginTarget(target=target):
                arrived = await self._targets.begin(command, lambda: self._put(TargetApproved, target=target))
                if arrived:
                    self._put(TargetEnded, target=target, outcome=arrived[0], reason=arrived[1])
            case ReturnTarget(target=target):
                back = await self._targets.send_back(command)
                if back:
                    self._put(TargetReturned, target=target, outcome=back[0], reason=back[1])
            case AbortTarget():
                await self._abort(command)
            case Notify(subject=subject, text=text, urgent=urgent):
                await self._notifier.notify(subject, text, urgent=urgent, key=command.id)
                self._put(Told, id=command.id)

    def _put(self, kind: Callable[..., AnyWavesEvent], **content: str) -> None:
        self._queue.put_nowait(kind(at_s=self._clock.now_s(), **content))

    async def _abort(self, command: AbortTarget) -> None:
        """Ask until there is a rollout that can be asked; one that waited for a person, unattended, is driven again."""
        while not await self._targets.abort(command):
            await self._clock.sleep(POLL_S)
            if self._state is None or command not in self._state.outstanding:
                return
        for other in self._state.outstanding if self._state else ():
            if isinstance(other, BeginTarget) and other.target == command.target and other.id not in self._work:
                self._issue(other)

    async def _wait_hold(self, due_at_s: float) -> None:
        while (left_s := due_at_s - self._clock.now_s()) > 0:
            await self._clock.sleep(left_s)
        self._queue.put_nowait(HoldOver(at_s=max(due_at_s, self._clock.now_s())))

    async def _listen(self, run: str) -> None:
        while True:
            await self._clock.sleep(POLL_S)
            await self._read_requests(run)

    async def _read_requests(self, run: str) -> None:
        for record in await self._journal.read(requests_of(run), after=self._requests_seen):
            self._requests_seen = record.sequence
            self._queue.put_nowait(decode(record, _REQUESTS))
