"""Random orders around a fixed price, from a seed: about half of them meet, so that books stay shallow."""

import random

import msgspec

INSTRUMENTS = ("ACME", "GLOBEX")
_MIDDLE_TICKS = 10_000
_WIDTH_TICKS = 4.0


class OrderSource:
    """Makes up orders; the same seed and prefix give the same ones."""

    def __init__(self, seed: int, prefix: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - order flow is no secret
        self._prefix = prefix
        self._count = 0

    def next_id(self) -> str:
        """A client order id that no other run has used."""
        self._count += 1
        return f"{self._prefix}{self._count}"

    def next_terms(self) -> tuple[str, str, str, int, int, str]:
        """Instrument, side, type, price in ticks, quantity in lots, time in force."""
        instrument = self.random.choice(INSTRUMENTS)
        side = self.random.choice(("buy", "sell"))
        quantity_lots = self.random.randint(1, 20)
        kind = self.random.random()
        if kind < 0.1:
            return instrument, side, "market", 0, quantity_lots, "gtc"
        price_ticks = max(1, round(self.random.gauss(_MIDDLE_TICKS, _WIDTH_TICKS)))
        return instrument, side, "limit", price_ticks, quantity_lots, "ioc" if kind < 0.2 else "gtc"

    def next_order(self, client_order_id: str) -> bytes:
        """The body of `POST /orders`."""
        instrument, side, order_type, price_ticks, quantity_lots, time_in_force = self.next_terms()
        return msgspec.json.encode(
            {
                "client_order_id": client_order_id,
                "instrument": instrument,
                "side": side,
                "type": order_type,
                "price_ticks": price_ticks,
                "quantity_lots": quantity_lots,
                "time_in_force": time_in_force,
            }
        )
