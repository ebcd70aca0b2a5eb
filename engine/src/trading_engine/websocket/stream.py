"""One connection: what it has been sent of each channel, and what is waiting to be sent.

A stream never sends a number twice and never leaves one out. Should it ever see a gap it closes, and the client
resumes: better a reconnect than a hole.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from trading_engine.journal.feed import FeedEvent
from trading_engine.service.metrics import EVENTS_SENT

_WAITING_MAX = 20_000
CLOSE_RESTART = 1012
CLOSE_TOO_SLOW = 1013
CLOSE_GAP = 1011
CLOSE_AHEAD = 1008


class Close(msgspec.Struct, frozen=True):
    """The end of a stream, with its code and reason."""

    code: int
    reason: str


def render_event(event: FeedEvent) -> str:
    """The message for an event; its payload is passed on as it was stored."""
    channel = msgspec.json.encode(event.channel).decode()
    identity = f'"seq":{event.seq},"id":[{event.command_seq},{event.index}]'
    return f'{{"type":"event","channel":{channel},{identity},"data":{event.payload}}}'


class Stream:
    """Collects messages for one client. Until `go_live`, live events are kept back behind what is replayed."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.sent: dict[str, int] = dict.fromkeys(channels, 0)
        self._live = False
        self._held: list[tuple[FeedEvent, str]] = []
        self._waiting: list[str | Close] = []
        self._wakeup = asyncio.Event()
        self._closing = False
        self.closed = asyncio.Event()

    def offer(self, event: FeedEvent, message: str) -> None:
        """Takes a live event; drops what was sent already."""
        if not self._live:
            self._held.append((event, message))
            return
        last_seq = self.sent[event.channel]
        if event.seq <= last_seq:
            return
        if event.seq != last_seq + 1:
            self.close(Close(CLOSE_GAP, f"gap in {event.channel} after {last_seq}: reconnect and resume"))
            return
        self.sent[event.channel] = event.seq
        self.send(message)
        EVENTS_SENT.inc()

    def replay(self, event: FeedEvent) -> None:
        """Sends an event from the table, ahead of what is held back."""
        self.sent[event.channel] = event.seq
        self.send(render_event(event))
        EVENTS_SENT.inc()

    def go_live(self) -> None:
        """Sends what was held back and is not sent yet, and takes live events from here on."""
        self._live = True
        held, self._held = self._held, []
        for event, message in held:
            self.offer(event, message)

    def send(self, message: str) -> None:
        """Queues a message; a client that does not keep up is closed."""
        if self._closing:
            return
        if len(self._waiting) >= _WAITING_MAX:
            self.close(Close(CLOSE_TOO_SLOW, f"{_WAITING_MAX} messages behind: reconnect and resume"))
            return
        self._waiting.append(message)
        self._wakeup.set()

    def announce_restart(self) -> None:
        """Tells the client to reconnect, and after which numbers it may resume."""
        self.send(msgspec.json.encode({"type": "reconnect", "last_seq": self.sent}).decode())

    def close(self, close: Close) -> None:
        """Ends the stream after what is queued. May be repeated; the first reason stands."""
        if not self._closing:
            self._closing = True
            self._waiting.append(close)
            self._wakeup.set()

    async def next_messages(self) -> list[str | Close]:
        """Waits for messages and takes all of them."""
        await self._wakeup.wait()
        self._wakeup.clear()
        messages, self._waiting = self._waiting, []
        return messages
