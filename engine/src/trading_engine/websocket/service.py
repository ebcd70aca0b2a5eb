"""The websocket service: accepts streams, replays what a client missed, and hands streams over when drained."""

import asyncio
import contextlib

import msgspec

from trading_engine.journal.database import Database, DatabaseUnavailable
from trading_engine.journal.feed import HINT_CHANNEL, Feed, channel_end, read_channel
from trading_engine.journal.hint import Hints
from trading_engine.journal.queries import read_book
from trading_engine.service.handover import DrainOrder
from trading_engine.service.metrics import STREAMS, STREAMS_CLOSED
from trading_engine.service.operations import Message, Receive, Send
from trading_engine.service.runtime import run_service
from trading_engine.settings import Settings
from trading_engine.version import service_version
from trading_engine.websocket.hub import Hub
from trading_engine.websocket.stream import CLOSE_AHEAD, CLOSE_GAP, CLOSE_RESTART, Close, Stream
from trading_engine.websocket.subscription import Refusal, Subscription, read_subscription

_PAGE = 1000
_RESTART = Close(CLOSE_RESTART, "service restart: reconnect and resume")


class WebsocketService:
    """Holds the open streams."""

    name = "websocket"
    unit = "streams"
    routes = ("/ws",)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(
            settings.database_url, connections_max=3, application=f"trading-engine websocket {settings.instance}"
        )
        self._feed = Feed(self._database, Hints(settings.valkey_url, HINT_CHANNEL))
        self._hub = Hub(self._feed)
        self._streams: dict[Stream, None] = {}
        self._leaving: dict[Stream, None] | None = None
        self._refusing = False
        self._connecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects to the database in the background and follows the events."""
        self._connecting = asyncio.create_task(self._database.start(), name="database")
        self._feed.start()

    async def unready_reason(self) -> str | None:
        """Ready when the database answers; Valkey only makes it faster."""
        return await self._database.unready_reason()

    def remaining(self) -> int:
        """Streams that a drain has still to close; without a drain, the open ones."""
        return len(self._leaving if self._leaving is not None else self._streams)

    def refuse_new(self) -> None:
        """Accepts no more streams."""
        self._refusing = True

    async def drain(self, order: DrainOrder) -> None:
        """Announces the restart to every stream that is open now, then closes them one by one over `spread_s`."""
        self._leaving = dict(self._streams)
        leaving = list(self._leaving)
        try:
            for stream in leaving:
                stream.announce_restart()
            for stream in leaving:
                await asyncio.sleep(order.spread_s / len(leaving))
                stream.close(_RESTART)
            for stream in leaving:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stream.closed.wait(), 2)
        finally:
            self._leaving = None

    async def stop(self) -> None:
        """Stops following and closes the database."""
        if self._connecting is not None:
            self._connecting.cancel()
        await self._feed.stop()
        await self._database.stop()

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Carries one connection (the ASGI interface)."""
        if scope["type"] != "websocket":
            await _refuse_http(send)
            return
        await receive()  # websocket.connect
        subscription = self._admit(scope)
        if isinstance(subscription, Refusal):
            await _refuse(send, subscription)
            return
        version = (b"x-service-version", service_version().encode())
        await send({"type": "websocket.accept", "headers": [version]})
        stream = Stream(list(subscription.resume_after))
        self._streams[stream] = None
        STREAMS.inc()
        sending = asyncio.create_task(_send_messages(stream, send), name="stream")
        try:
            await self._begin(stream, subscription)
            disconnected = asyncio.create_task(_wait_disconnected(receive))
            await asyncio.wait({disconnected, sending}, return_when=asyncio.FIRST_COMPLETED)
            disconnected.cancel()
        finally:
            self._hub.leave(stream)
            self._streams.pop(stream, None)
            if self._leaving is not None:
                self._leaving.pop(stream, None)
            STREAMS.dec()
            sending.cancel()
            stream.closed.set()

    def _admit(self, scope: Message) -> Subscription | Refusal:
        if scope["path"] != "/ws":
            return Refusal(404, "not-found", "streams are at /ws")
        if self._refusing:
            return Refusal(503, "stopping", "this replica stops: connect again")
        headers = dict(scope["headers"])
        account = self._settings.keys.account(headers.get(b"x-api-key", b"").decode("latin-1"))
        return read_subscription(scope["query_string"].decode("latin-1"), account)

    async def _begin(self, stream: Stream, subscription: Subscription) -> None:
        """Says hello, catches up from the table, and goes live; the order makes it impossible to miss an event."""
        try:
            await self._hub.join(stream)
            ahead = await self._find_starts(stream, subscription)
            if ahead is not None:
                stream.close(Close(CLOSE_AHEAD, ahead))
                return
            stream.send(self._hello(stream))
            for channel, resume_after in subscription.resume_after.items():
                if resume_after is not None:
                    await self._replay(stream, channel)
                elif channel.startswith("book:"):
                    await self._send_book(stream, channel)
            stream.go_live()
        except DatabaseUnavailable:
            stream.close(Close(CLOSE_GAP, "the log does not answer: reconnect and resume"))

    async def _find_starts(self, stream: Stream, subscription: Subscription) -> str | None:
        for channel, resume_after in subscription.resume_after.items():
            end = await channel_end(self._database, channel)
            if resume_after is not None and resume_after > end:
                return f"last_seq of {channel} is {resume_after}, it ends at {end}"
            stream.sent[channel] = end if resume_after is None else resume_after
        return None

    def _hello(self, stream: Stream) -> str:
        hello = {
            "type": "hello",
            "version": service_version(),
            "slot": self._settings.slot,
            "instance": self._settings.instance,
            "last_seq": stream.sent,
        }
        return msgspec.json.encode(hello).decode()

    async def _replay(self, stream: Stream, channel: str) -> None:
        while True:
            events = await read_channel(self._database, channel, stream.sent[channel], limit=_PAGE)
            for event in events:
                stream.replay(event)
            if len(events) < _PAGE:
                return

    async def _send_book(self, stream: Stream, channel: str) -> None:
        book = await read_book(self._database, channel.removeprefix("book:"))
        stream.sent[channel] = book.seq
        snapshot = {"type": "snapshot", "channel": channel, "seq": book.seq, "bids": book.bids, "asks": book.asks}
        stream.send(msgspec.json.encode(snapshot).decode())


async def _send_messages(stream: Stream, send: Send) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # the client is gone
        while True:
            for message in await stream.next_messages():
                if isinstance(message, Close):
                    STREAMS_CLOSED.labels(str(message.code)).inc()
                    await send({"type": "websocket.close", "code": message.code, "reason": message.reason})
                    return
                await send({"type": "websocket.send", "text": message})


async def _wait_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass  # clients have nothing to say; what they send is ignored


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = msgspec.json.encode({"code": refusal.code, "reason": refusal.reason})
    headers = [(b"content-type", b"application/json"), (b"x-service-version", service_version().encode())]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def _refuse_http(send: Send) -> None:
    body = msgspec.json.encode({"code": "upgrade", "reason": "connect a WebSocket to /ws"})
    headers = [(b"content-type", b"application/json"), (b"upgrade", b"websocket")]
    await send({"type": "http.response.start", "status": 426, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def run(settings: Settings, *, host: str, port: int) -> int:
    """Runs the websocket service; returns the exit code."""
    service = WebsocketService(settings)
    return run_service(service, settings, host=host, port=port, app=service.answer)
