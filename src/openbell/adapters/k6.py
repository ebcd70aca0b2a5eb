"""The summary of k6: which thresholds of a load test were kept, and the figures people ask for.

k6 writes two shapes: `handleSummary` gives a metric's figures in `values` and `{"ok": true}` per threshold,
`--summary-export` gives them flat and says `true` for a threshold that was *crossed*.

Source: https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/
"""

from pathlib import Path
from typing import Any

import msgspec

from openbell.core.report import Load, Threshold
from openbell.ports import AdapterError

FILE_SIZE_MAX = 50_000_000


class _Summary(msgspec.Struct):
    metrics: dict[str, dict[str, Any]]


def read(file: Path) -> Load:
    """Read a summary; raises `AdapterError` when it is missing, too large or none."""
    try:
        if file.stat().st_size > FILE_SIZE_MAX:
            raise AdapterError("k6", "read", f"{file.name} is larger than {FILE_SIZE_MAX // 1_000_000} MB")
        summary = msgspec.json.decode(file.read_bytes(), type=_Summary)
    except FileNotFoundError:
        raise AdapterError("k6", "read", f"{file.name} was not written") from None
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise AdapterError("k6", "read", f"{file.name} is no k6 summary: {error}") from None
    thresholds = tuple(
        Threshold(name, bound, _was_kept(verdict))
        for name, metric in summary.metrics.items()
        if isinstance(metric.get("thresholds"), dict)
        for bound, verdict in metric["thresholds"].items()
    )
    failed_rate = _figure(summary, "http_req_failed", "rate", "value")
    count = _figure(summary, "http_reqs", "count")
    return Load(
        thresholds,
        requests=int(count) if count is not None else None,
        error_pct=round(100 * failed_rate, 3) if failed_rate is not None else None,
        p95_ms=_figure(summary, "http_req_duration", "p(95)"),
        p99_ms=_figure(summary, "http_req_duration", "p(99)"),
    )


def _was_kept(verdict: Any) -> bool:
    if isinstance(verdict, dict):
        return verdict.get("ok") is True
    return verdict is False


def _figure(summary: _Summary, metric: str, *names: str) -> float | None:
    content = summary.metrics.get(metric, {})
    values = content.get("values", content)
    for name in names:
        value = values.get(name) if isinstance(values, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None
