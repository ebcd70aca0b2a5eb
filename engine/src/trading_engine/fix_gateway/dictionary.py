"""The words of FIX 4.4 that this gateway knows, and how orders and reports translate to the engine's own.

Prices and quantities are decimals on the wire and whole ticks and lots inside; one that is not a whole number of them
is refused, never rounded.
"""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from trading_engine.core.codes import OrderStatus, OrderType, Reason, Side, TimeInForce, UpdateKind
from trading_engine.core.commands import CancelOrder, SubmitOrder
from trading_engine.core.events import CancelRejected, OrderUpdate
from trading_engine.core.instruments import INSTRUMENTS
from trading_engine.core.risk import order_refusal
from trading_engine.fix_gateway.codec import FixMessage

HEARTBEAT, TEST_REQUEST, RESEND_REQUEST, REJECT, SEQUENCE_RESET, LOGOUT, LOGON = "0", "1", "2", "3", "4", "5", "A"
NEW_ORDER, CANCEL_REQUEST, EXECUTION_REPORT, CANCEL_REJECT = "D", "F", "8", "9"
ADMIN_TYPES = frozenset({HEARTBEAT, TEST_REQUEST, RESEND_REQUEST, REJECT, SEQUENCE_RESET, LOGOUT, LOGON})

REQUIRED_TAGS: dict[str, tuple[int, ...]] = {
    LOGON: (98, 108),
    TEST_REQUEST: (112,),
    RESEND_REQUEST: (7, 16),
    SEQUENCE_RESET: (36,),
    NEW_ORDER: (11, 55, 54, 60, 38, 40),
    CANCEL_REQUEST: (11, 41, 55, 54, 60),
}
_SIDES = {"1": Side.BUY, "2": Side.SELL}
_ORDER_TYPES = {"1": OrderType.MARKET, "2": OrderType.LIMIT}
_TIMES_IN_FORCE = {
    "0": TimeInForce.GOOD_TILL_CANCEL,  # this market has no closing, so a day lasts
    "1": TimeInForce.GOOD_TILL_CANCEL,
    "3": TimeInForce.IMMEDIATE_OR_CANCEL,
}
_EXEC_TYPES = {
    UpdateKind.ACCEPTED: "0",
    UpdateKind.FILLED: "F",
    UpdateKind.CANCELLED: "4",
    UpdateKind.REJECTED: "8",
}
_ORDER_STATUSES = {
    OrderStatus.OPEN: "0",
    OrderStatus.PARTIALLY_FILLED: "1",
    OrderStatus.FILLED: "2",
    OrderStatus.CANCELLED: "4",
    OrderStatus.REJECTED: "8",
}
_REJECT_CODES = {Reason.UNKNOWN_INSTRUMENT: "1", Reason.QUANTITY_OUT_OF_BOUNDS: "13"}

INVALID_TAG_VALUE = 5
REQUIRED_TAG_MISSING = 1


class BadValue(ValueError):
    """A field whose value cannot be understood; ends in a session-level Reject."""

    def __init__(self, tag: int, value: str) -> None:
        super().__init__(f"tag {tag}: {value!r} is not a value of this field")
        self.tag = tag


