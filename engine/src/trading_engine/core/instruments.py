"""What can be traded: symbols, the value of a tick and of a lot, and the bounds of an order.

Instruments are part of the release for now. Making them logged commands needs no change elsewhere: everybody asks here.
"""

from msgspec import Struct


class Instrument(Struct, frozen=True):
    """One tradable thing; a price is a whole number of ticks, a quantity a whole number of lots."""

    symbol: str
    tick_size: str
    lot_size: str
    price_ticks_max: int = 1_000_000
    quantity_lots_max: int = 1_000_000


INSTRUMENTS: dict[str, Instrument] = {
    instrument.symbol: instrument
    for instrument in (
        Instrument("ACME", tick_size="0.01", lot_size="1"),
        Instrument("GLOBEX", tick_size="0.01", lot_size="1"),
        Instrument("BTC-USD", tick_size="0.5", lot_size="0.001"),
        # Smoke tests trade here, so that no customer's book ever holds a test order.
        Instrument("TEST", tick_size="0.01", lot_size="1"),
    )
}
