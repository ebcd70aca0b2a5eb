import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.naive import NaiveMatching
from trading_engine.core.codes import OrderStatus, OrderType, Reason, Side, TimeInForce, UpdateKind
from trading_engine.core.commands import CancelOrder, Command, LoggedCommand, SubmitOrder
from trading_engine.core.events import BookChange, CancelRejected, LevelChange, NumberedEvent, OrderUpdate, Trade
from trading_engine.core.matching import InvariantViolated, Matching


def limit(name: str, side: Side, price: int, quantity: int, *, ioc: bool = False, account: str = "a") -> SubmitOrder:
    time_in_force = TimeInForce.IMMEDIATE_OR_CANCEL if ioc else TimeInForce.GOOD_TILL_CANCEL
    return SubmitOrder(account, name, "ACME", side, OrderType.LIMIT, quantity, price, time_in_force)


def market(name: str, side: Side, quantity: int) -> SubmitOrder:
    return SubmitOrder("a", name, "ACME", side, OrderType.MARKET, quantity)


class Market:
    """Applies commands and keeps what happened."""

    def __init__(self) -> None:
        self.matching = Matching()
        self._seq = itertools.count(1)

    def do(self, command: Command) -> list[NumberedEvent]:
        seq = next(self._seq)
        return self.matching.apply(LoggedCommand(seq, 1_000 * seq, command))

    def trades(self, command: Command) -> list[tuple[int, int, int]]:
        return [
            (event.event.maker_order_id, event.event.price_ticks, event.event.quantity_lots)
            for event in self.do(command)
            if isinstance(event.event, Trade)
        ]

    def statuses(self, command: Command) -> list[tuple[int, OrderStatus]]:
        events = [event.event for event in self.do(command)]
        return [(event.order_id, event.status) for event in events if isinstance(event, OrderUpdate)]


@pytest.fixture
def acme() -> Market:
    return Market()


def test_orders_meet_at_the_price_of_the_one_that_was_there(acme: Market) -> None:
    acme.do(limit("s", Side.SELL, 100, 5))
    assert acme.trades(limit("b", Side.BUY, 103, 5)) == [(1, 100, 5)]


def test_better_price_trades_first_then_the_older_order(acme: Market) -> None:
    for name, price in (("worse", 102), ("older", 101), ("newer", 101)):
        acme.do(limit(name, Side.SELL, price, 2))
    assert acme.trades(limit("b", Side.BUY, 102, 5)) == [(2, 101, 2), (3, 101, 2), (1, 102, 1)]


def test_priority_is_kept_when_an_order_is_partly_filled(acme: Market) -> None:
    acme.do(limit("first", Side.BUY, 100, 5))
    acme.do(limit("second", Side.BUY, 100, 5))
    assert acme.trades(limit("s1", Side.SELL, 100, 2)) == [(1, 100, 2)]
    assert acme.trades(limit("s2", Side.SELL, 100, 5)) == [(1, 100, 3), (2, 100, 2)]


@pytest.mark.parametrize(
    ("side", "resting_price", "taking_price", "meets"),
    [
        (Side.BUY, 100, 99, False),
        (Side.BUY, 100, 100, True),
        (Side.BUY, 100, 101, True),
        (Side.SELL, 100, 101, False),
        (Side.SELL, 100, 100, True),
        (Side.SELL, 100, 99, True),
    ],
)
def test_when_prices_cross(acme: Market, side: Side, resting_price: int, taking_price: int, meets: bool) -> None:
    acme.do(limit("maker", side.opposite, resting_price, 1))
    assert bool(acme.trades(limit("taker", side, taking_price, 1))) is meets


def test_market_order_takes_what_is_there_and_ends(acme: Market) -> None:
    acme.do(limit("s", Side.SELL, 100, 3))
    statuses = acme.statuses(market("b", Side.BUY, 5))
    assert statuses == [
        (2, OrderStatus.OPEN),
        (1, OrderStatus.FILLED),
        (2, OrderStatus.PARTIALLY_FILLED),
        (2, OrderStatus.CANCELLED),
    ]
    assert acme.matching.state().orders == ()


