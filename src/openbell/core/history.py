"""What is known of tests from earlier executions of jobs: which are slow, and which are flaky.

A test is flaky when it passed only on a rerun, or when it both passed and failed for one fingerprint of its job:
nothing that the result may depend on was different. A failure that a change explains is none.
"""

from collections.abc import Iterable, Sequence

import msgspec

from openbell.core.suite import CaseOutcome


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a job: of which run, when (Unix seconds), of which commit, and how much it covered.

    `ref` is empty when the working tree had changes: such a result is nobody's.
    """

    job: str
    name: str
    fingerprint: str
    run: str
    at_s: float
    ref: str = ""
    commit: str = ""
    lines_pct: float | None = None


class Observation(msgspec.Struct, frozen=True):
    """How one test ended in one execution of a job."""

    test: str
    job: str
    fingerprint: str
    run: str
    at_s: float
    outcome: CaseOutcome


class FlakyTest(msgspec.Struct, frozen=True):
    """A test that says different things about the same code.

    `times` counts the evidence: reruns that passed, and fingerprints for which it both passed and failed. It failed or
    needed a rerun in `failed` of the `seen` executions that are remembered.
    """

    test: str
    jobs: tuple[str, ...]
    times: int
    failed: int
    seen: int
    last_run: str
    last_at_s: float


class SlowTest(msgspec.Struct, frozen=True):
    """A test, how long it takes in the middle, and at most, of the executions that are remembered."""

    test: str
    job: str
    median_s: float
    longest_s: float
    seen: int


def find_flaky(observations: Iterable[Observation]) -> tuple[FlakyTest, ...]:
    """Find the flaky tests among observations, those with the most evidence first."""
    by_test: dict[str, list[Observation]] = {}
    for one in observations:
        by_test.setdefault(one.test, []).append(one)
    found = [flaky for test, seen in by_test.items() if (flaky := _judge(test, seen))]
    return tuple(sorted(found, key=lambda flaky: (-flaky.times, -flaky.last_at_s, flaky.test)))


def _judge(test: str, seen: Sequence[Observation]) -> FlakyTest | None:
    ran = [one for one in seen if one.outcome != "skipped"]
    same: dict[tuple[str, str], list[Observation]] = {}
    for one in ran:
        if one.fingerprint:
            same.setdefault((one.job, one.fingerprint), []).append(one)
    evidence = [one for one in ran if one.outcome == "flaky"]
    times = len(evidence)
    for group in same.values():
        failed = [one for one in group if one.outcome == "failed"]
        if failed and len(failed) < len(group):
            times += 1
            evidence += failed
    if not times:
        return None
    last = max(evidence, key=lambda one: one.at_s)
    failed_in = sum(one.outcome in ("failed", "flaky") for one in ran)
    jobs = tuple(dict.fromkeys(one.job for one in evidence))
    return FlakyTest(test, jobs, times, failed_in, len(ran), last.run, last.at_s)
