import msgspec
import pytest

from trading_engine.journal.feed import FeedEvent
from trading_engine.websocket.stream import CLOSE_GAP, CLOSE_RESTART, CLOSE_TOO_SLOW, Close, Stream, render_event

CHANNEL = "trades:ACME"


def event(seq: int) -> FeedEvent:
    return FeedEvent(100 + seq, 0, CHANNEL, seq, '{"price":1}')


def offer(stream: Stream, seq: int) -> None:
    stream.offer(event(seq), render_event(event(seq)))


async def sent(stream: Stream) -> list[int]:
    messages = await stream.next_messages()
    return [msgspec.json.decode(message)["seq"] for message in messages if isinstance(message, str)]


def test_a_message_carries_identity_and_payload() -> None:
    assert msgspec.json.decode(render_event(event(7))) == {
        "type": "event",
        "channel": CHANNEL,
        "seq": 7,
        "id": [107, 0],
        "data": {"price": 1},
    }


async def test_replay_and_live_join_without_gap_or_double() -> None:
    stream = Stream([CHANNEL])
    for seq in (4, 5, 6):
        offer(stream, seq)  # live, while the replay is still being read
    for seq in (2, 3, 4, 5):
        stream.replay(event(seq))
    stream.go_live()
    offer(stream, 7)
    assert await sent(stream) == [2, 3, 4, 5, 6, 7]


async def test_what_was_sent_is_dropped() -> None:
    stream = Stream([CHANNEL])
    stream.sent[CHANNEL] = 5
    stream.go_live()
    for seq in (4, 5, 6, 6):
        offer(stream, seq)
    assert await sent(stream) == [6]


async def test_a_gap_closes_the_stream() -> None:
    stream = Stream([CHANNEL])
    stream.go_live()
    offer(stream, 2)
    (close,) = await stream.next_messages()
    assert isinstance(close, Close)
    assert close.code == CLOSE_GAP


async def test_a_client_that_does_not_keep_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_engine.websocket.stream._WAITING_MAX", 3)
    stream = Stream([CHANNEL])
    stream.go_live()
    for seq in range(1, 10):
        offer(stream, seq)
    messages = await stream.next_messages()
    assert isinstance(messages[-1], Close)
    assert (len(messages), messages[-1].code) == (4, CLOSE_TOO_SLOW)


async def test_restart_is_announced_with_the_numbers_and_nothing_follows_the_close() -> None:
    stream = Stream([CHANNEL])
    stream.go_live()
    offer(stream, 1)
    stream.announce_restart()
    stream.close(Close(CLOSE_RESTART, "restart"))
    offer(stream, 2)
    messages = await stream.next_messages()
    assert isinstance(messages[1], str)
    assert msgspec.json.decode(messages[1]) == {"type": "reconnect", "last_seq": {CHANNEL: 1}}
    assert messages[2:] == [Close(CLOSE_RESTART, "restart")]
