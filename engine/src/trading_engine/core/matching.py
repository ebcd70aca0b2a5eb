"""Price-time priority matching of logged commands. The same log gives the same events, always and everywhere.

It keeps the whole state of the exchange that is not in the log: books, open orders, and the last number of each
channel. It must not know of databases, leaders or clients. Ids and times come from the log entry.
"""

from hashlib import blake2b

import msgspec
from msgspec import Struct

from trading_engine.core.book import Book, RestingOrder
from trading_engine.core.codes import OrderStatus, OrderType, Reason, Side, TimeInForce, UpdateKind
from trading_engine.core.commands import CancelOrder, LoggedCommand, SubmitOrder
from trading_engine.core.events import (
    BookChange,
    CancelRejected,
    Event,
    LevelChange,
    NumberedEvent,
    OrderUpdate,
    Trade,
    book_channel,
    orders_channel,
    trades_channel,
)
from trading_engine.core.risk import order_refusal


class InvariantViolated(Exception):
    """The core was asked for something that must never happen; whoever runs it has to stop."""


class MatchingState(Struct, frozen=True):
    """Everything that must be kept to continue: the content of a snapshot."""

    applied_seq: int
    orders: tuple[RestingOrder, ...]
    channels: dict[str, int]


class Matching:
    """Applies commands in the order of the log."""

    def __init__(self) -> None:
        self.applied_seq = 0
        self._books: dict[str, Book] = {}
        self._open: dict[tuple[str, str], RestingOrder] = {}
        self._channels: dict[str, int] = {}

    def apply(self, logged: LoggedCommand) -> list[NumberedEvent]:
        """Applies the next command and returns its events, numbered. Refuses any but the next sequence number."""
        if logged.seq != self.applied_seq + 1:
            raise InvariantViolated(f"command {logged.seq} after {self.applied_seq}: the log must have no gap")
        self.applied_seq = logged.seq
        step = _Step(logged)
        match logged.command:
            case SubmitOrder() as order:
                self._submit(order, step)
            case CancelOrder() as cancel:
                self._cancel(cancel, step)
        step.close(self._books)
        return [self._number(logged.seq, index, channel, event) for index, (channel, event) in enumerate(step.events)]

    def book(self, instrument: str) -> Book:
        """The book of an instrument, made when first asked for."""
        book = self._books.get(instrument)
        if book is None:
            book = self._books[instrument] = Book()
        return book

    def state(self) -> MatchingState:
        """A copy of the whole state, from which `restored` continues."""
        orders = tuple(
            msgspec.structs.replace(order) for name in sorted(self._books) for order in self._books[name].orders()
        )
        return MatchingState(self.applied_seq, orders, dict(sorted(self._channels.items())))

    def state_hash(self) -> str:  # used-ok: how tests compare it with the naive book
        """A digest of the whole state; equal states have equal digests."""
        return blake2b(msgspec.json.encode(self.state()), digest_size=16).hexdigest()

    @classmethod
    def restored(cls, state: MatchingState) -> "Matching":
        """A matcher that continues where the state was taken."""
        matching = cls()
        matching.applied_seq = state.applied_seq
        matching._channels = dict(state.channels)
        for kept in state.orders:
            order = msgspec.structs.replace(kept)
            matching.book(order.instrument).side(order.side).add(order)
            matching._open[order.account, order.client_order_id] = order
        return matching

    def _submit(self, command: SubmitOrder, step: "_Step") -> None:
        order = RestingOrder(
            order_id=step.seq,
            account=command.account,
            client_order_id=command.client_order_id,
            instrument=command.instrument,
            side=command.side,
            order_type=command.order_type,
            time_in_force=command.time_in_force,
            price_ticks=command.price_ticks,
            quantity_lots=command.quantity_lots,
            origin=command.origin,
        )
        refusal = order_refusal(command)
        if refusal is not None:
            step.update(order, UpdateKind.REJECTED, OrderStatus.REJECTED, reason=refusal)
            return
        step.update(order, UpdateKind.ACCEPTED, OrderStatus.OPEN)
        self._trade(order, step)
        if order.remaining_lots == 0:
            return
        if order.order_type is OrderType.MARKET:
            step.update(order, UpdateKind.CANCELLED, OrderStatus.CANCELLED, reason=Reason.NO_LIQUIDITY)
        elif order.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL:
            step.update(order, UpdateKind.CANCELLED, OrderStatus.CANCELLED, reason=Reason.IMMEDIATE_OR_CANCEL)
        else:
            self.book(order.instrument).side(order.side).add(order)
            self._open[order.account, order.client_order_id] = order
            step.touch(order.instrument, order.side, order.price_ticks)

    def _trade(self, taker: RestingOrder, step: "_Step") -> None:
        resting = self.book(taker.instrument).side(taker.side.opposite)
        while taker.remaining_lots > 0:
            level = resting.best()
            if level is None or not _crosses(taker, level.price_ticks):
                return
            maker = next(iter(level.orders.values()))
            quantity_lots = min(taker.remaining_lots, maker.remaining_lots)
            price_ticks = maker.price_ticks
            resting.fill(maker, quantity_lots)
            taker.filled_lots += quantity_lots
            taker.notional_ticks += quantity_lots * price_ticks
            if maker.remaining_lots == 0:
                del self._open[maker.account, maker.client_order_id]
            step.traded(maker, taker, price_ticks, quantity_lots)

    def _cancel(self, command: CancelOrder, step: "_Step") -> None:
        order = self._open.pop((command.account, command.client_order_id), None)
        if order is None:
            step.add(
                orders_channel(command.account),
                CancelRejected(
                    account=command.account,
                    client_order_id=command.client_order_id,
                    request_id=command.request_id,
                    reason=Reason.NOT_OPEN,
                    at_us=step.at_us,
                    request_origin=command.origin,
                ),
            )
            return
        self.book(order.instrument).side(order.side).remove(order)
        step.update(order, UpdateKind.CANCELLED, OrderStatus.CANCELLED, reason=Reason.REQUESTED, request=command)
        step.touch(order.instrument, order.side, order.price_ticks)

    def _number(self, command_seq: int, index: int, channel: str, event: Event) -> NumberedEvent:
        seq = self._channels[channel] = self._channels.get(channel, 0) + 1
        return NumberedEvent(command_seq, index, channel, seq, event)


