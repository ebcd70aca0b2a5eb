"""The Kubernetes API as the other modules of this package need it: typed reads, server-side apply, one error for all.

Connection, certificates and tokens (files, exec plug-ins, renewal after 401) are lightkube's. What is read is decoded
into the few fields that somebody looks at (`openbell.adapters.kubernetes.objects`). Nothing is watched: the lists asked
for are short, and a list cannot miss what happened while a watch was broken.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and .../server-side-apply/
"""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from openbell.adapters.kubernetes import kubeconfig
from openbell.adapters.kubernetes.kubeconfig import words
from openbell.adapters.kubernetes.objects import Status
from openbell.ports import AdapterError, Effect

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

SYSTEM = kubeconfig.SYSTEM
FIELD_MANAGER = "openbell"
REQUEST_TIMEOUT_S = 10.0
ATTEMPTS = 4
"""How often a request that may be repeated is sent before its failure is told."""
BACKOFF_S = 0.2
BACKOFF_MAX_S = 5.0
TOO_MANY_REQUESTS, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 429, 401, 403, 404, 409
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class Api:
    """One cluster, one namespace. Opening it asks nothing; `close` ends the connections that requests have opened.

    Raises `AdapterError`: retryable when the server did not answer, was too busy or broke; `not_applied` when it
    answered with a refusal, whose message it keeps, for it names what is forbidden or who owns a field.
    """

    def __init__(self, context: str, namespace: str) -> None:
        self.context = context
        self.namespace = namespace
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def read(self, path: str, kind: type[T], *, params: Mapping[str, str] | None = None) -> T:
        """Get an object or a list by its path below the namespace ("apps/v1/deployments/api"), or a whole path."""
        answer = await self._send("GET", self._path(path), params=params)
        return _decode(answer.content, kind, path)

    async def find(self, path: str, kind: type[T]) -> T | None:
        """Get an object; None when it is not there."""
        try:
            return await self.read(path, kind)
        except AdapterError as error:
            if is_missing(error):
                return None
            raise

    async def apply(self, path: str, content: Mapping[str, Any], *, force: bool = False) -> bytes:
        """Apply an object under our field manager; a field that somebody else owns is refused with their name."""
        params = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        body = msgspec.json.encode(content)
        return (await self._send("PATCH", self._path(path), params=params, body=body, content_type=APPLY)).content

    async def merge(self, path: str, content: Mapping[str, Any]) -> None:
        """Change some fields of an object; says the same when it is said again."""
        body = msgspec.json.encode(content)
        params = {"fieldManager": FIELD_MANAGER}
        await self._send("PATCH", self._path(path), params=params, body=body, content_type=MERGE)

    async def create(self, path: str, content: Mapping[str, Any]) -> None:
        """Create an object; not repeated when nobody answered, for it may be there then."""
        body, params = msgspec.json.encode(content), {"fieldManager": FIELD_MANAGER}
        await self._send("POST", self._path(path), params=params, body=body, repeatable=False)

    async def ask(self, path: str, content: Mapping[str, Any], kind: type[T]) -> T:
        """Post a question, such as a review of permissions, and get its answer; nothing is kept of it."""
        answer = await self._send("POST", self._path(path), body=msgspec.json.encode(content))
        return _decode(answer.content, kind, path)

    async def delete(self, path: str) -> None:
        """Delete an object and what belongs to it, in the background; nothing if it is not there."""
        try:
            await self._send("DELETE", self._path(path), params={"propagationPolicy": "Background"})
        except AdapterError as error:
            if not is_missing(error):
                raise

    async def text(self, path: str, *, params: Mapping[str, str] | None = None) -> str:
        """Get what is no object, such as a log."""
        return (await self._send("GET", self._path(path), params=params)).text

    async def ask_pod(self, pod: str, port: int, path: str, method: Method, body: Any = None) -> "httpx2.Response":
        """Speak HTTP with a pod through the API server, which is reachable wherever the cluster is.

        Returns whatever the pod answered; raises a retryable `AdapterError` when there was no answer, and one that is
        not when the API server lets us through to no pod.
        """
        url = self._path(f"v1/pods/{pod}:{port}/proxy/{path.lstrip('/')}")
        content = None if body is None else msgspec.json.encode(body)
        answer = await self._once(method, url, body=content)
        if answer.status_code in (UNAUTHORIZED, FORBIDDEN) and _status(answer).kind == "Status":
            raise _refused(method, url, answer)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.aclose()

    def _path(self, path: str) -> str:
        if path.startswith("/"):
            return path
        group, _, rest = path.partition("/")
        if group == "v1":
            return f"/api/v1/namespaces/{self.namespace}/{rest}"
        version, _, rest = rest.partition("/")
        return f"/apis/{group}/{version}/namespaces/{self.namespace}/{rest}"

    async def _send(
        self,
        method: Method,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        repeatable: bool = True,
    ) -> "httpx2.Response":
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                answer = await self._once(method, path, params=params, body=body, content_type=content_type)
            except AdapterError as error:
                if last or not (repeatable and error.retryable):
                    raise
                await asyncio.sleep(BACKOFF_S * 2**attempt)
                continue
            if answer.is_success:
                return answer
            busy = answer.status_code == TOO_MANY_REQUESTS
            if last or not (busy or (repeatable and answer.status_code >= 500)):
                raise _refused(method, path, answer)
            await asyncio.sleep(_pause_s(answer.headers.get("retry-after"), attempt))
        raise AssertionError("unreachable")

    async def _once(
        self,
        method: Method,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> "httpx2.Response":
        client = self._connect()
        import httpx2
        from lightkube.core.exceptions import ConfigError

        headers = {"Content-Type": content_type} if body is not None else {}
        try:
            return await client.request(method, path, params=params, content=body, headers=headers)
        except httpx2.HTTPError as error:
            # Nobody knows whether a request that was not answered took effect, unless it never left.
            sent = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol))
            message = f"the API server at {client.base_url} does not answer: {str(error) or type(error).__name__}"
            effect: Effect = "unknown" if sent and method != "GET" else "not_applied"
            raise AdapterError(SYSTEM, method.lower(), message, retryable=True, effect=effect) from error
        except (ConfigError, OSError, KeyError, TypeError, ValueError) as error:
            # Before a request leaves, a token is read from a file or asked of a program that KUBECONFIG names.
            message = f"no token for the API server at {client.base_url}: {words(error)}; see users in KUBECONFIG"
            raise AdapterError(SYSTEM, "log in", message, effect="not_applied") from error

    def _connect(self) -> "httpx2.AsyncClient":
        """Return the client of the running event loop; connections of one that has ended are of no use."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = kubeconfig.connect(self.context, timeout_s=REQUEST_TIMEOUT_S), loop
        return self._client


def is_missing(error: AdapterError) -> bool:
    """Whether the object that was asked for is not there."""
    return error.operation.endswith(f" {NOT_FOUND}")


def is_forbidden(error: AdapterError) -> bool:
    """Whether we may not do what was asked for."""
    return error.operation.endswith(f" {FORBIDDEN}")


def _refused(method: Method, path: str, answer: "httpx2.Response") -> AdapterError:
    message = _status(answer).message or f"{method} {path} answered {answer.status_code}"
    if answer.status_code == FORBIDDEN:
        message += ". The permissions that suffice: openbell render rbac ENVIRONMENT"
    if answer.status_code == UNAUTHORIZED:
        message = f"the API server does not know us ({message}); log in again, or renew the token in KUBECONFIG"
    broken = answer.status_code >= 500
    return AdapterError(
        SYSTEM,
        f"{method.lower()} {answer.status_code}",
        message,
        retryable=broken or answer.status_code in (TOO_MANY_REQUESTS, CONFLICT),
        effect="unknown" if broken and method != "GET" else "not_applied",
    )


def _status(answer: "httpx2.Response") -> Status:
    """What the API server says of a refusal; empty when somebody else answered, such as a proxy."""
    try:
        return msgspec.json.decode(answer.content, type=Status)
    except ValueError:
        return Status()


def _pause_s(retry_after: str | None, attempt: int) -> float:
    """Seconds until the next attempt: what the server says, as seconds or as a date, within bounds."""
    wanted_s = BACKOFF_S * 2.0**attempt
    if retry_after is not None and retry_after.isdecimal():
        wanted_s = float(retry_after)
    elif retry_after is not None:
        with contextlib.suppress(ValueError):
            wanted_s = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
    return min(max(wanted_s, BACKOFF_S), BACKOFF_MAX_S)


def _decode(content: bytes, kind: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except ValueError as error:
        message = f"{path} is not what Kubernetes documents: {error}"
        raise AdapterError(SYSTEM, "read", message, effect="not_applied") from error
