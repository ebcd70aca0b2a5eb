"""Runs one service: start, serve HTTP, and on SIGTERM stop without dropping anything.

The order on SIGTERM: `/readyz` turns 503, what lives here is moved away, requests in flight finish, the process ends
with 0. If that takes longer than it may, it ends anyway.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from trading_engine.service.handover import DrainOrder, Service
from trading_engine.service.operations import AsgiApp, Operations
from trading_engine.settings import Settings
from trading_engine.version import service_version

_DRAIN_ON_STOP_S = 6.0
_SPREAD_ON_STOP_S = 1.0
_SETTLE_S = 0.2
_IDLE_S = 1.5
_CLOSE_S = 2
_STOP_S = 2.5
STOP_S_MAX = _DRAIN_ON_STOP_S + _SETTLE_S + _IDLE_S + _CLOSE_S + _STOP_S
"""The longest that a service takes from SIGTERM to its end; whoever kills it must wait for so long."""
_log = logging.getLogger("trading_engine")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the runtime decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists, else what Python has."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run_service(service: Service, settings: Settings, *, host: str, port: int, app: AsgiApp | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for library in ("asyncpg", "uvicorn", "websockets"):  # what matters of theirs is said in our own words
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        listening = listen(host, port)
    except OSError as error:
        print(
            f"{service.name}: cannot listen on {host}:{port}: {error.strerror}. Choose another port.", file=sys.stderr
        )
        return 1
    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        runner.run(_serve_until_signal(service, settings, listening, app))
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.set_inheritable(False)
    return listening


async def _serve_until_signal(
    service: Service, settings: Settings, listening: socket.socket, app: AsgiApp | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(service, settings, listening, app=app, stop=stop)


async def serve(
    service: Service,
    settings: Settings,
    listening: socket.socket,
    *,
    app: AsgiApp | None,
    stop: asyncio.Event,
    settle_s: float = _SETTLE_S,
) -> None:
    """Serves until `stop` is set, then moves away what lives here, answers for another `settle_s`, and ends."""
    operations = Operations(service, settings, app)
    server = _Server(
        uvicorn.Config(
            operations,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            http="httptools",
            ws="websockets-sansio",
            ws_per_message_deflate=False,  # costs more processor time than the bytes are worth inside a data centre
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_CLOSE_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="http")
    await service.start()
    _log.info("%s %s of %s answers on port %d", service.name, service_version(), settings.slot, _port(listening))
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, serving}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    operations.stopping = True
    _log.info("%s stops: %d %s to move", service.name, service.remaining(), service.unit)
    service.refuse_new()
    with suppress(TimeoutError):
        order = DrainOrder(spread_s=_SPREAD_ON_STOP_S)
        await asyncio.wait_for(asyncio.shield(operations.start_drain(order)), _DRAIN_ON_STOP_S)
    # New requests still come until everybody has read /readyz; they are answered, with `Connection: close`.
    await asyncio.sleep(settle_s)
    await _wait_idle(operations, _IDLE_S)
    server.should_exit = True
    await serving
    with suppress(TimeoutError):
        await asyncio.wait_for(service.stop(), _STOP_S)
    _log.info("%s stopped", service.name)


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


async def _wait_idle(operations: Operations, timeout_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while operations.in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - ends soon
        await asyncio.sleep(0.01)
