"""A WebSocket client that resumes: it knows the last number of each channel, and counts what is missed or doubled."""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

_RETRY_S = 0.05


class StreamCounts(Struct):
    """What happened on a stream."""

    events: int = 0
    missed: int = 0
    doubled: int = 0
    connects: int = 0
    restarts_announced: int = 0


class _Message(Struct, frozen=True):
    type: str
    channel: str = ""
    seq: int = 0
    last_seq: dict[str, int] = {}
    version: str = ""


_decode = msgspec.json.Decoder(_Message).decode


class StreamClient:
    """Follows channels until `stop`, over as many connections as it takes."""

    def __init__(self, url: str, channels: Sequence[str], *, key: str) -> None:
        self._url = url.rstrip("/")
        self._channels = list(channels)
        self._key = key
        self.last_seq: dict[str, int] = {}
        self.version = ""
        self.counts = StreamCounts()
        self.greeted = asyncio.Event()
        self.progressed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connects in the background."""
        self._task = asyncio.create_task(self._run(), name="stream client")

    async def stop(self) -> None:
        """Closes the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        from websockets.exceptions import InvalidHandshake, WebSocketException

        while True:
            try:
                await self._follow()
            except (OSError, TimeoutError, InvalidHandshake):
                await asyncio.sleep(_RETRY_S)
            except WebSocketException:
                continue  # closed, usually 1012: reconnect at once

    async def _follow(self) -> None:
        from websockets.asyncio.client import connect

        resume = ",".join(f"{channel}={seq}" for channel, seq in self.last_seq.items())
        query = f"channels={','.join(self._channels)}" + (f"&last_seq={resume}" if resume else "")
        self.counts.connects += 1
        async with connect(
            f"{self._url}/ws?{query}",
            additional_headers={"X-API-Key": self._key},
            compression=None,
            open_timeout=5,
            close_timeout=1,
            proxy=None,
            max_queue=1024,
        ) as connection:
            async for text in connection:
                self._take(_decode(text))

    def _take(self, message: _Message) -> None:
        match message.type:
            case "event":
                last_seq = self.last_seq.get(message.channel, 0)
                self.counts.events += 1
                if message.seq <= last_seq:
                    self.counts.doubled += 1
                    return
                self.counts.missed += message.seq - last_seq - 1
                self.last_seq[message.channel] = message.seq
                self.progressed.set()
            case "hello":
                self.version = message.version
                self._greet(message.last_seq)
            case "snapshot":
                self.last_seq[message.channel] = max(message.seq, self.last_seq.get(message.channel, 0))
            case "reconnect":
                self.counts.restarts_announced += 1

    def _greet(self, starts: dict[str, int]) -> None:
        """The first hello says where the stream starts; a later one that starts too late shows at the next event."""
        for channel, seq in starts.items():
            self.last_seq.setdefault(channel, seq)
        self.greeted.set()
