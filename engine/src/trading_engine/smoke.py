"""`trading-engine smoke`: is each service really able to do its work? From outside, end to end, in under three seconds.

It trades the instrument TEST only, and takes its order back: no customer's book is touched. Any two smoke tests may
run at the same time.
"""

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from trading_engine.clients.fix import FixClient
from trading_engine.clients.http import HttpClient, HttpResponse, Unanswered
from trading_engine.clients.stream import StreamClient
from trading_engine.fix_gateway.codec import FixMessage
from trading_engine.service.runtime import event_loop_factory
from trading_engine.settings import ApiKeys

_STEP_S = 5.0
_ROUND_S = 0.02


class SmokeFailed(Exception):
    """A check found something else than it must; the message says what."""


Check = tuple[str, Callable[[], Awaitable[None]]]


def _expect(condition: bool, reason: str) -> None:
    if not condition:
        raise SmokeFailed(reason)


async def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + _STEP_S
    while not condition():
        _expect(asyncio.get_running_loop().time() < deadline, f"{what}: not within {_STEP_S:g} s")
        await asyncio.sleep(_ROUND_S)


class ApiSmoke:
    """The REST service, and behind it the log and the matcher."""

    def __init__(self, url: str, key: str) -> None:
        self._client = HttpClient(url, headers={"X-API-Key": key})
        self._stranger = HttpClient(url)
        self.order_id = f"smoke-{secrets.token_hex(6)}"

    def checks(self) -> list[Check]:
        """All checks, in order."""
        return [
            ("api answers and is ready", self._ready),
            ("api refuses a stranger", self._refuses_stranger),
            ("api takes an order", self._submit),
            ("api takes the same order only once", self._submit_again),
            ("matcher opens the order", self._opened),
            ("book shows it", self._in_book),
            ("api cancels, matcher takes it out", self._cancel),
        ]

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._stranger.close()

    async def _ready(self) -> None:
        response = await self._client.request("GET", "/readyz")
        _expect(response.status == 200, f"/readyz says {response.status}: {_text(response)}")
        _expect(bool(response.version), "no X-Service-Version in the answer")

    async def _refuses_stranger(self) -> None:
        response = await self._stranger.request("GET", "/orders")
        _expect(response.status == 401, f"/orders without a key says {response.status}, want 401")

    async def _submit(self) -> None:
        response = await self._post()
        _expect(response.status == 201, f"POST /orders says {response.status}: {_text(response)}")

    async def _submit_again(self) -> None:
        response = await self._post()
        _expect(response.status == 200, f"the same order again says {response.status}, want 200: {_text(response)}")

    async def _opened(self) -> None:
        await self._wait_status("open")

    async def _in_book(self) -> None:
        response = await self._client.request("GET", "/book/TEST")
        _expect(response.status == 200, f"/book/TEST says {response.status}: {_text(response)}")
        bids = msgspec.json.decode(response.body)["bids"]
        _expect(any(price == 1 for price, _ in bids), f"no bid at 1 tick in {bids}")

    async def _cancel(self) -> None:
        response = await self._client.request("DELETE", f"/orders/{self.order_id}")
        _expect(response.status == 202, f"DELETE says {response.status}: {_text(response)}")
        await self._wait_status("cancelled")

    async def _post(self) -> HttpResponse:
        order = {
            "client_order_id": self.order_id,
            "instrument": "TEST",
            "side": "buy",
            "type": "limit",
            "price_ticks": 1,
            "quantity_lots": 1,
        }
        return await self._client.request("POST", "/orders", body=msgspec.json.encode(order))

    async def _wait_status(self, wanted: str) -> None:
        status: Any = None
        deadline = asyncio.get_running_loop().time() + _STEP_S
        while status != wanted:
            _expect(asyncio.get_running_loop().time() < deadline, f"the order is {status}, want {wanted}")
            response = await self._client.request("GET", f"/orders/{self.order_id}")
            _expect(response.status == 200, f"GET /orders says {response.status}: {_text(response)}")
            status = msgspec.json.decode(response.body)["status"]
            await asyncio.sleep(_ROUND_S)


