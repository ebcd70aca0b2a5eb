"""Prometheus as it answers over HTTP: what is asked, what counters make of it, and what is no data."""

import functools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.prometheus import PrometheusMetrics, _counters, _difference, _Reading, _Series
from openbell.core.analysis.limits import LATENCY_EDGES_MS

NOW_S = 1_764_020_000.25
Labelled = tuple[dict[str, str], float]


class Prometheus:
    """Answers instant queries as the HTTP API documents it; `clock_s` is its own clock."""

    def __init__(self) -> None:
        self.clock_s = NOW_S
        self.scraped_s: float | None = NOW_S - 2
        self.requests: dict[str, list[Labelled]] = {"blue": [], "green": []}
        self.buckets: dict[str, list[Labelled]] = {"blue": [], "green": []}
        self.asked: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = self.vector

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer(request)

    def vector(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params["query"]
        at_s = float(request.url.params.get("time", self.clock_s))
        slot = "green" if "green" in query else "blue"
        if "timestamp(" in query:
            found: list[Labelled] = [] if self.scraped_s is None else [({}, self.scraped_s)]
        else:
            found = (self.buckets if "_bucket" in query else self.requests)[slot]
        result = [{"metric": labels, "value": [at_s, f"{value:.17g}"]} for labels, value in found]
        return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})

    def count(self, codes: dict[str, float], edges: dict[str, float] | None = None, **labels: str) -> None:
        """Have these counters for blue, of one service behind one gateway."""
        self.requests["blue"] = [({"code": code, **labels}, value) for code, value in codes.items()]
        self.buckets["blue"] = [({"le": edge, **labels}, value) for edge, value in (edges or {}).items()]


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> Prometheus:
    made = Prometheus()
    transport = httpx.MockTransport(made.handle)
    monkeypatch.setattr(httpx, "AsyncClient", functools.partial(httpx.AsyncClient, transport=transport))
    return made


@pytest.fixture
def metrics(prometheus: Prometheus) -> PrometheusMetrics:
    return PrometheusMetrics("http://prometheus.example:9090/prefix/", project="shop", namespace="trading")


# --- what is asked


