"""A book that is obviously right and slow: the oracle for the fast one.

One list of orders per instrument. To trade, it looks at all of them and takes the best price, the oldest first.
"""

from dataclasses import dataclass

from trading_engine.core.codes import OrderType, Side, TimeInForce
from trading_engine.core.commands import CancelOrder, LoggedCommand, SubmitOrder
from trading_engine.core.risk import order_refusal


@dataclass
class NaiveOrder:
    order_id: int
    command: SubmitOrder
    remaining: int


class NaiveMatching:
    def __init__(self) -> None:
        self.resting: list[NaiveOrder] = []
        self.trades: list[tuple[int, int, int, int]] = []

    def apply(self, logged: LoggedCommand) -> None:
        match logged.command:
            case SubmitOrder() as order:
                self._submit(logged.seq, order)
            case CancelOrder() as cancel:
                self.resting = [
                    order
                    for order in self.resting
                    if (order.command.account, order.command.client_order_id)
                    != (cancel.account, cancel.client_order_id)
                ]

    def _submit(self, seq: int, command: SubmitOrder) -> None:
        if order_refusal(command) is not None:
            return
        taker = NaiveOrder(seq, command, command.quantity_lots)
        while taker.remaining:
            makers = [order for order in self.resting if self._meets(order.command, command)]
            if not makers:
                break
            sign = 1 if command.side is Side.BUY else -1
            maker = min(makers, key=lambda order: (sign * order.command.price_ticks, order.order_id))
            quantity = min(maker.remaining, taker.remaining)
            maker.remaining -= quantity
            taker.remaining -= quantity
            self.trades.append((maker.order_id, seq, maker.command.price_ticks, quantity))
            if not maker.remaining:
                self.resting.remove(maker)
        stays = command.order_type is OrderType.LIMIT and command.time_in_force is TimeInForce.GOOD_TILL_CANCEL
        if taker.remaining and stays:
            self.resting.append(taker)

    @staticmethod
    def _meets(maker: SubmitOrder, taker: SubmitOrder) -> bool:
        if maker.instrument != taker.instrument or maker.side is taker.side:
            return False
        if taker.order_type is OrderType.MARKET:
            return True
        if taker.side is Side.BUY:
            return maker.price_ticks <= taker.price_ticks
        return maker.price_ticks >= taker.price_ticks

    def state(self) -> list[tuple[str, str, int, int, int]]:
        """Instrument, side, price, order and what remains, in the order in which they would trade."""
        sides = {Side.BUY: -1, Side.SELL: 1}
        return sorted(
            (
                (order.command.instrument, order.command.side.value, order.command.price_ticks, order.order_id,
                 order.remaining)
                for order in self.resting
            ),
            key=lambda row: (row[0], row[1], sides[Side(row[1])] * row[2], row[3]),
        )  # fmt: skip
