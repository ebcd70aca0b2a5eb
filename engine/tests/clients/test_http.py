import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from trading_engine.clients.http import HttpClient, Unanswered

Answer = Callable[[int], tuple[bytes, bool]]
OK = b"HTTP/1.1 200 OK\r\nX-Service-Version: 9\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[HttpClient]:
    """A client of a server that answers the n-th request with `answer(n)`: bytes, and whether it then closes."""
    count = 0
    done: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        finished = asyncio.Event()
        done.append(finished)
        closes = False
        while not closes and await reader.readline():
            while await reader.readline() not in {b"\r\n", b""}:
                pass
            count += 1
            data, closes = answer(count)
            writer.write(data)
        writer.close()
        finished.set()

    started = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = HttpClient(f"http://127.0.0.1:{started.sockets[0].getsockname()[1]}")
    try:
        yield client
    finally:
        client.close()
        started.close()
        for finished in done:
            await finished.wait()
        await asyncio.sleep(0)


async def test_answers_over_a_kept_connection() -> None:
    async with served(lambda _: (OK, False)) as client:
        for _ in range(3):
            response = await client.request("GET", "/x")
            assert (response.status, response.version, response.body) == (200, "9", b"ok")


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async with served(lambda count: (b"", True) if count == 2 else (OK, False)) as client:
        assert (await client.request("GET", "/1")).status == 200
        assert (await client.request("GET", "/2")).status == 200


async def test_a_body_that_ends_with_the_connection() -> None:
    async with served(lambda _: (b"HTTP/1.0 503 Unavailable\r\n\r\nsorry", True)) as client:
        response = await client.request("GET", "/1")
        assert (response.status, response.body) == (503, b"sorry")


@pytest.mark.parametrize(
    ("data", "closes"),
    [(b"", True), (b"SSH-2.0\r\n\r\n", False), (b"HTTP/1.1 200 OK\r\nContent-Le", True), (b"", False)],
)
async def test_nobody_answers(data: bytes, closes: bool) -> None:
    async with served(lambda _: (data, closes)) as client:
        with pytest.raises(Unanswered):
            await client.request("GET", "/x", timeout_s=0.1)


async def test_refused() -> None:
    with pytest.raises(Unanswered):
        await HttpClient("http://127.0.0.1:1").request("GET", "/")
