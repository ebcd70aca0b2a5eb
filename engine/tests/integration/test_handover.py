"""Leadership, sessions and streams change sides while orders flow; nothing is lost, doubled or skipped."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from harness.stand import KEYS, Program, Running, Stand, Switch, wait_until
from trading_engine.clients.stream import StreamClient
from trading_engine.flow.command import Flow
from trading_engine.settings import ApiKeys


def flow_options(report: Path, **options: Any) -> argparse.Namespace:
    defaults = {"api": None, "websocket": None, "fix": None, "rate": 60.0, "fix_sessions": 2, "streams": 2, "seed": 1}
    return argparse.Namespace(**{**defaults, "report": str(report), **options})


async def database_value(stand: Stand, query: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(stand.database_url)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def epochs_grow(stand: Stand) -> bool:
    """Epochs of events never fall along the log."""
    query = (
        "SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (ORDER BY command_seq, index) AS fell FROM events) AS e"
        " WHERE fell"
    )
    return bool(await database_value(stand, query) == 0)


class Side:
    """All four services of one slot."""

    def __init__(self, workers: list[Running], api: Running, websocket: Running, fix: Running) -> None:
        self.workers = workers
        self.api = api
        self.websocket = websocket
        self.fix = fix

    @classmethod
    async def start(cls, stand: Stand, slot: str) -> "Side":
        started = await asyncio.gather(
            stand.worker(slot), stand.worker(slot), stand.api(slot), stand.websocket(slot), stand.fix(slot)
        )
        return cls(list(started[:2]), *started[2:])

    async def drain(self, to: str) -> None:
        await asyncio.gather(
            *(running.drain(to, spread_s=0.2) for running in (*self.workers, self.websocket, self.fix))
        )


@pytest.mark.slow
async def test_everything_moves_there_and_back_while_orders_flow(stand: Stand, tmp_path: Path) -> None:
    blue = await Side.start(stand, "blue")
    green = await Side.start(stand, "green")
    switches = [await Switch(port).start() for port in (blue.api.port, blue.websocket.port, blue.fix.fix_port)]
    api, websocket, fix = switches
    options = flow_options(
        tmp_path / "report.json",
        api=f"http://127.0.0.1:{api.port}",
        websocket=f"ws://127.0.0.1:{websocket.port}",
        fix=f"127.0.0.1:{fix.port}",
    )
    flow = Flow(ApiKeys(KEYS), stand.database_url, options)
    stop = asyncio.Event()
    running = asyncio.create_task(flow.run(None, stop=stop))
    hops = ((blue, green, "green"), (green, blue, "blue"), (blue, green, "green"))
    for hop, (old, new, slot) in enumerate(hops, start=1):
        await wait_until(lambda hop=hop: applied(stand, 30 * hop), "orders are matched")  # type: ignore[misc]
        await wait_until(lambda old=old: leads_and_works(old), "orders flow")  # type: ignore[misc]
        api.target, websocket.target, fix.target = new.api.port, new.websocket.port, new.fix.fix_port
        await old.drain(slot)
        await wait_until(lambda new=new: leads_and_works(new), "the other side leads")  # type: ignore[misc]
        assert not await any_leads(old)
    stop.set()
    assert await running, flow.summary()
    for switch in switches:
        await switch.stop()

    report = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert report["audited"]
    assert report["orders"]["acknowledged"] == report["orders"]["sent"] > 50
    assert (report["orders"]["lost"], report["orders"]["doubled"]) == (0, 0)
    assert report["http"]["failed"] == 0
    assert report["fix"] == {"sessions": 2, "reconnects": 6, "sequence_gaps": 0, "resets": 0}
    assert report["websocket"]["events"] > 100
    assert (report["websocket"]["missed"], report["websocket"]["doubled"]) == (0, 0)
    assert await epochs_grow(stand)


async def any_leads(side: Side) -> bool:
    states = [msgspec.json.decode((await worker.http.request("GET", "/drain")).body) for worker in side.workers]
    return any(state["remaining"] for state in states)


async def leads_and_works(side: Side) -> bool:
    state = msgspec.json.decode((await side.fix.http.request("GET", "/drain")).body)
    streams = msgspec.json.decode((await side.websocket.http.request("GET", "/drain")).body)
    return state["remaining"] == 2 and streams["remaining"] == 2 and await any_leads(side)


async def test_a_candidate_never_leads_before_it_is_handed_to(stand: Stand) -> None:
    blue = await stand.worker("blue")
    await wait_until(lambda: leads(blue), "blue leads")
    green = await stand.worker("green")
    await blue.stop()
    stand.running.remove(blue)
    # Nobody leads now. Only blue may: a new blue worker does so, although green was there all the time.
    again = await stand.worker("blue")
    await wait_until(lambda: leads(again), "blue leads again")
    assert not await leads(green)
    assert (await again.drain("green"))["state"] == "drained"
    await wait_until(lambda: leads(green), "green leads")
    # The drained worker serves again when it is handed to.
    await green.drain("blue")
    await wait_until(lambda: leads(again), "blue leads after the rollback")


async def leads(worker: Running) -> bool:
    return bool(msgspec.json.decode((await worker.http.request("GET", "/drain")).body)["remaining"])


async def test_a_drained_shadow_sees_to_it_that_the_other_side_leads_if_its_leader_dies(
    stand: Stand, tmp_path: Path
) -> None:
    leader = Program(stand, "blue", "blue-leader", tmp_path)
    try:
        await wait_until(lambda: has_owner(stand, "blue-leader"), "leads")
        shadow, green = await asyncio.gather(stand.worker("blue"), stand.worker("green"))
        leader.kill()
        await shadow.drain("green")
        await expire_lease(stand)
        await wait_until(lambda: leads(green), "green leads")
        assert not await leads(shadow)
    finally:
        leader.close()


async def test_a_side_takes_over_from_one_that_cannot_be_asked_any_more(stand: Stand, tmp_path: Path) -> None:
    leader = Program(stand, "green", "green-leader", tmp_path)
    try:
        await wait_until(lambda: has_owner(stand, "green-leader"), "leads")
        blue = await stand.worker("blue")
        await blue.drain("blue")
        assert not await leads(blue), "a leader that lives is not disturbed"
        leader.kill()
        await blue.drain("blue")
        await expire_lease(stand)
        await wait_until(lambda: leads(blue), "blue leads")
        assert (await blue.drain("blue"))["remaining"] == 1, "asked again, it keeps the lead"
        assert await epochs_grow(stand)
    finally:
        leader.close()


async def expire_lease(stand: Stand) -> None:
    """Lets the time pass that a dead leader's lease still has."""
    await database_value(stand, "UPDATE lease SET expires_at = now() - interval '1 millisecond'")


