"""A FIX 4.4 counterparty: keeps its numbers across connections, asks for what it missed, sends again what it is asked.

It reconnects at once when it is logged out or cut off, with the next numbers, and never resets them.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from trading_engine.fix_gateway.codec import Fields, FixMessage, FrameReader, encode_fields, encode_message
from trading_engine.fix_gateway.dictionary import (
    ADMIN_TYPES,
    HEARTBEAT,
    LOGON,
    LOGOUT,
    RESEND_REQUEST,
    SEQUENCE_RESET,
    format_timestamp,
)

TARGET = "TRADING-ENGINE"
_RETRY_S = 0.05
_LOGON_S = 12.0
_HEARTBEAT_S = 10


class FixCounts(Struct):
    """What happened on a session, from the counterparty's point of view."""

    logons: int = 0
    connects: int = 0
    too_low: int = 0
    resets: int = 0
    resends_asked: int = 0
    messages: int = 0


class _Sent(Struct, frozen=True):
    type: str
    body: bytes
    sent_at: str


class FixClient:
    """One session. `run` keeps it alive; `send` gives it an application message."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sender: str,
        password: str,
        on_message: Callable[[FixMessage], None],
        heartbeat_s: int = _HEARTBEAT_S,
    ) -> None:
        self._host = host
        self._port = port
        self.sender = sender
        self._password = password
        self._on_message = on_message
        self._heartbeat_s = heartbeat_s
        self.incoming_seq = 0
        self.outgoing_seq = 0
        self.counts = FixCounts()
        self.logged_on = asyncio.Event()
        self._sent: dict[int, _Sent] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._resend_upto = 0
        self._stopping = False
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Connects, and reconnects, until `stop`."""
        while not self._stopping:
            try:
                await self._connection()
            except (OSError, EOFError, TimeoutError):
                await asyncio.sleep(_RETRY_S)
            finally:
                self.logged_on.clear()
                self._writer = None
        self._finished.set()

    def send(self, message_type: str, fields: Fields) -> int:
        """Sends a message with the next number; returns that number. Unsent ones go out when they are asked for."""
        self.outgoing_seq += 1
        sent = _Sent(message_type, encode_fields(fields), format_timestamp(datetime.now(UTC)))
        self._sent[self.outgoing_seq] = sent
        self._write(self.outgoing_seq, sent)
        return self.outgoing_seq

    async def stop(self, *, timeout_s: float = 3.0) -> None:
        """Logs out and waits for the answer, so that both sides know all numbers."""
        self._stopping = True
        if self.logged_on.is_set():
            self.send(LOGOUT, [])
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._finished.wait(), timeout_s)
        if self._writer is not None:
            self._writer.close()

    async def _connection(self) -> None:
        self.counts.connects += 1
        reader, writer = await asyncio.wait_for(asyncio.open_connection(self._host, self._port), 5)
        self._writer = writer
        self._resend_upto = 0
        heartbeats: asyncio.Task[None] | None = None
        try:
            self.send(LOGON, [(98, "0"), (108, str(self._heartbeat_s)), (554, self._password)])
            frames = FrameReader()
            while True:
                patience_s = 2.5 * self._heartbeat_s if self.logged_on.is_set() else _LOGON_S
                data = await asyncio.wait_for(reader.read(65536), patience_s)
                if not data:
                    raise EOFError
                for message in frames.feed(data):
                    if self._receive(message):
                        return
                    if heartbeats is None:
                        heartbeats = asyncio.create_task(self._beat(), name="fix client heartbeats")
        finally:
            if heartbeats is not None:
                heartbeats.cancel()
            writer.close()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            if self.logged_on.is_set():
                self.send(HEARTBEAT, [])

    def _receive(self, message: FixMessage) -> bool:
        """Takes a message; True ends the connection."""
        if message.get(141) == "Y":
            self.counts.resets += 1
        if message.type == LOGON:
            self.counts.logons += 1
            self.logged_on.set()
        if message.seq <= self.incoming_seq:
            if not message.possible_duplicate:
                self.counts.too_low += 1
            return message.type == LOGOUT
        if message.seq > self.incoming_seq + 1:
            return self._miss(message)
        self.incoming_seq = message.seq
        ended = self._process(message)
        if self.incoming_seq >= self._resend_upto:
            self._resend_upto = 0
        return ended

    def _process(self, message: FixMessage) -> bool:
        match message.type:
            case "1":
                self.send(HEARTBEAT, [(112, message.get(112))])
            case "2":
                self._resend(int(message.get(7)), int(message.get(16)))
            case "4":
                self.incoming_seq = max(self.incoming_seq, int(message.get(36)) - 1)
            case "5":
                if not self._stopping:
                    self.send(LOGOUT, [])
                return True
            case "0" | "3" | "A":
                pass
            case _:
                self.counts.messages += 1
                self._on_message(message)
        return False

    def _miss(self, message: FixMessage) -> bool:
        """A number too high: what lies between is asked for, once."""
        if message.type == RESEND_REQUEST:
            self._resend(int(message.get(7)), int(message.get(16)))
        if message.type == LOGOUT:
            return True
        if not self._resend_upto:
            self._resend_upto = message.seq
            self.counts.resends_asked += 1
            self.send(RESEND_REQUEST, [(7, str(self.incoming_seq + 1)), (16, "0")])
        return False

    def _resend(self, begin_seq: int, end_seq: int) -> None:
        upto_seq = min(end_seq or self.outgoing_seq, self.outgoing_seq)
        fill_from = begin_seq
        for seq in range(begin_seq, upto_seq + 1):
            sent = self._sent[seq]
            if sent.type not in ADMIN_TYPES:
                self._fill_gap(fill_from, seq)
                self._write(seq, sent, again=True)
                fill_from = seq + 1
        self._fill_gap(fill_from, upto_seq + 1)

    def _fill_gap(self, from_seq: int, new_seq: int) -> None:
        if from_seq < new_seq:
            now = format_timestamp(datetime.now(UTC))
            filler = _Sent(SEQUENCE_RESET, encode_fields([(123, "Y"), (36, str(new_seq))]), now)
            self._write(from_seq, filler, again=True)

    def _write(self, seq: int, sent: _Sent, *, again: bool = False) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        header = [(34, str(seq)), (49, self.sender), (56, TARGET)]
        if again:
            header += [(43, "Y"), (52, format_timestamp(datetime.now(UTC))), (122, sent.sent_at)]
        else:
            header.append((52, sent.sent_at))
        self._writer.write(encode_message(sent.type, header, sent.body))
