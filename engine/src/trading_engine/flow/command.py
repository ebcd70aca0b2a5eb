"""The command `trading-engine flow`: runs the halves of the flow, reports every second, and reckons up at the end."""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from trading_engine.clients.fix import FixClient
from trading_engine.clients.http import HttpClient
from trading_engine.clients.stream import StreamClient
from trading_engine.core.events import orders_channel
from trading_engine.flow.audit import Auditor
from trading_engine.flow.fix import FixFlow
from trading_engine.flow.ledger import Ledger
from trading_engine.flow.orders import INSTRUMENTS, OrderSource
from trading_engine.flow.rest import RestFlow
from trading_engine.journal.database import DATABASE_ERRORS
from trading_engine.service.runtime import event_loop_factory
from trading_engine.settings import ApiKeys

_LIVE_S = 1.0
_FINISH_S = 10.0


class FlowError(Exception):
    """The flow cannot start or cannot be accounted for."""


class Flow:
    """One run."""

    def __init__(self, keys: ApiKeys, database_url: str, options: argparse.Namespace) -> None:
        key, self._account = keys.key_of("flow")
        self._database_url = database_url
        self._report_path = Path(options.report)
        # Ids of two runs must not meet: the log would answer the second with the first one's outcome.
        self._prefix = f"flow-{secrets.token_hex(4)}-"
        self._ledger = Ledger()
        source = OrderSource(options.seed, self._prefix)
        self._rest = None
        if options.api and options.rate > 0:
            client = HttpClient(options.api, headers={"X-API-Key": key})
            self._rest = RestFlow(client, self._ledger, source, rate=options.rate)
        self._fix = self._fix_flows(options, key, source) if options.fix else []
        self._streams = [
            StreamClient(options.websocket, _stream_channels(number), key=key)
            for number in range(options.streams if options.websocket else 0)
        ]
        self._late = {"sequence_gaps": 0, "missed": 0, "lost": 0, "doubled": 0}
        self._examples: list[str] = []
        self._audited = False

    async def run_until_signal(self, duration_s: float | None) -> bool:
        """Runs until SIGTERM, SIGINT or for `duration_s`; True if everything is accounted for."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await self.run(duration_s, stop=stop)

    async def run(self, duration_s: float | None, *, stop: asyncio.Event) -> bool:
        """Runs until `stop` is set, or for `duration_s`; True if everything is accounted for."""
        for stream in self._streams:
            stream.start()
        sessions = [asyncio.create_task(flow.client.run()) for flow in self._fix]
        senders = [asyncio.create_task(self._rest.run(stop))] if self._rest is not None else []
        for index, flow in enumerate(self._fix):
            senders.append(asyncio.create_task(flow.run(stop, offset_s=index / len(self._fix))))
        live = asyncio.create_task(self._report_live())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), duration_s)
        stop.set()
        await self._finish(senders)
        reckoned = await self._reckon()
        for stream in self._streams:
            await stream.stop()
        for task in (live, *sessions):
            task.cancel()
        await asyncio.gather(live, *sessions, return_exceptions=True)
        self._write(self._report_path)
        return reckoned and not any(self._late.values()) and not self._report()["websocket"]["doubled"]

    def summary(self) -> str:
        """The account in one line."""
        report = self._report()
        orders, http, fix, websocket = report["orders"], report["http"], report["fix"], report["websocket"]
        return (
            f"{orders['acknowledged']} of {orders['sent']} orders acknowledged, {orders['lost']} lost, "
            f"{orders['doubled']} doubled; {http['failed']} of {http['requests']} requests failed, "
            f"p95 {http['p95_ms']} ms; FIX {fix['sessions']} sessions, {fix['reconnects']} reconnects, "
            f"{fix['sequence_gaps']} gaps, {fix['resets']} resets; "
            f"{websocket['events']} events, {websocket['missed']} missed, {websocket['doubled']} doubled"
        )

    def _fix_flows(self, options: argparse.Namespace, key: str, source: OrderSource) -> list[FixFlow]:
        host, _, port = options.fix.rpartition(":")
        if not port.isdecimal():
            raise FlowError(f"--fix {options.fix}: want HOST:PORT")
        flows: list[FixFlow] = []
        for number in range(options.fix_sessions):
            client = FixClient(
                host or "127.0.0.1",
                int(port),
                sender=f"{self._prefix}{number}".upper(),
                password=key,
                on_message=lambda message, number=number: flows[number].take(message),  # type: ignore[misc]
            )
            flows.append(FixFlow(client, self._ledger, source))
        return flows

    async def _finish(self, senders: list[asyncio.Task[None]]) -> None:
        """Nothing new is sent; what is outstanding gets its time."""
        for task in senders[1 if self._rest is not None else 0 :]:
            task.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        if self._rest is not None:
            await self._rest.finish(_FINISH_S)
        await asyncio.gather(*(flow.finish(_FINISH_S) for flow in self._fix))

    async def _reckon(self) -> bool:
        try:
            connection = await asyncpg.connect(self._database_url, timeout=5)
        except DATABASE_ERRORS as error:
            print(f"flow: no account without PostgreSQL: {error}", file=sys.stderr)
            return False
        try:
            auditor = Auditor(connection)
            if not await auditor.wait_matched(_FINISH_S):
                print(f"flow: the log was not matched to its end within {_FINISH_S:g} s", file=sys.stderr)
            await self._reckon_streams(auditor)
            audit = await auditor.audit_orders([self._account], self._prefix, list(self._ledger.acknowledged))
            self._late["lost"], self._late["doubled"] = audit.lost, audit.doubled
            self._examples = audit.examples
            for flow in self._fix:
                received, sent = await auditor.session_numbers(flow.client.sender)
                gaps = abs(flow.client.outgoing_seq - received) + abs(flow.client.incoming_seq - sent)
                self._late["sequence_gaps"] += gaps + flow.client.counts.too_low
        finally:
            await connection.close()
        self._audited = True
        return True

    async def _reckon_streams(self, auditor: Auditor) -> None:
        """Every stream must come to the end of its channels."""
        if not self._streams:
            return
        channels = [orders_channel(self._account), *(f"{kind}:{name}" for kind in _KINDS for name in INSTRUMENTS)]
        ends = await auditor.channel_ends(channels)
        deadline = asyncio.get_running_loop().time() + 5
        for stream in self._streams:
            while _behind(stream, ends) and asyncio.get_running_loop().time() < deadline:
                stream.progressed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stream.progressed.wait(), 0.1)
            self._late["missed"] += _behind(stream, ends)

    async def _report_live(self) -> None:
        while True:
            await asyncio.sleep(_LIVE_S)
            self._write(self._report_path.with_name(self._report_path.name + ".live"))

    def _report(self) -> dict[str, Any]:
        clients = [flow.client for flow in self._fix]
        return {
            "orders": {
                "sent": len(self._ledger.sent),
                "acknowledged": len(self._ledger.acknowledged),
                "lost": self._late["lost"],
                "doubled": self._late["doubled"],
            },
            "http": self._ledger.http(),
            "fix": {
                "sessions": len(clients),
                "reconnects": sum(max(0, client.counts.logons - 1) for client in clients),
                "sequence_gaps": self._late["sequence_gaps"],
                "resets": sum(client.counts.resets for client in clients),
            },
            "websocket": {
                "events": sum(stream.counts.events for stream in self._streams),
                "missed": self._late["missed"] + sum(stream.counts.missed for stream in self._streams),
                "doubled": sum(stream.counts.doubled for stream in self._streams),
            },
            "audited": self._audited,
            "examples": self._examples,
        }

    def _write(self, path: Path) -> None:
        written = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        written.write_bytes(msgspec.json.format(msgspec.json.encode(self._report()), indent=2) + b"\n")
        written.replace(path)


_KINDS = ("book", "trades")


def _stream_channels(number: int) -> list[str]:
    instrument = INSTRUMENTS[number % len(INSTRUMENTS)]
    return [*(f"{kind}:{instrument}" for kind in _KINDS), "orders"]


def _behind(stream: StreamClient, ends: dict[str, int]) -> int:
    return sum(max(0, ends.get(channel, 0) - seq) for channel, seq in stream.last_seq.items())


def run(keys: ApiKeys, database_url: str, options: argparse.Namespace) -> int:
    """Runs the flow; returns 0 if every order, message and event is accounted for, else 1."""
    try:
        flow = Flow(keys, database_url, options)
        with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
            accounted = runner.run(flow.run_until_signal(options.duration))
    except FlowError as error:
        print(f"trading-engine flow: {error}", file=sys.stderr)
        return 2
    print(flow.summary())
    return 0 if accounted else 1
