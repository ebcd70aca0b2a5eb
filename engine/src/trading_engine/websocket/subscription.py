"""What a client asks for when it connects: channels, and the number after which it wants to resume each of them.

`/ws?channels=book:ACME,trades:ACME,orders&last_seq=book:ACME=12,orders=7`. For a single channel a bare number will do.
`orders` stands for the orders of the caller's account and needs an API key.
"""

from urllib.parse import parse_qs

from msgspec import Struct

from trading_engine.core.events import orders_channel
from trading_engine.core.instruments import INSTRUMENTS


class Subscription(Struct, frozen=True):
    """Channels by their full name, each with the number to resume after, or None to start now."""

    resume_after: dict[str, int | None]


class Refusal(Struct, frozen=True):
    """Why a connection is not accepted, with the HTTP status that says so."""

    status: int
    code: str
    reason: str


def read_subscription(query: str, account: str | None) -> Subscription | Refusal:
    """Reads the query string of a connection. `account` is None if the client sent no valid key."""
    parameters = parse_qs(query)
    names = [name for value in parameters.get("channels", []) for name in value.split(",") if name]
    if not names:
        return Refusal(400, "no-channels", "name at least one: channels=book:ACME,trades:ACME,orders")
    resume_after: dict[str, int | None] = {}
    for name in names:
        channel = _channel(name, account)
        if isinstance(channel, Refusal):
            return channel
        resume_after[channel] = None
    for entry in (entry for value in parameters.get("last_seq", []) for entry in value.split(",") if entry):
        name, _, number = entry.rpartition("=")
        channel = _channel(name, account) if name else next(iter(resume_after))
        if isinstance(channel, Refusal):
            return channel
        if channel not in resume_after or (not name and len(resume_after) > 1):
            return Refusal(400, "last-seq", f"last_seq={entry}: name one of the channels, e.g. book:ACME=12")
        if not number.isdecimal() or len(number) > 18:
            return Refusal(400, "last-seq", f"last_seq={entry}: {number!r} is not a number of 0 or more")
        resume_after[channel] = int(number)
    return Subscription(resume_after)


def _channel(name: str, account: str | None) -> str | Refusal:
    kind, _, instrument = name.partition(":")
    if kind == "orders":
        if account is None:
            return Refusal(401, "unauthorised", "the channel orders needs a valid key in the header X-API-Key")
        own = orders_channel(account)
        return own if name in {"orders", own} else Refusal(403, "forbidden", f"{name} belongs to another account")
    if kind not in {"book", "trades"}:
        return Refusal(400, "unknown-channel", f"{name}: there are book:X, trades:X and orders")
    if instrument not in INSTRUMENTS:
        return Refusal(400, "unknown-instrument", f"{name}: instruments are {', '.join(INSTRUMENTS)}")
    return name
