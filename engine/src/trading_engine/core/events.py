"""What matching says happened. Every event belongs to one channel and has the next number of that channel.

The channels are `orders:<account>`, `trades:<instrument>` and `book:<instrument>`. Numbers are part of the matcher's
state, so they are the same on every replica and a reader who sees 7 after 5 knows that it missed one.
"""

from msgspec import Struct

from trading_engine.core.codes import OrderStatus, OrderType, Reason, Side, TimeInForce, UpdateKind


class OrderUpdate(Struct, frozen=True, tag="order", omit_defaults=True):
    """The state of an order after something happened to it.

    `notional_ticks` is the sum of price times quantity over all fills. `request_id` and `request_origin` say which
    cancel request caused a cancellation.
    """

    kind: UpdateKind
    account: str
    client_order_id: str
    order_id: int
    instrument: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    filled_lots: int
    notional_ticks: int
    status: OrderStatus
    at_us: int
    last_price_ticks: int = 0
    last_quantity_lots: int = 0
    origin: str = ""
    reason: Reason | None = None
    request_id: str = ""
    request_origin: str = ""


class CancelRejected(Struct, frozen=True, tag="cancel_rejected", omit_defaults=True):
    """A cancel that found nothing to cancel."""

    account: str
    client_order_id: str
    request_id: str
    reason: Reason
    at_us: int
    request_origin: str = ""


class Trade(Struct, frozen=True, tag="trade"):
    """Two orders met. The trade's id is the id of this event: command sequence and index."""

    instrument: str
    price_ticks: int
    quantity_lots: int
    taker_side: Side
    maker_order_id: int
    taker_order_id: int
    at_us: int


class LevelChange(Struct, frozen=True, array_like=True):
    """The quantity now resting at a price; 0 removes the level."""

    side: Side
    price_ticks: int
    quantity_lots: int


class BookChange(Struct, frozen=True, tag="book"):
    """All levels of a book that one command changed."""

    instrument: str
    levels: tuple[LevelChange, ...]
    at_us: int


Event = OrderUpdate | CancelRejected | Trade | BookChange


class NumberedEvent(Struct, frozen=True):
    """An event with its identity (command sequence, index) and its place in its channel."""

    command_seq: int
    index: int
    channel: str
    seq: int
    event: Event


def orders_channel(account: str) -> str:
    """The channel of what happens to an account's orders."""
    return f"orders:{account}"


def trades_channel(instrument: str) -> str:
    """The channel of an instrument's trades."""
    return f"trades:{instrument}"


def book_channel(instrument: str) -> str:
    """The channel of changes to an instrument's book."""
    return f"book:{instrument}"
