"""What a run and a rollout are in OpenTelemetry's words: spans and measurements as data, and the identity of a trace.

Ids derive from what they are of, so a job can be told its span before anything is sent. The names are those of the
CI/CD conventions (https://opentelemetry.io/docs/specs/semconv/cicd/) and of W3C's trace context.
"""

import hashlib
import re
from typing import Literal

import msgspec

from openbell.core.project import Stage
from openbell.core.report import Outcome

Result = Literal["success", "failure", "timeout", "skip", "cancellation", "error"]
Value = str | bool | int | float

DURATION = "cicd.pipeline.run.duration"
ACTIVE = "cicd.pipeline.run.active"
ERRORS = "cicd.pipeline.run.errors"
STATE = "cicd.pipeline.run.state"

ACTION = "RUN"
OTHER_ERROR = "_OTHER"
RESULTS: dict[Outcome, Result] = {
    "success": "success",
    "cached": "success",
    "failure": "failure",
    "timeout": "timeout",
    "skipped": "skip",
    "not-checked": "skip",
}
TASK_TYPES: dict[Stage, str] = {"test": "test", "smoke": "test", "load": "test", "build": "build"}
"""The convention knows build, test and deploy; checks of quality are none of them."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-.*)?")


class Trace(msgspec.Struct, frozen=True):
    """The trace of a run: its id and that of the run's own span, and the span that called for it, if any."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = True

    def task(self, name: str) -> str:
        """Return the id of the span of a task of this run."""
        return _digest(self.trace_id, self.span_id, name)[:16]

    def traceparent(self, span_id: str) -> str:
        """Write the context of a span as W3C's header and the variable TRACEPARENT have it."""
        return f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"


def begin_trace(traceparent: str, *identity: str) -> Trace:
    """Begin the trace of a run: below its caller's span, if the caller names a valid one, else a trace of its own."""
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    span_id = _digest("span", *identity)[:16]
    if match is None or not int(match["trace"], 16) or not int(match["span"], 16) or traceparent.startswith("ff"):
        return Trace(_digest("trace", *identity)[:32], span_id)
    return Trace(match["trace"], span_id, match["span"], bool(int(match["flags"], 16) & 1))


class SpanFact(msgspec.Struct, frozen=True):
    """One span that has ended; times are Unix seconds, `error_type` is empty when it went well."""

    name: str
    kind: Literal["server", "internal"]
    span_id: str
    parent_id: str
    begin_at_s: float
    end_at_s: float
    attributes: dict[str, Value]
    error_type: str = ""


class Measurement(msgspec.Struct, frozen=True):
    """One measurement of an instrument of the convention: `DURATION`, `ACTIVE` or `ERRORS`."""

    name: str
    value: float
    attributes: dict[str, Value]


class Telemetry(msgspec.Struct, frozen=True):
    """Everything that is told of one run."""

    trace_id: str
    spans: tuple[SpanFact, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    sampled: bool = True


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()
