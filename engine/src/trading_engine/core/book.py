"""One instrument's order book: price levels, and within a level the order of arrival.

A level is a dict from order id to order: insertion order is time priority and a cancel costs O(1). Prices are kept in
a sorted list whose last element is the best one, so that taking the best costs O(1) and a new level O(log n) plus a
short move of memory.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from msgspec import Struct

from trading_engine.core.codes import OrderType, Side, TimeInForce


class RestingOrder(Struct):
    """An order that is in the book, or about to be. Only the matcher changes it."""

    order_id: int
    account: str
    client_order_id: str
    instrument: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    origin: str = ""
    filled_lots: int = 0
    notional_ticks: int = 0

    @property
    def remaining_lots(self) -> int:
        """What is still to be filled, in lots."""
        return self.quantity_lots - self.filled_lots


class Level:
    """All orders at one price, oldest first."""

    __slots__ = ("orders", "price_ticks", "total_lots")

    def __init__(self, price_ticks: int) -> None:
        self.price_ticks = price_ticks
        self.total_lots = 0
        self.orders: dict[int, RestingOrder] = {}


class BookSide:
    """The buying or the selling half of a book."""

    def __init__(self, side: Side) -> None:
        self.side = side
        # Bids sort by price, asks by negated price: the best is last on both sides.
        self._sign = 1 if side is Side.BUY else -1
        self._keys: list[int] = []
        self._levels: dict[int, Level] = {}

    def best(self) -> Level | None:
        """The level that trades first, or None if this side is empty."""
        return self._levels[self._keys[-1]] if self._keys else None

    def level_total_lots(self, price_ticks: int) -> int:
        """The quantity resting at a price, 0 if there is none."""
        level = self._levels.get(self._sign * price_ticks)
        return level.total_lots if level is not None else 0

    def add(self, order: RestingOrder) -> None:
        """Puts an order behind all others at its price."""
        key = self._sign * order.price_ticks
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = Level(order.price_ticks)
            insort(self._keys, key)
        level.orders[order.order_id] = order
        level.total_lots += order.remaining_lots

    def fill(self, order: RestingOrder, quantity_lots: int) -> None:
        """Takes a traded quantity from a resting order; an order that is filled leaves the book."""
        level = self._levels[self._sign * order.price_ticks]
        level.total_lots -= quantity_lots
        order.filled_lots += quantity_lots
        order.notional_ticks += quantity_lots * order.price_ticks
        if order.remaining_lots == 0:
            self._leave(level, order)

    def remove(self, order: RestingOrder) -> None:
        """Takes an order out of the book with all that is left of it."""
        level = self._levels[self._sign * order.price_ticks]
        level.total_lots -= order.remaining_lots
        self._leave(level, order)

    def levels(self) -> Iterator[Level]:
        """All levels, best first."""
        return (self._levels[key] for key in reversed(self._keys))

    def _leave(self, level: Level, order: RestingOrder) -> None:
        del level.orders[order.order_id]
        if not level.orders:
            key = self._sign * level.price_ticks
            del self._levels[key]
            del self._keys[bisect_left(self._keys, key)]


class Book:
    """Both sides of one instrument."""

    def __init__(self) -> None:
        self.bids = BookSide(Side.BUY)
        self.asks = BookSide(Side.SELL)

    def side(self, side: Side) -> BookSide:
        """The half in which orders of this side rest."""
        return self.bids if side is Side.BUY else self.asks

    def orders(self) -> Iterator[RestingOrder]:
        """All resting orders, bids before asks, in the order in which they would trade."""
        for side in (self.bids, self.asks):
            for level in side.levels():
                yield from level.orders.values()
