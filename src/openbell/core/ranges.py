"""The range of every number in a configuration, as one table: a limit outside of it could never be broken, or always.

What lies outside was never meant: a trigger that wants no requests or more than anybody sends is disarmed, a latency
beyond the last edge of the judge's histogram is never measured. The table knows single numbers only; rules between them
are `openbell.core.validation`'s. Structs do not enforce it: journals and manifests of another openbell are still read.
"""

import math
from collections.abc import Iterator

import msgspec

from openbell.core.project import (
    Approval,
    Cache,
    Environment,
    FindingsPolicy,
    Job,
    KnownFailure,
    Phase,
    Problem,
    Project,
    RollbackTriggers,
    RolloutPolicy,
    Service,
    Targets,
    WatchLimits,
    Waves,
)


class Range(msgspec.Struct, frozen=True):
    """The least and the greatest value of a number; both are allowed. `hint` says why, or what to write instead."""

    minimum: float
    maximum: float
    hint: str = ""

    @property
    def words(self) -> str:
        """The range as messages and the reference say it: `1 to 99`."""
        return f"{plain(self.minimum)} to {plain(self.maximum)}"


DAY_S, WEEK_S, MONTH_S, YEAR_S = 86_400, 604_800, 2_592_000, 31_536_000

_WEIGHT_PCT = Range(1, 99, "The candidate gets all traffic after the last weight, and none before the first.")
_P95_MS = Range(1, 30_000, "Latencies are measured up to a minute.")
_HOLD_S = Range(1, WEEK_S, "Without a hold nothing would be judged.")
_REQUESTS = Range(1, 100_000, "No requests are no evidence, and more of them than ever come never decide.")
_DAYS = Range(0, 365, "Leave it out when nothing is due.")

RANGES: dict[type[msgspec.Struct], dict[str, Range]] = {
    Job: {
        "timeout_s": Range(0.1, DAY_S),
        "retries": Range(0, 10),
        "weight": Range(1, 1000),
        "cache_s": Range(1, YEAR_S, "Write cache = false to never reuse a result."),
        "shards": Range(1, 64),
        "regression_max_pct": Range(1, 1000, "Less is noise on any machine."),
        "rounds_max": Range(6, 100, "With fewer rounds nothing is certain."),
        "coverage_min_pct": Range(0, 100),
        "coverage_changed_min_pct": Range(0, 100),
        "not_checked_exit_codes": Range(1, 255, "0 is a success."),
        "findings_exit_codes": Range(1, 255, "0 is a success, whatever was found."),
    },
    Targets: dict.fromkeys(
        ("test_s", "build_s", "staging_s", "production_s", "total_s", "deployments"), Range(1, WEEK_S)
    ),
    KnownFailure: {"exit_codes": Range(-64, 255, "A negative one is the number of a signal.")},
    Cache: {"size_max_mb": Range(10, 10_000_000, "A run needs room for what its jobs leave.")},
    Service: {"drain_timeout_s": Range(0.1, 3600)},
    Environment: {"replicas": Range(1, 1000), "approval_timeout_s": Range(1, MONTH_S)},
    Approval: {"required": Range(1, 100, "Leave approval out when nobody has to approve.")},
    RolloutPolicy: {
        "max_surge": Range(0, 1000),
        "max_unavailable": Range(0, 1000),
        "healthy_timeout_s": Range(1, 3600),
        "weight_pct": _WEIGHT_PCT,
        "hold_s": _HOLD_S,
        "watch_s": _HOLD_S,
        "keep_replicas": Range(0, 1000),
        "undecided_s": Range(0, DAY_S),
        "tick_s": Range(0.1, 60),
    },
    FindingsPolicy: {"high_due_days": _DAYS, "medium_due_days": _DAYS, "low_due_days": _DAYS},
    Waves: {"hold_s": Range(0, WEEK_S)},
    Phase: {"weight_pct": _WEIGHT_PCT, "hold_s": _HOLD_S},
    RollbackTriggers: {
        "error_rate_pct_max": Range(0.01, 99, "No error rate is above 100 percent."),
        "p95_ms_max": _P95_MS,
        "restarts_max": Range(0, 1000),
        "failed_health_checks_max": Range(0, 1000),
        "window_s": Range(1, 3600),
        "requests_min": _REQUESTS,
        "ticks": Range(1, 100),
    },
    WatchLimits: {
        "error_rate_pct_max": Range(0, 99, "No error rate is above 100 percent."),
        "p95_ms_max": _P95_MS,
        "throughput_change_pct_max": Range(0.1, 99, "Traffic cannot fall by more than 100 percent."),
        "cpu_change_pct_max": Range(0.1, 1000),
        "memory_growth_pct_max": Range(0, 1000),
        "queries_per_request_growth_pct_max": Range(0, 1000),
        "requests_min": _REQUESTS,
    },
}


def check_numbers(project: Project) -> Iterator[Problem]:
    """Return every number of a configuration that is outside its range, infinite, or none at all."""
    yield from _check_struct((), project)


def plain(value: float) -> str:
    """Write a number as people do: 2592000 rather than 2.592e+06."""
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else f"{value:g}"


def _check_struct(path: tuple[str, ...], struct: msgspec.Struct) -> Iterator[Problem]:
    ranges = RANGES.get(type(struct), {})
    for field, key in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        yield from _check((*path, key), getattr(struct, field), ranges.get(field))


def _check(path: tuple[str, ...], value: object, allowed: Range | None) -> Iterator[Problem]:
    if isinstance(value, msgspec.Struct):
        yield from _check_struct(path, value)
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _check((*path, str(key)), member, None)
    elif isinstance(value, tuple):
        for index, member in enumerate(value):
            yield from _check((*path, str(index)), member, allowed)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _check_number(path, value, allowed)


def _check_number(path: tuple[str, ...], value: float, allowed: Range | None) -> Iterator[Problem]:
    # The key as it is written: without the table, which the message has in front, and the place in a list.
    name = ".".join(part for part in path[2:] if not part.isdigit()) or path[-1]
    if not math.isfinite(value):
        yield Problem(path, f"{name} = {value}: must be a finite number.")
    elif allowed is not None and not allowed.minimum <= value <= allowed.maximum:
        yield Problem(path, f"{name} = {plain(value)}: must be {allowed.words}. {allowed.hint}".rstrip())
