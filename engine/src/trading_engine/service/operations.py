"""The endpoints every service has, as an ASGI application around the service's own.

`/healthz` says that the process lives and asks nobody. `/readyz` says whether work should be sent here. `/metrics` is
Prometheus text. `/drain` moves away what lives here. Everything else goes to the service, is counted and timed.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from trading_engine.journal.database import DatabaseUnavailable
from trading_engine.service.handover import DrainOrder, DrainState, Service
from trading_engine.service.metrics import BUILD, DRAINING, IN_FLIGHT, LATENCY, REQUESTS
from trading_engine.settings import Settings
from trading_engine.version import service_version

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_BODY_BYTES_MAX = 4096
_log = logging.getLogger("trading_engine")


class Operations:
    """Wraps a service's application; also holds the state of its drain."""

    def __init__(self, service: Service, settings: Settings, app: AsgiApp | None = None) -> None:
        self._service = service
        self._settings = settings
        self._app = app
        self._drain: asyncio.Task[None] | None = None
        self._drain_failure = ""
        self._version = (b"x-service-version", service_version().encode())
        self.stopping = False
        self.in_flight = 0
        BUILD.labels(service.name, service_version(), settings.slot).set(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request or carries one connection (the ASGI interface)."""
        if scope["type"] != "http":
            if self._app is not None:
                await self._app(scope, receive, send)
            return
        handler = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/drain": self._serve_drain,
        }.get(scope["path"])
        if handler is not None:
            await self._respond(send, *await handler(scope, receive))
        elif self._app is None:
            await self._respond(send, 404, msgspec.json.encode({"code": "not-found", "reason": scope["path"]}), _JSON)
        else:
            await self._forward(self._app, scope, receive, send)

    def drain_state(self) -> DrainState:
        """Where draining stands."""
        remaining = self._service.remaining()
        if self._drain is not None and (not self._drain.done() or self._drain_failure):
            state = "draining"
        else:  # after a drain, what is here has come since
            state = "serving" if self._drain is None or remaining else "drained"
        settings = self._settings
        return DrainState(
            state,
            remaining,
            self._service.unit,
            self._service.name,
            settings.slot,
            settings.instance,
            reason=self._drain_failure,
        )

    def start_drain(self, order: DrainOrder) -> asyncio.Task[None]:
        """Begins to drain, or returns the drain that is under way."""
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._run_drain(order), name="drain")
        return self._drain

    async def _run_drain(self, order: DrainOrder) -> None:
        DRAINING.set(1)
        service = self._service
        _log.info("%s drains to %s: %d %s", service.name, order.to or "anybody", service.remaining(), service.unit)
        try:
            await service.drain(order)
            self._drain_failure = ""
            _log.info("%s is drained", service.name)
        except DatabaseUnavailable as error:
            self._drain_failure = f"PostgreSQL: {error}; ask again"
            _log.warning("%s could not be drained: %s", service.name, error)
        finally:
            DRAINING.set(0)

    async def _healthz(self, scope: Message, receive: Receive) -> tuple[int, bytes, tuple[bytes, bytes]]:
        return 200, msgspec.json.encode({"status": "alive", "version": service_version()}), _JSON

    async def _readyz(self, scope: Message, receive: Receive) -> tuple[int, bytes, tuple[bytes, bytes]]:
        reason = "stopping" if self.stopping else await self._service.unready_reason()
        if reason is not None:
            return 503, msgspec.json.encode({"status": "not ready", "reason": reason}), _JSON
        return 200, msgspec.json.encode({"status": "ready", "version": service_version()}), _JSON

    async def _metrics(self, scope: Message, receive: Receive) -> tuple[int, bytes, tuple[bytes, bytes]]:
        from prometheus_client import generate_latest

        return 200, generate_latest(), _TEXT

    async def _serve_drain(self, scope: Message, receive: Receive) -> tuple[int, bytes, tuple[bytes, bytes]]:
        if scope["method"] == "GET":
            return 200, msgspec.json.encode(self.drain_state()), _JSON
        if scope["method"] != "POST":
            return 405, msgspec.json.encode({"code": "method", "reason": "use GET or POST"}), _JSON
        body = b""
        while len(body) <= _BODY_BYTES_MAX:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        try:
            order = msgspec.json.decode(body, type=DrainOrder) if body.strip() else DrainOrder()
        except msgspec.MsgspecError as error:
            return 400, msgspec.json.encode({"code": "body", "reason": str(error)}), _JSON
        drain = self.start_drain(order)
        with contextlib.suppress(TimeoutError):  # what is quick is answered as done
            await asyncio.wait_for(asyncio.shield(drain), 0.05)
        return 202, msgspec.json.encode(self.drain_state()), _JSON

    async def _respond(self, send: Send, status: int, body: bytes, content_type: tuple[bytes, bytes]) -> None:
        headers = [content_type, (b"content-length", str(len(body)).encode()), *self._extra_headers()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _forward(self, app: AsgiApp, scope: Message, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._extra_headers()]
            await send(message)

        self.in_flight += 1
        IN_FLIGHT.inc()
        try:
            await app(scope, receive, send_marked)
        finally:
            self.in_flight -= 1
            IN_FLIGHT.dec()
            route = "/" + scope["path"].split("/", 2)[1]
            if status in {404, 405} and route not in self._service_routes():
                route = "unknown"
            REQUESTS.labels(scope["method"], route, status).inc()
            LATENCY.labels(scope["method"], route).observe(time.perf_counter() - started)

    def _service_routes(self) -> tuple[str, ...]:
        return getattr(self._service, "routes", ())

    def _extra_headers(self) -> list[tuple[bytes, bytes]]:
        # A process that stops asks its clients to open their next connection elsewhere.
        return [self._version, (b"connection", b"close")] if self.stopping else [self._version]