class WebsocketSmoke:
    """The streaming service: it starts, and it resumes at the number it is asked for."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._stream = StreamClient(url, ["book:TEST", "orders"], key=key)

    def checks(self) -> list[Check]:
        """All checks, in order."""
        return [
            ("websocket greets", self._greets),
            ("websocket resumes from a number", self._resumes),
        ]

    async def close(self) -> None:
        """Closes the stream."""
        await self._stream.stop()

    async def _greets(self) -> None:
        self._stream.start()
        await _wait(self._stream.greeted.is_set, "hello")
        _expect(bool(self._stream.version), "the hello names no version")

    async def _resumes(self) -> None:
        end = max(self._stream.last_seq.values())
        channel = max(self._stream.last_seq, key=lambda name: self._stream.last_seq[name])
        if end == 0:
            return  # nothing has happened yet that could be sent again
        again = StreamClient(self._url, [channel], key=self._key)
        again.last_seq[channel] = end - 1
        again.start()
        try:
            await _wait(lambda: again.counts.events > 0, f"the last event of {channel} again")
            _expect(again.counts.missed == 0, f"{again.counts.missed} events missing after {end - 1}")
        finally:
            await again.stop()


class FixSmoke:
    """The FIX gateway: a session, an order, a cancel, a goodbye with equal numbers."""

    def __init__(self, address: str, key: str) -> None:
        host, _, port = address.rpartition(":")
        name = secrets.token_hex(6)
        self._order_id = f"smoke-{name}"
        self._reports: list[FixMessage] = []
        self._task: asyncio.Task[None] | None = None
        self._client = FixClient(
            host or "127.0.0.1",
            int(port),
            sender=f"SMOKE-{name.upper()}",
            password=key,
            on_message=self._reports.append,
        )

    def checks(self) -> list[Check]:
        """All checks, in order."""
        return [
            ("fix logs on", self._log_on),
            ("fix takes an order and reports it", self._order),
            ("fix cancels it and reports that", self._cancel),
            ("fix logs out", self._log_out),
            ("fix numbers have no gap", self._numbers),
        ]

    async def close(self) -> None:
        """Ends the session."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _log_on(self) -> None:
        self._task = asyncio.create_task(self._client.run())
        await _wait(self._client.logged_on.is_set, "Logon")

    async def _order(self) -> None:
        self._client.send("D", [(11, self._order_id), *_TEST_ORDER, (38, "1"), (40, "2"), (44, "0.01")])
        await self._wait_report("0")

    async def _cancel(self) -> None:
        self._client.send("F", [(11, f"{self._order_id}c"), (41, self._order_id), *_TEST_ORDER])
        await self._wait_report("4")

    async def _log_out(self) -> None:
        await self._client.stop()
        _expect(self._task is not None and self._task.done(), "no Logout in return")

    async def _numbers(self) -> None:
        counts = self._client.counts
        _expect(counts.resends_asked == 0 and counts.too_low == 0, f"numbers were not in order: {counts}")

    async def _wait_report(self, exec_type: str) -> None:
        def reported() -> bool:
            refused = next((report.get(58) for report in self._reports if report.get(150) == "8"), None)
            _expect(refused is None, f"the order was refused: {refused}")
            return any(report.get(150) == exec_type for report in self._reports)

        await _wait(reported, f"ExecutionReport with ExecType {exec_type}")


_TEST_ORDER = [(55, "TEST"), (54, "1"), (60, "20000101-00:00:00.000")]


def _text(response: HttpResponse) -> str:
    return response.body[:200].decode("utf-8", "replace")


async def _run(checks: list[Check]) -> int:
    for number, (name, check) in enumerate(checks):
        try:
            await check()
        except (SmokeFailed, Unanswered, OSError, msgspec.MsgspecError, KeyError) as error:
            print(f"failed: {name}: {error}")
            print(f"smoke: {number} of {len(checks)}")
            return 1
        print(f"ok: {name}")
    print(f"smoke: {len(checks)} of {len(checks)}")
    return 0


async def _smoke(keys: ApiKeys, api: str | None, websocket: str | None, fix: str | None) -> int:
    key, _ = keys.key_of("smoke")
    api_smoke = ApiSmoke(api, key) if api else None
    websocket_smoke = WebsocketSmoke(websocket, key) if websocket else None
    fix_smoke = FixSmoke(fix, key) if fix else None
    parts = [part for part in (api_smoke, websocket_smoke, fix_smoke) if part is not None]
    try:
        return await _run([check for part in parts for check in part.checks()])
    finally:
        if api_smoke is not None:
            api_smoke.close()
        if websocket_smoke is not None:
            await websocket_smoke.close()
        if fix_smoke is not None:
            await fix_smoke.close()


def run(keys: ApiKeys, *, api: str | None, websocket: str | None, fix: str | None) -> int:
    """Runs the checks of every service that is named; 0 if all hold."""
    if not (api or websocket or fix):
        print("trading-engine smoke: name at least one of --api, --websocket, --fix", file=sys.stderr)
        return 2
    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        return runner.run(_smoke(keys, api, websocket, fix))
