"""The exporter: what arrives at a receiver, and what happens when there is none."""

import socket
import time

import pytest

from openbell.adapters.opentelemetry import send
from openbell.core.telemetry import ACTIVE, DURATION, ERRORS, Measurement, SpanFact, Telemetry
from tests.fakes.otlp import attributes, receiving

SPAN = SpanFact("RUN x", "server", "00f067aa0ba902b7", "", 100.0, 160.0, {"cicd.pipeline.name": "x", "n": 3, "b": True})
CHILD = SpanFact("unit", "internal", "00f067aa0ba902b8", SPAN.span_id, 110.0, 150.5, {}, "go-test")
TOLD = Telemetry(
    "4bf92f3577b34da6a3ce929d0e0e4736",
    (SPAN, CHILD),
    (
        Measurement(DURATION, 61.0, {"cicd.pipeline.name": "x"}),
        Measurement(ACTIVE, 1, {"cicd.pipeline.name": "x"}),
        Measurement(ERRORS, 1, {"error.type": "go-test"}),
        Measurement(ERRORS, 1, {"error.type": "go-test"}),
    ),
)


def test_spans_and_measurements_arrive_as_they_were_told() -> None:
    with receiving() as receiver:
        assert send(TOLD, {"service.name": "openbell"}, receiver.url + "/", own_headers=True, limit_s=20) == ""
    run, unit = receiver.span("RUN x"), receiver.span("unit")
    assert (run.kind, unit.kind) == (2, 1), "SERVER and INTERNAL"
    assert run.trace_id.hex() == unit.trace_id.hex() == TOLD.trace_id
    assert (run.span_id.hex(), run.parent_span_id.hex(), unit.parent_span_id.hex()) == (SPAN.span_id, "", SPAN.span_id)
    assert attributes(run) == {"cicd.pipeline.name": "x", "n": 3, "b": True}
    assert attributes(unit) == {"error.type": "go-test"}
    assert (run.status.code, unit.status.code) == (0, 2)
    assert (unit.end_time_unix_nano - unit.start_time_unix_nano) / 1e9 == pytest.approx(40.5)
    assert receiver.resources[0]["service.name"] == "openbell"
    (duration,) = receiver.points(DURATION)
    assert (duration.count, duration.sum, 600.0 in duration.explicit_bounds) == (1, 61.0, True)
    assert [point.as_int for point in receiver.points(ERRORS)] == [2]
    assert [point.as_int for point in receiver.points(ACTIVE)] == [1]
    assert {metric.unit for metric in receiver.metrics} == {"s", "{run}", "{error}"}


def test_headers_of_the_machine_go_to_the_machines_endpoint_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20tr0ub4dor")
    with receiving() as receiver:
        assert send(TOLD, {}, receiver.url, own_headers=False, limit_s=20) == ""
        assert not any("authorization" in headers for headers in receiver.headers)
        assert send(TOLD, {}, receiver.url, own_headers=True, limit_s=20) == ""
        assert receiver.headers[-1]["authorization"] == "Bearer tr0ub4dor"


def test_what_is_not_sampled_has_no_spans() -> None:
    with receiving() as receiver:
        assert send(Telemetry(TOLD.trace_id, TOLD.spans, (), sampled=False), {}, receiver.url, own_headers=True) == ""
    assert receiver.spans == []


@pytest.mark.slow
def test_nobody_is_waited_for_longer_than_the_limit(capfd: pytest.CaptureFixture[str]) -> None:
    send(TOLD, {}, "http://127.0.0.1:9", own_headers=True, limit_s=0.5)  # what is imported once does not count
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in ("http://127.0.0.1:9", f"http://127.0.0.1:{silent.getsockname()[1]}", "http://nowhere.invalid"):
            began_s = time.monotonic()
            assert send(TOLD, {}, url, own_headers=True, limit_s=0.5) != ""
            assert time.monotonic() - began_s < 2.5
    assert capfd.readouterr().err == "", "it is told once, by whoever asked"


@pytest.mark.slow
def test_a_receiver_that_refuses_is_told_of() -> None:
    with receiving() as receiver:
        receiver.status = 400
        assert send(TOLD, {}, receiver.url, own_headers=True) == "it was not accepted, or nobody answers there"


@pytest.mark.parametrize("endpoint", ["gopher://x", "http://", "http://x:99999", "x"])
def test_an_endpoint_that_is_none_is_told_of(endpoint: str) -> None:
    assert send(TOLD, {}, endpoint, own_headers=True, limit_s=0.5) != ""


def test_nothing_is_loaded_for_an_endpoint_where_nobody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbell.adapters.opentelemetry._prepare", None)
    assert send(TOLD, {}, "http://127.0.0.1:9", own_headers=True) == "nobody answers there (Connection refused)"