class OrderRefused(ValueError):
    """An order that is well formed and cannot be taken; ends in an ExecutionReport."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def format_timestamp(moment: datetime) -> str:
    """A UTCTimestamp with milliseconds."""
    return moment.strftime("%Y%m%d-%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def format_units(count: int, unit: str) -> str:
    """A number of ticks or lots as a decimal, exactly."""
    return format(Decimal(unit) * count, "f")


def read_units(message: FixMessage, tag: int, unit: str) -> int:
    """A decimal field as a whole number of ticks or lots."""
    value = message.get(tag)
    try:
        count = Decimal(value) / Decimal(unit)
    except InvalidOperation:
        raise BadValue(tag, value) from None
    if not count.is_finite():
        raise BadValue(tag, value)
    if count != count.to_integral_value():
        raise OrderRefused("99", f"{value} is not a multiple of {unit}")
    return int(count)


def read_order(message: FixMessage, account: str, sender: str) -> SubmitOrder:
    """The order of a NewOrderSingle. Raises `BadValue` or `OrderRefused`."""
    for tag, values in ((54, _SIDES), (40, _ORDER_TYPES)):
        if message.get(tag) not in values:
            raise BadValue(tag, message.get(tag))
    if message.get(59, "0") not in _TIMES_IN_FORCE:
        raise BadValue(59, message.get(59))
    instrument = INSTRUMENTS.get(message.get(55))
    if instrument is None:
        raise OrderRefused("1", f"unknown symbol {message.get(55)}; there are {', '.join(INSTRUMENTS)}")
    order_type = _ORDER_TYPES[message.get(40)]
    order = SubmitOrder(
        account=account,
        client_order_id=message.get(11),
        instrument=instrument.symbol,
        side=_SIDES[message.get(54)],
        order_type=order_type,
        quantity_lots=read_units(message, 38, instrument.lot_size),
        price_ticks=read_units(message, 44, instrument.tick_size) if message.get(44) else 0,
        time_in_force=_TIMES_IN_FORCE[message.get(59, "0")],
        origin=sender,
    )
    refusal = order_refusal(order)
    if refusal is not None:
        raise OrderRefused(_REJECT_CODES.get(refusal, "99"), refusal.value)
    return order


def read_cancel(message: FixMessage, account: str, sender: str) -> CancelOrder:
    """The cancel of an OrderCancelRequest."""
    return CancelOrder(account=account, request_id=message.get(11), client_order_id=message.get(41), origin=sender)


def refusal_report(message: FixMessage, code: str, reason: str, *, number: int) -> list[tuple[int, str]]:
    """The ExecutionReport for an order that never reached the log."""
    return [
        (37, "NONE"),
        (17, f"R{number}"),
        (150, "8"),
        (39, "8"),
        (11, message.get(11)),
        (55, message.get(55)),
        (54, message.get(54)),
        (38, message.get(38)),
        (151, "0"),
        (14, "0"),
        (6, "0"),
        (103, code),
        (58, reason),
    ]


def cancel_refusal(client_id: str, original_id: str, reason: str, *, order_id: str = "NONE") -> list[tuple[int, str]]:
    """The OrderCancelReject for a cancel that found nothing."""
    return [(37, order_id), (11, client_id), (41, original_id), (39, "8"), (434, "1"), (102, "1"), (58, reason)]


def execution_report(update: OrderUpdate, exec_id: str, sender: str) -> list[tuple[int, str]]:
    """The ExecutionReport for what happened to an order."""
    instrument = INSTRUMENTS[update.instrument]
    asked_here = update.request_origin == sender
    leaves_lots = update.quantity_lots - update.filled_lots if update.status in _LIVE else 0
    average = Decimal(0)
    if update.filled_lots:
        average = Decimal(update.notional_ticks) * Decimal(instrument.tick_size) / update.filled_lots
    report = [
        (37, str(update.order_id)),
        (17, exec_id),
        (150, _EXEC_TYPES[update.kind]),
        (39, _ORDER_STATUSES[update.status]),
        (11, update.request_id if asked_here else update.client_order_id),
        *([(41, update.client_order_id)] if asked_here else []),
        (55, update.instrument),
        (54, "1" if update.side is Side.BUY else "2"),
        (40, "2" if update.order_type is OrderType.LIMIT else "1"),
        (38, format_units(update.quantity_lots, instrument.lot_size)),
        *([(44, format_units(update.price_ticks, instrument.tick_size))] if update.price_ticks else []),
        (151, format_units(leaves_lots, instrument.lot_size)),
        (14, format_units(update.filled_lots, instrument.lot_size)),
        (6, format(round(average, 8).normalize(), "f")),
        (60, format_timestamp(datetime.fromtimestamp(update.at_us / 1e6, UTC))),
    ]
    if update.kind is UpdateKind.FILLED:
        report += [
            (32, format_units(update.last_quantity_lots, instrument.lot_size)),
            (31, format_units(update.last_price_ticks, instrument.tick_size)),
        ]
    if update.kind is UpdateKind.REJECTED and update.reason is not None:
        report.append((103, _REJECT_CODES.get(update.reason, "99")))
    if update.reason is not None:
        report.append((58, update.reason.value))
    return report


def cancel_reject(event: CancelRejected) -> list[tuple[int, str]]:
    """The OrderCancelReject for a cancel that the matcher refused."""
    return cancel_refusal(event.request_id, event.client_order_id, event.reason.value)


_LIVE = (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED)
