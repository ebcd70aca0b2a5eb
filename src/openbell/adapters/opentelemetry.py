"""OpenTelemetry: sends spans and measurements over OTLP/HTTP, by its SDK and its exporter (`openbell[telemetry]`).

Everything is built when it has ended, with the times that were measured, and sent in two requests at once. Whoever
receives may be slow or gone: a limit holds for both together, and what went wrong is returned and never raised.

Source: https://opentelemetry.io/docs/specs/otlp/
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from openbell.core.telemetry import ACTIVE, DURATION, ERRORS, Measurement, SpanFact, Telemetry, Value

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import export
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

SCOPE = "openbell"
LIMIT_S = 2.0
CONNECT_LIMIT_S = 0.5
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS")
DURATIONS_S = (1, 5, 15, 30, 60, 120, 300, 600, 900, 1200, 1800, 2400, 3600, 7200)
"""The edges of the histogram: the specification's targets are among them."""


def send(
    told: Telemetry, resource: Mapping[str, Value], endpoint: str, *, own_headers: bool, limit_s: float = LIMIT_S
) -> str:
    """Send spans and measurements; returns why that failed, in a few words, or nothing when both arrived.

    With `own_headers` the machine's headers (OTEL_EXPORTER_OTLP_HEADERS) go along: they are for an endpoint that the
    machine itself names, and for no other. It takes `limit_s` seconds at most.
    """
    if gone := _nobody_there(endpoint):
        return gone
    try:
        works = _prepare(told, resource, endpoint, own_headers=own_headers, limit_s=limit_s)
    except ImportError:
        return "the exporter is not installed: pip install 'openbell[telemetry]'"
    except (ValueError, RuntimeError, OSError) as error:
        return str(error) or type(error).__name__
    problems: list[str] = []
    threads = [threading.Thread(target=_attempt, args=(work, problems), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit_s)
        limit_s = limit_s if not thread.is_alive() else 0.1
    late = any(thread.is_alive() for thread in threads)
    return next(iter(problems), f"no answer from {endpoint} in time" if late else "")


def _nobody_there(endpoint: str) -> str:
    """Say why an endpoint cannot be reached, before the SDK is loaded and tries for as long as it may."""
    try:
        url = urlsplit(endpoint)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        return str(error)
    if url.scheme not in ("http", "https") or not url.hostname:
        return "it is no http or https URL"
    if url.scheme in getproxies() and not proxy_bypass(url.hostname):
        return ""
    try:
        socket.create_connection((url.hostname, port), timeout=CONNECT_LIMIT_S).close()
    except OSError as error:
        return f"nobody answers there ({error.strerror or error})"
    return ""


def _attempt(work: Callable[[], bool], problems: list[str]) -> None:
    try:
        if not work():
            problems.append("it was not accepted, or nobody answers there")
    except Exception as error:  # noqa: BLE001 a library's defect must not end a run
        problems.append(str(error) or type(error).__name__)


def _prepare(
    told: Telemetry, resource: Mapping[str, Value], endpoint: str, *, own_headers: bool, limit_s: float
) -> list[Callable[[], bool]]:
    # What the SDK has to say of an endpoint that is gone is said once, by us.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExportResult

    where = Resource.create(dict(resource))
    base = endpoint.removesuffix("/")
    with contextlib.nullcontext() if own_headers else _without_headers():
        tracing = OTLPSpanExporter(f"{base}/v1/traces", timeout=limit_s)
        measuring = OTLPMetricExporter(f"{base}/v1/metrics", timeout=limit_s)
    works: list[Callable[[], bool]] = []
    if told.spans and told.sampled:
        spans = build_spans(told, where)
        works.append(lambda: tracing.export(spans) is SpanExportResult.SUCCESS)
    if told.measurements:
        data = build_metrics(told.measurements, where)
        works.append(lambda: measuring.export(data) is MetricExportResult.SUCCESS)
    return works


@contextlib.contextmanager
def _without_headers() -> Iterator[None]:
    taken = {name: os.environ.pop(name) for name in HEADERS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def build_spans(told: Telemetry, resource: "Resource") -> "list[ReadableSpan]":
    """Make the SDK's spans of facts: with their own ids, kinds, parents and times."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    kinds = {"server": SpanKind.SERVER, "internal": SpanKind.INTERNAL}

    def context(span_id: str) -> SpanContext:
        return SpanContext(int(told.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1))

    def span(fact: SpanFact) -> ReadableSpan:
        failed = {"error.type": fact.error_type} if fact.error_type else {}
        return ReadableSpan(
            name=fact.name,
            context=context(fact.span_id),
            parent=context(fact.parent_id) if fact.parent_id else None,
            resource=resource,
            attributes={**fact.attributes, **failed},
            kind=kinds[fact.kind],
            status=Status(StatusCode.ERROR, fact.error_type) if fact.error_type else Status(StatusCode.UNSET),
            start_time=int(fact.begin_at_s * 1e9),
            end_time=int(fact.end_at_s * 1e9),
            instrumentation_scope=InstrumentationScope(SCOPE),
        )

    return [span(fact) for fact in told.spans]


def build_metrics(measurements: Sequence[Measurement], resource: "Resource") -> "export.MetricsData":
    """Make the SDK's metrics of measurements, with the instruments that the convention names."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = provider.get_meter(SCOPE)
    duration = meter.create_histogram(
        DURATION, "s", "Duration of a pipeline run grouped by pipeline, state and result.",
        explicit_bucket_boundaries_advisory=DURATIONS_S,
    )  # fmt: skip
    active = meter.create_up_down_counter(
        ACTIVE, "{run}", "The number of pipeline runs currently active in the system by state."
    )
    errors = meter.create_counter(ERRORS, "{error}", "The number of errors encountered in pipeline runs.")
    for one in measurements:
        if one.name == DURATION:
            duration.record(one.value, one.attributes)
        else:
            (active if one.name == ACTIVE else errors).add(one.value, one.attributes)
    data = reader.get_metrics_data()
    provider.shutdown()
    if data is None:
        raise ValueError("no metrics were made")
    return data
