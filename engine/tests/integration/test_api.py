import asyncio
from typing import Any

import msgspec

from harness.stand import Running, Stand, wait_until
from trading_engine.clients.http import HttpClient, HttpResponse


def order(name: str, side: str = "buy", price: int = 100, quantity: int = 5, **other: Any) -> bytes:
    body = {
        "client_order_id": name,
        "instrument": "ACME",
        "side": side,
        "type": "limit",
        "price_ticks": price,
        "quantity_lots": quantity,
    }
    return msgspec.json.encode({**body, **other})


async def submit(api: Running, body: bytes) -> HttpResponse:
    return await api.http.request("POST", "/orders", body=body)


async def ask(api: Running, path: str) -> Any:
    response = await api.http.request("GET", path)
    assert response.status == 200, response
    return msgspec.json.decode(response.body)


async def wait_status(api: Running, name: str, status: str) -> Any:
    async def reached() -> bool:
        return bool((await ask(api, f"/orders/{name}"))["status"] == status)

    await wait_until(reached, f"{name} {status}")
    return await ask(api, f"/orders/{name}")


async def test_an_order_from_submit_to_position(stand: Stand) -> None:
    api, other_side, _ = await asyncio.gather(stand.api(), stand.api("green"), stand.worker())
    response = await submit(api, order("b", quantity=5))
    assert response.status == 201
    assert response.version
    assert msgspec.json.decode(response.body) == {"client_order_id": "b", "order_id": 1, "status": "sequenced"}
    assert (await submit(other_side, order("s", side="sell", price=99, quantity=3))).status == 201

    filled = await wait_status(api, "s", "filled")
    assert (filled["filled_lots"], filled["notional_ticks"]) == (3, 300)
    assert (await wait_status(other_side, "b", "partially_filled"))["filled_lots"] == 3
    book = {"instrument": "ACME", "seq": 2, "bids": [[100, 2]], "asks": []}
    assert await ask(api, "/book/ACME") == await ask(other_side, "/book/ACME") == book
    assert await ask(api, "/positions") == [{"instrument": "ACME", "quantity_lots": 0, "notional_ticks": 0}]
    assert [entry["client_order_id"] for entry in await ask(api, "/orders")] == ["s", "b"]

    assert (await api.http.request("DELETE", "/orders/b")).status == 202
    await wait_status(api, "b", "cancelled")
    assert (await other_side.http.request("DELETE", "/orders/b")).status == 200
    assert (await ask(api, "/book/ACME"))["bids"] == []


async def test_the_same_order_again_gets_the_stored_outcome(stand: Stand) -> None:
    api = await stand.api()
    assert (await submit(api, order("b"))).status == 201
    again = await submit(api, order("b"))
    assert (again.status, msgspec.json.decode(again.body)["order_id"]) == (200, 1)
    await stand.worker()
    await wait_status(api, "b", "open")
    again = await submit(api, order("b"))
    assert msgspec.json.decode(again.body)["status"] == "open"
    assert (await submit(api, order("b", quantity=6))).status == 409


async def test_one_order_sent_by_many_at_once_is_taken_once(stand: Stand) -> None:
    apis = await asyncio.gather(stand.api(), stand.api())
    responses = await asyncio.gather(*(submit(apis[n % 2], order("b")) for n in range(12)))
    assert sorted(response.status for response in responses) == [200] * 11 + [201]
    assert {msgspec.json.decode(response.body)["order_id"] for response in responses} == {1}


async def test_sequence_has_no_gap_whoever_writes(stand: Stand) -> None:
    apis = await asyncio.gather(stand.api(), stand.api("green"))
    responses = await asyncio.gather(*(submit(apis[n % 2], order(f"o{n // 2}")) for n in range(80)))
    taken = [msgspec.json.decode(r.body)["order_id"] for r in responses if r.status == 201]
    assert sorted(taken) == list(range(1, 41))


async def test_refusals_say_what_is_wrong(stand: Stand) -> None:
    api = await stand.api()
    for body, code in (
        (order("b", quantity=0), "quantity-out-of-bounds"),
        (order("b", instrument="NONE"), "unknown-instrument"),
        (order("b", price=0), "price-out-of-bounds"),
        (order("a/b"), "invalid"),
        (order("b", side="both"), "invalid"),
        (order("b", surprise=1), "invalid"),
        (b"{", "invalid"),
    ):
        response = await submit(api, body)
        assert (response.status, msgspec.json.decode(response.body)["code"]) == (400, code)


async def test_strangers_and_unknown_things(stand: Stand) -> None:
    api = await stand.api()
    stranger = HttpClient(f"http://127.0.0.1:{api.port}", headers={"X-API-Key": "wrong"})
    assert (await stranger.request("GET", "/orders")).status == 401
    stranger.close()
    other = HttpClient(f"http://127.0.0.1:{api.port}", headers={"X-API-Key": "key-other"})
    assert (await submit(api, order("mine"))).status == 201
    assert (await other.request("GET", "/orders/mine")).status == 404
    assert (await other.request("DELETE", "/orders/mine")).status == 404
    other.close()
    for path in ("/orders/nobody", "/book/NONE", "/nowhere"):
        assert (await api.http.request("GET", path)).status == 404


async def test_without_a_schema_it_lives_and_is_not_ready(empty_database_url: str, valkey_url: str) -> None:
    stand = Stand(empty_database_url, valkey_url)
    starting = asyncio.create_task(stand.api())
    await wait_until(lambda: bool(stand.running), "started")
    (api,) = stand.running
    try:
        assert (await api.http.request("GET", "/healthz")).status == 200
        response = await api.http.request("GET", "/readyz")
        assert response.status == 503
        await wait_until(lambda: _reason(api, "trading-engine migrate expand"), "the remedy is named")
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await stand.stop()


async def _reason(api: Running, text: str) -> bool:
    return text in (await api.http.request("GET", "/readyz")).body.decode()


async def test_metrics_count_by_route_and_not_by_probe(stand: Stand) -> None:
    api = await stand.api()
    before = await api.metric('http_requests_total{method="GET",route="/orders",status="200"}')
    await ask(api, "/orders")
    await ask(api, "/orders?limit=3")
    assert await api.metric('http_requests_total{method="GET",route="/orders",status="200"}') == before + 2
    text = (await api.http.request("GET", "/metrics")).body.decode()
    assert "readyz" not in text
    for name in ("http_request_duration_seconds_bucket", "process_resident_memory_bytes", "database_queries_total"):
        assert name in text