def test_immediate_or_cancel_never_rests(acme: Market) -> None:
    events = [event.event for event in acme.do(limit("b", Side.BUY, 100, 5, ioc=True))]
    assert isinstance(events[-1], OrderUpdate)
    assert events[-1].reason is Reason.IMMEDIATE_OR_CANCEL
    assert acme.matching.state().orders == ()


def test_cancel_takes_the_rest_out_of_the_book(acme: Market) -> None:
    acme.do(limit("b", Side.BUY, 100, 5))
    events = acme.do(CancelOrder("a", "c1", "b"))
    assert [type(event.event) for event in events] == [OrderUpdate, BookChange]
    update = events[0].event
    assert isinstance(update, OrderUpdate)
    assert (update.kind, update.reason, update.request_id) == (UpdateKind.CANCELLED, Reason.REQUESTED, "c1")
    assert events[1].event == BookChange("ACME", (LevelChange(Side.BUY, 100, 0),), 2000)


@pytest.mark.parametrize("who", ["b", "nobody"])
def test_cancel_of_what_is_not_open_is_refused(acme: Market, who: str) -> None:
    acme.do(limit("b", Side.BUY, 100, 5))
    acme.do(limit("s", Side.SELL, 100, 5))
    (event,) = acme.do(CancelOrder("a", "c1", who))
    assert isinstance(event.event, CancelRejected)
    assert event.event.reason is Reason.NOT_OPEN


def test_another_account_cannot_cancel(acme: Market) -> None:
    acme.do(limit("b", Side.BUY, 100, 5, account="owner"))
    (event,) = acme.do(CancelOrder("thief", "c1", "b"))
    assert isinstance(event.event, CancelRejected)
    assert len(acme.matching.state().orders) == 1


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (SubmitOrder("a", "x", "NONE", Side.BUY, OrderType.LIMIT, 1, 1), Reason.UNKNOWN_INSTRUMENT),
        (SubmitOrder("a", "x", "ACME", Side.BUY, OrderType.LIMIT, 0, 1), Reason.QUANTITY_OUT_OF_BOUNDS),
        (SubmitOrder("a", "x", "ACME", Side.BUY, OrderType.LIMIT, 1_000_001, 1), Reason.QUANTITY_OUT_OF_BOUNDS),
        (SubmitOrder("a", "x", "ACME", Side.BUY, OrderType.LIMIT, 1, 0), Reason.PRICE_OUT_OF_BOUNDS),
        (SubmitOrder("a", "x", "ACME", Side.BUY, OrderType.LIMIT, 1, 1_000_001), Reason.PRICE_OUT_OF_BOUNDS),
        (SubmitOrder("a", "x", "ACME", Side.BUY, OrderType.MARKET, 1, 7), Reason.PRICE_NOT_ALLOWED),
    ],
)
def test_bad_orders_are_rejected_in_the_log_too(acme: Market, order: SubmitOrder, reason: Reason) -> None:
    (event,) = acme.do(order)
    assert isinstance(event.event, OrderUpdate)
    assert (event.event.kind, event.event.reason) == (UpdateKind.REJECTED, reason)


def test_the_log_must_have_no_gap(acme: Market) -> None:
    acme.do(limit("b", Side.BUY, 100, 5))
    with pytest.raises(InvariantViolated, match="command 3 after 1"):
        acme.matching.apply(LoggedCommand(3, 0, limit("c", Side.BUY, 100, 5)))


def test_book_change_has_the_totals_of_all_levels_that_changed(acme: Market) -> None:
    acme.do(limit("s1", Side.SELL, 100, 2))
    acme.do(limit("s2", Side.SELL, 101, 2))
    change = acme.do(limit("b", Side.BUY, 101, 5))[-1].event
    assert isinstance(change, BookChange)
    assert change.levels == (
        LevelChange(Side.SELL, 100, 0),
        LevelChange(Side.SELL, 101, 0),
        LevelChange(Side.BUY, 101, 1),
    )


