"""Whether a gateway serves the routes that it has accepted: asked from outside, as a customer would.

A gateway says in a route's status that it accepts it, and serves it some milliseconds or seconds later; what is drained
in between gets new work. So each change brings a rule of its own: requests for a closed path with the header
`openbell-change: CHANGE` are redirected. Until it is in force they are refused like all others for that path, so that
no service ever gets one. Where the gateway cannot be asked from here, its acceptance has to do.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ (RequestRedirect is core: every gateway has it)
"""

import asyncio
import hashlib
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from openbell.adapters.kubernetes.api import Api
from openbell.adapters.kubernetes.prerequisites import read_gateway
from openbell.ports import AdapterError

if TYPE_CHECKING:
    import httpx

HEADER = "openbell-change"
REDIRECT = 302
REQUEST_TIMEOUT_S = 1.0
TIMEOUT_S = 5.0
"""How long is waited for a gateway that answers, and does not redirect: somebody before it may answer for it."""
POLL_S = 0.02


class Question(msgspec.Struct, frozen=True):
    """Where a listener is asked, and for which host."""

    url: str
    host: str


def change_of(key: str) -> str:
    """Name the change that a command makes, as a header can have it."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def rule_of(path: str, change: str) -> dict[str, Any]:
    """Compose the rule of an HTTPRoute that shows that a change is in force; `path` is closed to customers."""
    match = {"path": {"type": "Exact", "value": path}, "headers": [{"name": HEADER, "value": change}]}
    redirect = {"type": "RequestRedirect", "requestRedirect": {"statusCode": REDIRECT}}
    return {"matches": [match], "filters": [redirect]}


class Probe:
    """Asks a gateway; `paths` has a closed path for each service that speaks HTTP, `address` is said if known."""

    def __init__(self, api: Api, *, gateway: str, address: str, paths: dict[str, str]) -> None:
        self._api = api
        self._gateway = gateway
        self._address = address
        self._paths = paths

    async def questions(self) -> list[Question]:
        """What is asked: one thing of each listener that speaks plain HTTP; nothing where none can be seen."""
        try:
            gateway = await read_gateway(self._api, self._gateway)
        except AdapterError:
            return []
        address = self._address or gateway.address
        return [
            Question(
                f"http://{address}:{listener.port}{self._paths[listener.name]}",
                listener.hostname.replace("*", "openbell") or address,
            )
            for listener in gateway.spec.listeners
            if address and listener.protocol == "HTTP" and listener.name in self._paths
        ]

    async def wait_in_force(self, questions: Sequence[Question], change: str) -> None:
        """Wait until every listener serves a change; not for one that cannot be asked."""
        import httpx

        # Nothing is asked over TLS, so certificates of authorities need not be read, which takes long.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S, verify=tls) as http:
            deadline_s = time.monotonic() + TIMEOUT_S
            await asyncio.gather(*(_wait_one(http, one, change, deadline_s) for one in questions))


async def _wait_one(http: "httpx.AsyncClient", question: Question, change: str, deadline_s: float) -> None:
    import httpx

    headers = {"Host": question.host, HEADER: change}
    while time.monotonic() < deadline_s:
        try:
            answer = await http.get(question.url, headers=headers, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL):
            return
        if answer.status_code == REDIRECT:
            return
        await asyncio.sleep(POLL_S)
