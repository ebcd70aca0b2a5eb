"""Fixed limits: the specification's rollback triggers and post-deployment limits, judged over windows of samples.

A sample is what one side of a rollout did in one tick. Rates are judged over a window once it holds enough requests,
and a broken rate must stay broken for some ticks; counts (restarts, failed health checks) break at once. What was not
observed is never a pass: the verdict is then undecided, and an undecided verdict never promotes.
"""

import bisect
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from openbell.core.project import RollbackTriggers, WatchLimits

VerdictKind = Literal["pass", "fail", "undecided"]

LATENCY_EDGES_MS: tuple[int, ...] = (
    1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, 126, 158, 200, 251, 316, 398, 500, 631, 794,
    1000, 1259, 1585, 2000, 2512, 3162, 3981, 5012, 6310, 7943, 10000, 20000, 60000,
)  # fmt: skip
"""Upper edges of the latency histogram in milliseconds, ten per decade from 10 ms on; a last bucket is unbounded."""


class Sample(msgspec.Struct, frozen=True):
    """What one side did in one tick: counts, and a latency histogram over `LATENCY_EDGES_MS` and one bucket beyond."""

    observed: bool
    requests: int = 0
    errors: int = 0
    latency_counts: tuple[int, ...] = ()
    first_at_s: float | None = None
    last_at_s: float | None = None
    source: str = ""


class ServiceHealth(msgspec.Struct, frozen=True):
    """Instances of one service on one side."""

    service: str
    instances: int
    healthy: int


class SideHealth(msgspec.Struct, frozen=True):
    """One side as its platform sees it; counts run since the side's release was placed."""

    observed: bool
    services: tuple[ServiceHealth, ...] = ()
    restarts: int = 0
    failed_health_checks: int = 0
    version: str = ""
    memory_bytes: int | None = None
    cpu_s: float | None = None
    database_queries: int | None = None

    @property
    def healthy(self) -> bool:
        """Every service has an instance, and every instance is healthy."""
        return bool(self.services) and all(s.healthy == s.instances > 0 for s in self.services)

    @property
    def can_serve(self) -> bool:
        """Every service has at least one healthy instance."""
        return bool(self.services) and all(s.healthy > 0 for s in self.services)


class Tick(msgspec.Struct, frozen=True):
    """Both sides in one tick: what they did, how they are, and how long the tick was in seconds.

    `drift` says who else has changed the routing since our last command, and how; empty when nobody has.
    """

    at_s: float
    duration_s: float
    candidate: Sample
    stable: Sample
    candidate_health: SideHealth
    stable_health: SideHealth
    drift: str = ""


