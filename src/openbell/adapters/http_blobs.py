"""A shared store on an HTTP server that knows GET, PUT and DELETE, such as nginx with WebDAV; a `Blobs`.

The environment variable OPENBELL_CACHE_TOKEN, if it is set, is sent as a bearer token. Time-outs are short: a server
that is away must not keep anybody waiting.
"""

import os
from pathlib import Path

import httpx

from openbell.ports import AdapterError

SYSTEM = "shared store"
TOKEN_VARIABLE = "OPENBELL_CACHE_TOKEN"  # noqa: S105 (the name of a variable)
CONNECT_S = 1.0
ANSWER_S = 10.0
ABSENT = (404, 410)


class HttpBlobs:
    """Contents below one URL."""

    def __init__(self, url: str, *, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S))

    def get(self, name: str, target: Path, *, size_bytes_max: int) -> bool:
        """Write a content to a file; False when there is none. What is too large is refused."""
        try:
            with self._client.stream("GET", f"{self.url}/{name}") as response:
                if response.status_code in ABSENT:
                    return False
                self._check(response, "read")
                size = 0
                with target.open("wb") as file:
                    for chunk in response.iter_bytes():
                        size += len(chunk)
                        if size > size_bytes_max:
                            raise self._error("read", f"{name} is larger than {size_bytes_max} bytes")
                        file.write(chunk)
        except httpx.HTTPError as error:
            raise self._error("read", _words(error)) from error
        return True

    def put(self, name: str, source: Path) -> None:
        """Keep a file's content under a name."""
        try:
            with source.open("rb") as content:
                length = {"Content-Length": str(source.stat().st_size)}
                response = self._client.put(f"{self.url}/{name}", content=content, headers=length)
            self._check(response, "write")
        except httpx.HTTPError as error:
            raise self._error("write", _words(error)) from error

    def remove(self, name: str) -> None:
        """Remove a content, if it is there."""
        try:
            response = self._client.delete(f"{self.url}/{name}")
            if response.status_code not in ABSENT:
                self._check(response, "remove")
        except httpx.HTTPError as error:
            raise self._error("remove", _words(error)) from error

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def _check(self, response: httpx.Response, operation: str) -> None:
        if response.is_success:
            return
        hint = f". Set {TOKEN_VARIABLE} to its token" if response.status_code in (401, 403) else ""
        raise self._error(operation, f"it answers {response.status_code}{hint}")

    def _error(self, operation: str, why: str) -> AdapterError:
        return AdapterError(SYSTEM, operation, f"{self.url}: {why}", retryable=True)


def _words(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return "it cannot be reached"
    return "it does not answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
