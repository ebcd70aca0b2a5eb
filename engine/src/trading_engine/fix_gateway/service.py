"""The fix-gateway service: accepts connections, takes a session's lease at Logon, and hands sessions over.

A Logon that comes before the other side has let go of the session is held, at most ten seconds. Who still finds the
session taken then is a second live connection of the same counterparty and is disconnected without a word.
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Sequence

from trading_engine.fix_gateway.codec import FixMessage, FrameReader
from trading_engine.fix_gateway.connection import Connection
from trading_engine.fix_gateway.dictionary import LOGON, REQUIRED_TAGS
from trading_engine.fix_gateway.session import FixSession
from trading_engine.fix_gateway.store import SessionFenced, SessionRow, SessionStore
from trading_engine.journal.database import Database, DatabaseUnavailable
from trading_engine.journal.feed import HINT_CHANNEL, Feed
from trading_engine.journal.hint import Hints
from trading_engine.journal.listener import Listener
from trading_engine.service.handover import DrainOrder
from trading_engine.service.metrics import SESSIONS
from trading_engine.service.runtime import listen, run_service
from trading_engine.settings import Settings

TARGET = "TRADING-ENGINE"
_LOGON_S = 10.0
_HOLD_S = 10.0
_HOLD_POLL_S = 0.1
_log = logging.getLogger("trading_engine")
_GOODBYE = "service restart: reconnect and continue with the next number"


class FixGatewayService:
    """Holds the sessions that are logged on here."""

    name = "fix-gateway"
    unit = "sessions"

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self._settings = settings
        self._listening = listening
        self._database = Database(settings.database_url, application=f"trading-engine fix-gateway {settings.instance}")
        self._feed = Feed(self._database, Hints(settings.valkey_url, HINT_CHANNEL))
        self._listener = Listener(settings.database_url, ("fix_sessions",))
        self._store = SessionStore(self._database, settings.instance)
        self._sessions: dict[str, Connection] = {}
        self._claimed: dict[str, None] = {}
        self._leaving: dict[Connection, None] | None = None
        self._connections: dict[asyncio.Task[None], None] = {}
        self._server: asyncio.Server | None = None
        self._connecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accepts connections at once; a Logon waits until the database answers."""
        self._connecting = asyncio.create_task(self._database.start(), name="database")
        self._listener.start()
        self._feed.start()
        self._server = await asyncio.start_server(self._accept, sock=self._listening)

    async def unready_reason(self) -> str | None:
        """Ready when the database answers."""
        return await self._database.unready_reason()

    def remaining(self) -> int:
        """Sessions that a drain has still to move; without a drain, those logged on."""
        return len(self._leaving if self._leaving is not None else self._sessions)

    def refuse_new(self) -> None:
        """Accepts no more connections."""
        if self._server is not None:
            self._server.close()

    async def drain(self, order: DrainOrder) -> None:
        """Logs every session out and frees it, so that the other side continues its numbers."""
        self._leaving = dict.fromkeys(self._sessions.values())
        try:
            await asyncio.gather(*(self._hand_over(connection) for connection in list(self._leaving)))
        finally:
            self._leaving = None

    async def stop(self) -> None:
        """Ends what is left and closes the database."""
        self.refuse_new()
        await self.drain(DrainOrder())
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._connecting is not None:
            self._connecting.cancel()
        await self._feed.stop()
        await self._listener.stop()
        await self._database.stop()

    async def _hand_over(self, connection: Connection) -> None:
        with contextlib.suppress(SessionFenced, DatabaseUnavailable, OSError):
            await connection.hand_over(_GOODBYE)
        while self._sessions.get(connection.session.sender) is connection:  # noqa: ASYNC110 - ends within its linger
            await asyncio.sleep(0.01)
        if self._leaving is not None:
            self._leaving.pop(connection, None)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections[task] = None
        try:
            await self._serve(reader, writer)
        except (OSError, EOFError, TimeoutError, DatabaseUnavailable, SessionFenced, asyncio.CancelledError):
            pass  # the counterparty reconnects and is brought up to date
        finally:
            writer.close()
            if task is not None:
                self._connections.pop(task, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        frames = FrameReader()
        messages = await asyncio.wait_for(_first_messages(reader, frames), _LOGON_S)
        first = messages[0]
        account = self._admit(first)
        sender = first.get(49)
        row = await self._hold(sender, account) if account is not None else None
        if account is None or row is None:
            return
        session = FixSession(
            sender=sender,
            target=TARGET,
            account=account,
            incoming_seq=row.incoming_seq,
            outgoing_seq=row.outgoing_seq,
        )
        connection = Connection(
            session,
            self._store,
            self._database,
            (reader, writer),
            epoch=row.epoch,
            reported_seq=row.reported_seq,
        )
        await self._run(connection, frames, messages)

    async def _run(self, connection: Connection, frames: FrameReader, messages: Sequence[FixMessage]) -> None:
        session = connection.session
        sender = session.sender
        self._sessions[sender] = connection
        SESSIONS.inc()
        try:
            await self._feed.subscribe(connection.offer)
            _log.info("%s logs on: received %d, sent %d", sender, session.incoming_seq, session.outgoing_seq)
            ended = await connection.run(frames, messages[0], messages[1:])
            _log.info("%s ended: %s; received %d, sent %d", sender, ended, session.incoming_seq, session.outgoing_seq)
        finally:
            self._feed.unsubscribe(connection.offer)
            SESSIONS.dec()
            with contextlib.suppress(SessionFenced, DatabaseUnavailable):
                await connection.release()
            self._claimed.pop(sender, None)
            await connection.close()
            if self._sessions.get(sender) is connection:
                del self._sessions[sender]

    def _admit(self, first: FixMessage) -> str | None:
        """The account that a first message proves, or None; the standard asks to disconnect without an answer."""
        complete = all(first.get(tag) for tag in (*REQUIRED_TAGS[LOGON], 49, 56)) and first.seq > 0
        if first.type != LOGON or first.get(8) != "FIX.4.4" or first.get(56) != TARGET or not complete:
            return None
        return self._settings.keys.account(first.get(554))

    async def _hold(self, sender: str, account: str) -> SessionRow | None:
        """Waits until the session is free and takes it; None if that takes too long."""
        deadline = asyncio.get_running_loop().time() + _HOLD_S
        while asyncio.get_running_loop().time() < deadline:
            if sender not in self._claimed:
                # Claimed before asking: the lease tells gateways apart, not two connections of one gateway.
                self._claimed[sender] = None
                with contextlib.suppress(DatabaseUnavailable):
                    row = await self._store.acquire(sender, account)
                    if row is not None:
                        return row
                del self._claimed[sender]
            await self._listener.wait_notified("fix_sessions", _HOLD_POLL_S)
        return None


async def _first_messages(reader: asyncio.StreamReader, frames: FrameReader) -> list[FixMessage]:
    while data := await reader.read(4096):
        messages = list(frames.feed(data))
        if messages:
            return messages
    raise EOFError


def run(settings: Settings, *, host: str, port: int, http_port: int) -> int:
    """Runs the fix-gateway service; returns the exit code."""
    try:
        listening = listen(host, port)
    except OSError as error:
        print(f"fix-gateway: cannot listen on {host}:{port}: {error.strerror}. Choose another port.", file=sys.stderr)
        return 1
    return run_service(FixGatewayService(settings, listening), settings, host=host, port=http_port)
