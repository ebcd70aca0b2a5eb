"""What clients ask: orders, positions and books as the matcher last committed them. Any replica answers alike."""

from msgspec import Struct

from trading_engine.core.codes import OrderStatus, Side
from trading_engine.journal.database import Database
from trading_engine.journal.migrations import SHARD

_ORDER = (
    "client_order_id, order_id, instrument, side, order_type, time_in_force, price_ticks, quantity_lots, filled_lots,"
    " notional_ticks, status, reason"
)


class OrderView(Struct, frozen=True, omit_defaults=True):
    """An order as a client sees it; `order_id` is its place in the log."""

    client_order_id: str
    order_id: int
    status: str
    instrument: str = ""
    side: str = ""
    order_type: str = ""
    time_in_force: str = ""
    price_ticks: int = 0
    quantity_lots: int = 0
    filled_lots: int = 0
    notional_ticks: int = 0
    reason: str | None = None


class LevelView(Struct, frozen=True, array_like=True):
    """A price and the quantity that rests there."""

    price_ticks: int
    quantity_lots: int


class BookView(Struct, frozen=True):
    """A book at the number `seq` of its channel, best prices first."""

    instrument: str
    seq: int
    bids: list[LevelView]
    asks: list[LevelView]


class PositionView(Struct, frozen=True):
    """What an account holds of an instrument; a short position is negative, as is the notional of what was sold."""

    instrument: str
    quantity_lots: int
    notional_ticks: int


async def find_order(database: Database, account: str, client_order_id: str) -> OrderView | None:
    """An order, `sequenced` if it is in the log and not matched yet, or None if nobody ever heard of it."""
    row = await database.fetch_row(
        f"SELECT {_ORDER} FROM orders WHERE shard = $1 AND account = $2 AND client_order_id = $3",  # noqa: S608
        SHARD,
        account,
        client_order_id,
    )
    if row is not None:
        return OrderView(**row)
    seq = await database.fetch_value(
        "SELECT seq FROM commands WHERE shard = $1 AND account = $2 AND client_order_id = $3",
        SHARD,
        account,
        client_order_id,
    )
    return OrderView(client_order_id, seq, OrderStatus.SEQUENCED.value) if seq is not None else None


async def list_orders(database: Database, account: str, *, limit: int = 100) -> list[OrderView]:
    """The newest orders of an account, newest first."""
    rows = await database.fetch(
        f"SELECT {_ORDER} FROM orders WHERE shard = $1 AND account = $2 ORDER BY order_id DESC LIMIT $3",  # noqa: S608
        SHARD,
        account,
        limit,
    )
    return [OrderView(**row) for row in rows]


async def read_book(database: Database, instrument: str) -> BookView:
    """The whole book of an instrument, in one statement and so at one moment."""
    rows = await database.fetch(
        "SELECT b.seq, l.side, l.price_ticks, l.quantity_lots FROM books AS b LEFT JOIN book_levels AS l"
        " USING (shard, instrument) WHERE b.shard = $1 AND b.instrument = $2 ORDER BY l.price_ticks",
        SHARD,
        instrument,
    )
    sides: dict[str, list[LevelView]] = {Side.BUY: [], Side.SELL: []}
    for row in rows:
        if row["side"] is not None:
            sides[row["side"]].append(LevelView(row["price_ticks"], row["quantity_lots"]))
    sides[Side.BUY].reverse()
    return BookView(instrument, rows[0]["seq"] if rows else 0, sides[Side.BUY], sides[Side.SELL])


async def list_positions(database: Database, account: str) -> list[PositionView]:
    """All positions of an account."""
    rows = await database.fetch(
        "SELECT instrument, quantity_lots, notional_ticks FROM positions"
        " WHERE shard = $1 AND account = $2 ORDER BY instrument",
        SHARD,
        account,
    )
    return [PositionView(**row) for row in rows]
