"""A small HTTP/1.1 client with kept connections, cheap enough to generate load beside what it measures."""

import asyncio
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools
from msgspec import Struct

CONNECTIONS_IDLE_MAX = 64


class Unanswered(Exception):
    """Nobody answered: refused, cut off, or too late."""


class HttpResponse(Struct, frozen=True):
    """A response; `version` is what the service says it is, empty if it did not say."""

    status: int
    version: str
    body: bytes
    headers: dict[str, str]


class _Connection(asyncio.Protocol):
    """One connection that carries one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.usable = True
        self._answer: asyncio.Future[HttpResponse] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._complete_headers = False
        self.answered_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def request(self, data: bytes) -> "asyncio.Future[HttpResponse]":
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body = {}, []
        self._complete_headers = False
        self.answered_bytes = 0
        if self.transport is not None:
            self.transport.write(data)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self.answered_bytes += len(data)
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._complete_headers = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser, self._parser = self._parser, None
        if parser is not None and not parser.should_keep_alive():
            self.usable = False
        if parser is not None and self._answer is not None and not self._answer.done():
            response = HttpResponse(
                parser.get_status_code(),
                self._headers.get("x-service-version", ""),
                b"".join(self._body),
                self._headers,
            )
            self._answer.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._parser is not None and self._complete_headers and error is None:
            self.on_message_complete()  # a body that ends with the connection
        self._fail(str(error or "connection closed"))

    def close(self) -> None:
        self.usable = False
        if self.transport is not None:
            self.transport.close()

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(reason))


class HttpClient:
    """Sends requests to one base URL."""

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._prefix = parts.path.rstrip("/")
        lines = {"Host": f"{self._host}:{self._port}", **(headers or {})}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._idle: list[_Connection] = []

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, timeout_s: float = 5.0
    ) -> HttpResponse:
        """Sends a request and returns the answer, whatever its status. Raises `Unanswered`.

        A kept connection that turns out to be closed before any byte of an answer is replaced once, as HTTP clients do.
        """
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        data = head.encode("latin-1") + b"\r\n" + (body or b"")
        try:
            async with asyncio.timeout(timeout_s):
                connection = self._take_idle()
                if connection is not None:
                    try:
                        return await self._send(connection, data)
                    except Unanswered:
                        if connection.answered_bytes:
                            raise
                return await self._send(await self._connect(), data)
        except TimeoutError:
            raise Unanswered(f"no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise Unanswered(str(error)) from error

    def close(self) -> None:
        """Closes all idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return connection

    async def _send(self, connection: _Connection, data: bytes) -> HttpResponse:
        try:
            response = await connection.request(data)
        except BaseException:
            connection.close()
            raise
        if connection.usable and len(self._idle) < CONNECTIONS_IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()
        return response
