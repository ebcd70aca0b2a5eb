"""The words of the domain, as they are written in the log and on the wire.

A word that was logged once must be understood for ever: words are added here and never renamed.
"""

from enum import StrEnum


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The side this one trades against."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """Whether an order names its price."""

    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(StrEnum):
    """How long what was not filled at once stays in the book."""

    GOOD_TILL_CANCEL = "gtc"
    IMMEDIATE_OR_CANCEL = "ioc"


class OrderStatus(StrEnum):
    """Where an order is in its life. `sequenced` is committed to the log and not yet matched."""

    SEQUENCED = "sequenced"
    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class UpdateKind(StrEnum):
    """What happened to an order."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FILLED = "filled"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why an order was rejected or cancelled, or a cancel refused."""

    UNKNOWN_INSTRUMENT = "unknown-instrument"
    QUANTITY_OUT_OF_BOUNDS = "quantity-out-of-bounds"
    PRICE_OUT_OF_BOUNDS = "price-out-of-bounds"
    PRICE_NOT_ALLOWED = "price-not-allowed"
    NOT_OPEN = "order-not-open"
    REQUESTED = "requested"
    IMMEDIATE_OR_CANCEL = "immediate-or-cancel"
    NO_LIQUIDITY = "no-liquidity"
