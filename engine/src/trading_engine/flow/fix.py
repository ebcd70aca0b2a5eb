"""The FIX half of the flow: sessions that send an order a second each and cancel some of what rests."""

import asyncio

from trading_engine.clients.fix import FixClient
from trading_engine.fix_gateway.codec import FixMessage
from trading_engine.fix_gateway.dictionary import CANCEL_REQUEST, EXECUTION_REPORT, NEW_ORDER
from trading_engine.flow.ledger import Ledger
from trading_engine.flow.orders import OrderSource

_CANCEL_SHARE = 0.3
_TIME = "20000101-00:00:00.000"  # when the counterparty's desk took the order: nobody here looks at it


class FixFlow:
    """One session."""

    def __init__(self, client: FixClient, ledger: Ledger, source: OrderSource, *, interval_s: float = 1.0) -> None:
        self.client = client
        self._ledger = ledger
        self._source = source
        self._interval_s = interval_s
        self._outstanding: dict[str, None] = {}

    def take(self, message: FixMessage) -> None:
        """A report from the engine: any but a rejection before the log acknowledges the order."""
        if message.type == EXECUTION_REPORT and message.get(37) != "NONE":
            client_order_id = message.get(41) or message.get(11)
            self._ledger.acknowledge(client_order_id)
            self._outstanding.pop(client_order_id, None)

    async def run(self, stop: asyncio.Event, *, offset_s: float) -> None:
        """Sends until `stop`."""
        loop = asyncio.get_running_loop()
        await self.client.logged_on.wait()
        due_s = loop.time() + offset_s
        while not stop.is_set():
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            due_s += self._interval_s
            if not stop.is_set():
                self._send_order()

    async def finish(self, timeout_s: float) -> None:
        """Waits until every order is acknowledged, then logs out."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._outstanding and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - ends soon
            await asyncio.sleep(0.02)
        await self.client.stop()

    def _send_order(self) -> None:
        client_order_id = self._source.next_id()
        instrument, side, order_type, price_ticks, quantity_lots, time_in_force = self._source.next_terms()
        self._ledger.send(client_order_id)
        self._outstanding[client_order_id] = None
        self.client.send(
            NEW_ORDER,
            [
                (11, client_order_id),
                (55, instrument),
                (54, "1" if side == "buy" else "2"),
                (60, _TIME),
                (38, str(quantity_lots)),
                (40, "2" if order_type == "limit" else "1"),
                *([(44, f"{price_ticks // 100}.{price_ticks % 100:02d}")] if order_type == "limit" else []),
                (59, "3" if time_in_force == "ioc" else "1"),
            ],
        )
        if self._source.random.random() < _CANCEL_SHARE:
            self.client.send(
                CANCEL_REQUEST,
                [
                    (11, f"{client_order_id}c"),
                    (41, client_order_id),
                    (55, instrument),
                    (54, "1" if side == "buy" else "2"),
                    (60, _TIME),
                ],
            )
