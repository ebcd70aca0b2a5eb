"""The checks an order must pass before it may touch the book. Stateless for now; limits per account come later."""

from trading_engine.core.codes import OrderType, Reason
from trading_engine.core.commands import SubmitOrder
from trading_engine.core.instruments import INSTRUMENTS


def order_refusal(order: SubmitOrder) -> Reason | None:
    """Why this order must not be matched, or None if it may."""
    instrument = INSTRUMENTS.get(order.instrument)
    if instrument is None:
        return Reason.UNKNOWN_INSTRUMENT
    if not 1 <= order.quantity_lots <= instrument.quantity_lots_max:
        return Reason.QUANTITY_OUT_OF_BOUNDS
    if order.order_type is OrderType.MARKET:
        return Reason.PRICE_NOT_ALLOWED if order.price_ticks else None
    if not 1 <= order.price_ticks <= instrument.price_ticks_max:
        return Reason.PRICE_OUT_OF_BOUNDS
    return None