async def test_instant_queries_are_asked_all_of_one_moment(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    await metrics.sample("green")
    alive, requests, buckets = prometheus.asked
    for request in prometheus.asked:
        assert (request.method, request.url.host, request.url.port) == ("GET", "prometheus.example", 9090)
        assert request.url.path == "/prefix/api/v1/query"
    assert dict(alive.url.params) == {"query": "max(timestamp(traefik_config_reloads_total))"}
    assert dict(requests.url.params) == {
        "query": 'traefik_service_requests_total{service=~"(.*-)?trading-shop-green-.*"}',
        "time": "1764020000.250",
    }
    assert dict(buckets.url.params) == {
        "query": (
            'traefik_service_request_duration_seconds_bucket{service=~"(.*-)?trading-shop-green-.*",'
            ' protocol!="websocket"}'
        ),
        "time": "1764020000.250",
    }


# --- counters


async def test_counting_begins_with_the_first_reading(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.count({"200": 1000, "500": 7}, {"0.1": 900, "+Inf": 1007})
    sample = await metrics.sample("blue")
    assert (sample.observed, sample.requests, sample.errors, sum(sample.latency_counts)) == (True, 0, 0, 0)
    assert (sample.first_at_s, sample.last_at_s, sample.source) == (None, None, "prometheus")


async def test_a_sample_is_what_was_counted_since_the_one_before(
    prometheus: Prometheus, metrics: PrometheusMetrics
) -> None:
    prometheus.count({"200": 1000, "499": 3, "500": 7}, {"0.1": 900, "2.0": 1005, "+Inf": 1010})
    await metrics.sample("blue")
    prometheus.clock_s, prometheus.scraped_s = NOW_S + 5, NOW_S + 3
    prometheus.count({"200": 1040, "499": 4, "500": 9, "503": 1}, {"0.1": 930, "2.0": 1046, "+Inf": 1054})
    sample = await metrics.sample("blue")
    assert (sample.requests, sample.errors) == (44, 3)
    assert (sample.first_at_s, sample.last_at_s) == (NOW_S - 2, NOW_S + 3)
    counts = dict(zip((*LATENCY_EDGES_MS, None), sample.latency_counts, strict=True))
    assert {edge_ms: count for edge_ms, count in counts.items() if count} == {100: 30, 2000: 11, None: 3}
    assert (await metrics.sample("blue")).requests == 0


async def test_slots_are_counted_each_for_itself(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    for blue, green in ((5, 0), (9, 2)):
        prometheus.requests = {"blue": [({"code": "200"}, blue)], "green": [({"code": "200"}, green)]}
        samples = [await metrics.sample(slot) for slot in ("blue", "green")]
    assert [sample.requests for sample in samples] == [4, 2]


async def test_a_slot_without_requests_is_quiet_and_not_unknown(
    prometheus: Prometheus, metrics: PrometheusMetrics
) -> None:
    for _ in range(2):
        sample = await metrics.sample("blue")
        assert (sample.observed, sample.requests, sample.first_at_s, sample.last_at_s) == (True, 0, None, None)
        assert sum(sample.latency_counts) == 0
        assert len(sample.latency_counts) == len(LATENCY_EDGES_MS) + 1


async def test_several_gateways_and_services_are_added_up(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    """One that starts anew or goes takes nothing from what the others have counted."""
    first, second, third = ({"code": "200", "instance": name} for name in ("a", "b", "c"))
    prometheus.requests["blue"] = [(first, 5000), (second, 7000)]
    await metrics.sample("blue")
    prometheus.requests["blue"] = [(first, 5010), (second, 4)]
    assert (await metrics.sample("blue")).requests == 14
    prometheus.requests["blue"] = [(second, 5), (third, 2)]
    assert (await metrics.sample("blue")).requests == 3


async def test_a_gateway_that_starts_anew_is_noticed(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.count({"200": 1000, "500": 1}, {"0.1": 10, "+Inf": 1001})
    await metrics.sample("blue")
    prometheus.count({"200": 20, "500": 2}, {"0.1": 22, "+Inf": 22})
    sample = await metrics.sample("blue")
    assert (sample.requests, sample.errors) == (22, 2)
    assert sample.latency_counts[LATENCY_EDGES_MS.index(100)] == sum(sample.latency_counts) == 22


async def test_a_code_that_is_no_number_is_no_error(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    await metrics.sample("blue")
    prometheus.count({"": 1, "ok": 2, "0": 3, "²": 4, "599": 5})
    sample = await metrics.sample("blue")
    assert (sample.requests, sample.errors) == (15, 5)


async def test_what_is_no_number_is_left_out(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    await metrics.sample("blue")
    prometheus.count(
        {"200": float("nan"), "201": float("inf"), "202": 2}, {"": 9, "NaN": 9, "x": 9, "0.05": 2, "+Inf": 2}
    )
    sample = await metrics.sample("blue")
    assert (sample.requests, sum(sample.latency_counts)) == (2, 2)


# --- no data


async def test_a_gateway_that_is_not_scraped_is_no_quiet_one(
    prometheus: Prometheus, metrics: PrometheusMetrics
) -> None:
    prometheus.scraped_s = None
    sample = await metrics.sample("blue")
    assert not sample.observed
    assert "the gateway is not scraped" in sample.source


async def test_counters_that_are_old_are_no_data(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.count({"200": 10})
    assert (await metrics.sample("blue")).observed
    prometheus.clock_s = NOW_S + 20
    sample = await metrics.sample("blue")
    assert (sample.observed, sample.source) == (False, "prometheus: the gateway was last scraped 22 s ago")
    prometheus.scraped_s = NOW_S + 19
    prometheus.count({"200": 13})
    assert (await metrics.sample("blue")).requests == 3, "what was not seen meanwhile is made up for"


async def test_our_clock_may_be_another_than_that_of_prometheus(
    prometheus: Prometheus, metrics: PrometheusMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW_S + 86400)
    assert (await metrics.sample("blue")).observed


def refuse(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("All connection attempts failed")


def be_late(_request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("")


def say(status: int, content: Any) -> Callable[[httpx.Request], httpx.Response]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda _request: httpx.Response(status, content=body)


def result(kind: str, content: Any) -> Any:
    return {"status": "success", "data": {"resultType": kind, "result": content}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refuse, "http://prometheus.example:9090/prefix does not answer: All connection attempts failed"),
        (be_late, "does not answer: ReadTimeout"),
        (
            say(400, {"status": "error", "errorType": "bad_data", "error": "invalid parameter query"}),
            "invalid parameter query",
        ),
        (say(503, {"status": "error"}), "the query was answered with 503"),
        (say(502, b"<html>bad gateway</html>"), "answered 502, and not as Prometheus does"),
        (say(200, b""), "answered 200, and not as Prometheus does"),
        (say(200, b"\xff"), "not as Prometheus does"),
        (say(200, []), "not as Prometheus does"),
        (say(200, result("scalar", [NOW_S, "1"])), "not as Prometheus does"),
        (say(200, result("matrix", [{"metric": {}, "values": [[NOW_S, "1"]]}])), "not as Prometheus does"),
        (say(200, result("vector", [{"metric": {}, "value": [NOW_S, "many"]}])), "not as Prometheus does"),
    ],
)
async def test_what_is_no_answer_is_no_data(
    prometheus: Prometheus, metrics: PrometheusMetrics, answer: Callable[[httpx.Request], httpx.Response], message: str
) -> None:
    prometheus.answer = answer
    sample = await metrics.sample("blue")
    assert (sample.observed, sample.requests, sample.latency_counts) == (False, 0, ())
    assert sample.source.startswith("prometheus: ")
    assert message in sample.source
    hindrance = await metrics.hindrance()
    assert hindrance is not None
    assert message in hindrance


async def test_where_all_is_well_nothing_hinders(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    assert await metrics.hindrance() is None
    prometheus.count({"200": 10})
    assert (await metrics.sample("blue")).requests == 0, "looking is no reading"


@pytest.mark.parametrize("url", ["nonsense", "http://[::1", "ftp://prometheus.example", ""])
async def test_an_address_that_is_none_is_no_data(url: str) -> None:
    sample = await PrometheusMetrics(url, project="shop", namespace="trading").sample("blue")
    assert not sample.observed
    assert sample.source.startswith("prometheus: ")


# --- histograms

EDGES_S = ("0.005", "0.01", "0.1", "0.3", "1.2", "5.0", "61", "+Inf")
growths = st.lists(st.integers(0, 10**6), min_size=len(EDGES_S), max_size=len(EDGES_S))


def reading(histograms: dict[str, list[int]]) -> _Reading:
    """Read histograms of gateways; the numbers are requests between two edges, which Prometheus cumulates."""
    series = []
    for instance, counts in histograms.items():
        for number, edge in enumerate(EDGES_S):
            labels = {"le": edge, "instance": instance}
            series.append(_Series(labels, (NOW_S, str(sum(counts[: number + 1])))))
    return _Reading(NOW_S, {}, _counters(series))


@given(st.dictionaries(st.sampled_from("abc"), growths), st.dictionaries(st.sampled_from("abc"), growths))
def test_all_requests_are_in_the_histogram_and_none_twice(
    before: dict[str, list[int]], grown: dict[str, list[int]]
) -> None:
    """What began, goes on or has ended meanwhile: latency counts sum to the growth of the unbounded bucket."""
    now = {
        name: [old + new for old, new in zip(before.get(name, [0] * len(EDGES_S)), counts, strict=True)]
        for name, counts in grown.items()
    }
    found = _difference(reading(before), reading(now)).latency_counts
    assert sum(found) == sum(sum(counts) for counts in grown.values())
    assert len(found) == len(LATENCY_EDGES_MS) + 1
    assert min(found) >= 0


@given(growths, growths)
def test_a_histogram_that_began_anew_counts_as_it_is(before: list[int], now: list[int]) -> None:
    before[0] = sum(now) + 1 + before[0]
    found = _difference(reading({"a": before}), reading({"a": now})).latency_counts
    assert found == _difference(reading({}), reading({"a": now})).latency_counts
    assert sum(found) == sum(now)
