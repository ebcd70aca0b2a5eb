import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.fix_gateway.codec import FixMessage, FrameReader, encode_fields, encode_message

# A published example of the checksum: computed by hand, not by this code.
EXAMPLE = b"8=FIX.4.4\x019=5\x0135=0\x0110=163\x01"


def read(data: bytes) -> list[FixMessage]:
    return list(FrameReader().feed(data))


def test_body_length_and_checksum_are_exact() -> None:
    message = encode_message("0", [], b"")
    assert message == b"8=FIX.4.4\x019=5\x0135=0\x0110=%03d\x01" % (sum(b"8=FIX.4.4\x019=5\x0135=0\x01") % 256)
    assert message == EXAMPLE


VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)
FIELDS = st.lists(st.tuples(st.integers(36, 9999), VALUES), max_size=8)


@given(st.lists(FIELDS, min_size=1, max_size=4), st.lists(st.integers(1, 40), max_size=20))
def test_reads_what_was_written_however_it_arrives(messages: list[list[tuple[int, str]]], cuts: list[int]) -> None:
    data = b"".join(encode_message("D", [(34, "7")], encode_fields(fields)) for fields in messages)
    reader = FrameReader()
    received: list[FixMessage] = []
    for cut in [*cuts, len(data)]:
        received.extend(reader.feed(data[:cut]))
        data = data[cut:]
    assert [list(message.fields)[3:] for message in received] == messages
    assert all((message.type, message.seq) == ("D", 7) for message in received)
    assert reader.garbled == 0


@given(st.binary(max_size=80))
def test_noise_never_hides_the_message_after_it(noise: bytes) -> None:
    if b"8=FIX" in noise:
        return
    assert [message.type for message in read(noise + EXAMPLE)] == ["0"]


@pytest.mark.parametrize(
    "garbled",
    [
        EXAMPLE.replace(b"10=163", b"10=164"),
        EXAMPLE.replace(b"9=5", b"9=6"),
        EXAMPLE.replace(b"9=5", b"9=x"),
        EXAMPLE.replace(b"9=5", b"9=999999"),
        b"8=FIX.4.4\x019=4\x0135=\x0110=113\x01",
        b"8=FIX.4.4\x019=6\x01x5=00\x0110=025\x01",
    ],
)
def test_garbled_messages_are_skipped(garbled: bytes) -> None:
    reader = FrameReader()
    messages = list(reader.feed(garbled + encode_message("1", [(34, "2")], b"112=x\x01") + b" " * 32))
    assert [message.type for message in messages] == ["1"]
    assert reader.garbled >= 1


def test_first_value_of_a_tag_and_defaults() -> None:
    message = FixMessage([(35, "D"), (34, "x"), (58, "one"), (58, "two")])
    assert (message.get(58), message.get(1), message.get(1, "-"), message.seq) == ("one", "", "-", 0)
