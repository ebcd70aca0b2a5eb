"""The HTTP that services speak: readiness and handing over."""

from collections.abc import Iterator

import httpx
import pytest

from openbell.adapters.processes import endpoints
from openbell.adapters.processes.placement import Instance
from openbell.core.project import Service
from openbell.ports import AdapterError

SERVICE = Service(protocol="websocket", run="serve", drain_timeout_s=0.3)
INSTANCE = Instance("blue-websocket-1", "websocket", 1, 1)


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.AsyncClient, list[str]]:
    """A client whose requests get these answers, the last one for ever; and the requests it made."""
    asked: list[str] = []

    def turns() -> Iterator[httpx.Response | Exception]:
        yield from answers
        while True:
            yield answers[-1]

    turn = turns()

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path} {request.content.decode()}".strip())
        answer = next(turn)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content)

    return httpx.AsyncClient(transport=httpx.MockTransport(handle)), asked


def left(count: int) -> httpx.Response:
    return httpx.Response(202, json={"state": "draining", "remaining": count, "anything": "else"})


async def test_what_moved_is_what_was_there_before() -> None:
    http, asked = answering(left(7), left(0))
    assert await endpoints.drain(http, INSTANCE, SERVICE, "green") == (7, 0)
    assert asked == ["GET /drain", 'POST /drain {"to":"green"}']


async def test_it_is_asked_until_nothing_is_left() -> None:
    http, asked = answering(left(7), left(5), left(2), left(0))
    assert await endpoints.drain(http, INSTANCE, SERVICE, "green") == (7, 0)
    assert len(asked) == 4


async def test_what_is_left_at_the_timeout_is_reported() -> None:
    http, _ = answering(left(3), left(3), left(2))
    assert await endpoints.drain(http, INSTANCE, SERVICE, "green") == (1, 2)


@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(405), httpx.ConnectError("refused")])
async def test_a_service_without_drain_and_a_dead_one_have_nothing_to_move(answer: httpx.Response | Exception) -> None:
    http, _ = answering(answer)
    assert await endpoints.drain(http, INSTANCE, SERVICE, "green") == (0, 0)


@pytest.mark.parametrize(
    "answer", [httpx.Response(500), httpx.ReadTimeout("slow"), httpx.Response(200, content=b"no JSON")]
)
async def test_one_that_does_not_answer_properly_may_be_asked_again(answer: httpx.Response | Exception) -> None:
    http, _ = answering(answer)
    with pytest.raises(AdapterError, match="blue-websocket-1 did not answer GET /drain") as caught:
        await endpoints.drain(http, INSTANCE, SERVICE, "green")
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([httpx.Response(200)], None),
        ([httpx.Response(503)], "GET /readyz answered 503"),
        ([httpx.Response(404), httpx.Response(200)], None),
        ([httpx.Response(404), httpx.Response(500)], "GET /readyz answered 404, GET /healthz answered 500"),
        ([httpx.ReadTimeout("slow")], "GET /readyz was not answered within 5 s"),
        ([httpx.RemoteProtocolError("no HTTP")], "GET /readyz failed: no HTTP"),
    ],
)
async def test_a_service_without_a_readiness_path_is_ready_when_healthy(
    monkeypatch: pytest.MonkeyPatch, answers: list[httpx.Response | Exception], found: str | None
) -> None:
    async def accepts(_port: int) -> bool:
        return True

    monkeypatch.setattr(endpoints, "_accepts", accepts)
    http, _ = answering(*answers)
    assert await endpoints.hindrance(http, INSTANCE, SERVICE) == found


async def test_nobody_listening_is_not_ready() -> None:
    http, asked = answering(httpx.Response(200))
    assert await endpoints.hindrance(http, INSTANCE, SERVICE) == "nothing accepts connections on port 1"
    assert asked == []