class _Step:
    """Collects the events of one command."""

    def __init__(self, logged: LoggedCommand) -> None:
        self.seq = logged.seq
        self.at_us = logged.at_us
        self.events: list[tuple[str, Event]] = []
        self._touched: dict[tuple[str, Side, int], None] = {}

    def add(self, channel: str, event: Event) -> None:
        self.events.append((channel, event))

    def touch(self, instrument: str, side: Side, price_ticks: int) -> None:
        self._touched[instrument, side, price_ticks] = None

    def update(
        self,
        order: RestingOrder,
        kind: UpdateKind,
        status: OrderStatus,
        *,
        reason: Reason | None = None,
        request: CancelOrder | None = None,
        last: tuple[int, int] = (0, 0),
    ) -> None:
        event = OrderUpdate(
            kind=kind,
            account=order.account,
            client_order_id=order.client_order_id,
            order_id=order.order_id,
            instrument=order.instrument,
            side=order.side,
            order_type=order.order_type,
            time_in_force=order.time_in_force,
            price_ticks=order.price_ticks,
            quantity_lots=order.quantity_lots,
            filled_lots=order.filled_lots,
            notional_ticks=order.notional_ticks,
            status=status,
            at_us=self.at_us,
            last_price_ticks=last[0],
            last_quantity_lots=last[1],
            origin=order.origin,
            reason=reason,
            request_id=request.request_id if request is not None else "",
            request_origin=request.origin if request is not None else "",
        )
        self.add(orders_channel(order.account), event)

    def traded(self, maker: RestingOrder, taker: RestingOrder, price_ticks: int, quantity_lots: int) -> None:
        trade = Trade(
            instrument=taker.instrument,
            price_ticks=price_ticks,
            quantity_lots=quantity_lots,
            taker_side=taker.side,
            maker_order_id=maker.order_id,
            taker_order_id=taker.order_id,
            at_us=self.at_us,
        )
        self.add(trades_channel(taker.instrument), trade)
        for order in (maker, taker):
            status = OrderStatus.FILLED if order.remaining_lots == 0 else OrderStatus.PARTIALLY_FILLED
            self.update(order, UpdateKind.FILLED, status, last=(price_ticks, quantity_lots))
        self.touch(maker.instrument, maker.side, price_ticks)

    def close(self, books: dict[str, Book]) -> None:
        """Adds the changes of the book, once per instrument, after everything else is known."""
        changes: dict[str, list[LevelChange]] = {}
        for instrument, side, price_ticks in self._touched:
            total_lots = books[instrument].side(side).level_total_lots(price_ticks)
            changes.setdefault(instrument, []).append(LevelChange(side, price_ticks, total_lots))
        for instrument, levels in changes.items():
            self.add(book_channel(instrument), BookChange(instrument, tuple(levels), self.at_us))


def _crosses(taker: RestingOrder, price_ticks: int) -> bool:
    if taker.order_type is OrderType.MARKET:
        return True
    if taker.side is Side.BUY:
        return price_ticks <= taker.price_ticks
    return price_ticks >= taker.price_ticks
