"""What the flow knows: each order it sent, each answer it got, and by which version.

It keeps no time of its own and does no input or output; the report is made from it.
"""

from collections import deque
from typing import Any

from msgspec import Struct

_LATENCIES_MAX = 20_000


class VersionCounts(Struct):
    """Requests answered by one version of the service; times in seconds since 1970."""

    requests: int = 0
    failed: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


class Ledger:
    """The account of one run of the flow."""

    def __init__(self) -> None:
        self.sent: dict[str, None] = {}
        self.acknowledged: dict[str, None] = {}
        self.versions: dict[str, VersionCounts] = {}
        self._latencies_ms: deque[float] = deque(maxlen=_LATENCIES_MAX)

    def send(self, client_order_id: str) -> None:
        """An order goes out."""
        self.sent[client_order_id] = None

    def acknowledge(self, client_order_id: str) -> None:
        """The engine has said that it has the order; from here on it must not be lost."""
        self.acknowledged[client_order_id] = None

    def answer(self, version: str, *, failed: bool, latency_ms: float, at_s: float) -> None:
        """One try of one request ended; `version` is `none` if nobody answered."""
        counts = self.versions.get(version)
        if counts is None:
            counts = self.versions[version] = VersionCounts(first_at=at_s)
        counts.requests += 1
        counts.failed += failed
        counts.last_at = at_s
        if not failed:
            self._latencies_ms.append(latency_ms)

    def p95_ms(self) -> float:
        """The 95th percentile of the answers' times, over the latest 20,000; 0 if there are none."""
        latencies_ms = sorted(self._latencies_ms)
        return round(latencies_ms[int(len(latencies_ms) * 0.95)], 2) if latencies_ms else 0.0

    def http(self) -> dict[str, Any]:
        """The part of the report about requests."""
        versions = {
            version: {
                "requests": counts.requests,
                "failed": counts.failed,
                "first_at": round(counts.first_at, 3),
                "last_at": round(counts.last_at, 3),
            }
            for version, counts in self.versions.items()
        }
        return {
            "requests": sum(counts.requests for counts in self.versions.values()),
            "failed": sum(counts.failed for counts in self.versions.values()),
            "failed_by_version": {name: counts.failed for name, counts in self.versions.items() if counts.failed},
            "by_version": versions,
            "p95_ms": self.p95_ms(),
        }
