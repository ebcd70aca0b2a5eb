"""HAProxy's access log as a source of metrics: what each slot's release did to the customers' requests.

One line per finished request (for a WebSocket: when its upgrade was answered), written by HAProxy to a file that is
read on from where the previous call ended, also when the log was rotated in between. Requests that a smoke test sends
to a slot's own address are not in it.

An error is what the service is to blame for: a status of 500 or more, whoever noticed it, or a session that HAProxy
ended because of the server. What a customer asked wrongly (4xx) or gave up is not; a request that was given up still
counts with the time it took.

Source: https://docs.haproxy.org/2.8/configuration.html, sections 8.2.4 (fields) and 8.5 (state at disconnection)
"""

import asyncio
import bisect
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from openbell.adapters.haproxy.configuration import LOG_TAG
from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample
from openbell.ports import SLOTS

SOURCE = "haproxy log"
SWITCHING_PROTOCOLS = 101
SERVER_ERROR_MIN = 500
SERVER_TO_BLAME = frozenset("SsDRI")
"""First letter of the termination state: server aborted, server time-out, server found down, resources, internal."""


class Line(msgspec.Struct, frozen=True):
    """One finished request: when (Unix seconds), in which slot, how it went, and the milliseconds it took."""

    at_s: float
    slot: str
    status: int
    duration_ms: int
    termination: str

    @property
    def failed(self) -> bool:
        """Whether the service is to blame."""
        return self.status >= SERVER_ERROR_MIN or self.termination[:1] in SERVER_TO_BLAME

    @property
    def timed(self) -> bool:
        """Whether its duration is a latency; that of a WebSocket's upgrade says nothing."""
        return self.status != SWITCHING_PROTOCOLS and self.duration_ms >= 0


def parse(text: str) -> Line | None:
    """Read one line of the log; none for what is no customer's request: HAProxy's notices, sessions, unrouted work."""
    words = text.split()
    if len(words) != 7 or words[0] != LOG_TAG:
        return None
    _, at_ms, backend, _server, status, duration, termination = words
    slot = backend.rpartition("_")[2]
    if slot not in SLOTS:
        return None
    try:
        return Line(int(at_ms) / 1000, slot, int(status), int(duration.lstrip("+")), termination)
    except ValueError:
        return None


class Tally:
    """What one slot did since it was last asked."""

    def __init__(self) -> None:
        self._requests = 0
        self._errors = 0
        self._counts = [0] * (len(LATENCY_EDGES_MS) + 1)
        self._first_at_s: float | None = None
        self._last_at_s: float | None = None

    def add(self, line: Line) -> None:
        """Count one request."""
        self._requests += 1
        self._errors += line.failed
        if line.timed:
            self._counts[bisect.bisect_left(LATENCY_EDGES_MS, line.duration_ms)] += 1
        self._first_at_s = line.at_s if self._first_at_s is None else min(self._first_at_s, line.at_s)
        self._last_at_s = line.at_s if self._last_at_s is None else max(self._last_at_s, line.at_s)

    def sample(self) -> Sample:
        """The count as the judge wants it."""
        return Sample(
            observed=True,
            requests=self._requests,
            errors=self._errors,
            latency_counts=tuple(self._counts),
            first_at_s=self._first_at_s,
            last_at_s=self._last_at_s,
            source=SOURCE,
        )


class HaproxyLog:
    """Implements `openbell.ports.MetricSource`; counts from its first call on, one reading for both slots."""

    def __init__(self, path: Path, is_running: Callable[[], Awaitable[bool]]) -> None:
        self._path = path
        self._is_running = is_running
        self._begun = False
        self._inode: int | None = None
        self._offset = 0
        self._rest = b""
        self._tallies = {slot: Tally() for slot in SLOTS}
        self._lock = asyncio.Lock()

    async def begin(self) -> None:
        """Count from now on; what the log has already is passed over. Else the first call of `sample` does so."""
        async with self._lock:
            if not self._begun:
                await asyncio.to_thread(self._skip)
                self._begun = True

    async def sample(self, slot: str) -> Sample:
        """What the slot did since the previous call; not observed when HAProxy is down or its log cannot be read."""
        await self.begin()
        async with self._lock:
            try:
                await asyncio.to_thread(self._read_on)
            except OSError as error:
                return Sample(observed=False, source=f"{SOURCE}: {error}")
            if not await self._is_running():
                return Sample(observed=False, source=f"{SOURCE}: HAProxy is down")
            tally, self._tallies[slot] = self._tallies[slot], Tally()
            return tally.sample()

    def _skip(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            return
        self._inode, self._offset = found.st_ino, found.st_size

    def _read_on(self) -> None:
        found = self._path.stat()
        if self._inode is not None and (found.st_ino != self._inode or found.st_size < self._offset):
            # Rotated: what was not read yet is in the copy.
            with self._path.with_name(self._path.name + ".1").open("rb") as copy:
                self._take(copy.read()[self._offset :])
            self._offset, self._rest = 0, b""
        with self._path.open("rb") as file:
            self._inode = os.fstat(file.fileno()).st_ino
            file.seek(self._offset)
            content = file.read()
        self._offset += len(content)
        self._take(content)

    def _take(self, content: bytes) -> None:
        lines = (self._rest + content).split(b"\n")
        self._rest = lines.pop()
        for text in lines:
            line = parse(text.decode(errors="replace"))
            if line is not None:
                self._tallies[line.slot].add(line)
