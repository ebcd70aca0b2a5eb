"""The specification's rollback triggers and post-deployment limits; no data is never a pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.analysis.limits import (
    LATENCY_EDGES_MS,
    Baseline,
    Sample,
    ServiceHealth,
    SideHealth,
    Tick,
    Verdict,
    VerdictKind,
    extend_baseline,
    judge_triggers,
    judge_watch,
    quantile_ms,
)
from openbell.core.project import RollbackTriggers, WatchLimits

HEALTHY = SideHealth(
    observed=True, services=(ServiceHealth("api", 2, 2),), memory_bytes=100_000_000, cpu_s=1.0, database_queries=100
)
TRIGGERS = RollbackTriggers(ticks=3, requests_min=10)


def sample(requests: int, errors: int = 0, latency_ms: int = 20) -> Sample:
    bucket = LATENCY_EDGES_MS.index(latency_ms)
    counts = tuple(requests if edge == bucket else 0 for edge in range(len(LATENCY_EDGES_MS) + 1))
    return Sample(True, requests, errors, counts)


def tick(candidate: Sample, *, at_s: float = 1.0, health: SideHealth = HEALTHY, stable: Sample | None = None) -> Tick:
    return Tick(at_s, 1.0, candidate, stable or sample(100), health, HEALTHY)


def judged(*ticks: Tick, limits: RollbackTriggers = TRIGGERS) -> Verdict:
    verdict = Verdict("undecided")
    streaks: dict[str, int] = {}
    for number in range(1, len(ticks) + 1):
        verdict, streaks = judge_triggers(limits, ticks[:number], streaks)
    return verdict


@pytest.mark.parametrize(
    ("candidate", "kind", "words"),
    [
        (sample(100, 0), "pass", ""),
        (sample(100, 5), "pass", ""),
        (sample(100, 6), "fail", "error rate 6 % > 5 %"),
        (sample(100, 0, 2000), "pass", ""),
        (sample(100, 0, 2512), "fail", "p95"),
        (sample(3, 3), "undecided", "3 of 10 requests needed"),
        (Sample(observed=False), "undecided", "error rate not observed"),
        (Sample(observed=True), "undecided", "0 of 10 requests needed"),
    ],
)
def test_rates(candidate: Sample, kind: VerdictKind, words: str) -> None:
    limits = RollbackTriggers(ticks=1, requests_min=10)
    verdict = judged(tick(candidate), limits=limits)
    assert verdict.kind == kind
    assert words in (verdict.reason if words else words)


@pytest.mark.parametrize(
    ("restarts", "failed_checks", "kind"),
    [(0, 0, "pass"), (3, 5, "pass"), (4, 0, "fail"), (0, 6, "fail")],
)
def test_counts_break_at_once(restarts: int, failed_checks: int, kind: VerdictKind) -> None:
    health = SideHealth(True, HEALTHY.services, restarts, failed_checks)
    assert judged(tick(sample(100), health=health)).kind == kind


def test_unobserved_health_is_undecided() -> None:
    assert judged(tick(sample(100), health=SideHealth(observed=False))).kind == "undecided"


def test_a_rate_must_stay_broken_for_some_ticks() -> None:
    bad = tick(sample(100, 50))
    assert [judged(*[bad] * n).kind for n in (1, 2, 3)] == ["undecided", "undecided", "fail"]


def test_a_tick_without_requests_adds_nothing_to_the_streak() -> None:
    bad, quiet = tick(sample(100, 50)), tick(Sample(observed=True))
    assert judged(bad, quiet, quiet, quiet).kind == "undecided"
    assert judged(bad, quiet, bad, bad).kind == "fail"


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_unobserved_time_never_passes(observed: list[bool]) -> None:
    ticks = [tick(sample(100) if seen else Sample(observed=False)) for seen in observed]
    verdict = judged(*ticks)
    assert (verdict.kind == "pass") == all(observed)


@given(st.lists(st.integers(0, 50), min_size=len(LATENCY_EDGES_MS) + 1, max_size=len(LATENCY_EDGES_MS) + 1))
def test_a_quantile_lies_in_its_bucket(counts: list[int]) -> None:
    value = quantile_ms(counts, 0.95)
    if not any(counts):
        assert value is None
        return
    below = [sum(counts[: bucket + 1]) for bucket in range(len(counts))]
    bucket = next(b for b, number in enumerate(below) if number >= 0.95 * below[-1] and counts[b])
    assert value is not None
    last = len(LATENCY_EDGES_MS) - 1
    lower = LATENCY_EDGES_MS[min(bucket, last + 1) - 1] if bucket else 0
    assert lower <= value <= LATENCY_EDGES_MS[min(bucket, last)]


def test_post_deployment_limits_name_what_they_saw() -> None:
    baseline = Baseline(10.0, 1000, cpu_s=10.0, cpu_duration_s=10.0, queries=2000, query_requests=1000)
    health = SideHealth(True, HEALTHY.services, memory_bytes=150_000_000, cpu_s=21.0, database_queries=300)
    first = tick(sample(50, 0), at_s=0.0, stable=Sample(observed=True))
    last = tick(sample(50, 2, 631), at_s=10.0, health=health, stable=Sample(observed=True))
    verdict = judge_watch(WatchLimits(requests_min=50), [first, last], baseline)
    by_name = {measure.name: measure for measure in verdict.measures}
    assert verdict.kind == "fail"
    assert {name: m.verdict for name, m in by_name.items()} == {
        "error rate": "fail",
        "p95": "fail",
        "throughput": "fail",
        "CPU": "fail",
        "memory": "fail",
        "queries per request": "fail",
    }
    assert by_name["queries per request"].text.startswith("queries per request 4, +100.0 % of the baseline 2")
    assert "+50.0 % of the baseline 100" in by_name["memory"].text


def test_post_deployment_limits_without_a_baseline_are_undecided() -> None:
    verdict = judge_watch(WatchLimits(requests_min=10), [tick(sample(50), stable=Sample(observed=True))], Baseline())
    assert verdict.kind == "undecided"
    assert "throughput not observed against a baseline" in verdict.reason


def test_the_baseline_adds_up_what_the_stable_side_did() -> None:
    one, two = tick(Sample(observed=True), at_s=1.0), tick(Sample(observed=True), at_s=2.0)
    baseline = extend_baseline(extend_baseline(Baseline(), one, None), two, one)
    assert (baseline.requests, baseline.duration_s, baseline.cpu_s) == (200, 2.0, 0.0)
