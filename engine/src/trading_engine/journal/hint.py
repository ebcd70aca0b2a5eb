"""Publish and subscribe on Valkey, spoken directly: the part of RESP2 that fan-out needs.

Valkey never holds the truth. A message that is lost costs a reader one look into PostgreSQL; so every error here ends
in "try again later", and nobody waits. A client library would add a third to the start of each service.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

_RETRY_S = 0.5
_ERRORS = (OSError, EOFError, ValueError, TimeoutError)


def encode_command(*parts: bytes) -> bytes:
    """A RESP2 command."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def read_reply(reader: asyncio.StreamReader) -> object:
    """The next reply: bytes, int, None or a list of these. An error reply raises `ValueError`."""
    line = (await reader.readuntil(b"\r\n"))[:-2]
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else (await reader.readexactly(int(rest) + 2))[:-2]
    if kind == b"*":
        return [await read_reply(reader) for _ in range(int(rest))]
    raise ValueError(f"Valkey answered {line[:80]!r}")


class Hints:
    """A connection to one channel of Valkey: `publish` to it, or iterate over `messages`."""

    def __init__(self, url: str, channel: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 6379
        self._tls = parts.scheme in {"rediss", "valkeys"} or None
        self._login = (unquote(parts.username or "default"), unquote(parts.password)) if parts.password else None
        self._channel = channel.encode()
        self._writer: asyncio.StreamWriter | None = None
        self._next_try = 0.0
        self.connected = False

    async def publish(self, message: bytes) -> bool:
        """Sends a message if Valkey is there; True if it was handed over. Never waits for long, never raises."""
        try:
            if self._writer is None or self._writer.is_closing():
                now = asyncio.get_running_loop().time()
                if now < self._next_try:
                    return False
                self._next_try = now + _RETRY_S
                reader, self._writer = await self._connect()
                self._drainer = asyncio.create_task(_discard(reader, self._writer))
            self._writer.write(encode_command(b"PUBLISH", self._channel, message))
            return True
        except _ERRORS:
            self._writer = None
            return False

    async def messages(self) -> AsyncIterator[bytes]:
        """All messages from now on; reconnects whenever that is needed."""
        while True:
            try:
                reader, writer = await self._connect()
                try:
                    writer.write(encode_command(b"SUBSCRIBE", self._channel))
                    while True:
                        match await read_reply(reader):
                            case [b"subscribe", *_]:
                                self.connected = True
                            case [b"message", _, bytes(message)]:
                                yield message
                finally:
                    self.connected = False
                    writer.close()
            except _ERRORS:
                await asyncio.sleep(_RETRY_S)

    async def stop(self) -> None:
        """Closes the publishing connection."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(*_ERRORS):
                await self._writer.wait_closed()
            await self._drainer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(self._host, self._port, ssl=self._tls), 1)
        if self._login is not None:
            writer.write(encode_command(b"AUTH", *(part.encode() for part in self._login)))
            await asyncio.wait_for(read_reply(reader), 1)
        return reader, writer


async def _discard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads the replies to what was published, so that the connection's end is noticed."""
    with contextlib.suppress(*_ERRORS):
        while await reader.read(65536):
            pass
    writer.close()
