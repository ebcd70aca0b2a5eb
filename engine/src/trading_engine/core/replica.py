"""A matcher together with the hash chain of all events it ever emitted.

The leader stores the chain with its progress; a shadow that computes another value has diverged and must never lead.
The chain covers the events as they are written, so it proves what clients saw, not only what the books hold.
"""

from hashlib import blake2b

import msgspec
from msgspec import Struct

from trading_engine.core.commands import LoggedCommand
from trading_engine.core.events import Event
from trading_engine.core.matching import Matching, MatchingState

SNAPSHOT_FORMAT = 1
GENESIS = "0" * 32
_encode = msgspec.json.Encoder().encode


class EncodedEvent(Struct, frozen=True):
    """An event ready to be stored and sent: `payload` is its JSON."""

    command_seq: int
    index: int
    channel: str
    seq: int
    payload: bytes
    event: Event


class Snapshot(Struct, frozen=True):
    """The state of a replica at a command, with the chain up to there."""

    chain: str
    state: MatchingState


class Replica:
    """Applies commands and extends the chain."""

    def __init__(self, *, chain: str = GENESIS, matching: Matching | None = None) -> None:
        self.chain = chain
        self.matching = matching if matching is not None else Matching()

    @property
    def applied_seq(self) -> int:
        """The last command that was applied."""
        return self.matching.applied_seq

    def apply(self, logged: LoggedCommand) -> list[EncodedEvent]:
        """Applies the next command and returns its events, encoded."""
        encoded = [
            EncodedEvent(numbered.command_seq, numbered.index, numbered.channel, numbered.seq, _encode(numbered.event),
                         numbered.event)
            for numbered in self.matching.apply(logged)
        ]  # fmt: skip
        digest = blake2b(self.chain.encode(), digest_size=16)
        for event in encoded:
            digest.update(f"|{event.command_seq}.{event.index} {event.channel} {event.seq} ".encode())
            digest.update(event.payload)
        self.chain = digest.hexdigest()
        return encoded

    def snapshot(self) -> bytes:
        """The whole replica as bytes, for `from_snapshot`."""
        return _encode(Snapshot(self.chain, self.matching.state()))

    @classmethod
    def from_snapshot(cls, blob: bytes) -> "Replica":
        """The replica that was written by `snapshot`."""
        snapshot = msgspec.json.decode(blob, type=Snapshot)
        return cls(chain=snapshot.chain, matching=Matching.restored(snapshot.state))
