"""A receiver of OTLP over HTTP: keeps what it is sent, decoded, or does what a bad one does."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest


class Receiver:
    """Spans and metrics as they came, and the raw bytes of everything."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        self.status = 200

    def take(self, path: str, body: bytes) -> None:
        """Decode one request."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.raw += body
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes(group.resource))
                self.spans += [span for scope in group.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics += [metric for scope in part.scope_metrics for metric in scope.metrics]

    def span(self, name: str) -> Any:
        """Return the one span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def points(self, name: str) -> list[Any]:
        """Return all points of a metric, as they came."""
        found = []
        for metric in self.metrics:
            if metric.name == name:
                found += list(getattr(metric, metric.WhichOneof("data")).data_points)
        return found


def attributes(thing: Any) -> dict[str, Any]:
    """Return the attributes of a span, a point or a resource."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes}


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive on a free port of the loopback interface, until left."""
    pytest.importorskip("opentelemetry.sdk", reason="openbell[telemetry] is not installed")
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            receiver.take(self.path, body)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
