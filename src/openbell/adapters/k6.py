"""The summary of k6: which thresholds of a load test were kept, and the figures people ask for.

k6 writes two shapes: `handleSummary` gives a metric's figures in `values` and `{"ok": true}` per threshold,
`--summary-export` gives them flat and says `true` for a threshold that was *crossed*.

Source: https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/
"""

from pathlib import Path
from typing import Any

import msgspec

from openbell import report_file
from openbell.core.report import Load, Threshold

FIGURE_MAX = 1e15
"""What is larger was not measured by anybody, and is left out."""


class _Summary(msgspec.Struct):
    metrics: dict[str, dict[str, Any]]


def read(file: Path) -> Load:
    """Read a summary; raises `AdapterError` when it is missing, too large or none."""
    summary = report_file.read_json(file, "k6", _Summary, kind="k6 summary")
    thresholds = tuple(
        Threshold(name, bound, _was_kept(verdict))
        for name, metric in summary.metrics.items()
        if isinstance(metric.get("thresholds"), dict)
        for bound, verdict in metric["thresholds"].items()
    )
    failed_rate = _figure(summary, "http_req_failed", "rate", "value")
    return Load(
        thresholds,
        requests=_requests(summary),
        error_pct=round(100 * failed_rate, 3) if failed_rate is not None else None,
        p95_ms=_figure(summary, "http_req_duration", "p(95)"),
        p99_ms=_figure(summary, "http_req_duration", "p(99)"),
    )


def _requests(summary: _Summary) -> int | None:
    """Count the requests; a summary without a count of them may have counted which of them failed, and which not."""
    count = _figure(summary, "http_reqs", "count")
    if count is None:
        parts = [_figure(summary, "http_req_failed", name) for name in ("passes", "fails")]
        count = sum(part for part in parts if part is not None) if None not in parts else None
    return int(count) if count is not None else None


def _was_kept(verdict: Any) -> bool:
    if isinstance(verdict, dict):
        return verdict.get("ok") is True
    return verdict is False


def _figure(summary: _Summary, metric: str, *names: str) -> float | None:
    content = summary.metrics.get(metric, {})
    values = content.get("values", content)
    for name in names:
        value = values.get(name) if isinstance(values, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FIGURE_MAX:
            return float(value)
    return None
