"""Whether a run is told of, and its place in a trace: what must be known before its first job, without the exporter."""

import os
import socket
from typing import TYPE_CHECKING

from openbell.core.project import Project
from openbell.core.telemetry import Trace, begin_trace

if TYPE_CHECKING:
    from openbell.wiring.pipeline import PreparedRun

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
DISABLED = "OTEL_SDK_DISABLED"
TRACEPARENT = "TRACEPARENT"


def endpoint_of(project: Project) -> str:
    """Say where telemetry goes: where the machine says, else where the project does; empty when nowhere."""
    if os.environ.get(DISABLED, "").lower() == "true":
        return ""
    return os.environ.get(ENDPOINT) or project.telemetry.endpoint


def trace_of(prepared: "PreparedRun") -> Trace:
    """Return the trace of a run: the same whenever it is asked for."""
    identity = (
        socket.gethostname(),
        str(prepared.workplace.folder),
        str(prepared.began_s),
        prepared.snapshot.commit.id,
    )
    return begin_trace(os.environ.get(TRACEPARENT, ""), *identity)


def job_environment(prepared: "PreparedRun", job_id: str) -> dict[str, str]:
    """Return what tells a job its span, so that what it measures itself belongs to the run."""
    given = os.environ.get(TRACEPARENT, "")
    if not endpoint_of(prepared.place.project):
        return {TRACEPARENT: given} if given else {}
    trace = trace_of(prepared)
    return {TRACEPARENT: trace.traceparent(trace.task(job_id))}
