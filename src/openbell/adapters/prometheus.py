"""Prometheus as a source of metrics: what a gateway counted for each slot, read by PromQL.

The queries give counters, so that nothing is lost between two readings however slowly Prometheus scrapes, and a counter
that starts anew (a gateway that was restarted) is noticed. What is not scraped any more is no data, never a quiet slot:
the `alive` query says when the counters were last read.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import bisect
import math
import time
from typing import TYPE_CHECKING

import msgspec

from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample

if TYPE_CHECKING:
    import httpx

SOURCE = "prometheus"
REQUEST_TIMEOUT_S = 5.0
SERVER_ERROR_MIN = 500


class Queries(msgspec.Struct, frozen=True, kw_only=True):
    """PromQL that gives a slot's counters; `{slot}`, `{namespace}` and `{project}` are filled in.

    `requests` is a counter with the label `code`, `buckets` a histogram's counter with the label `le` in seconds,
    `alive` the Unix time of the newest reading.
    """

    requests: str
    buckets: str
    alive: str


TRAEFIK = Queries(
    requests='sum by (code) (traefik_service_requests_total{{service=~"{namespace}-{project}-{slot}-.*"}})',
    buckets=(
        "sum by (le) (traefik_service_request_duration_seconds_bucket"
        '{{service=~"{namespace}-{project}-{slot}-.*", protocol!="websocket"}})'
    ),
    alive="max(timestamp(traefik_config_reloads_total))",
)


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct, frozen=True):
    result: tuple[_Series, ...] = ()


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Data = _Data()
    error: str = ""


class _Reading(msgspec.Struct, frozen=True):
    """Counters of one slot at one time: requests by status, and cumulated requests by upper edge in seconds."""

    at_s: float
    requests: dict[str, float]
    buckets: dict[str, float]


class Unread(Exception):  # noqa: N818 - it is caught here and becomes a sample without data
    """Prometheus gave nothing that can be used; the message says why."""


class PrometheusMetrics:
    """Implements `openbell.ports.MetricSource`; counts from the first call for a slot on."""

    def __init__(
        self, url: str, *, project: str, namespace: str, queries: Queries = TRAEFIK, stale_after_s: float = 15.0
    ) -> None:
        self._url = url.rstrip("/")
        self._fill = {"project": project, "namespace": namespace}
        self._queries = queries
        self._stale_after_s = stale_after_s
        self._before: dict[str, _Reading] = {}

    async def sample(self, slot: str) -> Sample:
        """What the slot did since the previous call, as far as Prometheus has read it."""
        import httpx

        try:
            async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
                now = await self._read(http, slot)
        except (Unread, httpx.HTTPError, msgspec.DecodeError, ValueError) as error:
            return Sample(observed=False, source=f"{SOURCE}: {error or type(error).__name__}")
        before = self._before.get(slot)
        self._before[slot] = now
        return _difference(before or now, now)

    async def hindrance(self) -> str | None:
        """Say what keeps the counters from being read; None when nothing does."""
        import httpx

        try:
            async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
                await self._read(http, "blue")
        except (Unread, httpx.HTTPError, msgspec.DecodeError, ValueError) as error:
            return f"{self._url}: {error or type(error).__name__}"
        return None

    async def _read(self, http: "httpx.AsyncClient", slot: str) -> _Reading:
        alive = [value for _, value in await self._ask(http, self._queries.alive, slot)]
        if not alive:
            raise Unread("the gateway is not scraped: its query `alive` gives nothing")
        age_s = time.time() - max(alive)
        if age_s > self._stale_after_s:
            raise Unread(f"the gateway was last scraped {age_s:.0f} s ago")
        requests = await self._ask(http, self._queries.requests, slot)
        buckets = await self._ask(http, self._queries.buckets, slot)
        return _Reading(
            at_s=max(alive),
            requests={labels.get("code", ""): value for labels, value in requests},
            buckets={labels["le"]: value for labels, value in buckets if "le" in labels},
        )

    async def _ask(self, http: "httpx.AsyncClient", query: str, slot: str) -> list[tuple[dict[str, str], float]]:
        text = query.format(slot=slot, **self._fill)
        answer = await http.get(f"{self._url}/api/v1/query", params={"query": text})
        found = msgspec.json.decode(answer.content, type=_Answer)
        if found.status != "success":
            raise Unread(found.error or f"the query was answered with {answer.status_code}")
        values = [(series.metric, float(series.value[1])) for series in found.data.result]
        return [(labels, value) for labels, value in values if math.isfinite(value)]


def _difference(before: _Reading, now: _Reading) -> Sample:
    by_code = _grown(before.requests, now.requests)
    requests = sum(by_code.values())
    errors = sum(count for code, count in by_code.items() if code.isdecimal() and int(code) >= SERVER_ERROR_MIN)
    # The edges are cumulated: what lies between two of them is the difference.
    grown = _grown(before.buckets, now.buckets)
    counts = [0] * (len(LATENCY_EDGES_MS) + 1)
    below = 0
    for edge in sorted(grown, key=float):
        place = bisect.bisect_left(LATENCY_EDGES_MS, float(edge) * 1000)
        counts[place] += max(0, grown[edge] - below)
        below = max(below, grown[edge])
    return Sample(
        observed=True,
        requests=requests,
        errors=errors,
        latency_counts=tuple(counts),
        first_at_s=before.at_s if requests else None,
        last_at_s=now.at_s if requests else None,
        source=SOURCE,
    )


def _grown(before: dict[str, float], now: dict[str, float]) -> dict[str, int]:
    """How much each counter has grown; one that is smaller than before has started anew."""
    found = {}
    for name, value in now.items():
        old = before.get(name, 0.0)
        found[name] = round(value - old if value >= old else value)
    return found
