"""A clock with laps: where the time of one attempt at a job goes, and that of all jobs of a run."""

import time
from collections.abc import Sequence

import msgspec

from openbell.core.pipeline import JobNode, JobResult
from openbell.core.timing import JobTimes, Spent, times_of


class Laps:
    """Measures one stretch of time after another; each lasts until the next begins."""

    def __init__(self) -> None:
        self._began_s = self._last_s = time.monotonic()
        self._spent = Spent(begin_at_s=round(time.time(), 3))

    def lap(self, field: str) -> None:
        """Note under a field of `Spent` what has passed since the last lap."""
        last_s, self._last_s = self._last_s, time.monotonic()
        self._spent = msgspec.structs.replace(self._spent, **{field: round(self._last_s - last_s, 3)})

    def note(self, result: JobResult) -> JobResult:
        """Return a result with what was measured so far."""
        duration_s = round(time.monotonic() - self._began_s, 3)
        return msgspec.structs.replace(result, duration_s=duration_s, spent=self._spent)


def times_of_results(graph: Sequence[JobNode], results: Sequence[JobResult], begin_at_s: float) -> dict[str, JobTimes]:
    """Work out when each job of a run ran, and for those that were known what they would have taken."""
    spent = {r.id: (r.spent, r.duration_s) for r in results if r.spent.begin_at_s and not r.from_run}
    known = {r.id: JobTimes(saved_s=r.spent.total_s) for r in results if r.from_run}
    return known | times_of(spent, {node.id: node.needs for node in graph}, begin_at_s)