class Measure(msgspec.Struct, frozen=True):
    """One number against its limit; `value` is None when there was not enough to measure."""

    name: str
    verdict: VerdictKind
    value: float | None
    limit: float
    text: str
    streak: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What the judge says of a candidate: the worst of its measures."""

    kind: VerdictKind
    measures: tuple[Measure, ...] = ()

    @property
    def reason(self) -> str:
        """The measures that made the verdict, in words."""
        return "; ".join(m.text for m in self.measures if m.verdict == self.kind)


UNDECIDED = Verdict("undecided")


class Total(msgspec.Struct, frozen=True):
    """The sum of what was observed over a window; `complete` when nothing in it was missed."""

    complete: bool
    requests: int
    errors: int
    latency_counts: tuple[int, ...]

    @property
    def error_rate_pct(self) -> float:
        """Errors per hundred requests; 0 when there were none."""
        return 100.0 * self.errors / self.requests if self.requests else 0.0


def total(samples: Iterable[Sample]) -> Total:
    """Add up the samples that were observed."""
    every = list(samples)
    added = [sample for sample in every if sample.observed]
    rows = [sample.latency_counts for sample in added if sample.latency_counts]
    return Total(
        complete=bool(every) and len(added) == len(every),
        requests=sum(sample.requests for sample in added),
        errors=sum(sample.errors for sample in added),
        latency_counts=tuple(map(sum, zip(*rows, strict=True))),
    )


def quantile_ms(counts: Sequence[int], quantile: float) -> float | None:
    """Estimate a latency quantile in milliseconds by linear interpolation within its bucket; None without data."""
    number = sum(counts)
    if number == 0:
        return None
    rank, below = quantile * number, 0
    for bucket, inside in enumerate(counts):
        if inside and below + inside >= rank:
            if bucket >= len(LATENCY_EDGES_MS):
                return float(LATENCY_EDGES_MS[-1])
            lower = LATENCY_EDGES_MS[bucket - 1] if bucket else 0
            return lower + (LATENCY_EDGES_MS[bucket] - lower) * (rank - below) / inside
        below += inside
    return float(LATENCY_EDGES_MS[-1])


def judge_triggers(
    limits: RollbackTriggers, window: Sequence[Tick], streaks: dict[str, int]
) -> tuple[Verdict, dict[str, int]]:
    """Judge the candidate by the rollback triggers over the ticks of the window, the newest last.

    `streaks` counts for how many ticks in a row each rate has been broken; the new counts come with the verdict.
    """
    if not window:
        return UNDECIDED, streaks
    seen, last = total(tick.candidate for tick in window), window[-1].candidate
    health = window[-1].candidate_health
    p95_ms = quantile_ms(seen.latency_counts, 0.95)
    enough = seen.requests >= limits.requests_min
    slow = sum(last.latency_counts[_bucket(limits.p95_ms_max) :])
    rates = (
        (_rate("error rate", seen.error_rate_pct, limits.error_rate_pct_max, "%", seen), last.errors),
        (_rate("p95", p95_ms or 0.0, limits.p95_ms_max, "ms", seen), slow),
    )
    counted: dict[str, int] = {}
    measures: list[Measure] = []
    for (name, value, limit, text), evidence in rates:
        broken = enough and value > limit
        # Windows overlap: only a tick that itself had an error (or a slow request) is further evidence.
        counted[name] = streaks.get(name, 0) + (1 if evidence else 0) if broken else 0
        if broken:
            ticks = f"{text}, {min(counted[name], limits.ticks)} of {limits.ticks} ticks"
            kind: VerdictKind = "fail" if counted[name] >= limits.ticks else "undecided"
            measures.append(Measure(name, kind, value, limit, ticks, counted[name]))
        elif not enough:
            few = f"{name} not judged: {seen.requests} of {limits.requests_min} requests needed"
            measures.append(Measure(name, "undecided", None, limit, few if seen.complete else f"{name} not observed"))
        elif not seen.complete:
            # What was missed may hold what was not seen: it never passes, but what was seen may fail.
            measures.append(Measure(name, "undecided", value, limit, f"{text}, with gaps in what was observed"))
        else:
            measures.append(Measure(name, "pass", value, limit, text))
    measures.append(_count("restarts", health, health.restarts, limits.restarts_max))
    measures.append(
        _count("failed health checks", health, health.failed_health_checks, limits.failed_health_checks_max)
    )
    return _worst(measures), counted


class Baseline(msgspec.Struct, frozen=True):
    """What the stable side did before the candidate got any work, over `duration_s` seconds."""

    duration_s: float = 0.0
    requests: int = 0
    cpu_s: float | None = None
    cpu_duration_s: float = 0.0
    queries: int = 0
    query_requests: int = 0


def extend_baseline(baseline: Baseline, tick: Tick, previous: Tick | None) -> Baseline:
    """Add a tick, in which only the stable side served, to the baseline."""
    if not tick.stable.observed:
        return baseline
    used_s, elapsed_s = _cpu_used(previous, tick)
    queries = _risen(previous.stable_health.database_queries, tick.stable_health.database_queries) if previous else None
    return Baseline(
        duration_s=baseline.duration_s + tick.duration_s,
        requests=baseline.requests + tick.stable.requests,
        cpu_s=baseline.cpu_s if used_s is None else (baseline.cpu_s or 0.0) + used_s,
        cpu_duration_s=baseline.cpu_duration_s + elapsed_s,
        queries=baseline.queries + (queries or 0),
        query_requests=baseline.query_requests + (tick.stable.requests if queries is not None else 0),
    )


def judge_watch(limits: WatchLimits, window: Sequence[Tick], baseline: Baseline) -> Verdict:
    """Judge a deployed release by the post-deployment limits over the ticks since it has all the traffic."""
    if not window:
        return UNDECIDED
    seen = total(tick.candidate for tick in window)
    enough = seen.requests >= limits.requests_min
    measures: list[Measure] = []
    p95_ms = quantile_ms(seen.latency_counts, 0.95)
    for name, value, limit, text in (
        _rate("error rate", seen.error_rate_pct, limits.error_rate_pct_max, "%", seen),
        _rate("p95", p95_ms or 0.0, limits.p95_ms_max, "ms", seen),
    ):
        kind: VerdictKind = "fail" if enough and value > limit else "pass" if enough and seen.complete else "undecided"
        measures.append(Measure(name, kind, value if enough else None, limit, text))
    duration_s = sum(tick.duration_s for tick in window)
    rate = (seen.requests + sum(t.stable.requests for t in window)) / duration_s if enough and duration_s else None
    base = baseline.requests / baseline.duration_s if baseline.requests and baseline.duration_s else None
    measures.append(_change("throughput", rate, base, limits.throughput_change_pct_max, "requests/s", both_ways=True))
    cpu_s, elapsed_s = _cpu_over(window)
    cpu = cpu_s / elapsed_s if cpu_s is not None and elapsed_s else None
    cpu_base = baseline.cpu_s / baseline.cpu_duration_s if baseline.cpu_s and baseline.cpu_duration_s else None
    measures.append(_change("CPU", cpu, cpu_base, limits.cpu_change_pct_max, "cores", both_ways=True))
    memory = [t.candidate_health.memory_bytes for t in window if t.candidate_health.memory_bytes is not None]
    first, last = (memory[0] / 1e6, memory[-1] / 1e6) if len(memory) > 1 else (None, None)
    measures.append(_change("memory", last, first, limits.memory_growth_pct_max, "MB", both_ways=False))
    queries, queries_base = _queries_per_request(window), None
    if baseline.query_requests:
        queries_base = baseline.queries / baseline.query_requests
    growth_pct_max = limits.queries_per_request_growth_pct_max
    measures.append(_change("queries per request", queries, queries_base, growth_pct_max, "", both_ways=False))
    return _worst(measures)


def _rate(name: str, value: float, limit: float, unit: str, seen: Total) -> tuple[str, float, float, str]:
    sign = ">" if value > limit else "<="
    of = f"{seen.errors} of {seen.requests} requests failed" if unit == "%" else f"{seen.requests} requests"
    return name, value, limit, f"{name} {_number(value)} {unit} {sign} {limit:g} {unit} ({of})"


def _count(name: str, health: SideHealth, value: int, limit: int) -> Measure:
    if not health.observed:
        return Measure(name, "undecided", None, limit, f"{name} not observed")
    if value > limit:
        return Measure(name, "fail", value, limit, f"{value} {name} > {limit}")
    return Measure(name, "pass", value, limit, f"{value} {name} <= {limit}")


def _change(
    name: str, value: float | None, base: float | None, limit_pct: float, unit: str, *, both_ways: bool
) -> Measure:
    if value is None or not base:
        return Measure(name, "undecided", None, limit_pct, f"{name} not observed against a baseline")
    change_pct = 100.0 * (value - base) / base
    broken = change_pct > limit_pct or (both_ways and change_pct < -limit_pct)
    now = f"{name} {_number(value)} {unit}".rstrip()
    text = f"{now}, {change_pct:+.1f} % of the baseline {_number(base)} (limit {limit_pct:g} %)"
    return Measure(name, "fail" if broken else "pass", change_pct, limit_pct, text)


def _queries_per_request(window: Sequence[Tick]) -> float | None:
    requests = sum(tick.candidate.requests for tick in window[1:])
    queries = _risen(window[0].candidate_health.database_queries, window[-1].candidate_health.database_queries)
    return queries / requests if queries is not None and requests else None


def _risen(before: int | None, after: int | None) -> int | None:
    """How far a counter rose; None when it was not seen twice, or began anew because a process did."""
    return after - before if before is not None and after is not None and after >= before else None


def _cpu_used(previous: Tick | None, tick: Tick) -> tuple[float | None, float]:
    if previous is None or previous.stable_health.cpu_s is None or tick.stable_health.cpu_s is None:
        return None, 0.0
    used_s = tick.stable_health.cpu_s - previous.stable_health.cpu_s
    return (used_s, tick.at_s - previous.at_s) if used_s >= 0 else (None, 0.0)


def _cpu_over(window: Sequence[Tick]) -> tuple[float | None, float]:
    first, last = window[0], window[-1]
    ends = (first.candidate_health.cpu_s, last.candidate_health.cpu_s)
    if ends[0] is None or ends[1] is None or ends[1] < ends[0]:
        return None, 0.0
    return ends[1] - ends[0], last.at_s - first.at_s


def _bucket(latency_ms: float) -> int:
    """Return the first bucket of the histogram that lies above a latency."""
    return bisect.bisect_right(LATENCY_EDGES_MS, latency_ms)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _worst(measures: Sequence[Measure]) -> Verdict:
    kinds = [m.verdict for m in measures]
    kind: VerdictKind = "fail" if "fail" in kinds else "undecided" if "undecided" in kinds else "pass"
    return Verdict(kind, tuple(measures))
