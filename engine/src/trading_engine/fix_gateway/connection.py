"""One FIX connection: carries out what the session decides, and commits before anybody hears of it.

All changes of a session go through one lock: what was read, what the matcher reported, heartbeats. So numbers are
given in the order in which messages are stored and written to the socket.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from trading_engine.core.events import CancelRejected, Event, OrderUpdate, orders_channel
from trading_engine.fix_gateway.codec import FixMessage, FrameReader, encode_fields, encode_message
from trading_engine.fix_gateway.dictionary import (
    ADMIN_TYPES,
    CANCEL_REJECT,
    EXECUTION_REPORT,
    HEARTBEAT,
    LOGOUT,
    SEQUENCE_RESET,
    TEST_REQUEST,
    cancel_reject,
    execution_report,
    format_timestamp,
)
from trading_engine.fix_gateway.session import Action, Append, Disconnect, FixSession, Reply, Resend
from trading_engine.fix_gateway.store import SessionStore, SessionWrite, StoredMessage, stored_message
from trading_engine.journal.database import Database
from trading_engine.journal.feed import FeedEvent, read_channel
from trading_engine.service.metrics import FIX_MESSAGES, FIX_RESENDS, ORDERS

_RENEW_S = 1.0
_TICK_S = 0.25
_PAGE = 500
_LINGER_S = 1.0
_SLOW_S = 10.0
_decode_event = msgspec.json.Decoder(Event).decode


class Ended(Exception):
    """The connection is to be closed; the message says why."""


class Connection:
    """A session that is logged on here."""

    def __init__(
        self,
        session: FixSession,
        store: SessionStore,
        database: Database,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        epoch: int,
        reported_seq: int,
    ) -> None:
        self.session = session
        self._store = store
        self._database = database
        self._reader, self._writer = streams
        self._epoch = epoch
        self._reported_seq = reported_seq
        self._channel = orders_channel(session.account)
        self._lock = asyncio.Lock()
        self._events: list[FeedEvent] = []
        self._reports_due = asyncio.Event()
        self._written_at = self._read_at = self._sent_at = time.monotonic()
        self._tested = False
        self._released = False
        self._handed_over = asyncio.Event()

    def offer(self, events: Sequence[FeedEvent]) -> None:
        """Takes events of the feed; those of other accounts are left out."""
        own = [event for event in events if event.channel == self._channel]
        if own:
            self._events.extend(own)
            self._reports_due.set()

    async def run(self, frames: FrameReader, first: FixMessage, rest: Sequence[FixMessage]) -> str:
        """Logs on and works until the connection ends; returns why it did."""
        tasks: list[asyncio.Task[None]] = []
        try:
            async with self._lock:
                await self._log_on(first)
                await self._take(rest)
            await self._report_backlog()
            tasks = [
                asyncio.create_task(self._read(frames), name="fix reader"),
                asyncio.create_task(self._report(), name="fix reports"),
                asyncio.create_task(self._tick(), name="fix timer"),
                asyncio.create_task(self._wait_handed_over(), name="fix handover"),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            return "ended"
        except Ended as end:
            return str(end)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def hand_over(self, text: str) -> None:
        """Says goodbye and frees the session in one transaction, so that another gateway can go on at once."""
        async with self._lock:
            if not self._released:
                await self._commit([Reply(LOGOUT, [(58, text)])], release=True)
            self._handed_over.set()

    async def _wait_handed_over(self) -> None:
        await self._handed_over.wait()
        raise Ended("handed over")

    async def release(self) -> None:
        """Frees the session, if that has not been done."""
        async with self._lock:
            if not self._released:
                await self._commit([], release=True)

    async def close(self) -> None:
        """Closes the socket so that the counterparty still reads what was written last.

        Closing a socket with unread input would reset the connection, and the Logout could be lost on the way. So this
        half closes, reads until the other side closes too, and throws away what comes: its numbers were not counted,
        the counterparty will be asked for it again.
        """
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._writer.write_eof()
            async with asyncio.timeout(_LINGER_S):
                while await self._reader.read(65536):
                    pass
        self._writer.close()

    async def _log_on(self, message: FixMessage) -> None:
        if message.get(141) == "Y":
            await self._store.forget(self.session.sender, self._epoch)
        await self._carry_out([(message, self.session.logon(message))])

    async def _read(self, frames: FrameReader) -> None:
        while data := await self._reader.read(65536):
            self._read_at = time.monotonic()
            self._tested = False
            messages = list(frames.feed(data))
            if messages:
                async with self._lock:
                    await self._take(messages)
        raise Ended("the counterparty closed the connection")

    async def _take(self, messages: Sequence[FixMessage]) -> None:
        """Takes all messages of one read; they share a transaction as far as their meaning allows."""
        if self._released:
            return
        decided = []
        for message in messages:
            FIX_MESSAGES.labels("in", message.type).inc()
            decided.append((message, self.session.receive(message)))
            if any(isinstance(action, Disconnect) for action in decided[-1][1]):
                break
        await self._carry_out(decided)

    async def _carry_out(self, decided: Sequence[tuple[FixMessage, list[Action]]]) -> None:
        replies: list[Reply] = []
        appends: list[Append] = []
        for _, actions in decided:
            for action in actions:
                match action:
                    case Reply():
                        replies.append(action)
                    case Append():
                        appends.append(action)
                    case Resend(begin_seq, end_seq):
                        await self._commit(replies, appends)
                        replies, appends = [], []
                        await self._resend(begin_seq, end_seq)
                    case Disconnect(reason):
                        await self._commit(replies, appends, release=True)
                        raise Ended(reason)
        await self._commit(replies, appends)

    async def _commit(self, replies: Sequence[Reply], appends: Sequence[Append] = (), *, release: bool = False) -> None:
        """Commits numbers, commands and messages, then writes the messages. Needs the lock."""
        session = self.session
        sent_at = format_timestamp(datetime.now(UTC))
        messages = [
            stored_message(session.outgoing_seq + count, reply, sent_at) for count, reply in enumerate(replies, start=1)
        ]
        outgoing_seq = session.outgoing_seq + len(messages)
        sequenced = await self._store.write(
            session.sender,
            self._epoch,
            SessionWrite(
                session.incoming_seq,
                outgoing_seq,
                self._reported_seq,
                commands=[append.command for append in appends],
                messages=messages,
                release=release,
            ),
        )
        session.outgoing_seq = outgoing_seq
        self._written_at = time.monotonic()
        self._released = release
        for message in messages:
            self._write(message)
        known = [append for append, place in zip(appends, sequenced, strict=True) if not place.fresh]
        ORDERS.labels("fix", "sequenced").inc(len(appends) - len(known))
        duplicates = [session.duplicate(append) for append in known if append.message.get(97) != "Y"]
        if duplicates:
            ORDERS.labels("fix", "conflict").inc(len(duplicates))
            await self._commit(duplicates)

    def _write(self, message: StoredMessage, *, resent_at: str = "") -> None:
        header = [(34, str(message.seq)), (49, self.session.target), (56, self.session.sender)]
        if resent_at:
            header += [(43, "Y"), (52, resent_at), (122, message.sent_at)]
        else:
            header.append((52, message.sent_at))
        FIX_MESSAGES.labels("out", message.message_type).inc()
        self._writer.write(encode_message(message.message_type, header, message.body))
        self._sent_at = time.monotonic()

    async def _resend(self, begin_seq: int, end_seq: int) -> None:
        """Sends application messages again and fills the numbers of all others."""
        FIX_RESENDS.labels("in").inc()
        end_seq = min(end_seq or self.session.outgoing_seq, self.session.outgoing_seq)
        resent_at = format_timestamp(datetime.now(UTC))
        fill_from = begin_seq
        for message in await self._store.sent_messages(self.session.sender, begin_seq, end_seq):
            if message.message_type in ADMIN_TYPES:
                continue
            self._fill_gap(fill_from, message.seq, resent_at)
            self._write(message, resent_at=resent_at)
            fill_from = message.seq + 1
        self._fill_gap(fill_from, end_seq + 1, resent_at)

    def _fill_gap(self, from_seq: int, new_seq: int, resent_at: str) -> None:
        if from_seq < new_seq:
            body = encode_fields([(123, "Y"), (36, str(new_seq))])
            self._write(StoredMessage(from_seq, SEQUENCE_RESET, resent_at, body), resent_at=resent_at)

    async def _report_backlog(self) -> None:
        """Reports what happened while nobody was logged on."""
        while True:
            events = await read_channel(self._database, self._channel, self._reported_seq, limit=_PAGE)
            await self._report_events(events)
            await self._wait_written()
            if len(events) < _PAGE:
                return

    async def _report(self) -> None:
        while True:
            await self._reports_due.wait()
            self._reports_due.clear()
            events, self._events = self._events, []
            await self._report_events(events)
            await self._wait_written()

    async def _wait_written(self) -> None:
        """Lets a counterparty that reads slowly hold up its own reports, and nothing else: not under the lock."""
        async with asyncio.timeout(_SLOW_S):
            await self._writer.drain()

    async def _report_events(self, events: Sequence[FeedEvent]) -> None:
        async with self._lock:
            if self._released:
                raise Ended("handed over")
            reports: list[Reply] = []
            upto_seq = self._reported_seq
            for event in events:
                if event.seq > upto_seq + 1:
                    raise Ended(f"missed events of {self._channel} after {upto_seq}")  # the next Logon reads them
                if event.seq > upto_seq:
                    upto_seq = event.seq
                    report = self._report_of(event)
                    if report is not None:
                        reports.append(report)
            self._reported_seq = upto_seq
            if reports:
                await self._commit(reports)

    def _report_of(self, stored: FeedEvent) -> Reply | None:
        event = _decode_event(stored.payload)
        sender = self.session.sender
        if isinstance(event, OrderUpdate) and sender in {event.origin, event.request_origin}:
            return Reply(EXECUTION_REPORT, execution_report(event, f"{stored.command_seq}.{stored.index}", sender))
        if isinstance(event, CancelRejected) and event.request_origin == sender:
            return Reply(CANCEL_REJECT, cancel_reject(event))
        return None

    async def _tick(self) -> None:
        """Keeps the session's lease, and the connection alive."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            async with self._lock:
                if self._released:
                    return
                silent_s = now - self._read_at
                heartbeat_s = self.session.heartbeat_s
                if silent_s > 2.4 * heartbeat_s:
                    await self._commit([Reply(LOGOUT, [(58, "no answer to TestRequest")])], release=True)
                    raise Ended("the counterparty is silent")
                if silent_s > 1.2 * heartbeat_s and not self._tested:
                    self._tested = True
                    await self._commit([Reply(TEST_REQUEST, [(112, f"test-{self.session.outgoing_seq + 1}")])])
                elif now - self._sent_at >= heartbeat_s:
                    await self._commit([Reply(HEARTBEAT, [])])
                elif now - self._written_at > _RENEW_S:
                    await self._commit([])