async def has_owner(stand: Stand, owner: str) -> bool:
    return bool(await database_value(stand, "SELECT owner FROM lease") == owner)


@pytest.mark.slow
async def test_a_killed_leader_is_succeeded_and_nothing_is_lost(stand: Stand, tmp_path: Path) -> None:
    api = await stand.api()
    leader = Program(stand, "blue", "blue-leader", tmp_path)
    try:
        await wait_until(lambda: has_owner(stand, "blue-leader"), "leads")
        sibling = await stand.worker("blue")
        options = flow_options(tmp_path / "report.json", api=f"http://127.0.0.1:{api.port}", rate=80.0)
        flow = Flow(ApiKeys(KEYS), stand.database_url, options)
        stop = asyncio.Event()
        running = asyncio.create_task(flow.run(None, stop=stop))
        await wait_until(lambda: applied(stand, 20), "orders are matched")
        leader.kill()
        before = await database_value(stand, "SELECT last_seq FROM log_counter")
        await wait_until(lambda: leads(sibling), "the sibling leads")
        after = await database_value(stand, "SELECT last_seq FROM log_counter")
        assert after > before, "orders are sequenced while nobody leads"
        stop.set()
        assert await running, flow.summary()
        assert await epochs_grow(stand)
    finally:
        leader.close()


async def applied(stand: Stand, seq: int) -> bool:
    return bool(await database_value(stand, "SELECT applied_seq FROM progress") >= seq)


async def test_a_leader_that_is_asked_to_end_gives_the_lead_to_its_sibling_at_once(
    stand: Stand, tmp_path: Path
) -> None:
    leader = Program(stand, "blue", "blue-leader", tmp_path)
    try:
        await wait_until(lambda: has_owner(stand, "blue-leader"), "leads")
        sibling = await stand.worker("blue")
        started = asyncio.get_running_loop().time()
        exit_code = asyncio.create_task(leader.terminate())
        await wait_until(lambda: leads(sibling), "the sibling leads")
        assert asyncio.get_running_loop().time() - started < 1.5, "without waiting for the lease to expire"
        assert await exit_code == 0
    finally:
        leader.close()


async def test_a_stream_resumes_on_another_server(stand: Stand) -> None:
    blue, green, api, _ = await asyncio.gather(
        stand.websocket("blue"), stand.websocket("green"), stand.api(), stand.worker()
    )
    switch = await Switch(blue.port).start()
    client = StreamClient(f"ws://127.0.0.1:{switch.port}", ["book:ACME", "trades:ACME", "orders"], key="key-flow")
    client.start()
    await wait_until(client.greeted.is_set, "hello")
    for number in range(30):
        if number == 15:
            switch.target = green.port
            assert (await blue.drain("green"))["remaining"] == 0
        body: dict[str, Any] = {
            "client_order_id": f"o{number}",
            "instrument": "ACME",
            "side": "sell" if number % 2 else "buy",
        }
        body |= {"type": "limit", "price_ticks": 100, "quantity_lots": 2}
        assert (await api.http.request("POST", "/orders", body=msgspec.json.encode(body))).status == 201
    await wait_until(lambda: client.last_seq.get("trades:ACME") == 15, "all trades seen")
    await wait_until(lambda: client.last_seq.get("orders:flow") == 60, "all updates seen")
    await client.stop()
    await switch.stop()
    counts = client.counts
    assert (counts.missed, counts.doubled, counts.connects, counts.restarts_announced) == (0, 0, 2, 1)


async def test_without_valkey_events_still_arrive(database_url: str) -> None:
    stand = Stand(database_url, "redis://127.0.0.1:1")
    try:
        websocket, api, _ = await asyncio.gather(stand.websocket(), stand.api(), stand.worker())
        client = StreamClient(f"ws://127.0.0.1:{websocket.port}", ["book:ACME"], key="key-flow")
        client.start()
        await wait_until(client.greeted.is_set, "hello")
        body: dict[str, Any] = {"client_order_id": "o", "instrument": "ACME", "side": "buy", "type": "limit"}
        body |= {"price_ticks": 100, "quantity_lots": 2}
        await api.http.request("POST", "/orders", body=msgspec.json.encode(body))
        await wait_until(lambda: client.counts.events == 1, "the event")
        await client.stop()
    finally:
        await stand.stop()
