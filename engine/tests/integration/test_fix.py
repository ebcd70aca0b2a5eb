"""FIX sessions against the real gateway: orders, numbers, resends, and two gateways with one store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.stand import HOST, KEYS, Running, Stand, Switch, wait_until
from trading_engine.clients.fix import FixClient
from trading_engine.core.codes import OrderType, Side
from trading_engine.core.commands import SubmitOrder
from trading_engine.fix_gateway.codec import Fields, FixMessage, FrameReader, encode_fields, encode_message
from trading_engine.journal.command_log import append_commands
from trading_engine.journal.database import Database

TIME = (60, "20260101-00:00:00.000")


def new_order(name: str, *, side: str = "1", price: str = "1.00", quantity: str = "5") -> Fields:
    return [(11, name), (55, "ACME"), (54, side), TIME, (38, quantity), (40, "2"), (44, price)]


class Counterparty:
    """A client that keeps the reports it gets."""

    def __init__(self, port: int, sender: str = "DESK1", password: str = "key-flow", heartbeat_s: int = 10) -> None:
        self.reports: list[FixMessage] = []
        self.client = FixClient(
            HOST, port, sender=sender, password=password, on_message=self.reports.append, heartbeat_s=heartbeat_s
        )
        self._task = asyncio.create_task(self.client.run())

    async def logged_on(self) -> None:
        await wait_until(self.client.logged_on.is_set, "Logon")

    async def report(self, name: str, exec_type: str) -> FixMessage:
        def found() -> FixMessage | None:
            matches = (r for r in self.reports if r.get(11) == name and r.get(150, r.get(35)) == exec_type)
            return next(matches, None)

        await wait_until(found, f"report {exec_type} of {name}")
        message = found()
        assert message is not None
        return message

    async def close(self) -> None:
        await self.client.stop(timeout_s=1)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest_asyncio.fixture
async def gateway(stand: Stand) -> AsyncIterator[Running]:
    gateway, _ = await asyncio.gather(stand.fix(), stand.worker())
    yield gateway


async def test_orders_cancels_and_refusals(gateway: Running) -> None:
    desk = Counterparty(gateway.fix_port)
    await desk.logged_on()
    send = desk.client.send
    send("D", new_order("b1", quantity="5"))
    accepted = await desk.report("b1", "0")
    assert (accepted.get(39), accepted.get(151), accepted.get(14), accepted.get(44)) == ("0", "5", "0", "1.00")
    send("D", new_order("s1", side="2", price="0.99", quantity="3"))
    fill = await desk.report("s1", "F")
    assert (fill.get(39), fill.get(32), fill.get(31), fill.get(6)) == ("2", "3", "1.00", "1")
    assert (await desk.report("b1", "F")).get(39) == "1"
    send("F", [(11, "c1"), (41, "b1"), (55, "ACME"), (54, "1"), TIME])
    cancelled = await desk.report("c1", "4")
    assert (cancelled.get(41), cancelled.get(39), cancelled.get(151), cancelled.get(14)) == ("b1", "4", "0", "3")
    send("F", [(11, "c2"), (41, "b1"), (55, "ACME"), (54, "1"), TIME])
    assert (await desk.report("c2", "9")).get(102) == "1"
    send("D", new_order("b1"))
    assert (await desk.report("b1", "8")).get(103) == "6"
    send("D", new_order("odd", price="1.005"))
    assert "multiple" in (await desk.report("odd", "8")).get(58)
    send("D", [(11, "x"), (55, "NONE"), (54, "1"), TIME, (38, "1"), (40, "1")])
    assert (await desk.report("x", "8")).get(103) == "1"
    ids = [report.get(17) for report in desk.reports if report.type == "8"]
    assert len(ids) == len(set(ids)), "every execution has an id of its own"
    await desk.close()
    assert (desk.client.counts.too_low, desk.client.counts.resends_asked) == (0, 0)


async def test_what_happens_while_away_is_reported_at_the_next_logon(gateway: Running) -> None:
    desk = Counterparty(gateway.fix_port)
    await desk.logged_on()
    desk.client.send("D", new_order("b1"))
    await desk.report("b1", "0")
    await desk.close()
    other = Counterparty(gateway.fix_port, sender="DESK2", password=list(KEYS)[2])
    await other.logged_on()
    other.client.send("D", new_order("s1", side="2"))
    await other.report("s1", "F")
    assert not [report for report in other.reports if report.get(11) == "b1"], "nobody sees another's orders"
    await other.close()

    again = Counterparty(gateway.fix_port)
    again.client.incoming_seq, again.client.outgoing_seq = desk.client.incoming_seq, desk.client.outgoing_seq
    assert (await again.report("b1", "F")).get(39) == "2"
    assert again.client.counts.resends_asked == 0, "new numbers, nothing sent twice"
    await again.close()


async def test_a_session_moves_between_gateways_and_its_numbers_continue(stand: Stand, gateway: Running) -> None:
    green = await stand.fix("green")
    switch = await Switch(gateway.fix_port).start()
    desk = Counterparty(switch.port)
    await desk.logged_on()
    for number in range(40):
        desk.client.send("D", new_order(f"o{number}", side="1" if number % 2 else "2"))
        if number in {10, 25}:
            old, switch.target = (gateway, green.fix_port) if number == 10 else (green, gateway.fix_port)
            assert (await old.drain("green"))["remaining"] == 0
            await wait_until(desk.client.logged_on.is_set, "Logon on the other side")
    for number in range(40):
        await desk.report(f"o{number}", "0")
    first_reports = [report.get(11) for report in desk.reports if report.get(150) == "0"]
    assert sorted(first_reports) == sorted(f"o{number}" for number in range(40)), "each order once"
    await desk.close()
    await switch.stop()
    counts = desk.client.counts
    assert (counts.logons, counts.too_low, counts.resets) == (3, 0, 0)


async def test_an_early_logon_is_held_until_the_other_side_lets_go(stand: Stand, gateway: Running) -> None:
    green = await stand.fix("green")
    first = Counterparty(gateway.fix_port)
    await first.logged_on()
    second = Counterparty(green.fix_port)
    await wait_until(lambda: second.client.outgoing_seq == 1, "Logon sent")
    assert not second.client.logged_on.is_set()
    second.client.outgoing_seq = first.client.outgoing_seq
    first.client._stopping = True  # the counterparty has one connection only: it does not come back here
    await gateway.drain("green")
    await second.logged_on()
    await first.close()
    await second.close()


async def test_a_session_that_is_still_catching_up_can_be_handed_over(
    stand: Stand, gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Counterparty(gateway.fix_port)
    await desk.logged_on()
    await desk.close()
    database = Database(stand.database_url)
    await database.start()
    orders = [SubmitOrder("flow", f"o{n}", "ACME", Side.BUY, OrderType.LIMIT, 1, 1, origin="DESK1") for n in range(300)]
    await append_commands(database, orders)
    await wait_until(lambda: _all_matched(database), "matched")
    await database.stop()
    monkeypatch.setattr("trading_engine.fix_gateway.connection._PAGE", 3)
    desk = Counterparty(gateway.fix_port)
    desk.client.incoming_seq, desk.client.outgoing_seq = 2, 2
    await desk.logged_on()
    green = await stand.fix("green")
    await gateway.drain("green")
    desk.client._port = green.fix_port
    await wait_until(lambda: len(desk.reports) == 300, "all reports, over both gateways")
    assert sorted(report.get(11) for report in desk.reports) == sorted(order.client_order_id for order in orders)
    await desk.close()


async def _all_matched(database: Database) -> bool:
    return bool(await database.fetch_value("SELECT applied_seq FROM progress") == 300)


class Wire:
    """A connection that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = FrameReader()
        self._received: list[FixMessage] = []

    @classmethod
    async def open(cls, port: int) -> "Wire":
        return cls(*await asyncio.open_connection(HOST, port))

    def send(self, message_type: str, seq: int, fields: Fields = (), *, flags: Fields = ()) -> None:
        header = [(34, str(seq)), (49, "WIRE"), (56, "TRADING-ENGINE"), *flags, (52, "20260101-00:00:00.000")]
        self._writer.write(encode_message(message_type, header, encode_fields(fields)))

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def log_on(self, seq: int, *, more: Fields = ()) -> None:
        self.send("A", seq, [(98, "0"), (108, "30"), (554, "key-flow"), *more])

    async def receive(self) -> FixMessage:
        while not self._received:
            data = await asyncio.wait_for(self._reader.read(65536), 5)
            if not data:
                raise EOFError
            self._received.extend(self._frames.feed(data))
        return self._received.pop(0)

    async def ended(self) -> bool:
        with contextlib.suppress(ConnectionResetError):
            while True:
                try:
                    await self.receive()
                except EOFError:
                    break
        return True

    def close(self) -> None:
        self._writer.close()


