"""A clock with laps: where the time of one attempt at a job goes, as `openbell timing` tells it."""

import time

import msgspec

from openbell.core.pipeline import JobResult
from openbell.core.timing import Spent


class Laps:
    """Measures one stretch of time after another; each lasts until the next begins."""

    def __init__(self) -> None:
        self._began_s = self._last_s = time.monotonic()
        self._spent = Spent()

    def lap(self, field: str) -> None:
        """Note under a field of `Spent` what has passed since the last lap."""
        last_s, self._last_s = self._last_s, time.monotonic()
        self._spent = msgspec.structs.replace(self._spent, **{field: round(self._last_s - last_s, 3)})

    def note(self, result: JobResult) -> JobResult:
        """Return a result with what was measured so far."""
        duration_s = round(time.monotonic() - self._began_s, 3)
        return msgspec.structs.replace(result, duration_s=duration_s, spent=self._spent)
