"""Reading and writing FIX 4.4 messages: exact BodyLength and CheckSum, nothing about what they mean.

Source: FIX 4.4 volume 2, "FIX message format and delivery". A garbled message is skipped as the standard asks: reading
goes on at the next BeginString, and the sequence number that is missing then brings the message back.
"""

import re
from collections.abc import Iterator, Sequence

SOH = b"\x01"
BEGIN_STRING = b"FIX.4.4"
_START = b"8=FIX"
_HEADER = re.compile(rb"8=(FIX[^\x01]{0,12})\x019=(\d{1,6})\x01")
_TRAILER = re.compile(rb"10=(\d{3})\x01")
_TRAILER_BYTES = 7
_HEADER_BYTES_MAX = 32
BODY_BYTES_MAX = 65_536

Fields = Sequence[tuple[int, str]]


class FixMessage:
    """A message that was received: its fields in order, and the first value of each tag."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._first: dict[int, str] = {}
        for tag, value in fields:
            self._first.setdefault(tag, value)

    @property
    def type(self) -> str:
        """MsgType (35)."""
        return self._first.get(35, "")

    @property
    def seq(self) -> int:
        """MsgSeqNum (34), or 0 if it is missing or no number."""
        value = self._first.get(34, "")
        return int(value) if value.isdecimal() else 0

    @property
    def possible_duplicate(self) -> bool:
        """PossDupFlag (43)."""
        return self._first.get(43) == "Y"

    def get(self, tag: int, default: str = "") -> str:
        """The first value of a tag."""
        return self._first.get(tag, default)

    def __repr__(self) -> str:
        return f"FixMessage({self.type}, {self.seq})"


def encode_fields(fields: Fields) -> bytes:
    """Fields as they stand in a body."""
    return b"".join(b"%d=%s\x01" % (tag, value.encode("latin-1", "replace")) for tag, value in fields)


def encode_message(message_type: str, header: Fields, body: bytes) -> bytes:
    """A whole message: `header` is what follows MsgType, `body` are encoded fields."""
    content = b"35=%s\x01" % message_type.encode() + encode_fields(header) + body
    message = b"8=%s\x019=%d\x01" % (BEGIN_STRING, len(content)) + content
    return message + b"10=%03d\x01" % (sum(message) % 256)


class FrameReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.garbled = 0

    def feed(self, data: bytes) -> Iterator[FixMessage]:
        """Takes received bytes and gives all messages that are complete and intact now."""
        self._buffer += data
        while True:
            start = self._buffer.find(_START)
            if start < 0:
                self._drop(max(0, len(self._buffer) - len(_START) + 1))
                return
            if start > 0:
                self._drop(start)
            header = _HEADER.match(self._buffer)
            if header is None:
                if len(self._buffer) < _HEADER_BYTES_MAX:
                    return
                self._skip_garbled()
                continue
            end = header.end() + int(header.group(2))
            if end - header.end() > BODY_BYTES_MAX:
                self._skip_garbled()
                continue
            if len(self._buffer) < end + _TRAILER_BYTES:
                return
            message = self._take(header, end)
            if message is None:
                self._skip_garbled()
                continue
            self._drop(end + _TRAILER_BYTES)
            yield message

    def _take(self, header: "re.Match[bytes]", end: int) -> FixMessage | None:
        trailer = _TRAILER.fullmatch(self._buffer[end : end + _TRAILER_BYTES])
        if trailer is None or int(trailer.group(1)) != sum(self._buffer[:end]) % 256:
            return None
        fields = [(8, header.group(1).decode("latin-1"))]
        for part in bytes(self._buffer[header.end() : end]).split(SOH)[:-1]:
            tag, separator, value = part.partition(b"=")
            if not separator or not tag.isdigit() or len(tag) > 6 or not value:
                return None
            fields.append((int(tag), value.decode("latin-1")))
        return FixMessage(fields)

    def _skip_garbled(self) -> None:
        self.garbled += 1
        self._drop(len(_START))

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