async def test_session_rules_on_the_wire(gateway: Running) -> None:
    wire = await Wire.open(gateway.fix_port)
    wire.log_on(1)
    assert (await wire.receive()).type == "A"
    wire.send("1", 2, [(112, "are you there")])
    answer = await wire.receive()
    assert (answer.type, answer.get(112), answer.seq) == ("0", "are you there", 2)

    # Garbled messages are skipped; the number that is missing then is asked for.
    wire.send_raw(b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01")
    wire.send("0", 4)
    asked = await wire.receive()
    assert (asked.type, asked.get(7), asked.get(16)) == ("2", "3", "0")
    wire.send("4", 3, [(123, "Y"), (36, "5")], flags=[(43, "Y")])

    wire.send("D", 5, new_order("w1"))
    report = await wire.receive()
    assert (report.type, report.get(11), report.seq) == ("8", "w1", 4)
    wire.send("D", 6, [(11, "w2"), (55, "ACME")])
    reject = await wire.receive()
    assert (reject.type, reject.get(45), reject.get(371), reject.get(373)) == ("3", "6", "54", "1")
    wire.send("Z", 7)
    assert (await wire.receive()).get(373) == "11"

    # Everything again from the start: admin messages collapse into gaps, the report comes as a duplicate.
    wire.send("2", 8, [(7, "1"), (16, "0")])
    gap, again, rest = [await wire.receive() for _ in range(3)]
    assert (gap.type, gap.seq, gap.get(36), gap.get(123), gap.get(43)) == ("4", 1, "4", "Y", "Y")
    assert (again.type, again.seq, again.get(43), again.get(17)) == ("8", 4, "Y", report.get(17))
    assert again.get(122) == report.get(52)
    assert (rest.type, rest.seq, rest.get(36)) == ("4", 5, "7")

    wire.send("0", 3)
    logout = await wire.receive()
    assert (logout.type, logout.get(58)) == ("5", "MsgSeqNum too low, expecting 9 but received 3")
    assert await wire.ended()
    wire.close()


async def test_reset_starts_both_directions_again(gateway: Running) -> None:
    wire = await Wire.open(gateway.fix_port)
    wire.log_on(1)
    assert (await wire.receive()).seq == 1
    wire.send("5", 2)
    assert (await wire.receive()).seq == 2
    wire.close()
    wire = await Wire.open(gateway.fix_port)
    wire.log_on(1, more=[(141, "Y")])
    logon = await wire.receive()
    assert (logon.type, logon.seq, logon.get(141)) == ("A", 1, "Y")
    wire.close()


async def test_a_number_too_high_at_logon_is_asked_for(gateway: Running) -> None:
    wire = await Wire.open(gateway.fix_port)
    wire.log_on(5)
    assert (await wire.receive()).type == "A"
    asked = await wire.receive()
    assert (asked.type, asked.get(7)) == ("2", "1")
    wire.close()


async def test_strangers_are_disconnected_without_a_word(gateway: Running) -> None:
    for first in (
        b"GET / HTTP/1.1\r\n\r\n",
        encode_message("A", [(34, "1"), (49, "W"), (56, "TRADING-ENGINE")], b"98=0\x01108=30\x01554=wrong\x01"),
        encode_message("A", [(34, "1"), (49, "W"), (56, "SOMEBODY")], b"98=0\x01108=30\x01554=key-flow\x01"),
        encode_message("0", [(34, "1"), (49, "W"), (56, "TRADING-ENGINE")], b""),
    ):
        reader, writer = await asyncio.open_connection(HOST, gateway.fix_port)
        writer.write(first)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b"", first
        writer.close()


async def test_silence_is_answered_with_a_test_request(gateway: Running) -> None:
    wire = await Wire.open(gateway.fix_port)
    wire.send("A", 1, [(98, "0"), (108, "1"), (554, "key-flow")])
    types = []
    with contextlib.suppress(EOFError):
        while True:
            types.append((await wire.receive()).type)
    assert (types[0], types[-1]) == ("A", "5")
    assert "0" in types, "it keeps the connection alive itself"
    assert types.count("1") == 1, "it asks once, and then ends the session"
    wire.close()
