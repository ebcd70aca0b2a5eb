import asyncio
from typing import Any

import msgspec
import pytest

from trading_engine.journal.database import DatabaseUnavailable
from trading_engine.service.handover import DrainOrder
from trading_engine.service.operations import Message, Operations, Receive, Send
from trading_engine.settings import ApiKeys, Settings

SETTINGS = Settings("postgresql://x", "redis://x", ApiKeys({"k": "a"}), "blue", "blue-1")


class FakeService:
    """Moves what it has when it is told that it may."""

    name = "fake"
    unit = "things"

    def __init__(self) -> None:
        self.left = 2
        self.may_move = asyncio.Event()
        self.reason: str | None = None
        self.orders: list[DrainOrder] = []
        self.fails = False

    async def start(self) -> None: ...

    async def unready_reason(self) -> str | None:
        return self.reason

    def remaining(self) -> int:
        return self.left

    def refuse_new(self) -> None: ...

    async def drain(self, order: DrainOrder) -> None:
        self.orders.append(order)
        await self.may_move.wait()
        if self.fails:
            raise DatabaseUnavailable("away")
        self.left = 0

    async def stop(self) -> None: ...


class Asked:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(operations: Operations, path: str, method: str = "GET", body: bytes = b"") -> Asked:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await operations({"type": "http", "path": path, "method": method, "headers": []}, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Asked(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


async def answer_hello(scope: Message, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
def service() -> FakeService:
    return FakeService()


async def test_alive_ready_and_version(service: FakeService) -> None:
    operations = Operations(service, SETTINGS, answer_hello)
    assert (await ask(operations, "/healthz")).status == 200
    assert (await ask(operations, "/readyz")).status == 200
    service.reason = "no database"
    response = await ask(operations, "/readyz")
    assert (response.status, response.json["reason"]) == (503, "no database")
    assert (await ask(operations, "/healthz")).status == 200
    own = await ask(operations, "/hello")
    assert (own.body, own.headers["x-own"]) == (b"hello", "1")
    assert own.headers["x-service-version"]


async def test_stopping_is_not_ready_and_sends_clients_away(service: FakeService) -> None:
    operations = Operations(service, SETTINGS, answer_hello)
    operations.stopping = True
    assert (await ask(operations, "/readyz")).status == 503
    assert (await ask(operations, "/hello")).headers["connection"] == "close"


async def test_drain_tells_where_it_stands_and_may_be_repeated(service: FakeService) -> None:
    operations = Operations(service, SETTINGS)
    assert (await ask(operations, "/drain")).json["state"] == "serving"
    first = await ask(operations, "/drain", "POST", b'{"to": "green"}')
    assert (first.status, first.json["state"], first.json["remaining"]) == (202, "draining", 2)
    await ask(operations, "/drain", "POST", b'{"to": "green"}')
    assert len(service.orders) == 1, "a drain that runs is not begun again"
    service.may_move.set()
    again = await ask(operations, "/drain", "POST")
    assert (again.json["state"], again.json["remaining"], again.json["slot"]) == ("drained", 0, "blue")
    service.left = 3
    assert (await ask(operations, "/drain")).json["state"] == "serving", "it can serve again"


async def test_a_drain_that_stopped_halfway_is_not_called_drained(service: FakeService) -> None:
    operations = Operations(service, SETTINGS)
    service.fails = True
    service.may_move.set()
    failed = await ask(operations, "/drain", "POST")
    assert (failed.json["state"], failed.json["reason"]) == ("draining", "PostgreSQL: away; ask again")
    service.fails = False
    assert (await ask(operations, "/drain", "POST")).json["state"] == "drained"


@pytest.mark.parametrize("body", [b"{", b'{"too": "green"}', b'{"to": 5}'])
async def test_a_bad_drain_order_is_refused(service: FakeService, body: bytes) -> None:
    operations = Operations(service, SETTINGS)
    assert (await ask(operations, "/drain", "POST", body)).status == 400
    assert service.orders == []


async def test_other_methods_and_paths(service: FakeService) -> None:
    operations = Operations(service, SETTINGS)
    assert (await ask(operations, "/drain", "DELETE")).status == 405
    assert (await ask(operations, "/nowhere")).status == 404
