"""Asking a gateway whether it serves a change: a tiny gateway on this machine answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from openbell.adapters.kubernetes import in_force as module
from openbell.adapters.kubernetes.in_force import HEADER, Probe, Question, change_of, rule_of
from tests.adapters.kubernetes.memory import NAMESPACE, Content, MemoryApi
from tests.cluster.parts import free_port

PATHS = {"api": "/drain", "websocket": "/handover"}


@contextlib.asynccontextmanager
async def gateway(*statuses: int) -> AsyncIterator[tuple[int, list[str]]]:
    """Answer requests with these statuses, and then with the last of them; gives the port and what was asked."""
    asked: list[str] = []
    ended: list[asyncio.Event] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        mine = ended[-1]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
                status = statuses[min(len(asked), len(statuses)) - 1]
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nLocation: /\r\n\r\n" % status)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        mine.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        for one in ended:
            await one.wait()


def probe(*listeners: Content, address: str = "", known: str = "127.0.0.1") -> Probe:
    api = MemoryApi()
    addresses = [{"value": known}] if known else []
    content = {
        "metadata": {"name": "openbell"},
        "spec": {"listeners": list(listeners)},
        "status": {"addresses": addresses},
    }
    api.put(f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/gateways/openbell", content)
    return Probe(api, gateway="openbell", address=address, paths=PATHS)


async def test_each_plain_listener_of_a_service_is_asked_on_its_closed_path() -> None:
    asked = probe(
        {"name": "api", "port": 80, "protocol": "HTTP"},
        {"name": "websocket", "port": 81, "protocol": "HTTP", "hostname": "*.example.org"},
        {"name": "fix-gateway", "port": 82, "protocol": "TCP"},
        {"name": "others", "port": 83, "protocol": "HTTP"},
    )
    assert await asked.questions() == [
        Question("http://127.0.0.1:80/drain", "127.0.0.1"),
        Question("http://127.0.0.1:81/handover", "openbell.example.org"),
    ]
    named = probe({"name": "api", "port": 80, "protocol": "HTTP"}, address="gateway.example", known="")
    assert await named.questions() == [Question("http://gateway.example:80/drain", "gateway.example")]


async def test_what_cannot_be_asked_is_not_waited_for() -> None:
    tls = probe({"name": "api", "port": 443, "protocol": "HTTPS"})
    nowhere = probe({"name": "api", "port": 80, "protocol": "HTTP"}, known="")
    for one in (tls, nowhere, Probe(MemoryApi(), gateway="openbell", address="", paths=PATHS)):
        assert await one.questions() == []
    closed = Question(f"http://127.0.0.1:{free_port()}/drain", "127.0.0.1")
    async with asyncio.timeout(module.TIMEOUT_S - 1.0):
        await tls.wait_in_force([closed], "a")


async def test_a_change_is_waited_for_until_the_gateway_redirects() -> None:
    async with gateway(404, 500, 302) as (port, asked):
        await probe().wait_in_force([Question(f"http://127.0.0.1:{port}/drain", "a.example")], change_of("key"))
    assert len(asked) == 3
    assert f"{HEADER}: {change_of('key')}\r\n" in asked[0]
    assert "host: a.example\r\n" in asked[0].lower()
    assert change_of("key") != change_of("another key")
    match = rule_of("/drain", change_of("key"))["matches"][0]
    assert match["headers"] == [{"name": HEADER, "value": change_of("key")}]


async def test_a_gateway_that_somebody_else_answers_for_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    async with gateway(403) as (port, asked):
        await probe().wait_in_force([Question(f"http://127.0.0.1:{port}/drain", "a.example")], "a")
    assert asked
