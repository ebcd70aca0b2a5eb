import asyncio

import pytest

from trading_engine.journal.hint import Hints, encode_command, read_reply


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def test_commands_are_framed() -> None:
    assert encode_command(b"PUBLISH", b"c", b"\r\n") == b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$2\r\n\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (b":12\r\n", 12),
        (b"$-1\r\n", None),
        (b"$4\r\na\r\nb\r\n", b"a\r\nb"),
        (b"*2\r\n$1\r\na\r\n:1\r\n", [b"a", 1]),
    ],
)
async def test_replies(data: bytes, value: object) -> None:
    assert await read_reply(reader_of(data)) == value


async def test_an_error_is_an_error() -> None:
    with pytest.raises(ValueError, match="NOAUTH"):
        await read_reply(reader_of(b"-NOAUTH\r\n"))


async def test_publishing_without_valkey_neither_waits_nor_fails() -> None:
    hints = Hints("redis://127.0.0.1:1", "c")
    assert not await hints.publish(b"x")
    assert not await hints.publish(b"y")
    await hints.stop()


@pytest.mark.parametrize(("scheme", "first"), [("rediss", b"\x16\x03"), ("redis", b"*3")])
async def test_tls_is_spoken_where_the_url_asks_for_it(scheme: str, first: bytes) -> None:
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.readexactly(2))
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    hints = Hints(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", "c")
    async with server:
        assert await hints.publish(b"x") is (scheme == "redis")
        assert await asyncio.wait_for(received, 5) == first
        await hints.stop()
