"""What the log holds: the commands of clients, in the order in which they were committed.

Old releases must read what new ones log, so unknown fields are ignored and new fields need defaults.
"""

from msgspec import Struct

from trading_engine.core.codes import OrderType, Side, TimeInForce


class SubmitOrder(Struct, frozen=True, tag="submit", omit_defaults=True):
    """Asks for a new order. `price_ticks` is 0 for a market order; `origin` names the FIX session that sent it."""

    account: str
    client_order_id: str
    instrument: str
    side: Side
    order_type: OrderType
    quantity_lots: int
    price_ticks: int = 0
    time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCEL
    origin: str = ""


class CancelOrder(Struct, frozen=True, tag="cancel", omit_defaults=True):
    """Asks to take what is left of `client_order_id` out of the book; `request_id` is the id of this request."""

    account: str
    request_id: str
    client_order_id: str
    origin: str = ""


Command = SubmitOrder | CancelOrder


class LoggedCommand(Struct, frozen=True):
    """A command with what the log gave it: its place and the moment it was recorded (microseconds since 1970)."""

    seq: int
    at_us: int
    command: Command
