"""Prometheus as a source of metrics: what a gateway counted for each slot, read by PromQL.

The queries give counters, so that nothing is lost between two readings however slowly Prometheus scrapes. Each is
compared with itself, for a gateway drops those of a route that has changed and begins others, and begins all anew when
it is restarted: a sum would jump. What is not scraped any more is no data, never a quiet slot: the `alive` query says
when the counters were last read.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import bisect
import math
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
    requests='traefik_service_requests_total{{service=~"(.*-)?{namespace}-{project}-{slot}-.*"}}',
    buckets=(
        'traefik_service_request_duration_seconds_bucket{{service=~"(.*-)?{namespace}-{project}-{slot}-.*",'
        ' protocol!="websocket"}}'
    ),
    alive="max(timestamp(traefik_config_reloads_total))",
)
"""Traefik's counters. A stream's duration says how long somebody listened, so it is no latency."""


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str]

    @property
    def number(self) -> float:
        """The value; raises `ValueError` for what is no number."""
        return float(self.value[1])


class _Data(msgspec.Struct, frozen=True):
    result: tuple[_Series, ...] = ()


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Data = _Data()
    error: str = ""


Counters = dict[tuple[tuple[str, str], ...], float]
"""The value of each counter by its labels."""


class _Reading(msgspec.Struct, frozen=True):
    """Counters of one slot at one time: requests, and requests up to each edge of the histogram."""

    at_s: float
    requests: Counters
    buckets: Counters


class Unread(Exception):  # noqa: N818 - it is caught here and becomes a sample without data
    """Prometheus gave nothing that can be used; the message says why."""


class PrometheusMetrics:
    """Implements `openbell.ports.MetricSource`; counts from the first call for a slot on."""

    def __init__(
        self, url: str, *, project: str, namespace: str, queries: Queries = TRAEFIK, stale_after_s: float = 15.0
    ) -> None:
        self.url = url.rstrip("/")
        self._fill = {"project": project, "namespace": namespace}
        self._queries = queries
        self._stale_after_s = stale_after_s
        self._before: dict[str, _Reading] = {}

    async def sample(self, slot: str) -> Sample:
        """What the slot did since the previous call, as far as Prometheus has read it."""
        try:
            now = await self._read(slot)
        except Unread as error:
            return Sample(observed=False, source=f"{SOURCE}: {error}")
        before = self._before.get(slot)
        self._before[slot] = now
        return _difference(before or now, now)

    async def hindrance(self) -> str | None:
        """Say what keeps the counters from being read; None when nothing does."""
        try:
            await self._read("blue")
        except Unread as error:
            return f"{self.url}: {error}"
        return None

    async def _read(self, slot: str) -> _Reading:
        import httpx

        try:
            async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as http:
                return await self._read_by(http, slot)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unread(f"{self.url} does not answer: {str(error) or type(error).__name__}") from error

    async def _read_by(self, http: "httpx.AsyncClient", slot: str) -> _Reading:
        alive = await self._ask(http, self._queries.alive, slot)
        if not alive:
            raise Unread("the gateway is not scraped: its query `alive` gives nothing")
        # Both times are of Prometheus' clock, and all counters are read at one moment.
        now_s, scraped_at_s = alive[0].value[0], max(series.number for series in alive)
        if now_s - scraped_at_s > self._stale_after_s:
            raise Unread(f"the gateway was last scraped {now_s - scraped_at_s:.0f} s ago")
        requests = await self._ask(http, self._queries.requests, slot, now_s)
        buckets = await self._ask(http, self._queries.buckets, slot, now_s)
        return _Reading(at_s=scraped_at_s, requests=_counters(requests), buckets=_counters(buckets))

    async def _ask(self, http: "httpx.AsyncClient", query: str, slot: str, at_s: float | None = None) -> list[_Series]:
        when = {} if at_s is None else {"time": f"{at_s:.3f}"}
        params = {"query": query.format(slot=slot, **self._fill), **when}
        answer = await http.get(f"{self.url}/api/v1/query", params=params)
        try:
            found = msgspec.json.decode(answer.content, type=_Answer)
            if found.status != "success":
                raise Unread(found.error or f"the query was answered with {answer.status_code}")
            return [series for series in found.data.result if math.isfinite(series.number)]
        except ValueError as error:
            message = f"{self.url} answered {answer.status_code}, and not as Prometheus does: {error}"
            raise Unread(message) from error


def _difference(before: _Reading, now: _Reading) -> Sample:
    by_code = _grown(before.requests, now.requests, "code")
    requests = sum(by_code.values())
    errors = sum(count for code, count in by_code.items() if code.isdecimal() and int(code) >= SERVER_ERROR_MIN)
    # The edges are cumulated: what lies between two of them is the difference.
    grown = _grown(before.buckets, now.buckets, "le")
    counts = [0] * (len(LATENCY_EDGES_MS) + 1)
    below = 0
    for edge in sorted(filter(_is_number, grown), key=float):
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


def _counters(series: list[_Series]) -> Counters:
    return {tuple(sorted(one.metric.items())): one.number for one in series}


def _grown(before: Counters, now: Counters, label: str) -> dict[str, int]:
    """How much the counters have grown, added up by a label. One that is smaller than before has started anew.

    So have the others that differ from it in this label only: the edges of a histogram grow and begin together.
    """
    anew = {_without(labels, label) for labels, value in now.items() if value < before.get(labels, 0.0)}
    found: dict[str, float] = {}
    for labels, value in now.items():
        old = 0.0 if _without(labels, label) in anew else before.get(labels, 0.0)
        name = dict(labels).get(label, "")
        found[name] = found.get(name, 0.0) + value - old
    return {name: round(value) for name, value in found.items()}


def _without(labels: tuple[tuple[str, str], ...], label: str) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in labels if pair[0] != label)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
