"""What the attempts at a job say together: a job that passed on its second attempt has not simply passed.

Each attempt has a result of its own; that of the job is the last one's, with what the first one said. A test that
passed only when it was tried again is flaky, and is marked so for as long as its result is reused.
"""

from collections.abc import Sequence

import msgspec

from openbell.core.pipeline import JobResult
from openbell.core.project import Job


def sum_up(last: JobResult, earlier: Sequence[str], *, attempts_max: int) -> JobResult:
    """Return the result of a job from that of its last attempt and the reasons why those before failed, in order."""
    if not earlier:
        return last
    place = f"attempt {last.attempts} of {attempts_max}"
    if last.outcome == "success":
        words = f"passed on {place}: first {earlier[0]}"
        reason = f"{words}; {last.reason}" if last.reason else words
        return msgspec.structs.replace(last, reason=reason, flaky=last.stage == "test")
    first = "" if all(reason == last.reason for reason in earlier) else f", first {earlier[0]}"
    return msgspec.structs.replace(last, reason=f"{last.reason} ({place}{first})")


def words_of_limit(job: Job) -> str:
    """Say that an attempt was ended because it took too long."""
    return f"took longer than its time limit of {job.timeout_s:g} s"
