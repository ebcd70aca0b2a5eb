"""Brings the feed of committed events to the streams that asked for their channel; each message is rendered once."""

from collections.abc import Sequence

from trading_engine.journal.feed import Feed, FeedEvent
from trading_engine.websocket.stream import Stream, render_event


class Hub:
    """Knows which stream wants which channel."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._by_channel: dict[str, dict[Stream, None]] = {}

    async def join(self, stream: Stream) -> None:
        """Delivers live events to a stream from now on."""
        for channel in stream.sent:
            self._by_channel.setdefault(channel, {})[stream] = None
        await self._feed.subscribe(self._deliver)

    def leave(self, stream: Stream) -> None:
        """Delivers nothing more to a stream. May be repeated."""
        for channel in stream.sent:
            streams = self._by_channel.get(channel, {})
            streams.pop(stream, None)
            if not streams:
                self._by_channel.pop(channel, None)
        if not self._by_channel:
            self._feed.unsubscribe(self._deliver)

    def _deliver(self, events: Sequence[FeedEvent]) -> None:
        for event in events:
            streams = self._by_channel.get(event.channel)
            if streams:
                message = render_event(event)
                for stream in list(streams):
                    stream.offer(event, message)