ACCOUNTS = st.sampled_from(["a", "b"])
NAMES = st.integers(0, 25).map(lambda number: f"o{number}")
SUBMITS = st.builds(
    SubmitOrder,
    account=ACCOUNTS,
    client_order_id=NAMES,
    instrument=st.sampled_from(["ACME", "GLOBEX"]),
    side=st.sampled_from(Side),
    order_type=st.sampled_from(OrderType),
    quantity_lots=st.integers(0, 8),
    price_ticks=st.integers(0, 6),
    time_in_force=st.sampled_from(TimeInForce),
)
CANCELS = st.builds(CancelOrder, account=ACCOUNTS, request_id=NAMES, client_order_id=NAMES)


def as_log(commands: list[Command]) -> list[LoggedCommand]:
    """Gives numbers; like the log, it keeps only the first order with an account's id."""
    known: dict[tuple[str, str], None] = {}
    kept: list[Command] = []
    for command in commands:
        if isinstance(command, SubmitOrder):
            key = (command.account, command.client_order_id)
            if key in known:
                continue
            known[key] = None
        kept.append(command)
    return [LoggedCommand(seq, seq, command) for seq, command in enumerate(kept, start=1)]


LOGS = st.lists(st.one_of(SUBMITS, SUBMITS, CANCELS), max_size=60).map(as_log)


@settings(max_examples=100, deadline=None)
@given(LOGS)
def test_agrees_with_the_naive_book(log: list[LoggedCommand]) -> None:
    fast, naive = Matching(), NaiveMatching()
    trades: list[tuple[int, int, int, int]] = []
    for logged in log:
        naive.apply(logged)
        for numbered in fast.apply(logged):
            if isinstance(numbered.event, Trade):
                trade = numbered.event
                trades.append((trade.maker_order_id, trade.taker_order_id, trade.price_ticks, trade.quantity_lots))
        resting = [
            (order.instrument, order.side.value, order.price_ticks, order.order_id, order.remaining_lots)
            for order in fast.state().orders
        ]
        assert resting == naive.state()
    assert trades == naive.trades


@settings(max_examples=50, deadline=None)
@given(LOGS)
def test_numbers_of_every_channel_have_no_gap_and_books_never_cross(log: list[LoggedCommand]) -> None:
    matching = Matching()
    last: dict[str, int] = {}
    levels: dict[tuple[str, Side, int], int] = {}
    for logged in log:
        for index, event in enumerate(matching.apply(logged)):
            assert (event.command_seq, event.index) == (logged.seq, index)
            assert event.seq == last.get(event.channel, 0) + 1
            last[event.channel] = event.seq
            if isinstance(event.event, BookChange):
                for level in event.event.levels:
                    levels[event.event.instrument, level.side, level.price_ticks] = level.quantity_lots
        for name in ("ACME", "GLOBEX"):
            book = matching.book(name)
            bid, ask = book.bids.best(), book.asks.best()
            assert bid is None or ask is None or bid.price_ticks < ask.price_ticks
    # Whoever follows the changes of the book has the book.
    followed = {key: quantity for key, quantity in levels.items() if quantity}
    kept: dict[tuple[str, Side, int], int] = {}
    for order in matching.state().orders:
        key = (order.instrument, order.side, order.price_ticks)
        kept[key] = kept.get(key, 0) + order.remaining_lots
    assert followed == kept


@settings(max_examples=50, deadline=None)
@given(LOGS, st.integers(0, 60))
def test_continues_from_a_snapshot_as_if_nothing_had_happened(log: list[LoggedCommand], cut: int) -> None:
    whole, first = Matching(), Matching()
    events = [whole.apply(logged) for logged in log]
    for logged in log[:cut]:
        first.apply(logged)
    second = Matching.restored(first.state())
    assert second.state_hash() == first.state_hash()
    assert [second.apply(logged) for logged in log[cut:]] == events[cut:]
    assert second.state_hash() == whole.state_hash()
