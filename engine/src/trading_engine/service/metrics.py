"""The metrics of a process, in the default registry of prometheus_client.

Requests to the operational endpoints are not counted: a probe must not dilute an error rate.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)

BUILD = Gauge("trading_engine_info", "Which build this is, and where it runs", ["service", "version", "slot"])
REQUESTS = Counter("http_requests_total", "Requests answered", ["method", "route", "status"])
LATENCY = Histogram(
    "http_request_duration_seconds", "Time to answer a request", ["method", "route"], buckets=_LATENCY_BUCKETS_S
)
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests being answered")
DRAINING = Gauge("draining", "1 while connections, sessions or leadership are being moved away")
DATABASE_QUERIES = Counter("database_queries_total", "Queries sent to PostgreSQL")
ORDERS = Counter("orders_total", "Orders taken, by how they came and how that ended", ["protocol", "outcome"])

STREAMS = Gauge("websocket_streams", "Open streams")
EVENTS_SENT = Counter("websocket_events_total", "Events sent to streams")
STREAMS_CLOSED = Counter("websocket_streams_closed_total", "Streams that this side closed", ["reason"])

SESSIONS = Gauge("fix_sessions", "Sessions logged on")
FIX_MESSAGES = Counter("fix_messages_total", "FIX messages", ["direction", "type"])
FIX_RESENDS = Counter("fix_resend_requests_total", "ResendRequests", ["direction"])

LEADER = Gauge("matcher_leader", "1 if this worker leads")
EPOCH = Gauge("matcher_epoch", "The epoch of the lease that this worker last held")
APPLIED = Gauge("matcher_applied_seq", "The last command this worker applied")
LAG = Gauge("matcher_lag_commands", "Commands in the log that are not matched yet, as this worker last saw it")
AGREED = Gauge("matcher_shadow_agreed_commands", "Commands for which this shadow computed what was committed")
DIVERGED = Gauge("matcher_shadow_diverged", "1 if this worker computed something else than what was committed")
BATCH = Histogram(
    "matcher_batch_duration_seconds", "Time to match and commit a batch of commands", buckets=_LATENCY_BUCKETS_S
)
EXECUTION = Histogram(
    "order_execution_seconds", "From the commit of a command to the commit of its events", buckets=_LATENCY_BUCKETS_S
)
