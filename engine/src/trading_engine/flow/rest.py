"""The REST half of the flow: requests at a fixed rate, whether or not the earlier ones have been answered."""

import asyncio
import random
import time
from collections import deque

from trading_engine.clients.http import HttpClient, Unanswered
from trading_engine.flow.ledger import Ledger
from trading_engine.flow.orders import OrderSource

_TRIES_MAX = 6
_BACKOFF_S = 0.05
_REQUEST_S = 5.0
_CANCELLABLE_MAX = 500
_SUBMIT_SHARE = 0.6
_CANCEL_SHARE = 0.2


class RestFlow:
    """Submits about 60 % of the time, cancels 20 %, asks 20 %."""

    def __init__(self, client: HttpClient, ledger: Ledger, source: OrderSource, *, rate: float) -> None:
        self._client = client
        self._ledger = ledger
        self._source = source
        self._rate = rate
        self._known: deque[str] = deque(maxlen=_CANCELLABLE_MAX)
        self._outstanding: dict[asyncio.Task[None], None] = {}
        self._jitter = random.Random(0)  # noqa: S311 - spreads retries

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop`; one that is late makes the next ones come sooner, never fewer."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        count = 0
        while not stop.is_set():
            due_s = started_s + count / self._rate
            if due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            count += 1
            task = asyncio.create_task(self._one())
            self._outstanding[task] = None
            task.add_done_callback(self._outstanding.pop)

    async def finish(self, timeout_s: float) -> None:
        """Waits for what is outstanding."""
        if self._outstanding:
            await asyncio.wait(list(self._outstanding), timeout=timeout_s)
        self._client.close()

    async def _one(self) -> None:
        choice = self._source.random.random()
        if choice < _SUBMIT_SHARE or not self._known:
            await self._submit()
        elif choice < _SUBMIT_SHARE + _CANCEL_SHARE:
            target = self._source.random.choice(self._known)
            self._known.remove(target)
            await self._ask("DELETE", f"/orders/{target}")
        else:
            await self._ask("GET", f"/orders/{self._source.random.choice(self._known)}")

    async def _submit(self) -> None:
        client_order_id = self._source.next_id()
        self._ledger.send(client_order_id)
        if await self._ask("POST", "/orders", self._source.next_order(client_order_id)):
            self._ledger.acknowledge(client_order_id)
            self._known.append(client_order_id)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> bool:
        """Asks, again if need be: everything here may be repeated. Each try that fails is counted."""
        for attempt in range(_TRIES_MAX):
            if attempt:
                await asyncio.sleep(_BACKOFF_S * 2**attempt * (0.5 + self._jitter.random()))
            started_s = time.perf_counter()
            status, version = 0, "none"
            try:
                response = await self._client.request(method, path, body=body, timeout_s=_REQUEST_S)
                status, version = response.status, response.version or "none"
            except Unanswered:
                pass
            failed = not 200 <= status < 300
            latency_ms = (time.perf_counter() - started_s) * 1000
            self._ledger.answer(version, failed=failed, latency_ms=latency_ms, at_s=time.time())
            if not failed:
                return True
            if 400 <= status < 500:
                return False  # asking again would not change it
        return False
