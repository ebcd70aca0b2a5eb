"""The HTTP that every service speaks on this machine: health, readiness, and handing over what lives in it.

A service without a drain path has nothing to move (`openbell.handover`), and a process that is gone holds nothing.
"""

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from openbell.adapters.processes.placement import SYSTEM, Instance
from openbell.core.project import Service
from openbell.handover import ABSENT, Method, Remaining, move
from openbell.ports import AdapterError

if TYPE_CHECKING:
    import httpx

POLL_S = 0.1
METRICS_TIMEOUT_S = 1.0
REQUEST_TIMEOUT_S = 5.0


@functools.cache
def _tls() -> ssl.SSLContext:
    """Make what every client needs and none of ours uses; once, for it costs 16 ms."""
    return ssl.create_default_context()


def client() -> "httpx.AsyncClient":
    """Return a client for the services of this machine: no proxies, short patience."""
    # Imported when somebody is spoken to: it costs a quarter of a second, more than all of `openbell status`.
    import httpx

    return httpx.AsyncClient(verify=_tls(), trust_env=False, timeout=REQUEST_TIMEOUT_S)


async def hindrance(http: "httpx.AsyncClient", instance: Instance, service: Service) -> str | None:
    """Say what keeps an instance from taking work, as "GET /readyz answered 503"; None when nothing does.

    A service without a readiness path is ready when it is healthy.
    """
    if not await _accepts(instance.http_port):
        return f"nothing accepts connections on port {instance.http_port}"
    found = []
    for path in dict.fromkeys((service.ready, service.health)):
        code, problem = await _ask(http, instance, path)
        if problem is None:
            return None
        found.append(problem)
        if code not in ABSENT:
            break
    return ", ".join(found)


async def _ask(http: "httpx.AsyncClient", instance: Instance, path: str) -> tuple[int | None, str | None]:
    """Ask a path; returns the status, if it answered, and what is wrong with the answer, if anything."""
    import httpx

    try:
        answer = await http.get(_url(instance, path))
    except httpx.TimeoutException:
        return None, f"GET {path} was not answered within {REQUEST_TIMEOUT_S:g} s"
    except httpx.HTTPError as error:
        return None, f"GET {path} failed: {error or type(error).__name__}"
    return answer.status_code, None if answer.is_success else f"GET {path} answered {answer.status_code}"


async def wait_ready(
    http: "httpx.AsyncClient", instance: Instance, service: Service, note: Callable[[str], None]
) -> None:
    """Wait until an instance can take work, for ever; `note` gets what it is that hinders it, each time."""
    while (found := await hindrance(http, instance, service)) is not None:
        note(found)
        await asyncio.sleep(POLL_S)


async def drain(http: "httpx.AsyncClient", instance: Instance, service: Service, to: str) -> tuple[int, int]:
    """Ask an instance to move what lives in it to the slot `to`; returns how much moved, and how much is left.

    Waits up to the service's `drain_timeout_s`. Raises a retryable `AdapterError` when it does not answer.
    """

    async def ask(method: Method, body: dict[str, str] | None) -> int:
        return await _ask_drain(http, method, instance, service, body)

    return await move(ask, to, timeout_s=service.drain_timeout_s)


async def counter(http: "httpx.AsyncClient", instance: Instance, service: Service, name: str) -> int | None:
    """Read a counter from an instance's metrics (Prometheus' text format), labels added up; None without one."""
    import httpx

    try:
        answer = await http.get(_url(instance, service.metrics), timeout=METRICS_TIMEOUT_S)
        answer.raise_for_status()
    except httpx.HTTPError:
        return None
    values = [
        line.rpartition(" ")[2] for line in answer.text.splitlines() if line.partition("{")[0].split(" ")[0] == name
    ]
    try:
        return int(sum(float(value) for value in values)) if values else None
    except (ValueError, OverflowError):
        return None


async def take_over(http: "httpx.AsyncClient", instance: Instance, service: Service, slot: str) -> None:
    """Tell an instance that its own slot takes over, which matters when the other side cannot pass its lead on."""
    await _ask_drain(http, "POST", instance, service, {"to": slot})


async def _ask_drain(
    http: "httpx.AsyncClient", method: str, instance: Instance, service: Service, body: dict[str, str] | None
) -> int:
    import httpx

    try:
        answer = await http.request(method, _url(instance, service.drain), json=body)
        if answer.status_code in ABSENT:
            return 0
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=Remaining).remaining
    except httpx.ConnectError:
        return 0
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        message = f"{instance.name} did not answer {method} {service.drain}: {error or type(error).__name__}"
        raise AdapterError(SYSTEM, "drain", message, retryable=True) from error


async def _accepts(port: int) -> bool:
    """Say whether anybody listens; much cheaper than a request, for the time that a process takes to start."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _url(instance: Instance, path: str) -> str:
    return f"http://127.0.0.1:{instance.http_port}{path}"
